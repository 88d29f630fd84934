import { rmSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Looped, Manner } from './loops.ts'
import { findBest, loop, ONE_BY_ONE } from './loops.ts'
import type { Observations } from './observe.ts'
import type { Pipeline } from './pipeline.ts'
import { startPipeline } from './pipeline.ts'
import type { Seen } from './pipeline-child.ts'
import type { Shares } from './profile.ts'
import type { Spread } from './report.ts'
import { figure, shown, spread, table } from './report.ts'
import type { Role, Sessions } from './server.ts'
import { Server } from './server.ts'
import type { LeasePlan } from './store.ts'
import { copyStore, prepareStore } from './store.ts'
import type { Trail } from './trail.ts'
import { trailOf } from './trail.ts'
import type { World } from './world.ts'
import { IDENTITY, POSTGRESQL_SECRET } from './world.ts'

/** One role in fifty has a session open. */
const SESSION_EVERY = 50
/** Another identity, whose leases are cut before anything is measured. */
export const WARM = `${IDENTITY}-before`
const WARMING = 300
/** Roles that somebody tries to log in with afterwards. */
const TRIED = 20

/** One case through the whole pipeline. */
export interface PipelineRun {
  /** Seconds from the sending of the event: until the completion event was heard, every outcome verified and counted. */
  readonly cutSeconds: number
  /** The last role shut (its commit), or the last session ended, whichever came later. */
  readonly deadSeconds: number
  /** The closing stands in the archive and its index. */
  readonly trailSeconds: number
  /** From the sweeper's tick until no role is left. */
  readonly dropSeconds: number
  /** Seconds of CPU: handlers, queues and adapter in one process; the store; the server of the roles. Until the trail is complete, and of the deletion. */
  readonly cpu: Parts
  readonly dropCpu: Parts
  readonly trail: Omit<Trail, 'at'>
}
interface Parts {
  readonly pipeline: number
  readonly store: number
  readonly issuer: number
}

export interface LoopRun extends Looped {
  readonly deadSeconds: number
}

export interface RevocationRun {
  readonly roles: number
  readonly sessions: number
  readonly best: Manner
  readonly pipeline: readonly PipelineRun[]
  readonly oneByOne: readonly LoopRun[]
  readonly batched: readonly LoopRun[]
  /** Of one run more, which was sampled; the largest number of roles only. */
  readonly shares?: Shares
  readonly observations?: Observations
}

export interface RevocationOptions {
  readonly sizes: readonly number[]
  readonly rounds: number
  readonly folder: string
  readonly progress: (text: string) => void
}

/** Real roles at a real server, cut and deleted by the whole pipeline, and by loops beside it in the same run. */
export async function measureRevocations(world: World, options: RevocationOptions): Promise<RevocationRun[]> {
  const runs: RevocationRun[] = []
  let best: Manner | undefined
  for (const roles of options.sizes) {
    const profiled = roles === Math.max(...options.sizes)
    const run = await measure(world, roles, profiled, best, { ...options, folder: join(options.folder, String(roles)) })
    best = run.best
    runs.push(run)
  }
  return runs
}

/** A server with three sets of roles, and a store in which the leases of the first one stand. */
export async function prepareRoles(
  world: World,
  roles: number,
  sets: readonly string[],
  folder: string,
  progress: (text: string) => void,
): Promise<{ readonly server: Server; readonly prepared: string; readonly made: Readonly<Record<string, Role[]>> }> {
  const server = await Server.start(join(folder, 'server'))
  try {
    const made: Record<string, Role[]> = {}
    for (const set of sets) {
      progress(`${roles} roles: making set ${set}`)
      made[set] = await server.makeRoles(set, roles)
    }
    const prepared = join(folder, 'prepared')
    const plans = [
      leasesOf(world, server, made[sets[0] ?? ''] ?? []),
      leasesOf(world, server, await server.makeRoles('w', WARMING), WARM),
    ]
    await prepareStore(world, prepared, plans, (text) => progress(`${roles} roles: ${text}`))
    return { server, prepared, made }
  } catch (error) {
    await server.remove()
    throw error
  }
}

