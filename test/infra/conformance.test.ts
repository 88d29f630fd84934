import { existsSync, readFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { describe, expect, it } from 'vitest'
import { catalog } from '../../functions/providers/catalog.ts'
import { GROUPS, PROPERTIES } from '../../lib/conformance/properties.ts'
import type { Results, Run } from '../../lib/conformance/results.ts'
import { merged, readResults } from '../../lib/conformance/results.ts'
import { groupOf, screen, short, shownOf, whole } from '../../lib/conformance/table.ts'
import { fillIn } from '../../lib/markdown.ts'

const ROOT = resolve(import.meta.dirname, '../..')
const providers = Object.keys(catalog).toSorted()

describe('the tables of providers', () => {
  const kept = readResults(join(ROOT, 'docs/conformance.json'))

  it('name every provider, each shown against its fake or a real server, and nothing of them failed', () => {
    const readme = readFileSync(join(ROOT, 'README.md'), 'utf8')
    for (const name of providers) {
      expect(readme, `npm run conformance -- --write: ${name} is not in the table`).toContain(`| [${name}] `)
      expect(kept?.runs.filter((run) => run.provider === name).length ?? 0, `${name} was not shown`).toBeGreaterThan(0)
    }
    expect(kept?.runs.flatMap(({ failed }) => failed)).toEqual([])
    const named = [...readme.matchAll(/\[[a-z0-9-]+\]\(functions\/providers\/([a-z0-9-]+)\/README\.md\)/g)].map(
      ([, name]) => name,
    )
    for (const name of named) expect(existsSync(join(ROOT, `functions/providers/${name}/README.md`)), name).toBe(true)
  })

  it('are those of docs/conformance.json', () => {
    if (kept === undefined) throw new Error('docs/conformance.json is not there')
    const fresh = (file: string, texts: Readonly<Record<string, string>>) => {
      const text = readFileSync(join(ROOT, file), 'utf8')
      expect(text === fillIn(text, texts), `${file}: npm run conformance -- --table --write`).toBe(true)
    }
    fresh('README.md', { conformance: short(kept, providers) })
    fresh('docs/conformance.md', whole(kept, providers))
  })
})

describe('a table of results', () => {
  const run = (about: Partial<Run>): Run => ({
    ...{ provider: 'one', against: 'real', counterpart: 'Server 1.2', runs: 'always', lacks: {}, date: '2026-01-01' },
    ...{ passed: [], failed: [], skipped: [] },
    ...about,
  })
  const results = (...runs: Run[]): Results => ({ date: '2026-01-02', node: 'v24', runs, own: {} })

  it('believes the real server before the fake, and a failure before either', () => {
    const fake = run({ against: 'fake', passed: ['kills', 'throttled', 'again', 'down'] })
    const all = results(run({ passed: ['kills', 'again'], skipped: ['down'] }), run({ title: 'two', failed: ['again'] }), fake)
    const shown = (id: (typeof PROPERTIES)[number]['id']) => shownOf(all, 'one', id)
    expect([shown('kills'), shown('throttled'), shown('again'), shown('down'), shown('issues')]).toEqual([
      ...['pass', 'fake only', 'FAIL', 'skip', 'n/a'],
    ])
    expect(shownOf(all, 'nobody', 'kills')).toBe('none')
    expect([groupOf(all, 'one', 'faults'), groupOf(all, 'one', 'again'), groupOf(all, 'one', 'issue')]).toEqual([
      ...['skip', 'FAIL', 'n/a'],
    ])
    expect(groupOf(results(run({ passed: ['down'] }), fake), 'one', 'faults')).toBe('pass*')
  })

  it('keeps what was not run now with its own date: the long run, a missing server, other providers', () => {
    const before = results(
      run({ counterpart: 'Server 1.1', passed: ['kills'] }),
      run({ counterpart: 'Long 9', runs: 'long', passed: ['kills'] }),
      run({ provider: 'two', passed: ['kills'] }),
      run({ provider: 'gone', passed: ['kills'] }),
    )
    const now = results(
      run({ date: '2026-01-02', passed: ['kills', 'again'] }),
      run({ date: '2026-01-02', against: 'fake', passed: ['kills'] }),
    )
    const all = merged(before, now, ['one', 'two'])
    expect(all.runs.map(({ counterpart, against, date }) => `${counterpart} ${against} ${date}`).toSorted()).toEqual([
      ...['Long 9 real 2026-01-01', 'Server 1.2 fake 2026-01-02', 'Server 1.2 real 2026-01-01', 'Server 1.2 real 2026-01-02'],
    ])
    const missing = results(run({ date: '2026-01-03', missing: 'no server', skipped: ['kills'] }))
    expect(merged(before, missing, ['one']).runs.find(({ runs }) => runs === 'always')).toMatchObject({ passed: ['kills'] })
    expect(merged(undefined, missing, ['one']).runs).toHaveLength(1)
  })

  it('fits into a terminal, with every property', () => {
    const text = screen(
      results(run({})),
      ['one', 'aws-secretsmanager', 'postgresql', 'rabbitmq', 'kubernetes', 'x509'],
      100,
      (of) => of,
    )
    for (const line of text.split('\n')) expect(line.length, line).toBeLessThanOrEqual(100)
    for (const { id } of PROPERTIES) expect(text).toContain(id)
    expect(new Set(PROPERTIES.map(({ group }) => group))).toEqual(new Set(Object.keys(GROUPS)))
  })
})
