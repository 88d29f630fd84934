import { identityKey, parentKey } from '../../functions/domain/keys.ts'
import { instant } from '../../functions/domain/time.ts'
import { credentialItem, identityItem, issuerItem, leaseOfSort, leaseSort } from '../../functions/store/keys.ts'
import { readOnly } from '../../functions/store/read-only.ts'
import type { Item, ItemKey, Table } from '../../functions/store/table.ts'
import { IDENTITY, ISSUER } from './identity.ts'
import { definition as FREE } from './provider.ts'

/** Of so many leases, one shares its credential with a lease of somebody else, and one delegates to somebody else. */
export const EVERY = 50
export const OTHER = 'spiffe://example.org/workload/other'

const LETTERS = 'abcdefghijklmnopqrstuvwxyz234567'
const SHARDS = 16
/** Letters of a place's number. Digits come before letters in the order of keys, so only letters are used: base 16. */
const DIGITS = 21

/** The last part of a lease id: the number in letters that sort as it does, whose it is, and the shard. */
function tailOf(place: number, whose: 'own' | 'other' | 'child'): string {
  const digits = place.toString(16).padStart(DIGITS, '0')
  const letters = [...digits].map((digit) => LETTERS[Number.parseInt(digit, 16)]).join('')
  return `${letters}${{ own: 'a', other: 'b', child: 'c' }[whose]}aaa${LETTERS[place % SHARDS]}`
}

function placeOf(tail: string): { place: number; whose: 'own' | 'other' | 'child' } {
  const digits = [...tail.slice(0, DIGITS)].map((letter) => LETTERS.indexOf(letter).toString(16)).join('')
  const whose = { a: 'own', b: 'other', c: 'child' } as const
  const letter = tail.charAt(DIGITS)
  return { place: Number.parseInt(digits, 16), whose: letter === 'b' ? whose.b : letter === 'c' ? whose.c : whose.a }
}

/**
 * A table with an identity of so many leases that holds none of them: each is made when it is read, and forgotten. What
 * is measured over it is the reader alone, with as many leases as one likes.
 */
export function madeTable(leases: number, now: number): Table {
  const identity = identityKey(IDENTITY)
  const other = identityKey(OTHER)
  const shares = (place: number) => place % EVERY === 1
  const delegates = (place: number) => place % EVERY === 2
  const parents = new Map<string, number>()
  for (let place = 2; place < leases; place += EVERY)
    parents.set(parentKey(`${identity}.${ISSUER}.${tailOf(place, 'own')}`), place)
  const printOf = (place: number, whose: 'own' | 'other' | 'child') => tailOf(place, whose === 'child' ? 'child' : 'own')

  function lease(id: string): Item {
    const tail = id.slice(-26)
    const { place, whose } = placeOf(tail)
    const mine = whose === 'own'
    return {
      pk: `SCOPE#identity#${mine ? identity : other}#${place % SHARDS}`,
      sk: leaseSort(ISSUER, id),
      kind: 'lease',
      id,
      identity: mine ? IDENTITY : OTHER,
      identityKey: mine ? identity : other,
      issuer: ISSUER,
      fingerprint: printOf(place, whose),
      owner: mine ? 'alice' : 'bob',
      consumer: 'bench',
      target: { name: tail },
      delegable: mine && delegates(place),
      depth: whose === 'child' ? 1 : 0,
      ...(whose === 'child' ? { parent: `${identity}.${ISSUER}.${tailOf(place, 'own')}` } : {}),
      epoch: 1,
      expiresAt: instant(now + 86_400_000),
      state: 'live',
      acknowledged: true,
      sharing: shares(place) && whose !== 'child' ? 'shared' : 'exclusive',
      by: { who: 'bench', at: instant(now) },
    }
  }

  function get(key: ItemKey): Item | undefined {
    if (key.pk === identityItem(identity).pk)
      return {
        ...key,
        kind: 'identity',
        key: identity,
        id: IDENTITY,
        epoch: 1,
        fencedThrough: 0,
        fences: {},
        issuers: {},
        owner: 'alice',
        ownerLeaves: 'revoke',
        protected: false,
        contacts: [],
      }
    if (key.pk === issuerItem(ISSUER).pk)
      return { ...key, kind: 'issuer', name: ISSUER, provider: FREE.name, settings: {}, soakSeconds: 3600 }
    if (key.pk.startsWith('CRED#')) {
      const { place } = placeOf(key.pk.slice('CRED#'.length))
      return { ...credentialItem(tailOf(place, 'own')), kind: 'credential', holders: 2, exclusive: false, cutting: false }
    }
    return key.sk.startsWith('L#') ? lease(leaseOfSort(key.sk).lease) : undefined
  }

  /** Ids of a partition behind an id, in the order of their sort keys. */
  function* idsIn(pk: string, after: string | undefined): Generator<string> {
    const [, kind, name = '', shard = '0'] = pk.split('#')
    const behind = after === undefined ? undefined : leaseOfSort(after).lease
    if (kind === 'identity' && name === identity) {
      const first = behind === undefined ? Number(shard) : placeOf(behind.slice(-26)).place + SHARDS
      for (let place = first; place < leases; place += SHARDS) yield `${identity}.${ISSUER}.${tailOf(place, 'own')}`
      return
    }
    const ids: string[] = []
    if (kind === 'credential') {
      const { place, whose } = placeOf(name)
      if (whose === 'own') ids.push(`${identity}.${ISSUER}.${tailOf(place, 'own')}`)
      if (shares(place)) ids.push(`${other}.${ISSUER}.${tailOf(place, 'other')}`)
    }
    const parent = kind === 'parent' ? parents.get(name) : undefined
    if (parent !== undefined) ids.push(`${other}.${ISSUER}.${tailOf(parent, 'child')}`)
    for (const id of ids.sort()) if (behind === undefined || id > behind) yield id
  }

  return {
    ...readOnly({
      get: async (key) => get(key),
      getMany: async (keys) => keys.map(get),
      async query({ pk, after, limit }) {
        const items: Item[] = []
        for (const id of idsIn(pk, after)) {
          items.push(pk.startsWith('SCOPE#identity#') ? lease(id) : { pk, sk: leaseSort(ISSUER, id), kind: 'pointer' })
          if (items.length === limit) break
        }
        const last = items.at(-1)
        return { items, ...(items.length === limit && last !== undefined ? { next: last.sk } : {}) }
      },
      index: async () => ({ items: [] }),
      write: async () => ({ ok: false, current: undefined }),
      writeEach: async () => [],
      transact: async () => ({ ok: false, failed: [], current: [] }),
      putAll: async () => {},
    }),
  }
}
