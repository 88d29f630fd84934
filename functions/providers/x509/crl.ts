import type { KeyObject } from 'node:crypto'
import { verify } from 'node:crypto'

/** A certificate revocation list (RFC 5280, section 5), as far as it is needed to believe it. */
export interface CertificateList {
  /** Serial numbers as decimal text, and when each was revoked, RFC 3339. */
  readonly revoked: ReadonlyMap<string, string>
  readonly thisUpdate: string
  /** After it the list says nothing any more. Absent in lists that RFC 5280 does not allow: then it is never stale. */
  readonly nextUpdate: string | undefined
  /** Its number, as decimal text. */
  readonly number: string | undefined
  isSignedBy(key: KeyObject): boolean
}

/** The bytes are no full revocation list. */
export class UnfitList extends Error {}

const SEQUENCE = 0x30
const INTEGER = 0x02
const BIT_STRING = 0x03
const OCTET_STRING = 0x04
const OID = 0x06
const UTC_TIME = 0x17
const GENERALIZED_TIME = 0x18
const EXTENSIONS = 0xa0

/** Dotted, without the tag and the length. */
const CRL_NUMBER = '551d14'
const DELTA = '551d1b'
const HASHES: Readonly<Record<string, string | null>> = {
  '2a8648ce3d040302': 'sha256',
  '2a8648ce3d040303': 'sha384',
  '2a8648ce3d040304': 'sha512',
  '2a864886f70d01010b': 'sha256',
  '2a864886f70d01010c': 'sha384',
  '2a864886f70d01010d': 'sha512',
  // Ed25519 hashes by itself.
  '2b6570': null,
}

/** One value of DER (ITU-T X.690): its tag, what it holds, and its bytes as a whole. */
interface Value {
  readonly tag: number
  readonly body: Buffer
  readonly whole: Buffer
}

/** @throws UnfitList */
export function readCertificateList(bytes: Buffer): CertificateList {
  const [outer, ...rest] = valuesOf(bytes)
  const [signed, , signature] = outer?.tag === SEQUENCE && rest.length === 0 ? valuesOf(outer.body) : []
  const algorithm = outer === undefined ? undefined : valuesOf(valuesOf(outer.body)[1]?.body ?? Buffer.alloc(0))[0]
  if (signed?.tag !== SEQUENCE || signature?.tag !== BIT_STRING || algorithm?.tag !== OID)
    throw new UnfitList('no revocation list')
  const parts = valuesOf(signed.body)
  // The version is there when there are extensions.
  if (parts[0]?.tag === INTEGER) parts.shift()
  const [, , thisUpdate, ...others] = parts
  const nextUpdate = isTime(others[0]) ? others.shift() : undefined
  const entries = others[0]?.tag === SEQUENCE ? others.shift() : undefined
  const extensions = extensionsOf(others.find(({ tag }) => tag === EXTENSIONS))
  // A delta holds what is new alone: whoever is missing in it may stand in the full one.
  if (extensions.has(DELTA)) throw new UnfitList('a delta of a revocation list, not the full one')
  const number = extensions.get(CRL_NUMBER)
  return {
    revoked: new Map(valuesOf(entries?.body ?? Buffer.alloc(0)).map(entryOf)),
    thisUpdate: timeOf(thisUpdate),
    nextUpdate: nextUpdate === undefined ? undefined : timeOf(nextUpdate),
    number: number === undefined ? undefined : integerOf(valuesOf(number)[0]),
    isSignedBy: (key) => isSigned(signed.whole, algorithm.body.toString('hex'), signature.body.subarray(1), key),
  }
}

function isSigned(data: Buffer, algorithm: string, signature: Buffer, key: KeyObject): boolean {
  const hash = HASHES[algorithm]
  if (hash === undefined) return false
  try {
    return verify(hash, data, key, signature)
  } catch {
    // A key of another kind than the algorithm's.
    return false
  }
}

function entryOf({ body }: Value): [serial: string, since: string] {
  const [serial, since] = valuesOf(body)
  return [integerOf(serial), timeOf(since)]
}

function extensionsOf(explicit: Value | undefined): Map<string, Buffer> {
  const [list] = valuesOf(explicit?.body ?? Buffer.alloc(0))
  return new Map(
    valuesOf(list?.body ?? Buffer.alloc(0)).map(({ body }) => {
      const fields = valuesOf(body)
      const held = fields.find(({ tag }) => tag === OCTET_STRING)
      return [fields[0]?.body.toString('hex') ?? '', held?.body ?? Buffer.alloc(0)]
    }),
  )
}

/** Serial numbers are positive, and so are the numbers of lists. */
function integerOf(value: Value | undefined): string {
  if (value?.tag !== INTEGER || value.body.length === 0) throw new UnfitList('a revocation list with a number that is none')
  return String(BigInt(`0x${value.body.toString('hex')}`))
}

const isTime = (value: Value | undefined): boolean => value?.tag === UTC_TIME || value?.tag === GENERALIZED_TIME

/** RFC 5280, section 5.1.2.4: two digits of the year up to 2049, four from then on; always UTC. */
function timeOf(value: Value | undefined): string {
  const text = isTime(value) ? (value?.body.toString('latin1') ?? '') : ''
  const full = value?.tag === UTC_TIME ? `${Number(text.slice(0, 2)) < 50 ? '20' : '19'}${text}` : text
  const [, year, month, day, hour, minute, second] = /^(\d{4})(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)Z$/.exec(full) ?? []
  const instant = `${year}-${month}-${day}T${hour}:${minute}:${second}.000Z`
  if (Number.isNaN(Date.parse(instant))) throw new UnfitList('a revocation list with a time that is none')
  return instant
}

function valuesOf(bytes: Buffer): Value[] {
  const values: Value[] = []
  let at = 0
  while (at < bytes.length) {
    const [tag = 0, first = 0] = bytes.subarray(at, at + 2)
    const more = first < 0x80 ? 0 : first & 0x7f
    const start = at + 2 + more
    // Four bytes of length are 4 GB; the indefinite form (0x80) is no DER.
    if (more > 4 || first === 0x80 || start > bytes.length) throw new UnfitList('no revocation list')
    const length = more === 0 ? first : bytes.readUIntBE(at + 2, more)
    const end = start + length
    if (end > bytes.length) throw new UnfitList('a revocation list that is cut short')
    values.push({ tag, body: bytes.subarray(start, end), whole: bytes.subarray(at, end) })
    at = end
  }
  return values
}
