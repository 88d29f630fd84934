import type { ParseArgsConfig } from 'node:util'
import { parseArgs } from 'node:util'

/**
 * The options of a command. Where they are wrong, the command ends with code 2 and a line that says what is wrong, not
 * where in Node it was found.
 */
export function commandLine<const Config extends ParseArgsConfig>(config: Config): ReturnType<typeof parseArgs<Config>> {
  try {
    return parseArgs(config)
  } catch (error) {
    if (!(error instanceof TypeError && 'code' in error && String(error.code).startsWith('ERR_PARSE_ARGS'))) throw error
    process.stderr.write(`${error.message.split('\n')[0]}\n--help tells the options\n`)
    process.exit(2)
  }
}
