import { afterEach, describe, expect, it, vi } from 'vitest'
import { commandLine } from '../../../lib/options.ts'

afterEach(() => vi.restoreAllMocks())

const options = { rounds: { type: 'string' }, quick: { type: 'boolean' } } as const

describe('the options of a command', () => {
  it('are read', () => {
    expect(commandLine({ args: ['--rounds', '3', '--quick'], options, strict: true }).values).toEqual({
      rounds: '3',
      quick: true,
    })
  })

  it.each([[['--sizes']], [['--rounds']], [['--rounds', '-1']], [['--quick=yes']], [['left over']]])(
    'end with code 2 and one line that says why where they are wrong: %j',
    (args) => {
      const said: string[] = []
      vi.spyOn(process.stderr, 'write').mockImplementation((text) => said.push(String(text)) > 0)
      const exit = vi.spyOn(process, 'exit').mockImplementation((code) => {
        throw new Error(`exit ${String(code)}`)
      })
      expect(() => commandLine({ args, options, strict: true })).toThrow('exit 2')
      expect(exit).toHaveBeenCalledOnce()
      expect(said.join('')).toMatch(/^.*'.*\n--help tells the options\n$/)
    },
  )
})
