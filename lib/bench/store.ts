import { cpSync, mkdirSync, readdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { isDeepStrictEqual } from 'node:util'
import type { LeaseRegistration } from '../../functions/contracts/lease.ts'
import { fingerprint, identityKey, leaseIdFor, shardOf } from '../../functions/domain/keys.ts'
import {
  credentialItem,
  DUE,
  leaseItem,
  leaseSort,
  scopeOfCredential,
  scopeOfDeployment,
  shardPartition,
  shardsOf,
} from '../../functions/store/keys.ts'
import { shortName } from '../../functions/store/short-names.ts'
import type { ItemKey } from '../../functions/store/table.ts'
import { Refused } from '../local/client.ts'
import type { Json } from '../local/json.ts'
import type { Attributes } from './billing.ts'
import { itemSize } from './billing.ts'
import type { Row } from './fill.ts'
import { openStoreFile } from './fill.ts'
import type { Pipeline } from './pipeline.ts'
import { startPipeline } from './pipeline.ts'
import type { World } from './world.ts'
import { BROKER } from './world.ts'

/** The leases of one identity that a benchmark revokes. */
export interface LeasePlan {
  readonly identity: string
  readonly leases: number
  readonly issuer: string
  /** `PUT /v1/issuers/{name}`. */
  readonly declaration: unknown
  /** What the provider's definition calls the credential. */
  readonly credentialOf: (place: number) => string
  readonly targetOf: (place: number) => Readonly<Record<string, string>>
  readonly lever?: Record<string, string>
  readonly deployment?: string
}

/** How the leases came into the table. */
export interface Registered {
  /** Through the API. */
  readonly real: number
  /** Rows like those that a real registration left, under other names, written into the store's file. */
  readonly copied: number
  readonly seconds: number
}

/** Leases registered through the API; each of them is compared with what a copy would be. */
const REAL = 25
const LIVES = 86_400_000
/** Attested by the tokens of the world. */
const NAMESPACE = 'bench'

/** A folder with a store in which these leases stand, for `startPipeline(..., { keep: true })`. */
export async function prepareStore(
  world: World,
  folder: string,
  plans: readonly LeasePlan[],
  progress: (text: string) => void,
): Promise<Registered> {
  const start = performance.now()
  const pipeline = await startPipeline(world, { folder, keep: false })
  let real = 0
  try {
    for (const plan of plans) {
      await pipeline.api.declareIssuer(world.tokens.operator, plan.issuer, plan.declaration)
      for (let place = 0; place < Math.min(plan.leases, REAL); place += 1) {
        await untilTaken(() => register(world, pipeline, plan, place))
        real += 1
      }
    }
  } finally {
    await pipeline.stop()
  }
  let copied = 0
  const file = openStoreFile(join(folder, 'state/table.db'), world.table)
  try {
    for (const plan of plans) {
      const each = placesOf(plan)(0).keys.length
      const said = (rows: number) => progress(`${Math.floor(rows / each)} of ${plan.leases} leases written`)
      copied += file.fill(copies(plan, file), said) / each
    }
  } finally {
    file.close()
  }
  return { real, copied, seconds: (performance.now() - start) / 1000 }
}

/** A border that sheds load says so with 429: what it refused is asked for again. */
export async function untilTaken<Result>(ask: () => Promise<Result>): Promise<Result> {
  for (;;) {
    try {
      return await ask()
    } catch (error) {
      if (!(error instanceof Refused && error.problem.status === 429)) throw error
      await sleep(SHED)
    }
  }
}
export const SHED = 500

export const registrationOf = (plan: LeasePlan, place: number): LeaseRegistration => ({
  identity: plan.identity,
  issuer: plan.issuer,
  kind: 'dynamic',
  registers: 'credential',
  target: plan.targetOf(place),
  ...(plan.lever === undefined ? {} : { lever: plan.lever }),
  ...(plan.deployment === undefined ? {} : { deployment: { id: plan.deployment, namespace: NAMESPACE } }),
  consumer: 'bench',
  purpose: 'to be measured',
  expiresAt: new Date(Date.now() + LIVES).toISOString(),
  owner: 'alice',
})

const keyOf = (place: number) => `bench-${String(place).padStart(8, '0')}`

const register = (world: World, { api }: Pipeline, plan: LeasePlan, place: number) =>
  api.register(world.tokens.broker, registrationOf(plan, place), keyOf(place))

interface Place {
  readonly id: string
  readonly print: string
  /** What a registration writes for its lease alone: the lease, its credential, and the pointers from credential and deployment. */
  readonly keys: readonly ItemKey[]
}

function placesOf(plan: LeasePlan): (place: number) => Place {
  const identity = identityKey(plan.identity)
  const deployment = plan.deployment === undefined ? [] : [scopeOfDeployment(NAMESPACE, plan.deployment)]
  return (place) => {
    const id = leaseIdFor(identity, plan.issuer, BROKER, keyOf(place))
    const print = fingerprint(plan.issuer, plan.credentialOf(place))
    const scopes = [scopeOfCredential(print), ...deployment]
    const pointers = scopes.map((scope) => ({
      pk: shardPartition(scope, shardOf(id, shardsOf(scope))),
      sk: leaseSort(plan.issuer, id),
    }))
    return { id, print, keys: [leaseItem(id), credentialItem(print), ...pointers] }
  }
}

/** @throws if a copy of a lease that was truly registered is not what the registration wrote */
function* copies(plan: LeasePlan, file: ReturnType<typeof openStoreFile>): Generator<Row> {
  if (plan.leases <= REAL) return
  const placeOf = placesOf(plan)
  const own = (place: number, { id, print, keys }: Place): readonly Attributes[] => {
    const target = { M: Object.fromEntries(Object.entries(plan.targetOf(place)).map(([name, value]) => [name, { S: value }])) }
    // All but the lease itself only name it.
    return keys.map((_, index) =>
      index === 0
        ? { [shortName('fingerprint')]: { S: print }, duePk: { S: DUE.expiry(plan.issuer, id) }, [shortName('target')]: target }
        : { lease: { S: id } },
    )
  }
  const first = placeOf(0)
  const firstOwn = own(0, first)
  const models = first.keys.map((key, index) => {
    const item = file.read(key)
    // What all copies have in common is measured once.
    return { item, size: itemSize(item) - itemSize(firstOwn[index] ?? {}) - key.pk.length - key.sk.length }
  })
  const copyOf = (place: number): Row[] => {
    const found = placeOf(place)
    const parts = own(place, found)
    return models.map(({ item, size }, index) => {
      const { pk, sk } = found.keys[index] ?? { pk: '', sk: '' }
      const part = parts[index] ?? {}
      return {
        pk,
        sk,
        item: { ...item, ...part, pk: { S: pk }, sk: { S: sk } },
        size: size + itemSize(part) + pk.length + sk.length,
      }
    })
  }
  for (let place = 0; place < Math.min(plan.leases, REAL); place += 1)
    for (const { pk, sk, item, size } of copyOf(place))
      if (size !== itemSize(item) || !isDeepStrictEqual(timeless(item), timeless(file.read({ pk, sk }))))
        throw new Error(`a copied registration differs from a real one: ${JSON.stringify([item, file.read({ pk, sk })])}`)
  for (let place = REAL; place < plan.leases; place += 1) yield* copyOf(place)
}

/** Moments, and the hash of the request by which a retry is known: nothing but registration reads it, so a copy keeps its model's. */
function timeless(item: Attributes): Json {
  const text = JSON.stringify({ ...item, [shortName('digest')]: null, ttl: null })
  return JSON.parse(text.replace(/\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z/g, 'then')) as Json
}

/** A fresh copy of what was prepared, to be used up by one run. */
export function copyStore(prepared: string, run: string): string {
  rmSync(run, { recursive: true, force: true })
  mkdirSync(join(run, 'state'), { recursive: true })
  const state = join(prepared, 'state')
  for (const entry of readdirSync(state)) cpSync(join(state, entry), join(run, 'state', entry), { recursive: true })
  return run
}
