import { expect, it } from 'vitest'
import { nameOf, runsIn, runsOf } from '../../lib/model/heads.ts'
import { HOW_TO_INSTALL, LIMITS, missingTools, searchAll } from '../../lib/model/spin.ts'

const missing = missingTools(process.env['PATH'])
const runs = runsOf(import.meta.dirname)
/** As it is by default, and the deviations of what this project added: the rest is for `npm run model`. */
const OURS = ['amendments', 'levers', 'observed', 'parked', 'restoration', 'short-way']
const quick = runs.filter(
  (run) =>
    !run.slow && (run.flags.length === 0 || (OURS.includes(run.model) && run.expected === 'breaks' && run.flags.length === 1)),
)

if (missing.length > 0)
  process.stderr.write(`The models of the protocol are NOT searched: ${missing.join(', ')} not found. ${HOW_TO_INSTALL}\n`)

it.skipIf(missing.length > 0)('the protocol holds in every state of its models, and deviations are found', async () => {
  const results = await searchAll(
    quick,
    LIMITS,
    2,
    () => performance.now(),
    () => {},
  )
  expect(results.filter(({ ok }) => !ok).map(({ run, got, said }) => `${nameOf(run)}: ${got}: ${said}`)).toEqual([])
})

it('each run has a name of its own', () => {
  const names = runs.map(nameOf)
  expect(names.filter((name, index) => names.indexOf(name) !== index)).toEqual([])
})

it.each([
  ['no head', 'init { skip }', 'lists no runs'],
  ['no runs', '/* a model */', 'lists no runs'],
  ['a line that is no run', '/* a\n Runs:\n holds\n breaks -DX\n perhaps -DY\n*/', 'not a run: perhaps -DY'],
  ['no deviation', '/* a\n Runs:\n holds\n*/', 'at least one deviation'],
])('refuses a model with %s', (_, text, said) => {
  expect(() => runsIn('a.pml', text)).toThrow(said)
})

it('says which tool is missing', () => {
  expect(missingTools('/nowhere')).toEqual(['spin', 'gcc'])
  expect(missingTools(undefined)).toEqual(['spin', 'gcc'])
})
