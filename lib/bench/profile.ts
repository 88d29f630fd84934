import { readFileSync } from 'node:fs'
import { Session } from 'node:inspector/promises'
import { SourceMap } from 'node:module'
import { fileURLToPath } from 'node:url'

/** Milliseconds of CPU by function of the product (or `queue`, `adapter`, `node`), then by the part of the code. */
export type Shares = Record<string, Record<string, number>>

interface Frame {
  readonly functionName: string
  readonly url: string
  readonly lineNumber: number
  readonly columnNumber: number
}
interface Node {
  readonly id: number
  readonly callFrame: Frame
  readonly children?: readonly number[]
}
interface Profile {
  readonly nodes: readonly Node[]
  readonly samples?: readonly number[]
  readonly timeDeltas?: readonly number[]
}

/** Samples what this process does, once a millisecond. It costs a few per cent: shares are taken from it, never times. */
export async function startProfile() {
  const session = new Session()
  session.connect()
  await session.post('Profiler.enable')
  await session.post('Profiler.setSamplingInterval', { interval: 1000 })
  await session.post('Profiler.start')
  return {
    /** @param functionOf name of the function whose code lies in a folder */
    async stop(functionOf: (folder: string) => string | undefined): Promise<Shares> {
      const { profile } = await session.post('Profiler.stop')
      session.disconnect()
      return sharesOf(profile as Profile, functionOf)
    },
  }
}

/**
 * A sample belongs to the innermost frame that has a file, and through the bundle's source map to a part of the product:
 * what Node does for it (sockets, JSON, hashing) is its own.
 */
function sharesOf(profile: Profile, functionOf: (folder: string) => string | undefined): Shares {
  const parents = new Map<number, Node>()
  for (const node of profile.nodes) for (const child of node.children ?? []) parents.set(child, node)
  const byId = new Map(profile.nodes.map((node) => [node.id, node]))
  const places = new Map<number, readonly [string, string]>()
  const maps = new Map<string, SourceMap | undefined>()

  function placeOf(node: Node): readonly [string, string] {
    const known = places.get(node.id)
    if (known !== undefined) return known
    const found = own(node) ?? inherited(node)
    places.set(node.id, found)
    return found
  }
  function inherited(node: Node): readonly [string, string] {
    const parent = parents.get(node.id)
    return parent === undefined ? ['node', 'event loop and sockets'] : placeOf(parent)
  }
  function own({ callFrame }: Node): readonly [string, string] | undefined {
    const { url, functionName } = callFrame
    if (functionName === '(garbage collector)') return ['node', 'garbage collection']
    if (functionName === '(idle)') return ['idle', '']
    if (functionName === '(program)') return ['node', 'outside of JavaScript']
    if (!url.startsWith('file:')) return undefined
    const path = fileURLToPath(url.replace(/\?.*$/, ''))
    const folder = path.replace(/\/[^/]*$/, '')
    const name = functionOf(folder)
    if (name !== undefined) return [name, partOf(path, callFrame)]
    if (/node_modules\/(fauxqs|fastify|@fastify|find-my-way|avvio|light-my-request|fast-)/.test(path)) return ['queue', 'fauxqs']
    if (/lib\/local\//.test(path)) return ['adapter', /([^/]+)\.ts$/.exec(path)?.[1] ?? '']
    if (/lib\/bench\//.test(path)) return ['benchmark', '']
    // What a server or a client of the adapter calls.
    return undefined
  }
  function partOf(path: string, { lineNumber, columnNumber }: Frame): string {
    if (!maps.has(path)) maps.set(path, mapOf(path))
    const entry = maps.get(path)?.findEntry(lineNumber, columnNumber)
    const source = entry !== undefined && 'originalSource' in entry ? String(entry.originalSource) : ''
    const stage = /\/functions\/([\w-]+)\//.exec(source)?.[1]
    if (stage !== undefined) return stage
    if (/@smithy|@aws-sdk/.test(source)) return 'AWS SDK'
    if (/node_modules\/(pg|pg-[\w]+)\//.test(source)) return 'PostgreSQL client'
    if (/node_modules\/zod/.test(source)) return 'schemas'
    return 'other'
  }

  const shares: Shares = {}
  for (const [index, sample] of (profile.samples ?? []).entries()) {
    const node = byId.get(sample)
    if (node === undefined) continue
    const [name, part] = placeOf(node)
    if (name === 'idle') continue
    shares[name] ??= {}
    const parts = shares[name]
    parts[part] = (parts[part] ?? 0) + (profile.timeDeltas?.[index] ?? 0) / 1000
  }
  return shares
}

function mapOf(path: string): SourceMap | undefined {
  try {
    return new SourceMap(JSON.parse(readFileSync(`${path}.map`, 'utf8')))
  } catch {
    return undefined
  }
}
