import fc from 'fast-check'
import { expect, it } from 'vitest'
import { key } from '../../functions/domain/keys.ts'
import type { Case, Credential, Lease, Restoration } from '../../functions/domain/model.ts'
import { instant } from '../../functions/domain/time.ts'
import { ProblemError } from '../../functions/runtime/problem-error.ts'
import { as } from '../../functions/store/items.ts'
import { look } from '../../functions/store/leases.ts'
import type { FakeIssuer } from '../support/fake-issuer.ts'
import { Pipeline } from '../support/pipeline.ts'

/**
 * Restorations, resurrections and cases at random, all at once, under crashes at any store operation, messages that come
 * twice and in any order, and lost answers. When all is quiet: a credential lives exactly where somebody holds a lease of
 * it that no case stands against, and the books agree.
 */

const APPROVER = { uri: 'spiffe://example.org/operator/one', approve: true }
const identityUri = (index: number) => `spiffe://example.org/id/${index}`

const step = fc.oneof(
  { weight: 3, arbitrary: fc.record({ do: fc.constant('case' as const), which: fc.nat({ max: 5 }), kind: fc.nat({ max: 3 }) }) },
  {
    weight: 4,
    arbitrary: fc.record({ do: fc.constant('restore' as const), which: fc.nat({ max: 7 }), kind: fc.nat({ max: 5 }) }),
  },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('resurrect' as const), which: fc.nat({ max: 7 }), kind: fc.nat() }) },
  { weight: 3, arbitrary: fc.record({ do: fc.constant('time' as const), which: fc.nat({ max: 9 }), kind: fc.nat() }) },
)
const world = fc.record({
  leases: fc.array(
    fc.record({
      identity: fc.nat({ max: 2 }),
      shares: fc.oneof(fc.constant(undefined), fc.nat({ max: 1 })),
      lever: fc.boolean(),
    }),
    { minLength: 2, maxLength: 6 },
  ),
  steps: fc.array(step, { minLength: 3, maxLength: 14 }),
  crashes: fc.constantFrom(0, 0.005, 0.02),
  interleaves: fc.constantFrom(0, 0.02, 0.08),
  deliveries: fc.integer({ min: 1, max: 2 }),
  lost: fc.boolean(),
  soakSeconds: fc.constantFrom(900, 86_400),
  seed: fc.integer(),
})
type World = typeof world extends fc.Arbitrary<infer Shape> ? Shape : never

function randomOf(seed: number): () => number {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296
  }
}

class Run {
  readonly pipeline = new Pipeline()
  readonly leases: Lease['id'][] = []
  readonly names: string[] = []
  private readonly random: () => number
  private readonly waiting: World['steps'][number][]
  private readonly plan: World
  private depth = 0
  private count = 0
  db!: FakeIssuer

  constructor(plan: World) {
    this.plan = plan
    this.random = randomOf(plan.seed)
    this.waiting = [...plan.steps]
  }

  async run(): Promise<void> {
    const { pipeline, plan } = this
    this.db = await pipeline.issuer('db', plan.soakSeconds)
    for (const [index, { identity, shares, lever }] of plan.leases.entries()) {
      const name = shares === undefined ? `own-${index}` : `shared-${shares}`
      this.names.push(name)
      const { id } = await pipeline.lease(
        name,
        {
          identity: identityUri(identity),
          owner: identity === 0 ? 'alice' : 'bob',
          kind: shares === undefined ? 'dynamic' : 'static',
          expiresAt: instant(pipeline.now + 30 * 86_400_000),
          ...(lever && shares === undefined ? { group: `group-${identity}` } : {}),
        },
        `lease-${index}-key`,
      )
      this.leases.push(id)
    }
    pipeline.deliveries = plan.deliveries
    pipeline.table.before = async () => {
      if (this.random() < plan.crashes) throw new Error('crash')
      if (this.depth >= 3 || this.random() >= plan.interleaves) return
      this.depth += 1
      try {
        await this.something()
      } finally {
        this.depth -= 1
      }
    }
    while (this.waiting.length > 0) {
      await this.next()
      for (let times = Math.floor(this.random() * 12); times > 0; times -= 1) await this.something()
    }
    pipeline.table.before = () => {}
    for (let rounds = 0; rounds < 80; rounds += 1) {
      pipeline.now += rounds < 30 ? 60_000 : 900_000
      await pipeline.sweep()
      await pipeline.settle()
    }
  }

  private async something(): Promise<void> {
    const dice = this.random()
    if (dice < 0.15) await this.next()
    else if (dice < 0.75) await this.pipeline.step((messages) => Math.floor(this.random() * messages.length))
    else await this.pipeline.stream().catch(() => {})
  }

  private async next(): Promise<void> {
    const wanted = this.waiting.shift()
    if (wanted === undefined) return
    this.pipeline.now += 10
    await this.take(wanted).catch((error: unknown) => {
      if (!(error instanceof ProblemError) && !String(error).includes('crash') && !String(error).includes('sweeps failed'))
        throw error
    })
  }

