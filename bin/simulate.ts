import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { terminal } from '../lib/local/terminal.ts'
import { MUTANTS } from '../test/simulation/mutants.ts'
import type { Outcome } from '../test/simulation/protocol.ts'
import type { Schedule } from '../test/simulation/schedule.ts'
import { scheduleOf } from '../test/simulation/schedule.ts'
import type { Failing } from '../test/simulation/shrink.ts'
import { kindOf, shrink } from '../test/simulation/shrink.ts'
import { runSeeds, Workers } from '../test/simulation/workers.ts'
import type { Theme } from '../test/simulation/world.ts'
import { THEMES } from '../test/simulation/world.ts'

const USAGE = `npm run simulate [-- options]

Runs the whole pipeline on simulated services, one random world and one random order of events for each seed, and judges
each run by what truly happened at the issuers. A seed always means the same run. Ends with 1 if a seed fails, with 2 if
the options are wrong.

  --seeds N        how many seeds (default: 1000)
  --from S         the first one (default: 1)
  --processes P    worker processes (default: 2)
  --seed S         one seed: what it met, and what it violated
  --replay FILE    one schedule from a file, as a failing run has left it
  --trace          with --seed or --replay: every step as it happened
  --about THEMES   worlds that are about this beside their own subjects: shared,children,renewals ...
  --mutant NAME    a product with one deliberate bug, in worlds about its subject; the run then has to fail
  --mutants        the names of the deliberate bugs
  --first          stop at the first failing seed
  --no-shrink      do not look for shorter schedules that still fail
  --help

Failing schedules are made shorter and left in dist/simulation/.
`

const { line, progress, good, bad, title, dim, live } = terminal(process.stdout)

interface Options {
  readonly seeds: number
  readonly from: number
  readonly processes: number
  readonly seed: number | undefined
  readonly replay: string | undefined
  readonly trace: boolean
  readonly mutant: string | undefined
  readonly about: readonly Theme[]
  readonly first: boolean
  readonly shrinks: boolean
}

class Misused extends Error {}

function whole(name: string, text: string, least: number, most: number): number {
  const value = /^\d{1,15}$/.test(text) ? Number(text) : Number.NaN
  if (!(value >= least && value <= most))
    throw new Misused(`--${name} takes a whole number from ${least} to ${most}, not ${text}`)
  return value
}

function themes(text: string): Theme[] {
  return text.split(',').map((name) => {
    const known = THEMES.find((theme) => theme === name.trim())
    if (known === undefined) throw new Misused(`there is no theme ${name}; there are ${THEMES.join(', ')}`)
    return known
  })
}

function optionsOf(args: readonly string[]): Options | 'help' | 'mutants' {
  let values: Record<string, string | boolean | undefined>
  try {
    values = parseArgs({
      args: [...args],
      options: {
        seeds: { type: 'string', default: '1000' },
        from: { type: 'string', default: '1' },
        processes: { type: 'string', default: '2' },
        seed: { type: 'string' },
        replay: { type: 'string' },
        trace: { type: 'boolean' },
        mutant: { type: 'string' },
        about: { type: 'string' },
        mutants: { type: 'boolean' },
        first: { type: 'boolean' },
        'no-shrink': { type: 'boolean' },
        help: { type: 'boolean' },
      },
      strict: true,
    }).values
  } catch (error) {
    throw new Misused(error instanceof Error ? error.message : String(error))
  }
  if (values['help'] === true) return 'help'
  if (values['mutants'] === true) return 'mutants'
  const text = (name: string) => (typeof values[name] === 'string' ? values[name] : undefined)
  const [seed, named, mutant] = [text('seed'), text('replay'), text('mutant')]
  const bug = MUTANTS.find(({ name }) => name === mutant)
  // Chance takes too long to find it: the schedule in which it was made does, unless somebody wants to search.
  const searches = seed !== undefined || args.some((one) => /^--(seeds|from|about)\b/.test(one))
  const replay = named ?? (searches || bug?.shownBy === undefined ? undefined : schedulePath(bug.shownBy))
  if (seed !== undefined && replay !== undefined) throw new Misused('--seed and --replay exclude each other')
  if (values['trace'] === true && seed === undefined && replay === undefined)
    throw new Misused('--trace goes with --seed or --replay')
  if (mutant !== undefined && bug === undefined) throw new Misused(`there is no deliberate bug ${mutant}; --mutants names them`)
  return {
    seeds: whole('seeds', text('seeds') ?? '', 1, 1e9),
    from: whole('from', text('from') ?? '', 0, 1e12),
    processes: whole('processes', text('processes') ?? '', 1, 64),
    seed: seed === undefined ? undefined : whole('seed', seed, 0, 1e12),
    replay,
    mutant,
    about: text('about') === undefined ? (bug?.about ?? []) : themes(text('about') ?? ''),
    trace: values['trace'] === true,
    first: values['first'] === true,
    shrinks: values['no-shrink'] !== true,
  }
}

