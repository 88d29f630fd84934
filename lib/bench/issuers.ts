import { existsSync, mkdirSync, readdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import type { Answer, Liveness, Provider, Subject, Tools, Warrant } from '../../functions/providers/contract.ts'
import type { IssuerBench } from './issuers/contract.ts'
import { startRelay } from './relay.ts'
import type { Spread } from './report.ts'
import { figure, shown, spread, table } from './report.ts'

/** Each real issuer by itself: what a provider cuts a second, beside the tight loop of the same issuer. */

const FOLDER = join(import.meta.dirname, 'issuers')
const WARRANT: Warrant = { case: 'b'.repeat(26), lane: 'p1', epoch: 1, fencedAt: '2026-01-01T00:00:00.000Z' }
/** A cut that is to be tried again, as its worker does, so often. */
const ATTEMPTS = 20

export interface IssuerRun {
  readonly provider: string
  readonly counterpart: string
  /** Credentials of one round. */
  readonly leases: number
  /** Most leases in one call of the provider. */
  readonly batch: number
  readonly looped: string
  /** Seconds, round by round. */
  readonly throughProvider: readonly number[]
  readonly loop: readonly number[]
  /** Requests at the issuer for the leases of one round: round trips, or what the issuer itself counted. */
  readonly calls: number
  /** Leases that were asked about afterwards and are not known to be dead, because nobody can know it there. */
  readonly unknown: number
}

export interface IssuersRun {
  readonly runs: readonly IssuerRun[]
  /** Providers that this machine lacks the server of, and why. */
  readonly missing: Readonly<Record<string, string>>
}

export interface IssuersOptions {
  readonly leases: number
  readonly rounds: number
  /** These providers alone. */
  readonly only?: readonly string[]
  readonly folder: string
  readonly progress: (text: string) => void
}

type AnyBench = IssuerBench<unknown, unknown, unknown, unknown>

/** The files of the folder, by the provider that each is named after. */
export const benched = (): string[] =>
  readdirSync(FOLDER)
    .filter((name) => name.endsWith('.ts') && name !== 'contract.ts')
    .map((name) => name.replace(/\.ts$/, ''))
    .toSorted()

export async function measureIssuers({ leases, rounds, only, folder, progress }: IssuersOptions): Promise<IssuersRun> {
  const runs: IssuerRun[] = []
  const missing: Record<string, string> = {}
  for (const name of benched().filter((one) => only === undefined || only.includes(one))) {
    const { issuer } = (await import(pathToFileURL(join(FOLDER, `${name}.ts`)).href)) as { issuer: AnyBench }
    const reason = issuer.missing()
    if (reason === undefined) {
      const own = join(folder, name)
      mkdirSync(own, { recursive: true, mode: 0o755 })
      runs.push(await measureOne(issuer, { leases, rounds, folder: own, progress: (text) => progress(`${name}: ${text}`) }))
      if (existsSync(own)) rmSync(own, { recursive: true, force: true })
    } else {
      missing[name] = reason
    }
  }
  return { runs, missing }
}

async function measureOne(bench: AnyBench, options: IssuersOptions): Promise<IssuerRun> {
  const { module } = bench
  options.progress('starting')
  const running = await bench.start(options.folder)
  const closing: (() => Promise<void>)[] = [() => running.stop()]
  try {
    const leases = Math.min(options.leases, running.most ?? Number.POSITIVE_INFINITY)
    const connected = async (port: number) => {
      const { settings, environment = {} } = running.reached(port)
      const tools: Tools = { adminSecret: async () => running.adminSecret, now: () => Date.now(), environment }
      const provider = await module.connect({ name: 'bench', settings }, tools)
      closing.unshift(() => provider.close())
      return provider
    }
    const { batch } = module.definition.limits
    const provider = await connected(running.port)
    const relay = await startRelay(running.port)
    closing.unshift(() => relay.close())
    const counted = await connected(relay.port)
    const calls = running.calls ?? (() => relay.trips())

    const throughProvider: number[] = []
    const loop: number[] = []
    let unknown = 0
    const proven = async (subjects: readonly Subject[]) => {
      unknown += await expectDead(provider, subjects, batch)
    }
    // The first round is nobody's: connections are made, plans are cached, code is compiled.
    for (let round = 0; round <= options.rounds; round += 1) {
      const size = round === 0 ? Math.min(leases, batch) : leases
      options.progress(round === 0 ? 'warming up' : `round ${round}`)
      const turns = [
        async () => {
          const subjects = await running.mint(size)
          const seconds = await timed(() => revoke(provider, subjects, batch))
          await proven(subjects)
          if (round > 0) throughProvider.push(seconds)
        },
        async () => {
          const subjects = await running.mint(size)
          const seconds = await timed(() => running.loop(subjects))
          // The loop had the same effect, or it would be no limit to compare with.
          await proven(subjects)
          if (round > 0) loop.push(seconds)
        },
      ]
      for (const turn of round % 2 === 0 ? turns : turns.toReversed()) await turn()
    }

    options.progress('counting calls')
    const subjects = await running.mint(leases)
    const before = calls()
    await revoke(counted, subjects, batch)
    const ofProvider = calls() - before
    await proven(subjects)
    return {
      ...{ provider: module.definition.name, counterpart: running.counterpart, leases, batch, looped: running.looped },
      ...{ throughProvider, loop, calls: ofProvider, unknown },
    }
  } finally {
    for (const close of closing) await close().catch((error: unknown) => options.progress(`closing: ${String(error)}`))
  }
}

async function timed(work: () => Promise<void>): Promise<number> {
  const start = performance.now()
  await work()
  return (performance.now() - start) / 1000
}

/** As a worker does: batch after batch; what is to be tried again is tried again. @throws if a lease is not cut */
async function revoke(provider: Provider, subjects: readonly Subject[], batch: number): Promise<void> {
  for (let first = 0; first < subjects.length; first += batch) {
    let open = subjects.slice(first, first + batch)
    for (let attempt = 0; open.length > 0; attempt += 1) {
      const answers: Answer[] = await provider.revoke(open, WARRANT)
      const wrong = answers.find(({ status }) => status !== 'revoked' && status !== 'retry')
      if (wrong !== undefined || attempt === ATTEMPTS)
        throw new Error(`a lease is not cut: ${(wrong ?? answers[0])?.status}, ${(wrong ?? answers[0])?.said}`)
      open = open.filter((_, place) => answers[place]?.status === 'retry')
    }
  }
}

/** @returns how many cannot be known to be dead. @throws if one lives */
async function expectDead(provider: Provider, subjects: readonly Subject[], batch: number): Promise<number> {
  let unknown = 0
  for (let first = 0; first < subjects.length; first += batch) {
    const answers: Liveness[] = await provider.verify(subjects.slice(first, first + batch), WARRANT)
    const alive = answers.find(({ status }) => status === 'alive')
    if (alive !== undefined) throw new Error(`a lease that was cut lives: ${alive.said}`)
    unknown += answers.filter(({ status }) => status === 'unknown').length
  }
  return unknown
}

const rate = ({ leases }: IssuerRun, seconds: readonly number[]): Spread => spread(seconds.map((one) => leases / one))

export function issuersText({ runs, missing }: IssuersRun): string {
  const rows = runs.map((run) => {
    const [own, loop] = [rate(run, run.throughProvider), rate(run, run.loop)]
    return [
      run.provider,
      run.counterpart,
      figure(run.leases),
      shown(own),
      shown(loop),
      (own.median / loop.median).toFixed(2),
      figure((run.calls * 1000) / run.leases),
      run.looped,
    ]
  })
  const head = [
    'provider',
    'issuer',
    'leases',
    'revoked a second',
    'the tight loop, a second',
    'ratio',
    'calls for 1,000 leases',
    'what the loop sends for one',
  ]
  const unseen = runs.filter(({ unknown }) => unknown > 0).map(({ provider }) => provider)
  return [
    runs.length === 0 ? 'No issuer was measured.' : table(head, rows),
    '',
    'Median (least-most) of the rounds. Through the provider: batches on one connection, as a worker sends them, with all that it checks, marks and looks at; the loop cuts one after the other and asks nothing. Calls are round trips at the issuer.',
    ...(unseen.length === 0 ? [] : [`Nobody can say of a credential there that it is dead: ${unseen.join(', ')}.`]),
    ...Object.entries(missing).map(([name, reason]) => `Not measured: ${name} (${reason}).`),
  ].join('\n')
}
