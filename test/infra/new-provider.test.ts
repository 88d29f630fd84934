import { spawnSync } from 'node:child_process'
import { cpSync, existsSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { generate } from '../../lib/generate.ts'
import { makeProvider, whyNot } from '../../lib/new-provider.ts'

const ROOT = resolve(import.meta.dirname, '../..')
const PARTS = [
  ...['functions', 'lib/conformance', 'lib/local/issuers/versions.ts', 'test/conformance/suite', 'test/conformance/suite.ts'],
  ...['test/support/mac.ts', 'vitest.config.ts', 'tsconfig.json', 'package.json'],
]
const NAME = 'acme-vault'

describe('a new provider, in a copy of the repository', () => {
  let copy: string
  let made: string[]
  const run = (program: string, ...args: string[]) =>
    spawnSync(join(ROOT, 'node_modules/.bin', program), args, { cwd: copy, encoding: 'utf8', env: { ...process.env, CI: '' } })

  beforeAll(() => {
    copy = mkdtempSync(join(tmpdir(), 'rescind-new-provider-'))
    for (const part of PARTS) cpSync(join(ROOT, part), join(copy, part), { recursive: true })
    symlinkSync(join(ROOT, 'node_modules'), join(copy, 'node_modules'))
    made = makeProvider(NAME, copy)
  })
  afterAll(() => rmSync(copy, { recursive: true, force: true }))

  it('has every file of a provider, under its own name', () => {
    expect(made).toHaveLength(5)
    for (const path of made) {
      expect(existsSync(join(copy, path)), path).toBe(true)
      expect(readFileSync(join(copy, path), 'utf8')).not.toMatch(/example-?issuer/i)
    }
  })

  it('is found by what lists providers, and type-checks', async () => {
    for (const [path, text] of await generate(copy)) if (path.endsWith('catalog.ts')) writeFileSync(join(copy, path), text)
    expect(readFileSync(join(copy, 'functions/providers/catalog.ts'), 'utf8')).toContain(`'${NAME}': acmeVault`)
    const include = [`functions/providers/${NAME}`, `test/conformance/${NAME}.test.ts`, 'functions/providers/catalog.ts']
    writeFileSync(join(copy, 'tsconfig.one.json'), JSON.stringify({ extends: './tsconfig.json', include }))
    const { stdout, status } = run('tsc', '-p', 'tsconfig.one.json')
    expect(stdout).toBe('')
    expect(status).toBe(0)
  })

  it('fails its conformance tests until it is written', () => {
    const report = join(copy, 'report.json')
    const test = `test/conformance/${NAME}.test.ts`
    const { status } = run('vitest', 'run', '--project', 'conformance', '--reporter=json', `--outputFile=${report}`, test)
    expect(status).toBe(1)
    const { testResults } = JSON.parse(readFileSync(report, 'utf8')) as {
      testResults: { assertionResults: { status: string; fullName: string; failureMessages: string[] }[] }[]
    }
    const all = testResults.flatMap(({ assertionResults }) => assertionResults)
    const real = all.filter(({ fullName }) => !fullName.includes('the fake'))
    expect(real.length).toBeGreaterThan(15)
    expect(new Set(real.map(({ status: state }) => state))).toEqual(new Set(['failed']))
    for (const id of ['kills', 'again', 'full-batch', 'never-existed', 'down', 'other-server', 'admin-refused']) {
      const shown = all.filter(({ fullName }) => fullName.includes(` ${id}: `))
      expect(shown.map(({ status: state }) => state)).toEqual(['failed', 'failed'])
    }
    expect(all.flatMap(({ failureMessages }) => failureMessages).join('\n')).toContain('not written yet')
  })

  it('is not made twice, nor under a name that is taken or cannot be one', () => {
    for (const name of [NAME, 'oauth', 'http', 'Upper', 'two words', '../up', 'a--b', '1st', '', 'x'.repeat(41), 'delete'])
      expect(whyNot(name, copy), name).toBeDefined()
    expect(() => makeProvider('oauth', copy)).toThrow('functions/providers/oauth is there already')
    expect(existsSync(join(copy, 'test/conformance/delete.test.ts'))).toBe(false)
  })
})