/** The leases of these roles, at an issuer that this declares. */
export function leasesOf(world: World, server: Server, roles: readonly Role[], identity = IDENTITY): LeasePlan {
  const { host, port, database, system, admin } = server.about
  world.trust.putSecret(POSTGRESQL_SECRET, JSON.stringify(admin))
  const role = (place: number): Role => roles[place] ?? { name: '', oid: '' }
  return {
    identity,
    leases: roles.length,
    issuer: 'orders',
    declaration: {
      provider: 'postgresql',
      settings: { host, port, database, tls: { mode: 'disable' }, system },
      adminSecret: POSTGRESQL_SECRET,
      // Deletion follows the cut as soon as the sweeper looks.
      soakSeconds: 0,
    },
    credentialOf: (place) => `role:${role(place).name}`,
    targetOf: (place) => ({ role: role(place).name, oid: role(place).oid }),
  }
}

async function measure(
  world: World,
  roles: number,
  profiled: boolean,
  known: Manner | undefined,
  options: RevocationOptions,
): Promise<RevocationRun> {
  const { folder, progress } = options
  const { server, prepared, made } = await prepareRoles(world, roles, ['p', 'a', 'b'], folder, progress)
  try {
    const best = known ?? (await findBest(server, (text) => progress(`${roles} roles: ${text}`))).best
    await server.keep()
    const holders = (set: string) => (made[set] ?? []).filter((_, place) => place % SESSION_EVERY === 0)
    const found = { pipeline: [] as PipelineRun[], oneByOne: [] as LoopRun[], batched: [] as LoopRun[] }
    const say = (round: number, what: string) => progress(`${roles} roles, round ${round} of ${options.rounds}: ${what}`)

    const turns = [
      async (round: number) => {
        say(round, 'the pipeline')
        const { run } = await throughPipeline(world, server, prepared, join(folder, 'run'), made['p'] ?? [], holders('p'), false)
        found.pipeline.push(run)
      },
      async (round: number) => {
        say(round, 'one role a transaction')
        found.oneByOne.push(await looped(server, 'a', made['a'] ?? [], holders('a'), ONE_BY_ONE))
      },
      async (round: number) => {
        say(round, `batches of ${best.batch} on ${best.connections} connections`)
        found.batched.push(await looped(server, 'b', made['b'] ?? [], holders('b'), best))
      },
    ]
    for (let round = 1; round <= options.rounds; round += 1) {
      // Each begins a round in its turn, so that none has the warm or the cold place for itself.
      for (let turn = 0; turn < turns.length; turn += 1) await turns[(turn + round - 1) % turns.length]?.(round)
      await server.putBack()
    }
    let sampled: { shares: Shares; observations: Observations } | undefined
    if (profiled) {
      progress(`${roles} roles: once more, sampled`)
      const { seen } = await throughPipeline(world, server, prepared, join(folder, 'run'), made['p'] ?? [], [], true)
      if (seen?.shares !== undefined) sampled = { shares: seen.shares, observations: seen.observations }
    }
    return { roles, sessions: holders('p').length, best, ...found, ...sampled }
  } finally {
    await server.remove()
    rmSync(folder, { recursive: true, force: true })
  }
}

async function looped(
  server: Server,
  set: string,
  roles: readonly Role[],
  holders: readonly Role[],
  manner: Manner,
): Promise<LoopRun> {
  const sessions = await server.openSessions(holders)
  const start = now()
  let dead = Number.NaN
  const run = await loop(server, roles, manner, async () => {
    dead = await deathOf(server, set, roles, sessions)
  })
  await sessions.close()
  const left = await server.left(set)
  if (left.exist > 0) throw new Error(`the loop left ${left.exist} roles`)
  return { ...run, deadSeconds: (dead - start) / 1000 }
}

