import { spawnSync } from 'node:child_process'
import { cpSync, mkdirSync, mkdtempSync, realpathSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join, relative, resolve } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'

const ROOT = resolve(import.meta.dirname, '../..')

const FORBIDDEN: Readonly<Record<string, string>> = {
  'Date.now()': 'export const at = Date.now()',
  'Date.now as a value': 'export const clock = { now: Date.now }',
  'new Date()': 'export const at = new Date()',
  'an alias of Date': 'export const { now } = Date',
  'performance.now()': 'export const at = performance.now()',
  'Math.random()': 'export const chance = Math.random()',
  'crypto.randomUUID()': 'export const id = crypto.randomUUID()',
  'randomBytes of node:crypto': "import { randomBytes } from 'node:crypto'\n\nexport const key = randomBytes(32)",
  setTimeout: 'export const timer = setTimeout(() => {}, 1)',
  'node:timers/promises': "import { setTimeout } from 'node:timers/promises'\n\nexport const pause = setTimeout",
  'process.env': "export const name = process.env['TABLE_NAME']",
  process: 'export const stop = () => process.exit(1)',
  globalThis: 'export const at = new globalThis.Date()',
}
const HARMLESS: Readonly<Record<string, string>> = {
  'a date of a given moment': 'export const text = (at: number) => new Date(at).toISOString()',
  'reading a date': 'export const at = (text: string) => Date.parse(text)',
  hashing: "import { createHash } from 'node:crypto'\n\nexport const hash = createHash('sha256')",
}
const FLOATING = 'async function later(): Promise<void> {}\n\nexport function now(): void {\n  later()\n}'

/** A house of made-up files under the real configuration: one run of Biome tells which of them it refuses. */
const house = realpathSync(mkdtempSync(join(tmpdir(), 'rescind-lint-')))
let refused: ReadonlySet<string> = new Set()

const fileOf = (folder: string, name: string) => `${folder}/${name.replace(/\W+/g, '-')}.ts`

beforeAll(() => {
  for (const part of ['biome.json', '.gitignore', 'lib/lint']) cpSync(join(ROOT, part), join(house, part), { recursive: true })
  const write = (file: string, text: string) => {
    mkdirSync(dirname(join(house, file)), { recursive: true })
    writeFileSync(join(house, file), `${text}\n`)
  }
  for (const [name, text] of Object.entries({ ...FORBIDDEN, ...HARMLESS })) {
    for (const folder of ['functions/plan', 'functions/providers/alpha', 'functions/runtime', 'lib'])
      write(fileOf(folder, name), text)
  }
  for (const folder of ['functions/plan', 'functions/runtime', 'lib']) write(fileOf(folder, 'floating'), FLOATING)
  const run = spawnSync(join(ROOT, 'node_modules/.bin/biome'), ['lint', '--reporter=github', '--max-diagnostics=none', '.'], {
    cwd: house,
    encoding: 'utf8',
  })
  refused = new Set([...run.stdout.matchAll(/^::error .*?file=([^,]+),/gm)].map(([, file = '']) => relative(house, file)))
})
afterAll(() => rmSync(house, { recursive: true, force: true }))

describe('time, chance and environment are injected', () => {
  it.each(Object.keys(FORBIDDEN))('%s is refused in a stage and in a provider, and left to the runtime', (name) => {
    expect(refused).toContain(fileOf('functions/plan', name))
    expect(refused).toContain(fileOf('functions/providers/alpha', name))
    expect(refused).not.toContain(fileOf('functions/runtime', name))
    expect(refused).not.toContain(fileOf('lib', name))
  })

  it.each(Object.keys(HARMLESS))('%s is nobody’s business', (name) => {
    expect(refused).not.toContain(fileOf('functions/plan', name))
  })

  it('a promise that nobody waits for is refused everywhere', () => {
    for (const folder of ['functions/plan', 'functions/runtime', 'lib']) expect(refused).toContain(fileOf(folder, 'floating'))
  })
})
