import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join, resolve } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { build, entries, sizeTable } from '../../lib/build.ts'

const root = mkdtempSync(join(tmpdir(), 'rescind-build-'))
afterAll(() => rmSync(root, { recursive: true, force: true }))

for (const [file, text] of Object.entries({
  'functions/intake/http.handler.ts': `export const handler = async () => 'intake over http'`,
  'functions/intake/bus.handler.ts': `export const handler = async () => 'intake from the bus'`,
  'functions/plan/handler.ts': `export const handler = async (): Promise<string> => { throw new TypeError('planned') }`,
  'functions/revoke/handler.ts': `export const revokeHandler = (provider: { name: string }) => async () => provider`,
  'functions/providers/alpha/provider.ts': `export const provider = { name: 'alpha' }`,
  // CommonJS with a built-in and an optional package, as database drivers are.
  'functions/providers/old-style/provider.ts': `import old from './old.cjs'\nexport const provider = old`,
  'functions/providers/old-style/old.cjs': `let native; try { native = require('pg-native') } catch (error) { native = error.code }\nmodule.exports = { name: 'old', host: typeof require('os').hostname, native }`,
  'functions/providers/notes.ts': '',
  'functions/foreign/handler.ts': `import missing from 'some-layer'\nexport const handler = missing`,
})) {
  mkdirSync(dirname(join(root, file)), { recursive: true })
  writeFileSync(join(root, file), text)
}
symlinkSync(resolve(import.meta.dirname, '../../node_modules'), join(root, 'node_modules'))

const NAMES = ['intake-bus', 'intake-http', 'plan', 'revoke-alpha', 'revoke-old-style']
const outdir = join(root, 'dist')
const load = async (name: string): Promise<{ handler(): Promise<unknown> }> => import(join(outdir, name, 'index.mjs'))

describe('the build', () => {
  it('finds a function for each handler, and a worker for each provider instead of the revoke stage', () => {
    expect(entries(root).map(({ name }) => name)).toEqual(['foreign', ...NAMES])
  })

  it('makes modules that export their handler, with a map and a size', async () => {
    const bundles = await build({ outdir, root, only: NAMES })
    expect(bundles.map(({ name }) => name)).toEqual(NAMES)
    for (const { name, file, bytes, zipped } of bundles) {
      expect(file).toBe(join(outdir, name, 'index.mjs'))
      expect(bytes).toBe(readFileSync(file).byteLength)
      expect(zipped).toBeGreaterThan(0)
      expect(existsSync(`${file}.map`)).toBe(true)
    }
    expect(sizeTable(bundles).split('\n')).toHaveLength(1 + NAMES.length)
    await expect((await load('intake-http')).handler()).resolves.toBe('intake over http')
    await expect((await load('revoke-alpha')).handler()).resolves.toEqual({ name: 'alpha' })
  })

  it('carries CommonJS packages, and stubs the optional ones that Lambda lacks', async () => {
    await expect((await load('revoke-old-style')).handler()).resolves.toEqual({
      name: 'old',
      host: 'function',
      native: 'MODULE_NOT_FOUND',
    })
    expect(readFileSync(join(outdir, 'revoke-old-style/index.mjs'), 'utf8')).toContain('createRequire')
    expect(readFileSync(join(outdir, 'revoke-alpha/index.mjs'), 'utf8')).not.toContain('createRequire')
  })

  it('refuses names that do not exist, and imports that Lambda could not resolve', async () => {
    await expect(build({ outdir, root, only: ['plans'] })).rejects.toThrow(
      'no such function: plans; there are: foreign, intake-bus',
    )
    await expect(build({ outdir, root, only: ['foreign'] })).rejects.toThrow(/some-layer/)
  })
})
