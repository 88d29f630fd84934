import { join, resolve } from 'node:path'
import * as esbuild from 'esbuild'
import { afterAll, describe, expect, it } from 'vitest'
import { entries } from '../../lib/build.ts'
import { madeUp } from './catalog.ts'
import { allowed, functionOf, installation, ofType, synthesise } from './support.ts'

/**
 * A function may do with the table what its own code can do, and nothing else. What is left of the store's code in a
 * function, after all that it never calls is shaken out, tells which of DynamoDB's operations it can reach.
 */

const ROOT = resolve(import.meta.dirname, '../..')
const made = synthesise(installation({ providers: { alpha: {} } }), madeUp)
const { template } = made
const table = ofType(template, 'AWS::DynamoDB::Table').find(([, { Properties }]) => Properties['StreamSpecification'])?.[0] ?? ''

afterAll(() => made.remove())

/** By the names of the port (`store/table.ts`); the adapter that carries them all is left out. */
const SIGNS: readonly (readonly [string, RegExp])[] = [
  ['dynamodb:BatchGetItem', /\.getMany\(/],
  ['dynamodb:Query', /\.query\(/],
  ['dynamodb:BatchWriteItem', /\.putAll\(/],
  ['dynamodb:PutItem', /\bput: /],
  ['dynamodb:UpdateItem', /\bupdate: /],
  ['dynamodb:DeleteItem', /\bdelete: /],
  ['dynamodb:ConditionCheckItem', /\bcheck: /],
  ['due', /index: "due"/],
  ['list', /index: "list"/],
]

async function reachable(contents: string): Promise<string[]> {
  const { outputFiles } = await esbuild.build({
    stdin: { contents, resolveDir: ROOT, loader: 'ts' },
    bundle: true,
    packages: 'external',
    platform: 'node',
    format: 'esm',
    target: 'node24',
    treeShaking: true,
    write: false,
    logLevel: 'silent',
    plugins: [
      {
        name: 'without-the-adapter',
        setup(build) {
          build.onLoad({ filter: /store[\\/]dynamodb\.ts$/ }, () => ({
            contents: 'export const dynamoTable = () => {}',
            loader: 'ts',
          }))
        },
      },
    ],
  })
  const text = outputFiles[0]?.text ?? ''
  return SIGNS.flatMap(([operation, sign]) => (sign.test(text) ? [operation] : []))
}

const granted = (name: string) =>
  allowed(functionOf(template, name).statements).flatMap((right) => {
    const [action = '', resource = ''] = [right.slice(0, right.indexOf(' ')), right.slice(right.indexOf(' ') + 1)]
    const index = /\/index\/(due|list)/.exec(resource)?.[1]
    if (index !== undefined) return [index]
    return resource === table && /^dynamodb:(\w*Item|Query)$/.test(action) ? [action] : []
  })

describe('the rights of a function on the table', () => {
  const stages = entries(ROOT).flatMap(({ name, source }) =>
    'file' in source ? [[name, `export { handler } from ${JSON.stringify(source.file)}`] as const] : [],
  )
  const worker = `import { revokeHandler } from '${join(ROOT, 'functions/revoke/handler.ts')}'\nexport const handler = revokeHandler`
  // The prover writes another table; the preview's table refuses writes in code and by its role, which `stacks.test.ts` sees.
  const others = stages.filter(([name]) => name !== 'prove' && name !== 'plan-preview')

  it.each([...others, ['revoke-alpha', worker] as const])(
    'are what the code of %s can do, no less and no more',
    async (name, contents) => {
      const wanted = ['dynamodb:GetItem', ...(await reachable(contents))]
      expect(granted(name).sort()).toEqual(wanted.sort())
    },
  )
})
