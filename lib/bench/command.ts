import { terminal } from '../local/terminal.ts'

/** Into a file, a line so often shows that it lives, in milliseconds. */
const SIGN_OF_LIFE = 10_000
/** No benchmark takes more of anything. */
const MOST = 9_999_999

/** Where a benchmark's command prints what it measured, and what it is at. */
export function benchOutput(stream: NodeJS.WriteStream) {
  const { line, progress, live } = terminal(stream)
  let last = 0
  return {
    print: line,
    progress: (text: string) => {
      if (live) progress(text)
      else if (performance.now() - last > SIGN_OF_LIFE) {
        last = performance.now()
        line(text)
      }
    },
  }
}

/** An option that is a whole number from 1; NaN where it is none, or more than `most`. */
export const wholeOption = (text: string, most = MOST): number =>
  /^\d{1,7}$/.test(text.trim()) && Number(text) >= 1 && Number(text) <= most ? Number(text) : Number.NaN
