import type { Issued, Tools } from '../contract.ts'
import { IssuerError } from '../contract.ts'
import { look, tagging } from './accounts.ts'
import type { Grants, Target } from './definition.ts'
import { accountName, quoted, roleOf } from './names.ts'
import type { Line } from './server.ts'
import { errno, errnoOf, SqlFailure } from './session.ts'

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex')

type Outcome = Issued<Target, never, never>

/** Upper and lower case, a digit and a sign, for servers that ask for them; the rest is chance. */
const PASSWORD_BEGINS = 'Rs-1'

/**
 * Makes a user of a name that nobody bears, with a tag and privileges. `CREATE USER` fails where the account is there, so
 * two orders at once make one. It is made locked and opened last: what is not finished lets nobody in.
 */
export async function issue(
  line: Line,
  name: string,
  { privileges, host }: Grants,
  random: NonNullable<Tools['random']>,
): Promise<Outcome> {
  const { session } = line
  const [state] = await look(line, [{ lease: 'ordered', target: { user: name } }])
  if (state === undefined || state.accounts.length > 0 || state.refusal !== undefined)
    return { status: 'refused', said: state?.refusal ?? 'the name is taken' }
  let made = false
  const tag = hex(random(12))
  const password = `${PASSWORD_BEGINS}${hex(random(24))}`
  const account = accountName({ user: name, host })
  try {
    await session.query(`CREATE USER ${account} IDENTIFIED BY '${password}' ACCOUNT LOCK`)
    made = true
    await session.query(`CREATE ROLE ${quoted(roleOf(tag))}`)
    await session.query(tagging(tag, account))
    for (const one of privileges) await session.query(`GRANT ${one.allow.join(', ')} ON ${placeOf(one)} TO ${account}`)
    await session.query(`ALTER USER ${account} ACCOUNT UNLOCK`)
    return {
      status: 'issued',
      said: `user made at host ${host}`,
      target: { user: name, tag },
      credential: { user: name, password },
    }
  } catch (error) {
    if (error instanceof IssuerError && made)
      return { status: 'retry', said: `${error.message}: the user may have been made`, effect: 'unknown' }
    const number = errnoOf(error)
    if (made) await session.query(`DROP USER IF EXISTS ${account}`)
    if (made) await session.query(`DROP ROLE IF EXISTS ${quoted(roleOf(tag))}`)
    if (number === errno.cannotUser && !made) return { status: 'refused', said: 'the name is taken' }
    if (made && !errno.tooManyConnections.some((one) => one === number))
      return { status: 'refused', said: `the privileges are not to be had, or not by the admin (${number}): nothing was made` }
    throw new SqlFailure(number)
  }
}

/** In a grant on a database, `_` and `%` stand for other characters, unless a backslash says that they do not. */
function placeOf({ database, table }: Grants['privileges'][number]): string {
  if (table !== undefined) return `${quoted(database)}.${quoted(table)}`
  return `${quoted(database.replaceAll(/[\\_%]/g, '\\$&'))}.*`
}
