import { rmSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Told } from './pipeline.ts'
import { startPipeline } from './pipeline.ts'
import { definition } from './provider.ts'
import type { Spread } from './report.ts'
import { figure, shown, spread, table } from './report.ts'
import { compromise, WARM, warm } from './revocations.ts'
import type { LeasePlan, Registered } from './store.ts'
import { copyStore, prepareStore } from './store.ts'
import { trailOf } from './trail.ts'
import type { World } from './world.ts'
import { IDENTITY } from './world.ts'

/** One number of leases: how often the way to containment is measured, and whether a case is followed to its end. */
export interface Size {
  readonly leases: number
  readonly repeat: number
  readonly whole: boolean
}

/** Milliseconds from the sending of the event. */
export interface Contained {
  /** The fence stands, as the case says. */
  readonly fence: number
  /** The lever is pulled: heard from the issuer. */
  readonly containment: number
}

export interface Followed {
  /** Seconds from the sending of the event to the last cut, the completion event, and the closing in the archive. */
  readonly lastCut: number
  readonly closed: number
  readonly trail: number
  readonly cpu: { readonly pipeline: number; readonly store: number }
  /** Megabytes: resident before and at the most; reachable after a full collection each time another tenth was cut. */
  readonly memory: { readonly before: number; readonly peak: number; readonly held: readonly number[] }
  readonly records: number
  readonly archiveBytes: number
}

export interface GrowthRun {
  readonly leases: number
  readonly registered: Registered
  readonly contained: readonly Contained[]
  readonly whole?: Followed
}

export interface GrowthOptions {
  readonly sizes: readonly Size[]
  readonly folder: string
  readonly progress: (text: string) => void
}

/** Half of what a function has (512 MB), so that memory which grew would end the run instead of being taken from a large machine. */
const HEAP = 256
const ISSUER = 'bench'
const WARMING = 300
const LOOK = 20
const CONTAINED_PATIENCE = 60_000

const pad = (place: number) => String(place).padStart(8, '0')

/** Leases of the provider that costs nothing. */
export const freeLeases = (identity: string, leases: number, prefix: string): LeasePlan => ({
  identity,
  leases,
  issuer: ISSUER,
  declaration: { provider: definition.name, settings: {}, soakSeconds: 3600 },
  credentialOf: (place) => `${prefix}-${pad(place)}`,
  targetOf: (place) => ({ name: `${prefix}-${pad(place)}` }),
  lever: { group: prefix },
})

/** A compromise of one identity with few and with many leases: until it is contained, and to the end of its case. */
export async function measureGrowth(world: World, { sizes, folder, progress }: GrowthOptions): Promise<GrowthRun[]> {
  const runs: GrowthRun[] = []
  for (const { leases, repeat, whole } of sizes) {
    const own = join(folder, String(leases))
    const prepared = join(own, 'prepared')
    const count = leases.toLocaleString('en-US')
    progress(`${count} leases: registering`)
    const plans = [freeLeases(IDENTITY, leases, 'lease'), freeLeases(WARM, WARMING, 'before')]
    const registered = await prepareStore(world, prepared, plans, (text) => progress(`${count} leases: ${text}`))
    const contained: Contained[] = []
    let followed: Followed | undefined
    for (let round = 1; round <= repeat; round += 1) {
      const last = round === repeat
      const toEnd = last && whole
      progress(`${count} leases, ${round} of ${repeat}: ${toEnd ? 'until the trail is complete' : 'until contained'}`)
      // The last run may use up what was prepared: a million leases are four gigabytes.
      const run = last ? prepared : copyStore(prepared, join(own, 'run'))
      const one = await follow(world, run, leases, toEnd)
      contained.push(one.contained)
      followed = one.followed
    }
    rmSync(own, { recursive: true, force: true })
    runs.push({ leases, registered, contained, ...(followed === undefined ? {} : { whole: followed }) })
  }
  return runs
}

