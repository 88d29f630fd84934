import { spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { PROPERTIES } from '../../lib/conformance/properties.ts'
import type { Meta } from '../../lib/conformance/results.ts'
import { LIES } from '../liars/model.ts'

const ROOT = resolve(import.meta.dirname, '../..')

/** A suite that lets a liar pass would be worth nothing: each lie must fail the property that it is about. */
describe('the conformance suite', () => {
  const folder = mkdtempSync(join(tmpdir(), 'rescind-liars-'))
  const states = new Map<string, Map<string, string>>()
  afterAll(() => rmSync(folder, { recursive: true, force: true }))

  beforeAll(() => {
    const report = join(folder, 'report.json')
    const { status, stderr } = spawnSync(
      join(ROOT, 'node_modules/.bin/vitest'),
      ['run', '--config', 'test/liars/vitest.config.ts', `--outputFile=${report}`],
      { cwd: ROOT, encoding: 'utf8' },
    )
    if (status !== 1) throw new Error(`the liars pass, or could not be run: ${stderr}`)
    const { testResults } = JSON.parse(readFileSync(report, 'utf8')) as {
      testResults: { assertionResults: { status: string; meta: { conformance?: Meta } }[] }[]
    }
    for (const { status: state, meta } of testResults.flatMap(({ assertionResults }) => assertionResults)) {
      const { title = '', property } = meta.conformance ?? {}
      if (property === undefined) continue
      const own = states.get(title) ?? new Map<string, string>()
      states.set(title, own.set(property, state))
    }
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
})
