import type { Issued, Tools } from '../contract.ts'
import { IssuerError } from '../contract.ts'
import { GETUSER, remember } from './cuts.ts'
import type { Grants, Settings, Target } from './definition.ts'
import { tagOf } from './names.ts'
import type { Looked } from './nodes.ts'
import type { Command, Connection } from './replies.ts'
import { Failure, good, issuerError, userIn } from './replies.ts'

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex')

type Outcome = Issued<Target, never, never>

/**
 * Makes a user of a name that nobody bears, with one password and one tag, at every server. The tag alone is put there
 * first: it makes a user that is off and may do nothing, and whoever puts it second sees that somebody was there before
 * and takes his own off again. Password and rules follow on the condition of the tag.
 */
export async function issueAt(
  looked: readonly Looked[],
  name: string,
  { rules }: Grants,
  keep: Settings['keep'],
  random: NonNullable<Tools['random']>,
): Promise<Outcome> {
  const taken: Outcome = { status: 'refused', said: 'the name is taken' }
  if (looked.some(({ replies }) => userIn(replies[0]) !== undefined)) return taken
  const secret = hex(random(32))
  const tag = tagOf(hex(random(24)))
  const mine: Looked[] = []
  try {
    for (const one of looked) {
      if (!(await claim(one.connection, name, tag))) {
        await drop(mine, name)
        return taken
      }
      mine.push(one)
    }
    const make: Command = ['ACL', 'SETUSER', name, `!${tag}`, `#${tag}`, ...rules, `>${secret}`, 'on']
    const replies = await Promise.all(mine.map(async ({ connection }) => (await connection.exchange([make]))[0]))
    const failure = replies.find((reply) => reply instanceof Failure)
    if (failure !== undefined) {
      await drop(mine, name)
      // The server's own words quote what it was given.
      if (/^ERR Error in ACL SETUSER modifier/.test(failure.text))
        return { status: 'refused', said: 'the server does not take these rules: nothing was made' }
      throw issuerError(failure)
    }
    for (const { connection } of mine) {
      const forgets = await remember(connection, keep)
      if (forgets === undefined) continue
      await drop(mine, name)
      return { status: 'retry', said: forgets, effect: 'none', afterSeconds: 30 }
    }
  } catch (error) {
    if (mine.length === 0 || !(error instanceof IssuerError)) throw error
    return { status: 'retry', said: `${error.message}: the user may have been made`, effect: 'unknown' }
  }
  const credential = { user: name, password: secret }
  return {
    status: 'issued',
    said: `user made at ${mine.length} of ${looked.length} servers`,
    target: { user: name, tag },
    credential,
  }
}

/** Puts the tag on a user that was not there; whether it was not. */
async function claim(connection: Connection, name: string, tag: string): Promise<boolean> {
  const replies = await connection.exchange([['MULTI'], GETUSER(name), ['ACL', 'SETUSER', name, `#${tag}`], ['EXEC']])
  for (const queued of replies) good(queued)
  const results = replies.at(-1)
  if (!Array.isArray(results)) return false
  const before = userIn(results[0])
  good(results[1])
  if (before === undefined) return true
  // To be given a hash ends `nopass`.
  const [undone] = await connection.exchange([['ACL', 'SETUSER', name, `!${tag}`, ...(before.nopass ? ['nopass'] : [])]])
  good(undone)
  return false
}

/** What was claimed is nobody else's: whoever looked after it saw the name taken. */
async function drop(mine: readonly Looked[], name: string): Promise<void> {
  for (const { connection } of mine) {
    const [reply] = await connection.exchange([['ACL', 'DELUSER', name]])
    good(reply)
  }
}