async function follow(
  world: World,
  folder: string,
  leases: number,
  toEnd: boolean,
): Promise<{ contained: Contained; followed: Followed | undefined }> {
  const pipeline = await startPipeline(world, { folder, keep: true, heap: HEAP, leases })
  try {
    await warm(world, pipeline)
    await pipeline.observe(false)
    const cpu = await pipeline.cpu()
    const start = now()
    const { case: id } = await pipeline.api.send(world.tokens.security, compromise(IDENTITY))
    const view = async () => pipeline.api.case(world.tokens.operator, id)
    let current = await view()
    // The case says that it is contained when its leases are listed; its levers are counted at once.
    while (current.fencedAt === undefined || current.levers.done < 1) {
      if (now() - start > CONTAINED_PATIENCE) throw new Error('the case is not contained')
      await sleep(LOOK)
      current = await view()
    }
    const moment = (await pipeline.moments()).contained
    if (moment === undefined) throw new Error('the issuer did not hear of the containment')
    const contained = { fence: Date.parse(current.fencedAt) - start, containment: moment - start }
    if (!toEnd) {
      await pipeline.kill()
      return { contained, followed: undefined }
    }
    const closed: Told = await pipeline.closed(id)
    let after = cpu
    let seen = await pipeline.seen()
    const trail = await trailOf(world, pipeline, id, async () => {
      after = await pipeline.cpu()
      seen = await pipeline.seen()
    })
    const { moments, memory } = seen
    const { outcomes } = await view()
    if (outcomes.revoked !== leases) throw new Error(`not every lease was cut: ${JSON.stringify(outcomes)}`)
    await pipeline.stop()
    return {
      contained,
      followed: {
        lastCut: ((moments.lastCut ?? Number.NaN) - start) / 1000,
        closed: (closed.at - start) / 1000,
        trail: (trail.at - start) / 1000,
        cpu: { pipeline: after.pipeline - cpu.pipeline, store: after.store - cpu.store },
        memory,
        records: trail.records,
        archiveBytes: trail.bytes,
      },
    }
  } catch (error) {
    await pipeline.kill()
    throw error
  }
}

const now = () => performance.timeOrigin + performance.now()

// ----------------------------------------------------------------------------------------------------------- text

const number = (value: number) => value.toLocaleString('en-US')
const of = (run: GrowthRun, pick: (one: Contained) => number): Spread => spread(run.contained.map(pick))

export function containmentText(runs: readonly GrowthRun[]): string {
  const rows = runs.map((run) => [
    number(run.leases),
    shown(of(run, (one) => one.fence)),
    shown(of(run, (one) => one.containment)),
    String(run.contained.length),
  ])
  const [least, most] = [runs[0], runs.at(-1)]
  const ratio = (pick: (one: Contained) => number) =>
    least === undefined || most === undefined ? '' : figure(of(most, pick).median / of(least, pick).median)
  return [
    table(['leases of the identity', 'fence, ms', 'containment, ms', 'runs'], rows),
    '',
    'From the sending of the event over the HTTP API: until the fence stands in the table, and until the issuer was asked to pull the',
    `lever. Median (least-most). ${number(most?.leases ?? 0)} leases against ${number(least?.leases ?? 0)}: fence ${ratio((one) => one.fence)} times, containment ${ratio((one) => one.containment)} times.`,
  ].join('\n')
}

export function growthText(runs: readonly GrowthRun[]): string {
  const followed = runs.flatMap(({ leases, whole }) => (whole === undefined ? [] : [{ leases, ...whole }]))
  const head = ['', ...followed.map(({ leases }) => `${number(leases)} leases`)]
  const row = (name: string, cell: (one: (typeof followed)[number]) => number) => [
    name,
    ...followed.map((one) => figure(cell(one))),
  ]
  return [
    table(head, [
      row('last cut, s', (one) => one.lastCut),
      row('case closed, s', (one) => one.closed),
      row('trail complete, s', (one) => one.trail),
      row('leases a second', (one) => one.leases / one.closed),
      row('a lease: milliseconds to the closing', (one) => (1000 * one.closed) / one.leases),
      row('a lease: CPU of the pipeline, ms', (one) => (1000 * one.cpu.pipeline) / one.leases),
      row('a lease: CPU of the store, ms', (one) => (1000 * one.cpu.store) / one.leases),
      row('a lease: bytes in the archive', (one) => one.archiveBytes / one.leases),
      row('resident before the event, MB', (one) => one.memory.before),
      row('resident at the most, MB', (one) => one.memory.peak),
      row('held at the first tenth, MB', (one) => one.memory.held[0] ?? Number.NaN),
      row('held at the last tenth, MB', (one) => one.memory.held.at(-1) ?? Number.NaN),
    ]),
    '',
    `The issuer costs nothing and answers at once. Heap of the pipeline's process: ${HEAP} MB at the most. Held: reachable after a full`,
    'collection, when the first tenth of the leases was cut, and when the last was.',
  ].join('\n')
}
