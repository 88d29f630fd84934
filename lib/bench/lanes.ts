import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { freeLeases } from './growth.ts'
import type { Pipeline } from './pipeline.ts'
import { startPipeline } from './pipeline.ts'
import { definition } from './provider.ts'
import { figure, machine, spread, table } from './report.ts'
import { compromise, WARM, warm } from './revocations.ts'
import type { LeasePlan } from './store.ts'
import { copyStore, prepareStore } from './store.ts'
import type { World } from './world.ts'
import { DOMAIN, makeWorld } from './world.ts'

/**
 * Whether the urgent waits behind the rest: the same compromise on an idle pipeline and in the middle of a large
 * decommission, and the same offboarding with and without an issuer beside it that answers nothing.
 */

export interface LanesOptions {
  /** Leases of the decommission that runs meanwhile. */
  readonly running: number
  /** Leases of the identity that is compromised in the middle of it. */
  readonly urgent: number
  /** Leases at the silent issuer, and at the healthy one beside it. */
  readonly silent: number
  readonly healthy: number
  readonly rounds: number
  readonly print: (text: string) => void
  readonly progress: (text: string) => void
  readonly json?: string
}

/** Milliseconds from the sending of the event. */
export interface Urgent {
  readonly fence: number
  readonly containment: number
  /** The last of its leases was cut and proven dead. */
  readonly lastDead: number
  readonly closed: number
}

export interface Measured {
  readonly idle: readonly Urgent[]
  readonly busy: readonly Urgent[]
  /** Milliseconds until the last lease at the healthy issuer was dead. */
  readonly alone: readonly number[]
  readonly beside: readonly number[]
}

const DEPLOYMENT = 'everything'
const LEAKED = `${DOMAIN}/workload/leaked`
const LEAVER = `${DOMAIN}/workload/leaver`
const PERSON = `${DOMAIN}/workload/person`
const WARMING = 300
const SILENT = 'silent'
const LOOK = 20
/** Between two looks at all leases of a case: each reads them all, and outcomes say when they were reached. */
const SELDOM = 2000
/** Into the decommission, after its first cut. */
const MIDDLE = 5000
const PATIENCE = 10 * 60_000
const HEAP = 512

const now = () => performance.timeOrigin + performance.now()

