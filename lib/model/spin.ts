import { execFile } from 'node:child_process'
import { copyFileSync, existsSync, mkdtempSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { delimiter, join } from 'node:path'
import type { Run } from './heads.ts'

/** What a search said. `incomplete`: it was not searched to its end; `invalid`: it could not be compiled. */
export type Verdict = 'holds' | 'breaks' | 'incomplete' | 'invalid'

export interface Searched {
  readonly run: Run
  readonly got: Verdict
  /** It came out as expected. */
  readonly ok: boolean
  readonly states: number
  readonly seconds: number
  readonly megabytes: number
  /** The assertion that is violated, or why there is no result. */
  readonly said: string
  /** What the model's processes did, line by line, up to the violation. */
  readonly trace: readonly string[]
}

export interface Limits {
  readonly seconds: number
  readonly megabytes: number
  /** Breadth first: the counterexample is a shortest one. It takes more memory. */
  readonly shortest: boolean
}

export const LIMITS: Limits = { seconds: 120, megabytes: 2500, shortest: false }

const TOOLS = ['spin', 'gcc']
/** Steps of one path at most. */
const DEPTH = 200_000

/** Those of the tools that are not in the path. */
export const missingTools = (path: string | undefined): string[] =>
  TOOLS.filter((tool) => !(path ?? '').split(delimiter).some((folder) => folder !== '' && existsSync(join(folder, tool))))

export const HOW_TO_INSTALL =
  'Debian and Ubuntu: apt-get install spin gcc. macOS: brew install spin. Source: https://spinroot.com'

interface Done {
  readonly code: number | undefined
  readonly text: string
  readonly timedOut: boolean
}

/** A text above this length is cut off: a trace of a model that runs in circles. */
const MOST_BYTES = 64 * 1024 * 1024

const call = (tool: string, args: readonly string[], folder: string, seconds: number): Promise<Done> =>
  new Promise((resolve) => {
    execFile(
      tool,
      [...args],
      { cwd: folder, timeout: seconds * 1000, killSignal: 'SIGKILL', maxBuffer: MOST_BYTES },
      (error, stdout, stderr) => {
        const code = error === null ? 0 : typeof error.code === 'number' ? error.code : undefined
        resolve({ code, text: `${stdout}${stderr}`, timedOut: error?.killed === true })
      },
    )
  })

/**
 * Searches all states that a model can reach: violated assertions, and states in which nothing can go on though it should.
 *
 * @param milliseconds the time, for the seconds that are told
 */
export async function search(run: Run, limits: Limits, milliseconds: () => number): Promise<Searched> {
  const folder = mkdtempSync(join(tmpdir(), 'rescind-model-'))
  const start = milliseconds()
  const result = (got: Verdict, said: string, states = 0, megabytes = 0, trace: readonly string[] = []): Searched => ({
    run,
    got,
    ok: got === run.expected,
    states,
    seconds: (milliseconds() - start) / 1000,
    megabytes,
    said,
    trace,
  })
  try {
    copyFileSync(run.file, join(folder, 'model.pml'))
    const made = await call('spin', [...run.flags, '-a', 'model.pml'], folder, limits.seconds)
    if (made.code !== 0 || !existsSync(join(folder, 'pan.c'))) return result('invalid', firstLine(made.text))
    const compiled = await call(
      'gcc',
      [
        // Compiling takes longer than most searches do.
        run.slow ? '-O2' : '-O0',
        '-w',
        '-DSAFETY',
        limits.shortest ? '-DBFS' : '-DCOLLAPSE',
        '-DVECTORSZ=4096',
        `-DMEMLIM=${limits.megabytes}`,
        ...['-o', 'pan', 'pan.c'],
      ],
      folder,
      limits.seconds,
    )
    if (compiled.code !== 0) return result('invalid', firstLine(compiled.text))
    const searched = await call('./pan', [`-m${DEPTH}`, '-w22'], folder, limits.seconds)
    const { text } = searched
    const states = Number(/^\s*(\S+) states, stored/m.exec(text)?.[1] ?? 0)
    const megabytes = Math.round(Number(/^\s*(\S+)\s+total actual memory usage/m.exec(text)?.[1] ?? 0))
    const errors = /errors: (\d+)/.exec(text)?.[1]
    if (errors !== undefined && errors !== '0') {
      const said = /assertion violated.*|invalid end state.*/.exec(text)?.[0] ?? 'an error'
      return result('breaks', said.replace(/ \(at depth \d+\)/, ''), states, megabytes, await traceOf(run, folder, limits))
    }
    const left = searched.timedOut
      ? `not over after ${limits.seconds} seconds`
      : /max search depth too small|out of memory|reached -DMEMLIM/.exec(text)?.[0]
    if (left !== undefined || errors === undefined) return result('incomplete', left ?? firstLine(text), states, megabytes)
    return result('holds', '', states, megabytes)
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

/** What the model printed on the way to the error: nothing of Spin's own. */
async function traceOf(run: Run, folder: string, { seconds }: Limits): Promise<string[]> {
  const trail = join(folder, 'model.pml.trail')
  if (!existsSync(trail) || statSync(trail).size === 0) return []
  const replayed = await call('spin', [...run.flags, '-t', '-T', 'model.pml'], folder, seconds)
  return replayed.text.split('\n').filter((line) => line.trim() !== '' && !OWN.test(line))
}

const OWN = /^spin: |#processes|^\s*\d+:\s+proc|processes created|^\s+\w+(\[\d+\])?(:\w+)? = |^\s*(timeout|queue \d)|^Never claim/

const firstLine = (text: string): string =>
  text
    .split('\n')
    .find((line) => line.trim() !== '')
    ?.trim() ?? 'nothing was said'

/**
 * Searches so many at a time.
 *
 * @param told called as each one ends, in the order in which they end
 */
export async function searchAll(
  runs: readonly Run[],
  limits: Limits,
  atOnce: number,
  milliseconds: () => number,
  told: (searched: Searched) => void,
): Promise<Searched[]> {
  const results: Searched[] = new Array(runs.length)
  let next = 0
  const worker = async () => {
    for (;;) {
      const index = next
      next += 1
      const run = runs[index]
      if (run === undefined) return
      const searched = await search(run, limits, milliseconds)
      results[index] = searched
      told(searched)
    }
  }
  await Promise.all(Array.from({ length: Math.min(atOnce, runs.length) }, worker))
  return results
}
