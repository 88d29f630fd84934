import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'

const TEMPLATE = join(import.meta.dirname, 'provider-template')
const EXAMPLE = 'example-issuer'
const NAME = /^[a-z][a-z0-9]*(-[a-z0-9]+)*$/
const LONGEST = 40
/** Each folder becomes a variable of the catalog; these cannot be one. */
const RESERVED = new Set(
  'await break case catch class const continue debugger default delete do else enum export extends false finally for function if import in instanceof interface let new null package private protected public return static super switch this throw true try typeof var void while with yield arguments catalog eval implements'.split(
    ' ',
  ),
)

const FILES: readonly (readonly [template: string, place: (name: string) => string])[] = [
  ['definition.ts', (name) => `functions/providers/${name}/definition.ts`],
  ['provider.ts', (name) => `functions/providers/${name}/provider.ts`],
  ['fake.ts', (name) => `functions/providers/${name}/fake.ts`],
  ['README.md', (name) => `functions/providers/${name}/README.md`],
  ['conformance.test.ts', (name) => `test/conformance/${name}.test.ts`],
]

/** Why a provider cannot be called that; `undefined` where it can. */
export function whyNot(name: string, root: string): string | undefined {
  if (!NAME.test(name) || name.length > LONGEST)
    return `a provider is named in small letters, digits and single dashes, a letter first, at most ${LONGEST} characters`
  if (RESERVED.has(name)) return `${name} is a word of the language, or of the catalog`
  const taken = [`functions/providers/${name}`, `functions/providers/${name}.ts`, `test/conformance/${name}.test.ts`]
  const found = taken.find((path) => existsSync(join(root, path)))
  return found === undefined ? undefined : `${found} is there already`
}

/**
 * Makes a provider's folder and its conformance tests, which fail until it is written.
 * @returns paths of what was made, from the root
 * @throws if it cannot be called that; nothing is made then
 */
export function makeProvider(name: string, root: string): string[] {
  const reason = whyNot(name, root)
  if (reason !== undefined) throw new Error(reason)
  return FILES.map(([template, place]) => {
    const path = place(name)
    mkdirSync(dirname(join(root, path)), { recursive: true })
    const text = readFileSync(join(TEMPLATE, template), 'utf8')
    writeFileSync(join(root, path), placed(text, name, path.startsWith('test/')), { flag: 'wx' })
    return path
  })
}

/** The template lies in `lib`, where it is checked with everything else; its imports are those of another place. */
function placed(text: string, name: string, isTest: boolean): string {
  const capitals = name.replace(/(?:^|-)(\w)/g, (_, letter: string) => letter.toUpperCase())
  const moved = isTest
    ? text
        .replaceAll("'./", `'../../functions/providers/${EXAMPLE}/`)
        .replaceAll("'../../test/conformance/suite.ts'", "'./suite.ts'")
    : text.replaceAll("'../../functions/providers/", "'../")
  return moved.replaceAll(EXAMPLE, name).replaceAll('ExampleIssuer', capitals)
}
