import * as z from 'zod/mini'
import type { RevocationList } from './krl.ts'
import { addSerial, authorityOf, hasSerial, readList, removeSerial, writeList } from './krl.ts'
import { fingerprintOf } from './wire.ts'

/** What a list can refuse. */
export type Entry =
  | { readonly kind: 'certificate'; readonly authority: Buffer; readonly serial: bigint }
  /** Bytes in latin1. */
  | { readonly kind: 'key-id'; readonly authority: Buffer; readonly keyId: string }
  | { readonly kind: 'key'; readonly fingerprint: string }

/** Why an entry of ours stands in the list: it goes when the last reason goes. */
export type Why = 'revoked' | 'contained'

interface Mark {
  readonly entry: Entry
  readonly why: Set<Why>
  /** Seconds since 1970: what it refuses has ended by itself then. */
  readonly until: number | undefined
}

/** What stands behind the list's own comment. */
const SEPARATOR = ' rescind:'
/** Authorities, and for each entry its kind, the place of its authority among them, its value, why, and until when. */
const Marks = z.tuple([
  z.array(z.string()),
  z.array(z.tuple([z.enum(['certificate', 'key-id', 'key']), z.int(), z.string(), z.string(), z.nullable(z.number())])),
])

/**
 * A revocation list that knows which of its entries are ours. A list has no room beside an entry, so the marks stand in
 * its comment: they change with the entries in one write, `ssh-keygen -k -u` keeps them, and sshd does not read them.
 */
export class Held {
  readonly #list: RevocationList
  readonly #comment: string
  readonly #marks = new Map<string, Mark>()

  /** @throws UnfitList */
  constructor(bytes: Buffer) {
    this.#list = readList(bytes)
    const { comment } = this.#list
    const at = comment.lastIndexOf(SEPARATOR)
    const marks = at < 0 ? undefined : readMarks(comment.slice(at + SEPARATOR.length))
    this.#comment = marks === undefined ? comment : comment.slice(0, at)
    for (const mark of marks ?? []) this.#marks.set(nameOf(mark.entry), mark)
  }

  get version(): bigint {
    return this.#list.version
  }

  has(entry: Entry): boolean {
    if (entry.kind === 'key') {
      if (this.#list.sha256.has(hashOf(entry))) return true
      return [...this.#list.keys].some((key) => fingerprintOf(Buffer.from(key, 'base64')) === entry.fingerprint)
    }
    // An entry without an authority is meant for all of them.
    return [entry.authority.toString('base64'), ''].some((name) => {
      const authority = this.#list.authorities.get(name)
      if (authority === undefined) return false
      return entry.kind === 'certificate' ? hasSerial(authority, entry.serial) : authority.keyIds.has(entry.keyId)
    })
  }

  /** @returns whether the list has changed; what somebody else had refused stays theirs */
  add(entry: Entry, why: Why, until: number | undefined): boolean {
    const mark = this.#marks.get(nameOf(entry))
    if (this.has(entry)) {
      if (mark === undefined || mark.why.has(why)) return false
      mark.why.add(why)
      return true
    }
    if (entry.kind === 'key') this.#list.sha256.add(hashOf(entry))
    else {
      const authority = authorityOf(this.#list, entry.authority)
      if (entry.kind === 'certificate') addSerial(authority, entry.serial)
      else authority.keyIds.add(entry.keyId)
    }
    this.#marks.set(nameOf(entry), { entry, why: new Set([why]), until })
    return true
  }

  /** @returns `free` nothing refuses it; `held` another reason of ours does; `foreign` somebody else does; else `removed` */
  remove(entry: Entry, why: Why): 'removed' | 'free' | 'held' | 'foreign' {
    const mark = this.#marks.get(nameOf(entry))
    if (!this.has(entry)) return 'free'
    if (mark === undefined) return 'foreign'
    mark.why.delete(why)
    if (mark.why.size > 0) return 'held'
    this.#drop(mark)
    return this.has(entry) ? 'foreign' : 'removed'
  }

  /** Takes out what we put in and what has ended by itself. */
  sweep(seconds: number): void {
    for (const mark of this.#marks.values()) if (mark.until !== undefined && mark.until < seconds) this.#drop(mark)
  }

  #drop({ entry }: Mark): void {
    this.#marks.delete(nameOf(entry))
    if (entry.kind === 'key') {
      this.#list.sha256.delete(hashOf(entry))
      return
    }
    const authority = authorityOf(this.#list, entry.authority)
    if (entry.kind === 'certificate') removeSerial(authority, entry.serial)
    else authority.keyIds.delete(entry.keyId)
  }

  /** The next version of the list, as bytes. `seconds` since 1970. */
  write(seconds: number): Buffer {
    // Of two marks on what has been taken out by another hand neither says anything.
    for (const [name, { entry }] of this.#marks) if (!this.has(entry)) this.#marks.delete(name)
    const authorities = new Map<string, number>()
    const marks = [...this.#marks.values()].map(({ entry, why, until }) => {
      const [kind, authority, value] = partsOf(entry)
      const place = authorities.get(authority) ?? authorities.size
      authorities.set(authority, place)
      return [kind, place, value, [...why].join(), until ?? null]
    })
    const told = ascii(JSON.stringify([[...authorities.keys()], marks]))
    const comment = marks.length === 0 ? this.#comment : `${this.#comment}${SEPARATOR}${told}`
    return writeList({ ...this.#list, comment, version: this.#list.version + 1n }, seconds)
  }
}

const hashOf = ({ fingerprint }: Extract<Entry, { kind: 'key' }>) => `${fingerprint.slice('SHA256:'.length)}=`

function partsOf(entry: Entry): [kind: Entry['kind'], authority: string, value: string] {
  if (entry.kind === 'key') return ['key', '', entry.fingerprint]
  const value = entry.kind === 'certificate' ? String(entry.serial) : entry.keyId
  return [entry.kind, entry.authority.toString('base64'), value]
}

const nameOf = (entry: Entry): string => JSON.stringify(partsOf(entry))

function readMarks(text: string): Mark[] | undefined {
  try {
    const [authorities, marks] = Marks.parse(JSON.parse(text))
    return marks.map(([kind, place, value, why, until]): Mark => {
      const authority = Buffer.from(authorities[place] ?? '', 'base64')
      const reasons = new Set((['revoked', 'contained'] as const).filter((one) => why.split(',').includes(one)))
      const entry: Entry =
        kind === 'key'
          ? { kind, fingerprint: value }
          : kind === 'certificate'
            ? { kind, authority, serial: BigInt(value) }
            : { kind, authority, keyId: value }
      return { entry, why: reasons, until: until ?? undefined }
    })
  } catch {
    // Somebody's own comment, or one that was cut: then no entry is ours.
    return undefined
  }
}

/** JSON in ASCII alone: a comment ends at a NUL, and not everybody reads UTF-8. */
const ascii = (json: string): string =>
  json.replaceAll(/[^\x20-\x7e]/g, (letter) => `\\u${letter.charCodeAt(0).toString(16).padStart(4, '0')}`)
