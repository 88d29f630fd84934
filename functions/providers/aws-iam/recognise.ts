import type { Clue } from '../contract.ts'

/** Not in the middle of a longer word, as a secret key may be one; `Credential=AKIA.../date/region` of a signed request counts. */
const ACCESS_KEY = /(?<![A-Za-z0-9_/+])AKIA[A-Z0-9]{12,124}(?![A-Za-z0-9_+])/g
/** `aws:userid` of a role's session, as CloudTrail tells it (`principalId`). */
const SESSION = /(?<![A-Za-z0-9])(AROA[A-Z0-9]{12,124}):([\w+=,.@-]{2,64})(?![\w+=,.@:-])/g
const ASSUMED_ROLE = /(?<=:assumed-role\/)([\w+=,.@-]{1,64})\/([\w+=,.@-]{2,64})(?![\w+=,.@:-])/g

/**
 * An access key by its id, alone or anywhere in what was pasted (a credentials file, environment variables, a signed
 * request); else a role's session as an event of CloudTrail names it. A text that names several is none: each must be
 * reported by itself, so that none is lost in silence. Ids and names are no secrets; nothing else of the text is looked at.
 */
export function recognise(text: string): Clue | undefined {
  const keys = distinct(text.matchAll(ACCESS_KEY))
  const [accessKeyId] = keys.keys()
  if (accessKeyId !== undefined) {
    if (keys.size > 1) return undefined
    return { credential: `access-key:${accessKeyId}`, shown: `access key ${accessKeyId}`, query: { accessKeyId } }
  }
  const sessions = distinct(text.matchAll(SESSION))
  const [session] = sessions.values()
  if (session === undefined || sessions.size > 1) return undefined
  const [roleId, sessionName] = session
  const roles = distinct([...text.matchAll(ASSUMED_ROLE)].filter(([, , named]) => named === sessionName))
  const [role] = roles.values()
  const roleName = roles.size === 1 ? role?.[0] : undefined
  return {
    credential: `role-session:${roleId}:${sessionName}`,
    shown: `role session ${roleName ?? roleId}/${sessionName}`,
    query: { roleId, sessionName, ...(roleName === undefined ? {} : { roleName }) },
  }
}

/** Each matched text once, with its first two groups. */
function distinct(matches: Iterable<RegExpMatchArray>): Map<string, readonly [string, string]> {
  return new Map([...matches].map((match) => [match[0], [match[1] ?? '', match[2] ?? '']]))
}
