import { spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { PROPERTIES } from '../../lib/conformance/properties.ts'
import type { Meta } from '../../lib/conformance/results.ts'
import { LIES } from '../liars/model.ts'

const ROOT = resolve(import.meta.dirname, '../..')

const folder = mkdtempSync(join(tmpdir(), 'rescind-liars-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

/** By the title of a run of the suite, the state of each property. */
function runLiars(environment: Readonly<Record<string, string>>, ...filter: string[]): Map<string, Map<string, string>> {
  const report = join(folder, 'report.json')
  const { status, stderr } = spawnSync(
    join(ROOT, 'node_modules/.bin/vitest'),
    ['run', '--config', 'test/liars/vitest.config.ts', `--outputFile=${report}`, ...filter],
    { cwd: ROOT, encoding: 'utf8', env: { ...process.env, CI: '', RESCIND_REQUIRE_SERVERS: '', ...environment } },
  )
  if (status !== 1) throw new Error(`the liars pass, or could not be run: ${stderr}`)
  expect(stderr).toContain('NOT shown against a server that is not here: nobody installed it')
  const { testResults } = JSON.parse(readFileSync(report, 'utf8')) as {
    testResults: { assertionResults: { status: string; meta: { conformance?: Meta } }[] }[]
  }
  const states = new Map<string, Map<string, string>>()
  for (const { status: state, meta } of testResults.flatMap(({ assertionResults }) => assertionResults)) {
    const { title = '', property } = meta.conformance ?? {}
    if (property === undefined) continue
    const own = states.get(title) ?? new Map<string, string>()
    states.set(title, own.set(property, state))
  }
  return states
}

const statesOf = (states: ReadonlyMap<string, ReadonlyMap<string, string>>, title: string) => [
  ...new Set(states.get(title)?.values()),
]

/** A suite that lets a liar pass would be worth nothing: each lie must fail the property that it is about. */
describe('the conformance suite', () => {
  let states = new Map<string, Map<string, string>>()
  beforeAll(() => {
    states = runLiars({})
  }, 60_000)

  it('passes an honest provider that can do everything', () => {
    const honest = states.get('honest') ?? new Map<string, string>()
    expect([...honest.keys()].toSorted()).toEqual(PROPERTIES.map(({ id }) => id as string).toSorted())
    expect([...honest].filter(([, state]) => state !== 'passed')).toEqual([])
  })

  it.each(Object.entries(LIES))('fails one that %s', (lie, property) => {
    expect(states.get(lie)?.get(property)).toBe('failed')
  })

  it('has a liar for each property that is about what a provider does', () => {
    const lied = new Set<string>(Object.values(LIES))
    // The schemas are the definition's, not the provider's.
    expect(PROPERTIES.map(({ id }) => id as string).filter((id) => !lied.has(id))).toEqual(['schemas'])
  })

  it('skips a server that is missing, but fails where the machine must have it, unless it is one of the long run', () => {
    expect([statesOf(states, 'missing always'), statesOf(states, 'missing long')]).toEqual([['skipped'], ['skipped']])
    for (const environment of [{ CI: 'true' }, { RESCIND_REQUIRE_SERVERS: '1', CI: 'false' }]) {
      const there = runLiars(environment, '-t', 'missing')
      expect([statesOf(there, 'missing always'), statesOf(there, 'missing long')]).toEqual([['failed'], ['skipped']])
    }
  })
})