const schedulePath = (name: string): string =>
  fileURLToPath(new URL(`../test/simulation/regressions/${name}.json`, import.meta.url))

/** A schedule from a file: as this command writes it, or the bare schedule. */
function readFailing(path: string): Failing {
  let found: unknown
  try {
    found = JSON.parse(readFileSync(path, 'utf8'))
  } catch (error) {
    throw new Misused(`${path} cannot be read: ${error instanceof Error ? error.message : ''}`)
  }
  const file = found as { schedule?: Schedule; disabled?: readonly number[] } & Partial<Schedule>
  const schedule = file.schedule ?? (file as Schedule)
  if (!Array.isArray(schedule.operations) || schedule.world === undefined || schedule.faults === undefined)
    throw new Misused(`${path} holds no schedule of a simulation`)
  return { schedule, disabled: file.disabled ?? [] }
}

const seconds = (milliseconds: number): string => {
  const whole = Math.round(milliseconds / 1000)
  return whole < 100 ? `${whole} s` : `${Math.floor(whole / 60)} min ${whole % 60} s`
}
const BAR = 24
const bar = (part: number): string => {
  const full = Math.round(part * BAR)
  return `${'█'.repeat(full)}${'░'.repeat(BAR - full)}`
}

/** Every so many seconds a line, where nobody watches. */
const QUIET_SECONDS = 20
/** Failing seeds that are made shorter; the others are only named. */
const SHRUNK = 3

async function manySeeds(options: Options): Promise<number> {
  const { seeds, from, processes, mutant } = options
  const workers = new Workers(processes, mutant)
  const failures: Outcome[] = []
  const began = performance.now()
  let [done, steps, told] = [0, 0, began]
  try {
    const batch = Math.max(1, Math.min(25, Math.ceil(seeds / processes / 4)))
    await runSeeds(workers, processes, from, seeds, batch, options.about, (outcome) => {
      done += 1
      steps += outcome.steps
      if (!outcome.ok) {
        failures.push(outcome)
        bad(`seed ${outcome.seed}: ${outcome.violations[0]}`)
      }
      const passed = performance.now() - began
      const rate = (done * 1000) / passed
      const left = ((seeds - done) / rate) * 1000
      progress(
        `${bar(done / seeds)} ${done.toLocaleString('en')} of ${seeds.toLocaleString('en')} seeds  ${rate.toFixed(rate < 10 ? 1 : 0)}/s  ${seconds(left)} left  ${failures.length} failed`,
      )
      if (!live && performance.now() - told > QUIET_SECONDS * 1000) {
        told = performance.now()
        line(`${done} of ${seeds} seeds, ${rate.toFixed(rate < 10 ? 1 : 0)}/s, ${failures.length} failed`)
      }
      return options.first && failures.length > 0
    })
    const passed = performance.now() - began
    const summary = `${done.toLocaleString('en')} seeds from ${from.toLocaleString('en')}, ${steps.toLocaleString('en')} steps, ${seconds(passed)}, ${((done * 1000) / passed).toFixed(1)} seeds/s in ${processes} ${processes === 1 ? 'process' : 'processes'}`
    if (failures.length === 0) {
      good(`${summary}: none failed`)
      return 0
    }
    bad(`${summary}: ${failures.length} failed`)
    await showFailures(workers, failures, options)
    return 1
  } finally {
    workers.close()
  }
}

async function showFailures(workers: Workers, failures: readonly Outcome[], options: Options): Promise<void> {
  // One of each kind: the same bug has many seeds.
  const kinds = Map.groupBy(failures, ({ violations }) => kindOf(violations[0] ?? ''))
  const named = [...kinds.values()].map((all) => ({
    all,
    shortest: all.reduce((one, other) => (other.steps < one.steps ? other : one)),
  }))
  for (const { all, shortest } of named.slice(0, SHRUNK)) {
    title(`Seed ${shortest.seed}, and ${all.length - 1} more of its kind`)
    if (!options.shrinks || shortest.steps === 0) show(shortest)
    else await shrinkOne(workers, shortest, options)
  }
  for (const { all } of named.slice(SHRUNK))
    line(
      `${all.length} more: ${all[0]?.violations[0]} ${dim(
        `(seeds ${all
          .slice(0, 5)
          .map(({ seed }) => seed)
          .join(', ')})`,
      )}`,
    )
}