export async function runLanes(options: LanesOptions): Promise<Measured> {
  const { print, progress } = options
  const folder = mkdtempSync(join(tmpdir(), 'rescind-lanes-'))
  try {
    progress('bundling')
    const world = await makeWorld(folder)
    const urgent = await compromises(world, options, join(folder, 'lanes'))
    const dead = await silences(world, options, join(folder, 'silent'))
    const measured = { ...urgent, ...dead }
    print(lanesText(options, measured))
    if (options.json !== undefined) {
      const { running, urgent: leaked, silent, healthy, rounds } = options
      const scale = { running, urgent: leaked, silent, healthy, rounds }
      writeFileSync(options.json, `${JSON.stringify({ machine: machine(), scale, measured }, undefined, 2)}\n`)
    }
    return measured
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

async function compromises(
  world: World,
  options: LanesOptions,
  folder: string,
): Promise<{ readonly idle: Urgent[]; readonly busy: Urgent[] }> {
  const { running, urgent, rounds, progress } = options
  const prepared = join(folder, 'prepared')
  const plans: LeasePlan[] = [
    { ...freeLeases(LEAVER, running, 'running'), deployment: DEPLOYMENT },
    freeLeases(LEAKED, urgent, 'leaked'),
    freeLeases(WARM, WARMING, 'before'),
  ]
  await prepareStore(world, prepared, plans, (text) => progress(`lanes: ${text}`))
  const found = { idle: [] as Urgent[], busy: [] as Urgent[] }
  for (let round = 1; round <= rounds; round += 1)
    for (const busy of round % 2 === 1 ? [false, true] : [true, false]) {
      progress(
        `round ${round} of ${rounds}: ${busy ? 'a compromise in the middle of a decommission' : 'a compromise on an idle pipeline'}`,
      )
      const run = copyStore(prepared, join(folder, 'run'))
      found[busy ? 'busy' : 'idle'].push(
        await inPipeline(world, run, async (pipeline) => {
          const other = busy ? await begun(world, pipeline) : undefined
          const measured = await follow(world, pipeline, urgent)
          if (other !== undefined && (await pipeline.api.case(world.tokens.operator, other)).closedAt !== undefined)
            throw new Error('the decommission was over before the compromise was: take more leases for it')
          return measured
        }),
      )
    }
  rmSync(folder, { recursive: true, force: true })
  return found
}

async function inPipeline<Result>(world: World, folder: string, use: (pipeline: Pipeline) => Promise<Result>): Promise<Result> {
  const pipeline = await startPipeline(world, { folder, keep: true, heap: HEAP })
  try {
    await warm(world, pipeline)
    await pipeline.observe(false)
    return await use(pipeline)
  } finally {
    // What runs still is of no interest any more.
    await pipeline.kill()
  }
}

/** Begins the decommission, and comes back in the middle of it. */
async function begun(world: World, pipeline: Pipeline): Promise<string> {
  const { case: id } = await pipeline.api.send(world.tokens.security, {
    ...compromise(LEAVER),
    id: 'bench-decommission',
    type: 'io.rescind.decommission',
    data: { scope: { kind: 'deployment', id: DEPLOYMENT, namespace: 'bench' }, reason: 'to be measured' },
  })
  const start = now()
  while ((await pipeline.moments()).firstCut === undefined) {
    if (now() - start > PATIENCE) throw new Error('the decommission does not begin')
    await sleep(LOOK)
  }
  await sleep(MIDDLE)
  // The lever that is heard of from here on is the compromise's.
  await pipeline.observe(false)
  return id
}

async function follow(world: World, pipeline: Pipeline, leases: number): Promise<Urgent> {
  const { operator, security } = world.tokens
  const start = now()
  const { case: id } = await pipeline.api.send(security, compromise(LEAKED))
  const closed = await pipeline.closed(id)
  const moment = (await pipeline.moments()).contained
  const current = await pipeline.api.case(operator, id)
  if (moment === undefined || current.fencedAt === undefined) throw new Error('the case closed without a containment')
  if (current.outcomes.revoked !== leases) throw new Error(`not every lease was cut: ${JSON.stringify(current.outcomes)}`)
  return {
    fence: Date.parse(current.fencedAt) - start,
    containment: moment - start,
    lastDead: (await lastOutcome(world, pipeline, id, undefined)).at - start,
    closed: closed.at - start,
  }
}

/** The last outcome of a case's leases, of all issuers or of one, and how many there are. */
async function lastOutcome(
  world: World,
  pipeline: Pipeline,
  id: string,
  issuer: string | undefined,
): Promise<{ readonly at: number; readonly outcomes: number }> {
  let last = 0
  let outcomes = 0
  let cursor: string | undefined
  do {
    const query = new URLSearchParams({ limit: '100', ...(cursor === undefined ? {} : { cursor }) })
    const page = (await pipeline.api.call('GET', `/v1/cases/${id}/leases?${query}`, { token: world.tokens.operator })) as {
      entries: readonly { readonly lease: { readonly issuer: string }; readonly outcome?: { readonly at: string } }[]
      next?: string
    }
    for (const { lease, outcome } of page.entries) {
      if (outcome === undefined || (issuer !== undefined && lease.issuer !== issuer)) continue
      outcomes += 1
      last = Math.max(last, Date.parse(outcome.at))
    }
    cursor = page.next
  } while (cursor !== undefined)
  return { at: last, outcomes }
}

async function silences(
  world: World,
  options: LanesOptions,
  folder: string,
): Promise<{ readonly alone: number[]; readonly beside: number[] }> {
  const { silent, healthy, rounds, progress } = options
  const prepared = join(folder, 'prepared')
  // Those of the silent issuer come first in each shard, and so in the queue.
  const silentLeases = (identity: string, prefix: string): LeasePlan => ({
    ...freeLeases(identity, silent, prefix),
    issuer: `a-${SILENT}`,
    declaration: { provider: definition.name, settings: { silent: true }, soakSeconds: 3600 },
  })
  const plans = [
    freeLeases(LEAKED, healthy, 'alone'),
    silentLeases(PERSON, 'silent'),
    freeLeases(PERSON, healthy, 'beside'),
    freeLeases(WARM, WARMING, 'before'),
  ]
  await prepareStore(world, prepared, plans, (text) => progress(`a silent issuer: ${text}`))
  const found = { alone: [] as number[], beside: [] as number[] }
  for (let round = 1; round <= rounds; round += 1)
    for (const beside of round % 2 === 1 ? [false, true] : [true, false]) {
      progress(`round ${round} of ${rounds}: an issuer ${beside ? 'beside a silent one' : 'by itself'}`)
      const run = copyStore(prepared, join(folder, 'run'))
      const milliseconds = await inPipeline(world, run, async (pipeline) => {
        const start = now()
        const { case: id } = await pipeline.api.send(world.tokens.security, {
          ...compromise(beside ? PERSON : LEAKED),
          id: 'bench-offboarding',
          type: 'io.rescind.offboarding',
        })
        for (;;) {
          const { at, outcomes } = await lastOutcome(world, pipeline, id, 'bench')
          if (outcomes === healthy) return at - start
          if (now() - start > PATIENCE) throw new Error(`${outcomes} of ${healthy} leases at the healthy issuer are dead`)
          await sleep(SELDOM)
        }
      })
      found[beside ? 'beside' : 'alone'].push(milliseconds)
    }
  rmSync(folder, { recursive: true, force: true })
  return found
}

// ----------------------------------------------------------------------------------------------------------- text

const number = (value: number) => value.toLocaleString('en-US')
const seconds = (values: readonly number[]) => {
  const { median, least, most } = spread(values.map((value) => value / 1000))
  return values.length === 1 ? figure(median) : `${figure(median)} (${figure(least)}-${figure(most)})`
}
const factor = (one: readonly number[], other: readonly number[]) => figure(spread(one).median / spread(other).median)

export function lanesText(options: Omit<LanesOptions, 'print' | 'progress'>, { idle, busy, alone, beside }: Measured): string {
  const row = (name: string, pick: (one: Urgent) => number) => [
    name,
    seconds(idle.map(pick)),
    seconds(busy.map(pick)),
    factor(busy.map(pick), idle.map(pick)),
  ]
  const rounds = options.rounds === 1 ? 'one round' : `median (least-most) of ${options.rounds} rounds`
  return [
    `\n## A compromise of ${number(options.urgent)} leases in the middle of a decommission of ${number(options.running)}\n`,
    table(
      ['seconds from the event', 'idle', 'in the middle', 'factor'],
      [
        row('fence', (one) => one.fence),
        row('containment', (one) => one.containment),
        row('last lease dead', (one) => one.lastDead),
        row('case closed', (one) => one.closed),
      ],
    ),
    '',
    `The same compromise on the same store, ${rounds}; the decommission is ${MIDDLE / 1000} s behind its first cut. The issuer costs nothing: what`,
    'differs is the pipeline, which on one machine shares its cores, its process and its store among all lanes.',
    `\n## An issuer that answers nothing, with ${number(options.silent)} leases, beside a healthy one with ${number(options.healthy)}\n`,
    table(
      ['seconds from the event', 'by itself', 'beside the silent one', 'factor'],
      [['last lease dead at the healthy issuer', seconds(alone), seconds(beside), factor(beside, alone)]],
    ),
    '',
    `An offboarding (P1) of one identity; each call of the silent issuer ends after ${definition.limits.callSeconds} s without an answer.`,
  ].join('\n')
}
