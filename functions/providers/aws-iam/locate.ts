import { canonicalIdentity } from '../../domain/identity.ts'
import type { Clue, Located } from '../contract.ts'
import type { Account } from './account.ts'
import { managedByAws, ownFault, THROTTLE_SECONDS, throttlingOf } from './account.ts'
import { classify } from './client.ts'
import type { Lever, Target } from './definition.ts'
import { Target as TargetSchema } from './definition.ts'

type Found = Located<Target, Lever>

/** Finds whose an access key is, or the role of a session, by what `recognise` read. */
export function locator(account: Account): (query: Clue['query']) => Promise<Found> {
  const { iam, where } = account

  async function accessKey(accessKeyId: string): Promise<Found> {
    const userName = await ownerOf(accessKeyId)
    if (typeof userName !== 'string') return userName
    const user = await iam.getUser(userName)
    const key = (await iam.listAccessKeys(userName)).find((listed) => listed.accessKeyId === accessKeyId)
    if (key === undefined) return unknown(`key ${accessKeyId} of user ${userName} of ${where} is deleted`)
    const target = TargetSchema.safeParse({ kind: 'access-key', userName, userId: user.userId, accessKeyId })
    if (!target.success) return unknown(`key ${accessKeyId} of ${where} is not a user's that IAM can cut by name`)
    return {
      status: 'found',
      said: `${where}: user ${userName} (${user.userId}) has key ${accessKeyId}, ${key.status}`,
      target: target.data,
      lever: { kind: 'user', userName, userId: user.userId },
      identity: canonicalIdentity(user.arn),
    }
  }

  /** The user who has the key, or the answer where nobody has it. */
  async function ownerOf(accessKeyId: string): Promise<string | Found> {
    try {
      return (await iam.accessKeyUse(accessKeyId)).userName
    } catch (error) {
      const fault = classify(error)
      if (fault.kind === 'gone') return unknown(`${where} has no key ${accessKeyId}`)
      // Of a key that is not the account's AWS may say that we are not allowed to look, instead of that there is none.
      if (fault.kind !== 'refused') throw fault
      return unknown(
        `AWS does not show ${where} whose key ${accessKeyId} is (${fault.awsCode}): it is another account's, or iam:GetAccessKeyLastUsed is not allowed`,
      )
    }
  }

  async function roleSession({ roleId, roleName, sessionName }: Clue['query']): Promise<Found> {
    if (roleName === undefined) {
      return unknown(`IAM finds no role by its id ${roleId}: report the session's ARN (assumed-role/...) along with it`)
    }
    const role = await iam.getRole(roleName)
    if (role.roleId !== roleId) return unknown(`role ${roleName} of ${where} is ${role.roleId}, not ${roleId}`)
    const target = TargetSchema.safeParse({ kind: 'role-session', roleName, roleId, sessionName })
    if (!target.success) return unknown('this is no name of a role session')
    const managed = managedByAws(roleName, role)
    const longest = role.maxSessionSeconds
    return {
      status: 'found',
      said: managed ?? `${where} has role ${roleName} (${roleId}); whether the session lives, IAM does not tell`,
      target: target.data,
      lever: { kind: 'role', roleName, roleId },
      identity: canonicalIdentity(role.arn),
      ...(longest === undefined ? {} : { expiresAt: new Date(account.now() + longest * 1000).toISOString() }),
    }
  }

  return async (query) => {
    await account.caller()
    try {
      return query.accessKeyId === undefined ? await roleSession(query) : await accessKey(query.accessKeyId)
    } catch (error) {
      const fault = ownFault(error)
      if (fault.kind === 'gone') return unknown(`${where} has no such user or role (${fault.awsCode})`)
      if (fault.kind === 'throttled' || fault.kind === 'busy') {
        return {
          status: 'retry',
          said: `AWS IAM is busy: ${fault.awsCode}`,
          afterSeconds: THROTTLE_SECONDS,
          ...throttlingOf(fault),
        }
      }
      return unknown(`AWS refuses the request (${fault.awsCode})`)
    }
  }
}

const unknown = (said: string): Found => ({ status: 'unknown', said })