/** When the last of them died. @throws if one lives */
async function deathOf(server: Server, set: string, roles: readonly Role[], sessions: Sessions): Promise<number> {
  for (let tried = 0; ; tried += 1) {
    const left = await server.left(set)
    if (left.login === 0 && left.sessions === 0 && sessions.ends.length === sessions.opened) break
    if (tried === 100) throw new Error(`not all are dead: ${JSON.stringify({ ...left, ends: sessions.ends.length })}`)
    await sleep(20)
  }
  const some = roles.filter((_, place) => place % Math.ceil(roles.length / TRIED) === 0)
  const alive = await server.logins(some)
  if (alive > 0) throw new Error(`${alive} of ${some.length} roles that were tried can log in`)
  return Math.max(await server.lastChange(set), ...sessions.ends)
}

/** @param sampled profiles the pipeline's process, and leaves the deletion out */
export async function throughPipeline(
  world: World,
  server: Server,
  prepared: string,
  folder: string,
  roles: readonly Role[],
  holders: readonly Role[],
  sampled: boolean,
): Promise<{ readonly run: PipelineRun; readonly seen: Seen | undefined }> {
  const pipeline = await startPipeline(world, { folder: copyStore(prepared, folder), keep: true, observe: sampled })
  const sessions = await server.openSessions(holders)
  try {
    await warm(world, pipeline)
    await pipeline.observe(sampled)
    const cpu = await cpuNow(pipeline, server)
    const start = now()
    const { case: id } = await pipeline.api.send(world.tokens.security, compromise(IDENTITY))
    const closed = await pipeline.closed(id)
    let after = cpu
    let seen: Seen | undefined
    const trail = await trailOf(world, pipeline, id, async () => {
      after = await cpuNow(pipeline, server)
      seen = await pipeline.seen()
    })
    const { outcomes } = await pipeline.api.case(world.tokens.operator, id)
    if (outcomes.revoked !== roles.length) throw new Error(`not every lease was cut: ${JSON.stringify(outcomes)}`)
    const dead = await deathOf(server, 'p', roles, sessions)
    const begun = now()
    const before = await cpuNow(pipeline, server)
    if (!sampled) await deleted(pipeline, server)
    const { at, ...written } = trail
    return {
      run: {
        cutSeconds: (closed.at - start) / 1000,
        deadSeconds: (dead - start) / 1000,
        trailSeconds: (at - start) / 1000,
        dropSeconds: sampled ? 0 : (now() - begun) / 1000,
        cpu: between(cpu, after),
        dropCpu: between(before, await cpuNow(pipeline, server)),
        trail: written,
      },
      seen,
    }
  } finally {
    await sessions.close()
    await pipeline.stop()
  }
}

/** The case of another identity goes before: what is measured is an installation that runs, not one that starts. */
export async function warm(world: World, pipeline: Pipeline): Promise<void> {
  const { case: id } = await pipeline.api.send(world.tokens.security, compromise(WARM))
  await pipeline.closed(id)
  await trailOf(world, pipeline, id)
}

export const compromise = (identity: string) => ({
  specversion: '1.0',
  id: `bench-${identity.slice(-24)}`,
  source: 'urn:bench',
  type: 'io.rescind.compromise',
  data: { scope: { kind: 'identity', id: identity }, reason: 'to be measured' },
})

const DELETION_LOOK = 50
const DELETION_PATIENCE = 10 * 60_000
/** A tick looks through so many chunks at the most, and a message that it sent is not sent again at once: as on AWS, it comes round again. */
const TICK = 5_000

/** The soak time is over at once; the sweeper is asked to look, as it would each minute. */
async function deleted(pipeline: Pipeline, server: Server): Promise<void> {
  const start = now()
  let swept = start
  await pipeline.sweep()
  for (;;) {
    const { exist } = await server.left('p')
    if (exist === 0) return
    if (now() - start > DELETION_PATIENCE) throw new Error(`${exist} roles are not deleted`)
    if (now() - swept > TICK) {
      swept = now()
      await pipeline.sweep()
    }
    await sleep(DELETION_LOOK)
  }
}

const now = () => performance.timeOrigin + performance.now()
const cpuNow = async (pipeline: Pipeline, server: Server): Promise<Parts> => ({ ...(await pipeline.cpu()), issuer: server.cpu() })
const between = (one: Parts, other: Parts): Parts => ({
  pipeline: other.pipeline - one.pipeline,
  store: other.store - one.store,
  issuer: other.issuer - one.issuer,
})

