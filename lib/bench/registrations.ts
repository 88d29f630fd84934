import { rmSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { Refused } from '../local/client.ts'
import type { Pipeline } from './pipeline.ts'
import { startPipeline } from './pipeline.ts'
import { figure, table } from './report.ts'
import { compromise, leasesOf, prepareRoles, warm } from './revocations.ts'
import { copyStore, registrationOf, SHED } from './store.ts'
import type { World } from './world.ts'
import { IDENTITY } from './world.ts'

/** One stretch of registrations, each client sending its next as soon as it has its answer. */
export interface Stretch {
  readonly seconds: number
  /** Acknowledged. */
  readonly registered: number
  /** By the code of the problem; `lost` had no answer in time. */
  readonly refused: Readonly<Record<string, number>>
  /** Milliseconds from request to answer of those that were acknowledged. */
  readonly p50: number
  readonly p99: number
  readonly most: number
}

export interface RegistrationRun {
  readonly clients: number
  /** Roles that the case beside it cuts, and how long it took with the registrations beside it. */
  readonly roles: number
  readonly caseSeconds: number
  readonly alone: Stretch
  readonly beside: Stretch
}

export interface RegistrationOptions {
  readonly roles: number
  readonly clients: number
  /** Of the stretch without a case; the other one takes as long as the case. */
  readonly seconds: number
  readonly folder: string
  readonly progress: (text: string) => void
}

/** Identities that the leases are registered for, in turn. */
const IDENTITIES = 50

/** Registrations over the HTTP API, alone and while a case runs. */
export async function measureRegistrations(world: World, options: RegistrationOptions): Promise<RegistrationRun> {
  const { roles, clients, folder, progress } = options
  const { server, prepared, made } = await prepareRoles(world, roles, ['p'], folder, progress)
  let pipeline: Pipeline | undefined
  try {
    const plan = leasesOf(world, server, made['p'] ?? [])
    const running = await startPipeline(world, { folder: copyStore(prepared, join(folder, 'run')), keep: true })
    pipeline = running
    let place = 0
    const one = () => {
      place += 1
      return running.api.register(world.tokens.broker, {
        ...registrationOf(plan, 0),
        identity: `${IDENTITY}-${place % IDENTITIES}`,
        target: { role: `register_${place}`, oid: String(1_000_000 + place) },
      })
    }
    await warm(world, running)
    progress('registrations: warming')
    await stretch(clients, one, after(2))
    progress(`registrations: alone, for ${options.seconds} s`)
    const alone = await stretch(clients, one, after(options.seconds))
    progress(`registrations: beside a case of ${roles} leases`)
    const start = performance.now()
    const { case: id } = await running.api.send(world.tokens.security, compromise(IDENTITY))
    let closed = false
    const closing = running.closed(id).finally(() => {
      closed = true
    })
    const beside = await stretch(clients, one, () => closed)
    await closing
    return { clients, roles, caseSeconds: (performance.now() - start) / 1000, alone, beside }
  } finally {
    await pipeline?.stop()
    await server.remove()
    rmSync(folder, { recursive: true, force: true })
  }
}

function after(seconds: number): () => boolean {
  const end = performance.now() + seconds * 1000
  return () => performance.now() >= end
}

async function stretch(clients: number, one: () => Promise<unknown>, over: () => boolean): Promise<Stretch> {
  const took: number[] = []
  const refused: Record<string, number> = {}
  const start = performance.now()
  const client = async () => {
    while (!over()) {
      const sent = performance.now()
      try {
        await one()
        took.push(performance.now() - sent)
      } catch (error) {
        const why = error instanceof Refused ? error.problem.code : 'lost'
        refused[why] = (refused[why] ?? 0) + 1
        if (!over()) await sleep(SHED)
      }
    }
  }
  await Promise.all(Array.from({ length: clients }, client))
  const sorted = took.toSorted((first, second) => first - second)
  const at = (share: number) => sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? Number.NaN
  return {
    seconds: (performance.now() - start) / 1000,
    registered: took.length,
    refused,
    p50: at(0.5),
    p99: at(0.99),
    most: sorted.at(-1) ?? Number.NaN,
  }
}

export function registrationsText({ clients, roles, caseSeconds, alone, beside }: RegistrationRun): string {
  const said = (refused: Stretch['refused']) =>
    Object.entries(refused)
      .map(([code, count]) => `${count} ${code}`)
      .join(', ')
  const rows: readonly (readonly [string, (one: Stretch) => string])[] = [
    ['registrations a second', (one) => figure(one.registered / one.seconds)],
    ['p50, ms', (one) => figure(one.p50)],
    ['p99, ms', (one) => figure(one.p99)],
    ['longest, ms', (one) => figure(one.most)],
    ['refused', (one) => said(one.refused) || 'none'],
    ['measured for, s', (one) => figure(one.seconds)],
  ]
  return [
    table(
      ['', 'no case', `beside a case of ${roles.toLocaleString('en-US')} leases`],
      rows.map(([name, cell]) => [name, cell(alone), cell(beside)]),
    ),
    '',
    `${clients} clients over the HTTP API, each with one request at a time, for ${IDENTITIES} identities in turn; an acknowledged registration has a`,
    `dozen reads and writes behind it. The case beside it cut ${roles.toLocaleString('en-US')} real roles and took ${figure(caseSeconds)} s.`,
  ].join('\n')
}
