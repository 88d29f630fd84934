import { Reader, string, uint32, uint64 } from './wire.ts'

/**
 * OpenSSH's key revocation list (PROTOCOL.krl of OpenSSH 9.2) as sets: read from bytes, changed, written again. Pure.
 * Signed lists, and sections that are not known here, are not read: writing them again would lose what they say.
 */
export interface RevocationList {
  version: bigint
  /** Bytes in latin1. */
  comment: string
  /** By the authority's public key, base64 of its blob; the empty one stands for every authority. */
  readonly authorities: Map<string, Authority>
  /** Public keys, base64 of their blobs. */
  readonly keys: Set<string>
  /** Fingerprints, base64 of the hash. */
  readonly sha1: Set<string>
  readonly sha256: Set<string>
}

export interface Authority {
  /** Disjoint, not adjacent, in rising order. */
  serials: Span[]
  /** As bytes in latin1: what an authority signs as a key id need not be UTF-8. */
  readonly keyIds: Set<string>
}

/** First and last. */
export type Span = readonly [bigint, bigint]

/** The bytes are no list, or one that must not be written again; the message says which. */
export class UnfitList extends Error {}

const MAGIC = Buffer.from('SSHKRL\n\0')
const FORMAT = 1
const CERTIFICATES = 1
const EXPLICIT_KEY = 2
const SHA1 = 3
const SIGNATURE = 4
const SHA256 = 5
const SERIAL_LIST = 0x20
const SERIAL_RANGE = 0x21
const SERIAL_BITMAP = 0x22
const KEY_ID = 0x23

export const emptyList = (): RevocationList => ({
  version: 0n,
  comment: '',
  authorities: new Map(),
  keys: new Set(),
  sha1: new Set(),
  sha256: new Set(),
})

/** @throws UnfitList */
export function readList(bytes: Buffer): RevocationList {
  // sshd takes an empty file for a list of keys in text form that names none.
  if (bytes.length === 0) return emptyList()
  if (!bytes.subarray(0, MAGIC.length).equals(MAGIC)) {
    throw new UnfitList('a list of keys in text form stands there: make it binary with ssh-keygen -k')
  }
  try {
    return parse(new Reader(bytes.subarray(MAGIC.length)))
  } catch (error) {
    if (error instanceof RangeError) throw new UnfitList('the list is cut short or damaged')
    throw error
  }
}

function parse(reader: Reader): RevocationList {
  if (reader.uint32() !== FORMAT) throw new UnfitList('the list is of an unknown format')
  const list = emptyList()
  list.version = reader.uint64()
  // The date of making.
  reader.uint64()
  if (reader.uint64() !== 0n) throw new UnfitList('the list has unknown flags')
  reader.string()
  list.comment = reader.string().toString('latin1')
  while (!reader.done) {
    const kind = reader.byte()
    const section = new Reader(reader.string())
    if (kind === CERTIFICATES) readCertificates(section, list)
    else if (kind === EXPLICIT_KEY) for (const key of section.strings()) list.keys.add(key.toString('base64'))
    else if (kind === SHA1) for (const hash of section.strings()) list.sha1.add(hash.toString('base64'))
    else if (kind === SHA256) for (const hash of section.strings()) list.sha256.add(hash.toString('base64'))
    else if (kind === SIGNATURE) throw new UnfitList('the list is signed: to change it would break its signature')
    else throw new UnfitList(`the list has a section of unknown kind (${kind})`)
  }
  return list
}

function readCertificates(reader: Reader, list: RevocationList): void {
  const authority = authorityOf(list, reader.string())
  reader.string()
  const spans = [...authority.serials]
  while (!reader.done) {
    const kind = reader.byte()
    const bytes = reader.string()
    const section = new Reader(bytes)
    if (kind === SERIAL_LIST) while (!section.done) spans.push(single(section.uint64()))
    else if (kind === SERIAL_RANGE) spans.push([section.uint64(), section.uint64()])
    else if (kind === SERIAL_BITMAP) spans.push(...bitmap(section.uint64(), section.string()))
    else if (kind === KEY_ID) for (const id of section.strings()) authority.keyIds.add(id.toString('latin1'))
    else throw new UnfitList(`the list has a certificate section of unknown kind (${kind})`)
  }
  authority.serials = merged(spans)
}