async function shrinkOne(workers: Workers, outcome: Outcome, options: Options): Promise<void> {
  const schedule = scheduleOf(outcome.seed, options.about)
  const shrunk = await shrink({ schedule, disabled: [] }, outcome, {
    run: (failing) => workers.schedule(failing.schedule, failing.disabled),
    onProgress: (runs, shown) => progress(`shrinking: ${runs} runs, ${shown}`),
  })
  show(shrunk.outcome)
  line(`the shortest schedule that still fails, after ${shrunk.runs} runs (scheduler seed ${shrunk.schedule.seed}):`)
  showSchedule(shrunk, shrunk.outcome)
  const path = `dist/simulation/seed-${outcome.seed}.json`
  mkdirSync('dist/simulation', { recursive: true })
  const { schedule: shorter, disabled } = shrunk
  writeFileSync(path, `${JSON.stringify({ violations: shrunk.outcome.violations, schedule: shorter, disabled }, undefined, 1)}\n`)
  const mutant = options.mutant === undefined ? '' : ` --mutant ${options.mutant}`
  const about = options.about.length > 0 ? ` --about ${options.about.join(',')}` : ''
  line(`\nreplay it:    npm run simulate -- --replay ${path} --trace${mutant}`)
  line(`the whole:    npm run simulate -- --seed ${outcome.seed} --trace${mutant}${about}`)
}

function show({ violations, steps, virtualSeconds, hash }: Outcome): void {
  for (const violation of violations) bad(violation)
  line(dim(`${steps} steps, ${virtualSeconds.toFixed(0)} virtual seconds, trace ${hash}`))
}

function showSchedule({ schedule }: Failing, { faults }: Outcome): void {
  const { world } = schedule
  line(`  settings     ${plain(world.settings)}`)
  for (const [index, issuer] of world.issuers.entries()) line(`  issuer ${index}     ${issuer.name}`)
  for (const [index, identity] of world.identities.entries()) line(`  identity ${index}   ${plain(identity)}`)
  for (const [index, lease] of world.leases.entries()) line(`  lease ${index}      ${plain(lease)}`)
  for (const { at, do: what, ...rest } of schedule.operations) line(`  ${String(at).padStart(8)} ms  ${what} ${plain(rest)}`)
  for (const { ordinal, kind, label } of faults) line(`  fault ${ordinal}: ${kind} at ${label}`)
}

const plain = (value: object): string =>
  Object.entries(value)
    .filter(([, one]) => one !== false && one !== undefined)
    .map(([name, one]) => `${name}=${typeof one === 'object' ? JSON.stringify(one) : String(one)}`)
    .join(' ')

async function one(failing: Failing, options: Options): Promise<number> {
  const workers = new Workers(1, options.mutant)
  try {
    const outcome = await workers.schedule(failing.schedule, failing.disabled, options.trace)
    for (const step of outcome.trace) line(step)
    const { schedule } = failing
    title(`Seed ${schedule.seed}`)
    showSchedule(failing, outcome)
    if (outcome.ok) good('nothing is wrong')
    show(outcome)
    return outcome.ok ? 0 : 1
  } finally {
    workers.close()
  }
}

// Whoever reads the first lines alone has read enough.
process.stdout.on('error', (error: NodeJS.ErrnoException) => process.exit(error.code === 'EPIPE' ? 0 : 1))

try {
  const options = optionsOf(process.argv.slice(2))
  if (options === 'help') process.stdout.write(USAGE)
  else if (options === 'mutants')
    for (const { name, breaks, says, within, about, shownBy } of MUTANTS) {
      const by = shownBy ?? `within ${within} seeds${about === undefined ? '' : ` about ${about.join(', ')}`}`
      line(`${breaks} ${name.padEnd(24)} ${says} ${dim(`(${by})`)}`)
    }
  else if (options.replay !== undefined) process.exitCode = await one(readFailing(options.replay), options)
  else if (options.seed !== undefined)
    process.exitCode = await one({ schedule: scheduleOf(options.seed, options.about), disabled: [] }, options)
  else process.exitCode = await manySeeds(options)
} catch (error) {
  if (!(error instanceof Misused)) throw error
  process.stderr.write(`${error.message}\n`)
  process.exitCode = 2
}
