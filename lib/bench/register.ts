import { isDeepStrictEqual } from 'node:util'
import type { LeaseRegistration } from '../../functions/contracts/lease.ts'
import { fingerprint, identityKey, leaseIdFor, shardOf } from '../../functions/domain/keys.ts'
import { instant } from '../../functions/domain/time.ts'
import { registrar } from '../../functions/register/register.ts'
import { dynamoClient } from '../../functions/runtime/aws.ts'
import { systemClock } from '../../functions/runtime/clock.ts'
import { systemRandomness } from '../../functions/runtime/randomness.ts'
import { dynamoTable } from '../../functions/store/dynamodb.ts'
import { declareIssuer } from '../../functions/store/issuers.ts'
import { credentialItem, leaseItem, leaseSort, scopeOfCredential, shardPartition, shardsOf } from '../../functions/store/keys.ts'
import type { Item, ItemKey, Table } from '../../functions/store/table.ts'
import { BROKER, IDENTITY, ISSUER, settings } from './identity.ts'
import type { Registered } from './job.ts'
import { definition as FREE } from './provider.ts'

/** Leases registered by the real function; the rest are copies of the first one's items. */
const REAL = 50
/** Copies in one transaction: three items each, below the hundred that one takes. The embedded store takes them twice as fast as batches. */
const TOGETHER = 33
const AT_ONCE = 4

const nameOf = (place: number) => `credential-${String(place).padStart(7, '0')}`
const idempotencyKeyOf = (place: number) => `bench-${nameOf(place)}`

/**
 * Gives the identity its leases. A registration is a dozen calls, so most are copied: the three items that a real one
 * left behind, under another credential's name. The copies of the leases that were truly registered must equal what
 * stands in the table, or nothing is measured.
 */
export async function registerLeases(leases: number, name: string): Promise<Registered> {
  const start = performance.now()
  const client = dynamoClient()
  const table = dynamoTable({ client, table: name, clock: systemClock, random: systemRandomness })
  const now = Math.floor(Date.now() / 1000) * 1000
  await declareIssuer(table, ISSUER, { provider: FREE.name, settings: {}, soakSeconds: 3600 }, { who: 'bench', at: instant(now) })

  // One moment for all, so that a copy differs from a real one in nothing but its name.
  const register = registrar({
    table,
    dispatch: { plan: async () => {}, work: async () => {} },
    clock: { ...systemClock, now: () => now },
    random: systemRandomness,
    settings,
    seal: async () => Promise.reject(new Error('nothing to seal')),
    catalog: { [FREE.name]: FREE },
    mac: async () => Promise.resolve(() => ''),
  })
  const requestOf = (place: number): LeaseRegistration => ({
    identity: IDENTITY,
    issuer: ISSUER,
    kind: 'dynamic',
    registers: 'credential',
    target: { name: nameOf(place) },
    lever: { group: 'bench' },
    consumer: 'bench',
    purpose: 'to be measured',
    expiresAt: instant(now + 86_400_000),
    owner: 'alice',
  })
  const real = Math.min(leases, REAL)
  for (let place = 0; place < real; place += 1) await register(requestOf(place), idempotencyKeyOf(place), BROKER)

  const sample = await itemsOf(table, 0)
  const copyOf = copier(sample)
  for (let place = 0; place < real; place += 1) {
    const [lease, ...others] = await itemsOf(table, place)
    const [copy, ...copies] = copyOf(place)
    // A hash of the request, by which a retry is known: nothing but registration reads it, so a copy keeps its model's.
    if (!isDeepStrictEqual([{ ...copy, digest: lease['digest'] }, ...copies], [lease, ...others]))
      throw new Error(`a copied registration differs from a real one: ${JSON.stringify([copyOf(place), lease, ...others])}`)
  }
  const starts = Array.from({ length: Math.ceil((leases - real) / TOGETHER) }, (_, batch) => real + batch * TOGETHER).values()
  const runner = async () => {
    for (const first of starts) {
      const places = Array.from({ length: Math.min(TOGETHER, leases - first) }, (_, place) => first + place)
      const done = await table.transact(places.flatMap((place) => copyOf(place).map((put) => ({ put, if: [['pk', 'absent']] }))))
      if (!done.ok) throw new Error('a copied registration met an item under its name')
    }
  }
  await Promise.all(Array.from({ length: AT_ONCE }, runner))
  client.destroy()
  return { real, copied: leases - real, compared: real, seconds: (performance.now() - start) / 1000 }
}

const idOf = (place: number) => leaseIdFor(identityKey(IDENTITY), ISSUER, BROKER.uri, idempotencyKeyOf(place))
const fingerprintOf = (place: number) => fingerprint(ISSUER, nameOf(place))

/** Keys of what a registration writes for its lease alone: the lease, its credential, and the pointer from the credential. */
function keysOf(place: number): readonly [ItemKey, ItemKey, ItemKey] {
  const id = idOf(place)
  const scope = scopeOfCredential(fingerprintOf(place))
  return [
    leaseItem(id),
    credentialItem(fingerprintOf(place)),
    { pk: shardPartition(scope, shardOf(id, shardsOf(scope))), sk: leaseSort(ISSUER, id) },
  ]
}

type Items = readonly [lease: Item, credential: Item, pointer: Item]

async function itemsOf(table: Table, place: number): Promise<Items> {
  const [lease, credential, pointer] = await table.getMany(keysOf(place))
  if (lease === undefined || credential === undefined || pointer === undefined) throw new Error('a registration left no trace')
  return [lease, credential, pointer]
}

const copier =
  ([lease, credential, pointer]: Items) =>
  (place: number): Items => {
    const [leaseKey, credentialKey, pointerKey] = keysOf(place)
    const id = idOf(place)
    return [
      { ...lease, ...leaseKey, id, target: { name: nameOf(place) }, fingerprint: fingerprintOf(place) },
      { ...credential, ...credentialKey, lease: id },
      { ...pointer, ...pointerKey, lease: id },
    ]
  }
