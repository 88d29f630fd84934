import type { Login } from '../connection-uri.ts'
import { agreed, urisIn } from '../connection-uri.ts'
import type { Clue } from '../contract.ts'
import { bare } from '../shape.ts'
import { UserName } from './names.ts'

/**
 * An ACL user by a connection string (`redis://user:password@host`, also inside other text), by a line of an ACL file or
 * of `ACL LIST` (`user name on #...`), by the options of redis-cli, or by `acl user <name>` and `redis user <name>`. What
 * stands where a password belongs is never looked at. A text that names several users is none.
 */
export function recognise(text: string): Clue | undefined {
  const login = agreed([...fromUris(text), ...fromCommand(text), ...fromLine(bare(text))])
  if (login === undefined || !UserName.safeParse(login.user).success) return undefined
  const { user, host } = login
  return {
    credential: `user:${user}`,
    shown: host === undefined ? `ACL user ${user}` : `ACL user ${user} at ${host}`,
    query: { ...login },
  }
}

/** Redis documentation, "Redis CLI", and the registrations of `redis` and `rediss` at IANA. */
function fromUris(text: string): Login[] {
  return urisIn(text, /(?:redis|valkey)s?$/i).flatMap(({ userinfo, name, place }): Login[] => {
    // Without a colon some clients take the one word for a user and others for a password.
    if (!userinfo.includes(':') || /[/?#]/.test(userinfo) || name === undefined) return []
    // `redis://:password@host` logs in as the user that every server has.
    return [{ user: name === '' ? 'default' : name, ...place }]
  })
}

function fromCommand(text: string): Login[] {
  if (!/^\s*(?:redis|valkey)-cli\s/.test(text)) return []
  return [...text.matchAll(/\s--user(?:\s+|=)(?:'([^'\s]+)'|"([^"\s\\]+)"|([^\s'"\\]+))(?=\s|$)/g)].map(
    ([, single, double, plain]) => ({ user: single ?? double ?? plain ?? '' }),
  )
}

/** A line of an ACL file may hold many rules; what is longer is none. */
const LONGEST_LINE = 4096

function fromLine(text: string): Login[] {
  if (text.length > LONGEST_LINE) return []
  const [, listed] = /^user ([^ \r\n]+) (?:[^\r\n]* )?(?:on|off)(?: [^\r\n]*)?$/.exec(text) ?? []
  const [, named] = /^(?:acl|redis|valkey) user(?:: ?| )([^\s]+)$/i.exec(text) ?? []
  const user = listed ?? named
  return user === undefined ? [] : [{ user }]
}
