/** What the command prints: colours and a live line on a terminal, plain lines in a pipe. */
export interface Terminal {
  readonly live: boolean
  title(text: string): void
  line(text?: string): void
  good(text: string): void
  bad(text: string): void
  /** A line that replaces itself on a terminal; in a pipe nothing, what follows it says it all. */
  progress(text: string): void
  dim(text: string): string
  bold(text: string): string
}

export function terminal(stream: NodeJS.WriteStream): Terminal {
  const live = stream.isTTY === true && process.env['TERM'] !== 'dumb'
  const paint = (code: number) => (text: string) =>
    live && process.env['NO_COLOR'] === undefined ? `\u001b[${code}m${text}\u001b[0m` : text
  const [bold, dim, red, green] = [paint(1), paint(2), paint(31), paint(32)]
  let pending = false
  const write = (text: string) => {
    if (pending) stream.write('\r\u001b[2K')
    pending = false
    stream.write(`${text}\n`)
  }
  return {
    live,
    bold,
    dim,
    title: (text) => write(`\n${bold(text)}`),
    line: (text = '') => write(text),
    good: (text) => write(`  ${green('✓')} ${text}`),
    bad: (text) => write(`  ${red('✗')} ${text}`),
    progress: (text) => {
      if (!live) return
      const width = Math.max(20, (stream.columns ?? 80) - 2)
      stream.write(`\r\u001b[2K${text.length > width ? `${text.slice(0, width - 1)}…` : text}`)
      pending = true
    },
  }
}