// ---------------------------------------------------------------------------------------------------------- text

const number = (value: number) => value.toLocaleString('en-US')
const times = (value: number) => value.toFixed(2)
const rate = (roles: number, seconds: number) => roles / seconds
const of = <One>(runs: readonly One[], pick: (one: One) => number): Spread => spread(runs.map(pick))
const whole = (one: { readonly cutSeconds: number; readonly dropSeconds: number }) => one.cutSeconds + one.dropSeconds

export function revocationsText(runs: readonly RevocationRun[]): string {
  const head = ['', ...runs.map(({ roles }) => `${number(roles)} roles`)]
  const row = (name: string, cell: (run: RevocationRun) => string) => [name, ...runs.map(cell)]
  const rates = (pick: (run: RevocationRun) => Spread) => (run: RevocationRun) => shown(pick(run))
  const ratio =
    (seconds: (one: { cutSeconds: number; dropSeconds: number }) => number, against: 'oneByOne' | 'batched') =>
    (run: RevocationRun) =>
      of(run[against], seconds).median / of(run.pipeline, seconds).median
  const text = [
    table(head, [
      row('**cut, verified, counted, in the ledger: roles a second**', () => ''),
      row(
        'the pipeline',
        rates((run) => of(run.pipeline, (one) => rate(run.roles, one.cutSeconds))),
      ),
      row(
        '(a) one role a transaction, one connection',
        rates((run) => of(run.oneByOne, (one) => rate(run.roles, one.cutSeconds))),
      ),
      row(
        '(b) the best loop',
        rates((run) => of(run.batched, (one) => rate(run.roles, one.cutSeconds))),
      ),
      row('ratio to (a)', (run) => times(ratio((one) => one.cutSeconds, 'oneByOne')(run))),
      row('share of (b)', (run) => `${figure(100 * ratio((one) => one.cutSeconds, 'batched')(run))} %`),
      row('**cut and deleted: roles a second**', () => ''),
      row(
        'the pipeline',
        rates((run) => of(run.pipeline, (one) => rate(run.roles, whole(one)))),
      ),
      row(
        '(a)',
        rates((run) => of(run.oneByOne, (one) => rate(run.roles, whole(one)))),
      ),
      row(
        '(b)',
        rates((run) => of(run.batched, (one) => rate(run.roles, whole(one)))),
      ),
      row('ratio to (a)', (run) => times(ratio(whole, 'oneByOne')(run))),
      row('share of (b)', (run) => `${figure(100 * ratio(whole, 'batched')(run))} %`),
      row('**seconds from the event (a loop: from its start)**', () => ''),
      row(
        'last credential dead: the pipeline',
        rates((run) => of(run.pipeline, (one) => one.deadSeconds)),
      ),
      row(
        'last credential dead: (a)',
        rates((run) => of(run.oneByOne, (one) => one.deadSeconds)),
      ),
      row(
        'last credential dead: (b)',
        rates((run) => of(run.batched, (one) => one.deadSeconds)),
      ),
      row(
        'case closed',
        rates((run) => of(run.pipeline, (one) => one.cutSeconds)),
      ),
      row(
        'trail complete',
        rates((run) => of(run.pipeline, (one) => one.trailSeconds)),
      ),
      row(
        'deletion, after the soak time',
        rates((run) => of(run.pipeline, (one) => one.dropSeconds)),
      ),
    ]),
    '',
    `Median (least-most) of ${runs[0]?.pipeline.length ?? 0} rounds; pipeline and loops take turns on one server, each with a set of roles of its own.`,
    `One role in ${SESSION_EVERY} has a session open. Best loop found: ${runs.map(({ roles, best }) => `${number(roles)}: batches of ${best.batch} on ${best.connections}`).join('; ')}.`,
    '',
    '### Where the CPU goes, in milliseconds a role',
    '',
    table(head, [
      row(
        'pipeline: handlers, queues, adapter',
        rates((run) => of(run.pipeline, (one) => (1000 * one.cpu.pipeline) / run.roles)),
      ),
      row(
        'pipeline: store',
        rates((run) => of(run.pipeline, (one) => (1000 * one.cpu.store) / run.roles)),
      ),
      row(
        'pipeline: issuer',
        rates((run) => of(run.pipeline, (one) => (1000 * one.cpu.issuer) / run.roles)),
      ),
      row(
        'deletion: handlers, queues, adapter',
        rates((run) => of(run.pipeline, (one) => (1000 * one.dropCpu.pipeline) / run.roles)),
      ),
      row(
        'deletion: store',
        rates((run) => of(run.pipeline, (one) => (1000 * one.dropCpu.store) / run.roles)),
      ),
      row(
        'deletion: issuer',
        rates((run) => of(run.pipeline, (one) => (1000 * one.dropCpu.issuer) / run.roles)),
      ),
      row(
        '(a), cut and drop: issuer',
        rates((run) => of(run.oneByOne, (one) => (1000 * one.serverCpuSeconds) / run.roles)),
      ),
      row(
        '(a), cut and drop: the loop itself',
        rates((run) => of(run.oneByOne, (one) => (1000 * one.clientCpuSeconds) / run.roles)),
      ),
      row(
        '(b), cut and drop: issuer',
        rates((run) => of(run.batched, (one) => (1000 * one.serverCpuSeconds) / run.roles)),
      ),
      row(
        '(b), cut and drop: the loop itself',
        rates((run) => of(run.batched, (one) => (1000 * one.clientCpuSeconds) / run.roles)),
      ),
    ]),
  ]
  const sampled = runs.find(({ shares }) => shares !== undefined)
  if (sampled?.shares !== undefined) text.push('', sharesText(sampled.shares, sampled))
  return text.join('\n')
}

