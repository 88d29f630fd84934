import { cpSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join, resolve } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { generate, stale } from '../../lib/generate.ts'

const ROOT = resolve(import.meta.dirname, '../..')
const copy = mkdtempSync(join(tmpdir(), 'rescind-generate-'))
afterAll(() => rmSync(copy, { recursive: true, force: true }))

describe('what is generated', () => {
  it('is up to date in the repository', async () => {
    expect(stale(await generate())).toEqual([])
  })

  it('has one schema with a stable id for each contract', async () => {
    const files = await generate()
    const trigger = JSON.parse(files.get('schemas/trigger.json') ?? '{}')
    expect(trigger).toMatchObject({
      $id: 'https://rescind.io/schemas/trigger.json',
      $schema: 'https://json-schema.org/draft/2020-12/schema',
      type: 'object',
    })
    expect(trigger.required).toEqual(['specversion', 'id', 'source', 'type', 'data'])
    const ids = [...files].filter(([path]) => path.startsWith('schemas/')).map(([, text]) => JSON.parse(text).$id)
    expect(new Set(ids).size).toBe(ids.length)
  })

  it('is called stale when a provider is added, a contract changes, or a contract goes', async () => {
    for (const part of ['functions/contracts', 'functions/providers/contract.ts'])
      cpSync(join(ROOT, part), join(copy, part), { recursive: true })
    symlinkSync(join(ROOT, 'node_modules'), join(copy, 'node_modules'))
    const write = (path: string, text: string) => {
      mkdirSync(dirname(join(copy, path)), { recursive: true })
      writeFileSync(join(copy, path), text)
    }
    for (const [path, text] of await generate(copy)) write(path, text)
    expect(stale(await generate(copy), copy)).toEqual([])

    write('functions/providers/new-kind/definition.ts', 'export const definition = {}')
    const added = await generate(copy)
    expect(stale(added, copy)).toEqual(['functions/providers/catalog.ts'])
    expect(added.get('functions/providers/catalog.ts')).toContain("'new-kind': newKind,")

    write('functions/contracts/extra.ts', "import * as z from 'zod/mini'\nexport const ExtraThing = z.string()\n")
    write('schemas/forgotten.json', '{}')
    expect(stale(await generate(copy), copy)).toEqual([
      'functions/providers/catalog.ts',
      'schemas/extra-thing.json',
      'schemas/forgotten.json',
    ])
  })
})
