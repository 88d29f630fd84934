import { describe, expect, it } from 'vitest'
import { IssuerRefused } from '../../../functions/providers/contract.ts'
import { jsonLog, OwnError } from '../../../functions/runtime/log.ts'
import { ProblemError } from '../../../functions/runtime/problem-error.ts'
import { testClock } from '../../support/tools.ts'

class OurError extends OwnError {
  override readonly name = 'OurError'
  readonly code = 'our-code'
}

function logged(work: (log: ReturnType<typeof jsonLog>) => void, options: Partial<Parameters<typeof jsonLog>[0]> = {}) {
  const lines: string[] = []
  work(jsonLog({ clock: testClock(), write: (line) => lines.push(line), ...options }))
  return lines.map((line) => JSON.parse(line))
}

describe('lines', () => {
  it('are JSON with time, level, message and allowed fields', () => {
    expect(logged((log) => log.info('chunk done', { case: 'c', count: 3, lane: undefined }), { function: 'plan' })).toEqual([
      { time: '2026-03-01T12:00:00.000Z', level: 'info', message: 'chunk done', function: 'plan', case: 'c', count: 3 },
    ])
  })

  it('leave out other fields, and count them', () => {
    const [line] = logged((log) => log.info('m', { password: 'hunter2', body: '{}', lease: 'l' }))
    expect(line).toMatchObject({ lease: 'l', dropped: 2 })
    expect(JSON.stringify(line)).not.toContain('hunter2')
  })

  it('cut long texts', () => {
    const [line] = logged((log) => log.warn('m', { reason: 'x'.repeat(1000) }))
    expect(line.reason).toHaveLength(257)
  })

  it('below the level are left out', () => {
    expect(
      logged(
        (log) => {
          log.info('a')
          log.warn('b')
          log.error('c')
        },
        { level: 'warn' },
      ).map((line) => line.level),
    ).toEqual(['warn', 'error'])
  })
})

describe('errors', () => {
  const error = (thrown: unknown) =>
    logged((log) => log.error('failed', Object.assign({ lease: 'l' }, { error: thrown })))[0].error

  it('of others are named by class and code, never by message', () => {
    const foreign = Object.assign(new TypeError('password hunter2 refused\n    at hunter2 (/etc/hunter2:1:1)'), { code: '28P01' })
    expect(error(foreign)).toMatchObject({ name: 'TypeError', code: '28P01' })
    expect(JSON.stringify(error(foreign))).not.toContain('hunter2')
  })

  it('of others whose message was changed show no places', () => {
    const foreign = new Error('hunter2')
    // The stack is written when it is first read.
    expect(foreign.stack).toContain('hunter2')
    foreign.message = 'something else'
    expect(JSON.stringify(error(foreign))).not.toContain('hunter2')
    expect(error(foreign)).not.toHaveProperty('at')
  })

  it('say where they were thrown', () => {
    expect(error(new RangeError('x')).at[0]).toContain('log.test.ts')
  })

  it('of our own show their message', () => {
    expect(error(new OurError('nothing there'))).toMatchObject({ name: 'OurError', code: 'our-code', message: 'nothing there' })
    expect(error(new IssuerRefused('login refused'))).toMatchObject({ code: 'issuer-refused', message: 'login refused' })
    expect(error(new ProblemError('fenced'))).toMatchObject({ code: 'fenced' })
  })

  it('show their causes the same way', () => {
    const shown = error(new OurError('outside', { cause: Object.assign(new Error('hunter2'), { code: 'ECONNRESET' }) }))
    expect(shown).toMatchObject({ message: 'outside', cause: { name: 'Error', code: 'ECONNRESET' } })
    expect(JSON.stringify(shown)).not.toContain('hunter2')
  })

  it('may have a name or a code that is none', () => {
    const foreign = Object.assign(new Error('x'), { name: 'a secret with blanks', code: { secret: 1 } })
    expect(error(foreign)).toMatchObject({ name: 'Error' })
    expect(error('hunter2')).toEqual({ name: 'thrown string' })
    expect(error(undefined)).toEqual({ name: 'thrown undefined' })
  })

  it('of AWS show status and request id', () => {
    const foreign = Object.assign(new Error('x'), {
      name: 'ThrottlingException',
      $metadata: { httpStatusCode: 400, requestId: 'r-1' },
    })
    expect(error(foreign)).toMatchObject({ name: 'ThrottlingException', status: 400, requestId: 'r-1' })
  })
})
