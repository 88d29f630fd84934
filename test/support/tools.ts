import type { Clock, Log, Randomness } from '../../functions/runtime/ports.ts'

/** A clock that stands until it is moved; sleeping moves it and is written down. */
export function testClock(
  start = Date.parse('2026-03-01T12:00:00.000Z'),
): Clock & { advance(milliseconds: number): void; readonly slept: number[] } {
  let now = start
  const slept: number[] = []
  return {
    slept,
    now: () => now,
    sleep: async (milliseconds) => {
      slept.push(milliseconds)
      now += milliseconds
    },
    advance: (milliseconds) => {
      now += milliseconds
    },
  }
}

/** The same sequence for the same seed (mulberry32); strong enough for tests alone. */
export function testRandomness(seed = 1): Randomness {
  let state = seed
  const fraction = () => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
  return { fraction, bytes: (length) => Uint8Array.from({ length }, () => Math.floor(fraction() * 256)) }
}

export interface LoggedLine {
  readonly level: 'info' | 'warn' | 'error'
  readonly message: string
  readonly fields: Readonly<Record<string, unknown>>
}

/** Keeps what is logged. */
export function testLog(): Log & { readonly lines: LoggedLine[] } {
  const lines: LoggedLine[] = []
  const at =
    (level: LoggedLine['level']) =>
    (message: string, fields: Readonly<Record<string, unknown>> = {}) => {
      lines.push({ level, message, fields })
    }
  return { lines, info: at('info'), warn: at('warn'), error: at('error') }
}
