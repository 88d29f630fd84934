import { cpSync, mkdirSync, readdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { isDeepStrictEqual } from 'node:util'
import type { LeaseRegistration } from '../../functions/contracts/lease.ts'
import { fingerprint, identityKey, leaseIdFor, shardOf } from '../../functions/domain/keys.ts'
import {
  credentialItem,
  leaseItem,
  leaseSort,
  scopeOfCredential,
  scopeOfDeployment,
  shardPartition,
  shardsOf,
} from '../../functions/store/keys.ts'
import type { ItemKey } from '../../functions/store/table.ts'
import { Refused } from '../local/client.ts'
import type { Json } from '../local/json.ts'
import type { Attributes } from './billing.ts'
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
      const each = keysOf(plan, 0).length
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
  ...(plan.deployment === undefined ? {} : { deployment: { id: plan.deployment, namespace: 'bench' } }),
  consumer: 'bench',
  purpose: 'to be measured',
  expiresAt: new Date(Date.now() + LIVES).toISOString(),
  owner: 'alice',
})

const keyOf = (place: number) => `bench-${String(place).padStart(8, '0')}`

const register = (world: World, { api }: Pipeline, plan: LeasePlan, place: number) =>
  api.register(world.tokens.broker, registrationOf(plan, place), keyOf(place))

const idOf = (plan: LeasePlan, place: number) => leaseIdFor(identityKey(plan.identity), plan.issuer, BROKER, keyOf(place))

/** What a registration writes for its lease alone: the lease, its credential, and the pointers from the credential and the deployment. */
function keysOf(plan: LeasePlan, place: number): readonly ItemKey[] {
  const id = idOf(plan, place)
  const print = fingerprint(plan.issuer, plan.credentialOf(place))
  const scope = scopeOfCredential(print)
  return [
    leaseItem(id),
    credentialItem(print),
    { pk: shardPartition(scope, shardOf(id, shardsOf(scope))), sk: leaseSort(plan.issuer, id) },
    ...(plan.deployment === undefined ? [] : [pointerOf(plan, scopeOfDeployment('bench', plan.deployment), id)]),
  ]
}

const pointerOf = (plan: LeasePlan, scope: ReturnType<typeof scopeOfDeployment>, id: string): ItemKey => ({
  pk: shardPartition(scope, shardOf(id, shardsOf(scope))),
  sk: leaseSort(plan.issuer, id),
})

/** @throws if a copy of a lease that was truly registered is not what the registration wrote */
function* copies(plan: LeasePlan, file: ReturnType<typeof openStoreFile>): Generator<Row> {
  if (plan.leases <= REAL) return
  const model = keysOf(plan, 0).map((key) => file.read(key))
  const copyOf = (place: number): Row[] => {
    const keys = keysOf(plan, place)
    const id = { S: idOf(plan, place) }
    const print = { S: fingerprint(plan.issuer, plan.credentialOf(place)) }
    const target = { M: Object.fromEntries(Object.entries(plan.targetOf(place)).map(([name, value]) => [name, { S: value }])) }
    const own: readonly Attributes[] = [{ id, fingerprint: print, target }, { lease: id }, { lease: id }, { lease: id }]
    return keys.map(({ pk, sk }, index) => ({
      pk,
      sk,
      item: { ...model[index], ...(own[index] ?? {}), pk: { S: pk }, sk: { S: sk } },
    }))
  }
  for (let place = 0; place < Math.min(plan.leases, REAL); place += 1)
    for (const { pk, sk, item } of copyOf(place))
      if (!isDeepStrictEqual(timeless(item), timeless(file.read({ pk, sk }))))
        throw new Error(`a copied registration differs from a real one: ${JSON.stringify([item, file.read({ pk, sk })])}`)
  for (let place = REAL; place < plan.leases; place += 1) yield* copyOf(place)
}

/** Moments, and the hash of the request by which a retry is known: nothing but registration reads it, so a copy keeps its model's. */
function timeless(item: Attributes): Json {
  const text = JSON.stringify({ ...item, digest: null, ttl: null })
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