/** Bit n stands for the serial `offset` + n; the bytes are a big-endian number. */
function bitmap(offset: bigint, bytes: Buffer): Span[] {
  const spans: Span[] = []
  for (const [index, byte] of bytes.entries()) {
    for (let bit = 0; bit < 8; bit += 1) {
      if ((byte & (1 << bit)) !== 0) spans.push(single(offset + BigInt((bytes.length - 1 - index) * 8 + bit)))
    }
  }
  return spans
}

/** Bytes that `readList` reads as the same sets. `seconds` since 1970. */
export function writeList(list: RevocationList, seconds: number): Buffer {
  const parts = [
    MAGIC,
    uint32(FORMAT),
    uint64(list.version),
    uint64(BigInt(seconds)),
    uint64(0n),
    string(''),
    string(Buffer.from(list.comment, 'latin1')),
  ]
  for (const [key, authority] of list.authorities) {
    const sections = certificateSections(authority)
    if (sections.length === 0) continue
    parts.push(section(CERTIFICATES, [string(Buffer.from(key, 'base64')), string(''), ...sections]))
  }
  for (const [kind, entries] of [
    [EXPLICIT_KEY, list.keys],
    [SHA1, list.sha1],
    [SHA256, list.sha256],
  ] as const) {
    const blobs = [...entries].map((entry) => Buffer.from(entry, 'base64')).sort(Buffer.compare)
    if (blobs.length > 0) parts.push(section(kind, blobs.map(string)))
  }
  return Buffer.concat(parts)
}

function certificateSections({ serials, keyIds }: Authority): Buffer[] {
  const singles = serials.filter(([first, last]) => first === last).map(([first]) => uint64(first))
  const ranges = serials.filter(([first, last]) => first !== last)
  return [
    ...(singles.length === 0 ? [] : [section(SERIAL_LIST, singles)]),
    ...ranges.map(([first, last]) => section(SERIAL_RANGE, [uint64(first), uint64(last)])),
    ...(keyIds.size === 0
      ? []
      : [
          section(
            KEY_ID,
            [...keyIds].sort().map((id) => string(Buffer.from(id, 'latin1'))),
          ),
        ]),
  ]
}

const section = (kind: number, parts: readonly Buffer[]): Buffer => Buffer.concat([Buffer.of(kind), string(Buffer.concat(parts))])

/** The authority's part of the list, made if there is none. */
export function authorityOf(list: RevocationList, key: Buffer): Authority {
  const name = key.toString('base64')
  const known = list.authorities.get(name)
  if (known !== undefined) return known
  const made: Authority = { serials: [], keyIds: new Set() }
  list.authorities.set(name, made)
  return made
}

export const hasSerial = ({ serials }: Authority, serial: bigint): boolean =>
  serials.some(([first, last]) => first <= serial && serial <= last)

export function addSerial(authority: Authority, serial: bigint): void {
  if (!hasSerial(authority, serial)) authority.serials = merged([...authority.serials, single(serial)])
}

export function removeSerial(authority: Authority, serial: bigint): void {
  authority.serials = authority.serials.flatMap(([first, last]): Span[] => {
    if (serial < first || last < serial) return [[first, last]]
    const rest: Span[] = [
      [first, serial - 1n],
      [serial + 1n, last],
    ]
    return rest.filter(([from, to]) => from <= to)
  })
}

const single = (serial: bigint): Span => [serial, serial]

function merged(spans: readonly Span[]): Span[] {
  const sorted = [...spans].sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0))
  const result: [bigint, bigint][] = []
  for (const [first, last] of sorted) {
    if (last < first) throw new UnfitList('the list has a range of serials that ends before it begins')
    const open = result.at(-1)
    if (open !== undefined && first <= open[1] + 1n) open[1] = last > open[1] ? last : open[1]
    else result.push([first, last])
  }
  return result
}
