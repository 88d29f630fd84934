import { readFileSync } from 'node:fs'
import { join, resolve } from 'node:path'

const MODULES = resolve(import.meta.dirname, '../../../node_modules')

/** The version of a server that npm installed. */
export function packageVersion(name: string): string {
  const { version } = JSON.parse(readFileSync(join(MODULES, name, 'package.json'), 'utf8')) as { version: string }
  return version
}
