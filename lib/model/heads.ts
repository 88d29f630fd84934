import { readdirSync, readFileSync } from 'node:fs'
import { basename, join } from 'node:path'

/** One search of one model: what it is compiled with, and what must come of it. */
export interface Run {
  /** The file's name without its ending. */
  readonly model: string
  readonly file: string
  /** Compiled in, each as `-DNAME` or `-DNAME=1`. */
  readonly flags: readonly string[]
  /** `breaks`: a deviation from the protocol, which must be found. */
  readonly expected: 'holds' | 'breaks'
  /** Takes more than a few seconds: left out of the test command. */
  readonly slow: boolean
  /** What it shows. */
  readonly about: string
}

/** Shown, and found by `--only`. */
export const nameOf = ({ model, flags }: Pick<Run, 'model' | 'flags'>): string =>
  [model, ...flags.map((flag) => flag.slice('-D'.length))].join(' ')

const LINE = /^\s*(holds|breaks)(\s+slow)?((?:\s+-D\w+(?:=\d+)?)*)(?:\s+:\s+(.+))?$/

/**
 * The runs that a model's head lists, in a block that begins with the line `Runs:` and ends with the comment: one a line,
 * `holds` or `breaks`, then `slow` where it is, the flags, and behind a colon what it shows.
 *
 * @throws Error where a line of the block cannot be read, or there is no block
 */
export function runsIn(file: string, text: string): Run[] {
  const model = basename(file, '.pml')
  const head = text.slice(0, text.indexOf('*/'))
  const start = head.search(/^\s*Runs:\s*$/m)
  if (!text.startsWith('/*') || start < 0) throw new Error(`${file}: its head lists no runs`)
  const lines = head
    .slice(start)
    .split('\n')
    .slice(1)
    .filter((line) => line.trim() !== '')
  const runs = lines.map((line): Run => {
    const [, expected, slow, flags, about] = LINE.exec(line) ?? []
    if (expected !== 'holds' && expected !== 'breaks') throw new Error(`${file}: not a run: ${line.trim()}`)
    return {
      model,
      file,
      flags: (flags ?? '').split(/\s+/).filter((flag) => flag !== ''),
      expected,
      slow: slow !== undefined,
      about: about ?? '',
    }
  })
  if (!runs.some((run) => run.expected === 'holds') || !runs.some((run) => run.expected === 'breaks'))
    throw new Error(`${file}: a model shows what holds, and at least one deviation that it finds`)
  return runs
}

/** The runs of all models of a folder, model by model. */
export const runsOf = (folder: string): Run[] =>
  readdirSync(folder)
    .filter((name) => name.endsWith('.pml'))
    .sort()
    .flatMap((name) => runsIn(join(folder, name), readFileSync(join(folder, name), 'utf8')))
