import type { Results } from './bench.ts'
import type { Used } from './cost.ts'
import { linesOf, perMillion } from './cost.ts'
import type { GrowthRun } from './growth.ts'
import { costOf } from './prices.ts'
import { figure, spread, table } from './report.ts'
import type { RevocationRun } from './revocations.ts'

/** What the benchmarks are to show, beside what they show. */

const RATIO = 1.6
const BUNDLE_BYTES = 400_000
const REVOCATION_DOLLARS = 1
const REGISTRATION_DOLLARS = 5
/** Repeats of one size differ by a third on a shared machine; what grows with the leases grows a hundredfold. */
const FLAT = 2

const number = (value: number) => value.toLocaleString('en-US')
const median = (values: readonly number[]) => spread(values).median

/** @returns rows of what was aimed at, what was measured, and where it falls short, why */
export function aimsText(results: Results): string {
  const rows: string[][] = []
  const add = (aim: string, measured: string, met: boolean, why = '') =>
    rows.push([aim, measured, met ? 'met' : '**missed**', why])

  const contained = results.containment?.measured
  if (contained !== undefined) {
    for (const [name, pick] of [
      ['fence', (one: GrowthRun['contained'][number]) => one.fence],
      ['containment', (one: GrowthRun['contained'][number]) => one.containment],
    ] as const) {
      const [least, most] = [contained[0], contained.at(-1)]
      if (least === undefined || most === undefined) continue
      const ratio = median(most.contained.map(pick)) / median(least.contained.map(pick))
      add(
        `${name}: the same for ${number(most.leases)} leases as for ${number(least.leases)}`,
        `${figure(ratio)} times`,
        ratio <= FLAT,
      )
    }
  }
  for (const run of results.revoke?.measured ?? []) {
    const whole = ratioOf(run, (one) => one.cutSeconds + one.dropSeconds)
    const cut = ratioOf(run, (one) => one.cutSeconds)
    add(
      `${number(run.roles)} roles cut and deleted: ${RATIO} times the loop of one role a transaction`,
      `${whole.toFixed(2)}; cut alone ${cut.toFixed(2)}`,
      whole >= RATIO,
      whole >= RATIO ? '' : whereTheCpuGoes(run),
    )
  }
  const cost = results.cost?.measured
  if (cost !== undefined)
    for (const [name, used, most] of [
      ['revocations', cost.revocations, REVOCATION_DOLLARS],
      ['registrations', cost.registrations, REGISTRATION_DOLLARS],
    ] as const) {
      const dollars = perMillion(used)
      add(
        `a million ${name}: at most $${most}`,
        `$${dollars.toFixed(2)}`,
        dollars <= most,
        dollars <= most ? '' : whatCostsMost(used),
      )
    }
  const grown = (results.growth?.measured ?? []).flatMap(({ leases, whole }) =>
    whole === undefined ? [] : [{ leases, ...whole }],
  )
  const [first, last] = [grown[0], grown.at(-1)]
  if (first !== undefined && last !== undefined && first !== last) {
    const time = last.closed / last.leases / (first.closed / first.leases)
    const held = (last.memory.held.at(-1) ?? Number.NaN) / (first.memory.held.at(-1) ?? Number.NaN)
    const span = `from ${number(first.leases)} to ${number(last.leases)} leases`
    add(`time a lease: flat ${span}`, `${figure(time)} times`, time <= FLAT)
    add(`memory held: flat ${span}`, `${figure(held)} times`, held <= FLAT)
  }
  const bundles = results.cold?.measured.bundles ?? []
  if (bundles.length > 0) {
    const large = bundles.filter(({ bytes }) => bytes > BUNDLE_BYTES).toSorted((one, other) => other.bytes - one.bytes)
    const said = large.map(({ name, bytes }) => `${name} ${Math.round(bytes / 1000)}`).join(', ')
    add(
      `each bundle at most ${BUNDLE_BYTES / 1000} KB`,
      `${bundles.length - large.length} of ${bundles.length}`,
      large.length === 0,
      said === '' ? '' : `in KB: ${said}`,
    )
  }
  return rows.length === 0 ? 'Nothing was measured yet.' : table(['aim', 'measured', '', 'what stands in the way'], rows)
}

const ratioOf = (run: RevocationRun, pick: (one: { readonly cutSeconds: number; readonly dropSeconds: number }) => number) =>
  median(run.oneByOne.map(pick)) / median(run.pipeline.map(pick))

function whereTheCpuGoes({ roles, pipeline, oneByOne }: RevocationRun): string {
  const perRole = (pick: (one: (typeof pipeline)[number]) => number) => (1000 * median(pipeline.map(pick))) / roles
  const loop = (1000 * median(oneByOne.map((one) => one.serverCpuSeconds + one.clientCpuSeconds))) / roles
  const parts = [
    ['handlers and queues', perRole((one) => one.cpu.pipeline + one.dropCpu.pipeline)],
    ['store', perRole((one) => one.cpu.store + one.dropCpu.store)],
    ['issuer', perRole((one) => one.cpu.issuer + one.dropCpu.issuer)],
  ] as const
  return `ms of CPU a role: ${parts.map(([name, value]) => `${name} ${figure(value)}`).join(', ')}; the loop ${figure(loop)}`
}

function whatCostsMost(used: Used): string {
  const lines = linesOf(used)
    .map(({ name, what, quantity }) => ({ name, dollars: (costOf(what, quantity) * 1e6) / used.of }))
    .toSorted((one, other) => other.dollars - one.dollars)
  return lines
    .slice(0, 3)
    .map(({ name, dollars }) => `${name} $${dollars.toFixed(2)}`)
    .join('; ')
}
