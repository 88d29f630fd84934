import { registerHooks } from 'node:module'
import type { Mutant } from './mutants.ts'
import { mutate } from './mutants.ts'

/** The repository's root, with a slash at its end. */
export const ROOT = new URL('../../', import.meta.url)

/**
 * Makes the modules that are loaded from now on those of a deliberate bug: its texts are replaced as they are read, in
 * this process alone. The product has no switch for it. Whatever was loaded before stays as it is, so this comes first in
 * a process of its own, and everything else is imported dynamically.
 *
 * @throws where a text is not there, or a file that is to be changed was never loaded (`loaded()` tells)
 */
export function mutated(mutant: Mutant): { loaded(): boolean } {
  const files = new Map<string, Mutant['edits'][number][]>()
  for (const edit of mutant.edits) {
    const url = new URL(edit.file, ROOT).href
    files.set(url, [...(files.get(url) ?? []), edit])
  }
  const seen = new Set<string>()
  registerHooks({
    load(url, context, next) {
      const result = next(url, context)
      const edits = files.get(url)
      if (edits === undefined) return result
      if (result.source === undefined || result.source === null) throw new Error(`${url} has no source to be changed`)
      seen.add(url)
      const text = typeof result.source === 'string' ? result.source : Buffer.from(result.source as Uint8Array).toString('utf8')
      return { ...result, source: mutate(text, edits) }
    },
  })
  return { loaded: () => seen.size === files.size }
}