/** The pipeline's own CPU by function and part, scaled from the sampled run to the median of the others. */
function sharesText(shares: Shares, { roles, pipeline }: RevocationRun): string {
  const total = Object.values(shares).reduce((sum, parts) => sum + sumOf(parts), 0)
  const perRole = (1000 * of(pipeline, (one) => one.cpu.pipeline).median) / roles
  const parts = [...new Set(Object.values(shares).flatMap((one) => Object.keys(one)))]
  const main = ['AWS SDK', 'store', 'revoke', 'domain', 'runtime', 'schemas', 'PostgreSQL client', 'providers']
  const functions = Object.entries(shares).filter(([name]) => !OURS.has(name))
  const cell = (milliseconds: number) => (milliseconds === 0 ? '' : ((milliseconds / total) * perRole).toFixed(3))
  const columns = main.filter((part) => parts.includes(part))
  const rows = functions
    .toSorted(([, one], [, other]) => sumOf(other) - sumOf(one))
    .map(([name, one]) => {
      const shownParts = columns.map((part) => one[part] ?? 0)
      const all = sumOf(one)
      return [name, ...shownParts.map(cell), cell(all - shownParts.reduce((sum, value) => sum + value, 0)), cell(all)]
    })
  for (const name of OURS) {
    const one = shares[name]
    if (one === undefined) continue
    for (const [part, milliseconds] of Object.entries(one).toSorted(([, first], [, second]) => second - first))
      if (milliseconds / total > 0.005)
        rows.push([part === '' ? name : `${name}: ${part}`, ...columns.map(() => ''), '', cell(milliseconds)])
  }
  return [
    `### The pipeline's own process with ${number(roles)} roles, milliseconds of CPU a role`,
    '',
    table(['function', ...columns, 'other', 'all'], rows),
    '',
    'From one run more, sampled each millisecond and scaled to the median of the others. What Node does for a function (sockets,',
    'JSON, hashing) counts where it was called. `adapter` and `queue` take the place of Lambda, SQS and DynamoDB Streams here.',
  ].join('\n')
}

const OURS = new Set(['queue', 'adapter', 'node', 'benchmark'])
const sumOf = (parts: Readonly<Record<string, number>>) => Object.values(parts).reduce((sum, value) => sum + value, 0)
