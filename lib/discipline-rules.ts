import type { DisciplineClass } from '../functions/contracts/discipline.ts'
import type { Settings } from '../functions/contracts/settings.ts'
import { patternFault } from '../functions/domain/identity.ts'
import { matches } from '../functions/domain/pattern.ts'

/** What of a discipline could never work, or would refuse everything: one line each, for whoever edits the file. */
export function* disciplineFaults(settings: Settings, providers: readonly string[]): Generator<string> {
  const { discipline, limits } = settings
  if (discipline === undefined) return
  const { classes, rules } = discipline
  for (const [index, one] of classes.entries()) {
    const place = `settings.discipline.classes[${index}] (${one.name})`
    if (classes.findIndex(({ name }) => name === one.name) < index) yield `${place}.name: another class has this name`
    const before = classes.slice(0, index).find((earlier) => takesAllOf(earlier.match, one.match))
    if (before !== undefined)
      yield `${place}: can never be reached, class "${before.name}" before it takes all that fits: put the narrower one first`
    for (const provider of one.match.providers ?? [])
      if (!providers.includes(provider))
        yield `${place}.match.providers: provider "${provider}" is not enabled; there are: ${providers.join(', ')}`
    if (one.maxTtlSeconds > limits.leaseDays * 86400)
      yield `${place}.maxTtlSeconds: is longer than settings.limits.leaseDays (${limits.leaseDays} days), which no lease may pass`
    for (const pattern of one.match.identities ?? []) {
      const fault = patternFault(pattern)
      if (fault !== undefined) yield `${place}.match.identities: "${pattern}" matches nothing: ${fault}`
    }
  }
  for (const pattern of rules.consumer?.patterns ?? []) {
    const fault = patternFault(pattern)
    if (fault !== undefined) yield `settings.discipline.rules.consumer.patterns: "${pattern}" matches nothing: ${fault}`
  }
  for (const [place, patterns] of [
    ['consumer.labels', rules.consumer?.labels ?? []],
    ['purpose.placeholders', rules.purpose?.placeholders ?? []],
  ] as const)
    for (const pattern of patterns)
      if (/^\*+$/.test(pattern)) yield `settings.discipline.rules.${place}: "${pattern}" would refuse every lease`
}

/** Whether everything that fits the later class fits the earlier one; certain where it says so, silent where it is not. */
function takesAllOf(earlier: DisciplineClass['match'], later: DisciplineClass['match']): boolean {
  const within = (
    wide: readonly string[] | undefined,
    narrow: readonly string[] | undefined,
    fits: (one: string, other: string) => boolean,
  ) => wide === undefined || (narrow?.every((one) => wide.some((other) => fits(other, one))) ?? false)
  const equal = (one: string, other: string) => one === other
  return (
    within(earlier.providers, later.providers, equal) &&
    within(earlier.issuers, later.issuers, equal) &&
    within(earlier.environments, later.environments, equal) &&
    // Two kinds are all there are.
    (new Set(earlier.kinds).size === 2 || within(earlier.kinds, later.kinds, equal)) &&
    within(earlier.identities, later.identities, covers)
  )
}

/**
 * Whether a pattern surely matches all that another one does. A single star of the other is read as a letter: only a star
 * takes it, and what stands for it holds no `/` either. A double one may hold any, so only `<text>**` surely takes it.
 */
const covers = (wide: string, narrow: string): boolean =>
  wide === narrow || (matches(wide, narrow) && (!narrow.includes('**') || /^[^*]*\*\*$/.test(wide)))