  private async take({ do: what, which, kind }: World['steps'][number]): Promise<void> {
    const { pipeline } = this
    const lease = this.leases[which % this.leases.length] ?? ''
    const name = this.names[which % this.names.length] ?? ''
    this.count += 1
    switch (what) {
      case 'case': {
        const scope =
          kind % 2 === 0
            ? { kind: 'identity' as const, id: identityUri(which % 3) }
            : { kind: 'credential' as const, fingerprint: key('credential', 'db', name) }
        await pipeline.trigger(kind === 0 ? 'offboarding' : 'compromise', scope, { id: `trigger-${this.count}` })
        return
      }
      case 'restore': {
        const asked = { reason: 'test', ...(kind >= 3 ? { undoesCompromise: true as const } : {}) }
        const cases = this.all('case').filter(({ sealed }) => sealed === true)
        const one = cases[which % Math.max(1, cases.length)]
        if (this.plan.lost && this.random() < 0.4) this.db.loseRestored.add(name)
        if (kind % 3 === 0) await pipeline.restore.restoreLease(lease, asked, APPROVER)
        else if (kind % 3 === 1) await pipeline.restore.restoreIdentity({ id: identityUri(which % 3), ...asked }, APPROVER)
        else if (one !== undefined) await pipeline.restore.restoreCase(String(one.id), asked, APPROVER)
        return
      }
      case 'resurrect':
        // Somebody enables again what is cut; what was deleted does not come back.
        if (!this.db.deleted.has(name)) this.db.resurrect(name)
        return
      case 'time':
        pipeline.now += [1000, 30_000, 130_000, 310_000, 620_000][which % 5] ?? 1000
        await pipeline.sweep()
        return
    }
  }

  all(kind: string) {
    return this.pipeline.table.all().filter((item) => item.kind === kind)
  }
}

async function check(run: Run): Promise<void> {
  const leases: Lease[] = run.all('lease').map((item) => as('lease', item))
  for (const lease of leases) {
    expect(['live', 'released', 'ended'], lease.id).toContain(lease.state)
    if (lease.state !== 'live') continue
    // Whatever case stands against it has cut it.
    expect((await look(run.pipeline.table, lease)).cases, lease.id).toEqual([])
    expect(lease.deletion).toBeUndefined()
  }
  for (const [index, name] of run.names.entries()) {
    const holders = leases.filter((lease) => lease.fingerprint === leases.find(({ id }) => id === run.leases[index])?.fingerprint)
    const held = holders.filter(({ state }) => state === 'live')
    const alive = run.db.credentials.get(name)?.alive
    expect({ name, alive, states: holders.map(({ state }) => state) }).toEqual({
      name,
      alive: held.length > 0,
      states: holders.map(({ state }) => state),
    })
    expect(run.db.deleted.has(name) && held.length > 0).toBe(false)
  }
  for (const item of run.all('credential')) {
    const credential: Credential = as('credential', item)
    expect(credential.restoring).toBeUndefined()
    if (credential.exclusive) continue
    const held = leases.filter(({ state, fingerprint }) => state === 'live' && item.pk === `CRED#${fingerprint}`)
    expect({ pk: item.pk, holders: credential.holders }).toEqual({ pk: item.pk, holders: held.length })
  }
  for (const item of run.all('case')) {
    const current: Case = as('case', item)
    expect({ id: current.id, state: current.state, ...current.amendments }).toMatchObject({
      state: 'closed',
      done: current.amendments.expected,
    })
    const told = leases.filter(({ outcomes }) => outcomes[current.id] !== undefined).length
    const counted = [...Object.values(current.counts), ...Object.values(current.amendCounts)].reduce((sum, one) => sum + one, 0)
    // What lived again and was cut again is counted once more, beside what was counted first.
    expect({ id: current.id, counted }).toEqual({ id: current.id, counted: told + (current.resurrections ?? 0) })
  }
  for (const item of run.all('restoration')) {
    const restoration: Restoration = as('restoration', item)
    expect({ id: restoration.id, state: restoration.state }).toEqual({ id: restoration.id, state: 'done' })
    expect(restoration.parts.done).toBe(restoration.parts.expected)
  }
  for (const { before, after } of run.pipeline.table.changes)
    if (after !== undefined && after.kind !== 'pointer') expect(after.v).toBe(Number(before?.v ?? 0) + 1)
}

it('gives back what no case stands against, cuts again what lives again, and counts both', async () => {
  await fc.assert(
    fc.asyncProperty(world, async (plan) => {
      const run = new Run(plan)
      await run.run()
      await check(run)
    }),
    {
      seed: Number(process.env.RESTORE_SEED ?? 20261122),
      numRuns: Number(process.env.RESTORE_RUNS ?? 60),
      endOnFailure: process.env.RESTORE_SHRINK === undefined,
    },
  )
}, 240_000)
