import { table as markdown } from '../bench/report.ts'
import type { Group, Property } from './properties.ts'
import { GROUPS, PROPERTIES } from './properties.ts'
import type { Results } from './results.ts'

/**
 * `pass` against the real server; `fake only` where it was shown against the fake alone; `skip` where this machine lacks
 * the server; `n/a` where the provider does not claim it, or its issuer cannot have it; `none` where nothing was run.
 */
export type Shown = 'pass' | 'fake only' | 'skip' | 'FAIL' | 'n/a' | 'none'

export function shownOf({ runs }: Results, provider: string, property: Property): Shown {
  const own = runs.filter((run) => run.provider === provider)
  if (own.length === 0) return 'none'
  const some = (against: 'real' | 'fake', pick: 'passed' | 'failed' | 'skipped') =>
    own.some((run) => run.against === against && run[pick].includes(property))
  if (some('real', 'failed') || some('fake', 'failed')) return 'FAIL'
  if (some('real', 'passed')) return 'pass'
  if (some('real', 'skipped')) return 'skip'
  if (some('fake', 'passed')) return 'fake only'
  return some('fake', 'skipped') ? 'skip' : 'n/a'
}

/** A group in one word: the worst of it; a star where some of it was shown against the fake alone. */
export function groupOf(results: Results, provider: string, group: Group): string {
  const all = PROPERTIES.filter((property) => property.group === group).map(({ id }) => shownOf(results, provider, id))
  const has = (shown: Shown) => all.includes(shown)
  for (const worst of ['FAIL', 'none', 'skip'] as const) if (has(worst)) return worst
  if (has('pass')) return has('fake only') ? 'pass*' : 'pass'
  return has('fake only') ? 'fake only' : 'n/a'
}

/** Against what a provider was run: the real servers, or that it was the fake alone. */
export function counterpartsOf({ runs }: Results, provider: string): string {
  const real = runs.filter((run) => run.provider === provider && run.against === 'real')
  const seen = [...new Set(real.filter(({ passed }) => passed.length > 0).map(({ counterpart }) => counterpart))]
  const lacking = real.filter(({ missing, counterpart }) => missing !== undefined && !seen.includes(counterpart))
  const absent = [...new Set(lacking.map(({ counterpart }) => `${counterpart} (missing here)`))]
  return [...seen, ...absent].join(', ') || (runs.some((run) => run.provider === provider) ? 'a fake' : 'nothing yet')
}

const SHORT: Readonly<Record<Shown, string>> = {
  pass: 'pass',
  'fake only': 'fake',
  skip: 'skip',
  FAIL: 'FAIL',
  'n/a': '-',
  none: '?',
}

/** Property by provider for a terminal, in blocks of columns that fit into the width; what is not applicable is a dash. */
export function screen(results: Results, providers: readonly string[], width: number, bold: (text: string) => string): string {
  const first = Math.max(...PROPERTIES.map(({ id }) => id.length)) + 2
  const columns = providers.map((name) => ({ name, width: Math.max(name.length, 4) + 2 }))
  const blocks: (typeof columns)[] = []
  let room = 0
  for (const column of columns) {
    if (blocks.length === 0 || room + column.width > width) {
      blocks.push([])
      room = first
    }
    blocks.at(-1)?.push(column)
    room += column.width
  }
  const lines = blocks.flatMap((block) => {
    const head = `${''.padEnd(first)}${block.map((column) => column.name.padEnd(column.width)).join('')}`
    const rows = PROPERTIES.map(({ id }) => {
      const cells = block.map((column) => {
        const shown = shownOf(results, column.name, id)
        const cell = SHORT[shown].padEnd(column.width)
        return shown === 'FAIL' ? bold(cell) : cell
      })
      return `${id.padEnd(first)}${cells.join('')}`
    })
    const own = block.map(({ name, width: wide }) => ownOf(results, name).padEnd(wide))
    return [
      '',
      bold(head.trimEnd()),
      ...[...rows, `${'tests of its own'.padEnd(first)}${own.join('')}`].map((row) => row.trimEnd()),
    ]
  })
  return [
    ...lines,
    '',
    'pass: against the real server; fake: against the fake alone; skip: this machine lacks the server;',
    '-: the provider does not claim it, or its issuer cannot have it; ?: not run.',
  ].join('\n')
}

function ownOf({ own }: Results, provider: string): string {
  const counts = own[provider]
  if (counts === undefined) return '-'
  return counts.failed > 0 ? 'FAIL' : counts.passed > 0 ? String(counts.passed) : 'skip'
}

/** The short table of the README; names are links by reference, so that the table can be read as it stands. */
export function short(results: Results, providers: readonly string[]): string {
  const groups = Object.keys(GROUPS) as Group[]
  const rows = providers.map((name) => [
    `[${name}]`,
    counterpartsOf(results, name),
    ...groups.map((group) => groupOf(results, name, group)),
  ])
  const links = providers.map((name) => `[${name}]: functions/providers/${name}/README.md`)
  return [markdown(['provider', 'shown against', ...groups.map((group) => GROUPS[group])], rows), '', ...links].join('\n')
}

/** docs/conformance.md between its markers: what was run, property by provider, what does not apply and why. */
export function whole(results: Results, providers: readonly string[]): Readonly<Record<string, string>> {
  const runs = results.runs.map((run) => [
    run.provider,
    `${run.against === 'fake' ? 'fake: ' : ''}${run.counterpart}${run.title === undefined ? '' : `, ${run.title}`}`,
    run.runs === 'long' ? 'the long run' : 'every test',
    run.missing === undefined ? run.date : `not run: ${run.missing}`,
    String(run.passed.length),
    String(run.failed.length),
    String(run.skipped.length),
  ])
  const rows = PROPERTIES.map(({ id, says }) => [`${id}: ${says}`, ...providers.map((name) => shownOf(results, name, id))])
  const own = ['tests of its own: each trap of its issuer', ...providers.map((name) => ownOf(results, name))]
  const reasons = new Map<string, string[]>()
  for (const { provider, lacks, against, counterpart } of results.runs)
    for (const [id, reason] of Object.entries(lacks)) {
      const key = `| ${provider} | ${id} | ${reason} |`
      reasons.set(key, [...(reasons.get(key) ?? []), against === 'fake' ? 'the fake' : counterpart])
    }
  const lacking = [...reasons].map(([key, where]) => `${key} ${[...new Set(where)].join(', ')} |`)
  const longRun = results.longRun === undefined ? 'The long run was not run yet.' : `The last long run: ${results.longRun}.`
  return {
    runs: `${markdown(['provider', 'against', 'in', 'last run', 'passed', 'failed', 'skipped'], runs)}\n\n${longRun} Node ${results.node}.`,
    properties: markdown(['property', ...providers], [...rows, own]),
    lacks:
      lacking.length === 0
        ? 'Nothing.'
        : ['| provider | property | why | where |', '| --- | --- | --- | --- |', ...lacking].join('\n'),
  }
}
