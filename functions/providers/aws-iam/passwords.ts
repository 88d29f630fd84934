import type { Answer, Liveness, Restored, Subject } from '../contract.ts'
import type { Account } from './account.ts'
import { doneUnless, READ_BACK_SECONDS } from './account.ts'
import type { LoginProfileTarget } from './definition.ts'
import type { Works } from './holders.ts'
import { sift } from './holders.ts'
import { denyTokens } from './tokens.ts'

/** No session of the console lives longer (IAM User Guide, "How IAM users sign in"). */
const CONSOLE_SECONDS = 12 * 3600
const NONE = 'has no password for the console'

/** Passwords for the console: IAM cannot make one inactive, so the cut deletes it. */
export function passwords(account: Account): Works<LoginProfileTarget> {
  const { iam, where } = account

  /** Those who mean the user and the password that are there; the others have their answer. */
  async function open<Result>(
    userName: string,
    members: readonly Subject<LoginProfileTarget>[],
    gone: (said: string) => Result,
    refused?: (said: string) => Result,
  ) {
    const user = await iam.getUser(userName)
    const bearer = { holder: { kind: 'user', name: userName }, id: user.userId, tags: user.tags } as const
    const { ours, answers } = sift(account, bearer, members, gone)
    const said = refused === undefined || ours.length === 0 ? undefined : await account.protection(bearer)
    const made = await iam.passwordMade(userName)
    const meant = ours.filter(({ lease, target: { createdAt } }) => {
      const another = made !== undefined && createdAt !== undefined && Date.parse(createdAt) !== made.getTime()
      if (said !== undefined && refused !== undefined) answers.set(lease, refused(said))
      else if (another) answers.set(lease, gone(`user ${userName} of ${where} has a later password, of ${made.toISOString()}`))
      return said === undefined && !another
    })
    return { made, meant, answers }
  }

  return {
    async revoke(userName, members, warrant, attempt) {
      const { made, meant, answers } = await open<Answer>(userName, members, absent, irrevocable)
      if (meant.length === 0) return answers
      attempt.wrote ||= made !== undefined
      const deleted = made !== undefined && (await doneUnless('gone', () => iam.deletePassword(userName)))
      const denied = warrant.lane === 'p0' ? await denyTokens(account, userName, warrant, !deleted) : undefined
      const left = deleted && (await iam.passwordMade(userName)) !== undefined
      const sessionsUntil = new Date(account.now() + CONSOLE_SECONDS * 1000).toISOString()
      const note = denied ?? `sessions of the console live up to ${CONSOLE_SECONDS / 3600} h unless the user is contained`
      for (const { lease } of meant) {
        if (left) {
          const said = `the password of user ${userName} is still there`
          answers.set(lease, { status: 'retry', said, effect: 'unknown', afterSeconds: READ_BACK_SECONDS })
        } else if (!deleted) answers.set(lease, absent(`user ${userName} of ${where} ${NONE}; ${note}`))
        else {
          const said = `the password of user ${userName} is deleted; ${note}`
          answers.set(lease, { status: 'revoked', said, ...(denied === undefined ? { sessionsUntil } : {}) })
        }
      }
      return answers
    },

    async verify(userName, members) {
      const { made, meant, answers } = await open(userName, members, (said): Liveness => ({ status: 'dead', said }))
      for (const { lease } of meant) {
        const answer: Liveness =
          made === undefined
            ? { status: 'dead', said: `user ${userName} ${NONE}` }
            : { status: 'alive', said: `user ${userName} has a password, of ${made.toISOString()}` }
        answers.set(lease, answer)
      }
      return answers
    },

    async tidy(userName, members) {
      const { made, meant, answers } = await open<Answer>(userName, members, absent, irrevocable)
      for (const { lease } of meant) {
        answers.set(
          lease,
          made === undefined
            ? absent(`the cut left nothing: user ${userName} ${NONE}`)
            : irrevocable(`user ${userName} has a password again: not deleted`),
        )
      }
      return answers
    },

    async restore(userName, members) {
      const { made, meant, answers } = await open<Restored>(userName, members, gone, (said) => ({ status: 'refused', said }))
      for (const { lease } of meant) {
        answers.set(
          lease,
          made === undefined
            ? gone(`the password of user ${userName} is deleted: it cannot be restored`)
            : { status: 'restored', said: `user ${userName} has a password: there is nothing to undo` },
        )
      }
      return answers
    },
  }
}

const absent = (said: string): Answer => ({ status: 'absent', said })
const irrevocable = (said: string): Answer => ({ status: 'irrevocable', said })
const gone = (said: string): Restored => ({ status: 'gone', said })
