import type { Answer, Liveness, Restored, Subject } from '../contract.ts'
import type { Account } from './account.ts'
import { doneUnless, READ_BACK_SECONDS } from './account.ts'
import type { IamUser, KeyStatus, UserCredential } from './client.ts'
import type { AccessKeyTarget, UserCredentialTarget } from './definition.ts'
import type { Works } from './holders.ts'
import { sift } from './holders.ts'
import type { Kind } from './kinds.ts'
import { denyTokens, TOKENS_LIVE, tidyTokens } from './tokens.ts'

/** Rounds of "deactivate, look again" against somebody who reactivates or creates keys meanwhile. */
const ROUNDS = 3

const absent = (said: string): Answer => ({ status: 'absent', said })
const irrevocable = (said: string): Answer => ({ status: 'irrevocable', said })
const gone = (said: string): Restored => ({ status: 'gone', said })
const refused = (said: string): Restored => ({ status: 'refused', said })

/** Access keys of users, and what else of theirs has a status: made inactive, deleted after the soak time. */
export function keysOf<Target extends AccessKeyTarget | UserCredentialTarget>(
  account: Account,
  kind: Kind<Target>,
): Works<Target> {
  const { iam, names, where } = account
  const { word, idOf } = kind

  const statuses = async (userName: string) =>
    new Map((await kind.list(userName)).map(({ id, status }): [string, KeyStatus] => [id, status]))

  /** The user and its keys as they are, and those of the leases that may be acted on; the others have their answer. */
  async function open<Result>(
    userName: string,
    members: readonly Subject<Target>[],
    gone: (said: string) => Result,
    refused: (said: string) => Result,
  ) {
    const user = await iam.getUser(userName)
    const bearer = { holder: { kind: 'user', name: userName }, id: user.userId, tags: user.tags } as const
    const { ours, answers } = sift(account, bearer, members, gone)
    const none = new Map<string, KeyStatus>()
    if (ours.length === 0) return { user, ours, answers, keys: none }
    const said = await account.protection(bearer)
    if (said === undefined) return { user, ours, answers, keys: await statuses(userName) }
    for (const { lease } of ours) answers.set(lease, refused(said))
    return { user, ours: [], answers, keys: none }
  }

  /** What a key's state before the cut makes of the cut, and whether this cut is why the key is inactive. */
  function judge(user: IamUser, userName: string, accessKeyId: string, before: KeyStatus | undefined): [Answer, boolean] {
    if (before === undefined) return [absent(`user ${userName} of ${where} has no ${word} ${accessKeyId}`), false]
    if (before === 'Inactive' && user.tags.has(names.revokedTag(accessKeyId))) {
      return [absent(`${word} ${accessKeyId} was cut before: listed Inactive`), false]
    }
    if (before === 'Inactive' && names.containedTags(user, accessKeyId).length === 0) {
      return [absent(`${word} ${accessKeyId} was Inactive before we came`), false]
    }
    return [{ status: 'revoked', said: `${word} ${accessKeyId} is Inactive` }, true]
  }

  /**
   * Marks the keys, so that a release leaves them inactive and a restoration knows them as ours. Where no tag fits, a
   * release loses sight of them instead: false.
   */
  async function mark(user: IamUser, userName: string, cut: readonly string[], value: string): Promise<boolean> {
    if (cut.length === 0) return true
    const tags = Object.fromEntries(cut.map((accessKeyId) => [names.revokedTag(accessKeyId), value]))
    if (await doneUnless('full', () => iam.tagUser(userName, tags))) return true
    const marks = cut.flatMap((accessKeyId) => names.containedTags(user, accessKeyId))
    if (marks.length > 0) await iam.untagUser(userName, marks)
    return false
  }

  return {
    async revoke(userName, members, warrant, attempt) {
      const { user, ours, keys, answers } = await open(userName, members, absent, irrevocable)
      if (ours.length === 0) return answers
      const wanted = [...new Set(ours.map(({ target }) => idOf(target)))]
      const cutBefore = wanted.every(
        (accessKeyId) => keys.get(accessKeyId) === 'Inactive' && user.tags.get(names.revokedTag(accessKeyId)) === warrant.case,
      )
      const judged = new Map(
        wanted.map((accessKeyId) => [accessKeyId, judge(user, userName, accessKeyId, keys.get(accessKeyId))]),
      )
      const cut = wanted.filter((accessKeyId) => judged.get(accessKeyId)?.[1] === true)
      attempt.wrote ||= cut.length > 0
      // The mark comes before the cut, so that no crash leaves a key inactive that a restoration takes for somebody
      // else's work; but whatever is wrong with the mark, the cut does not wait for it.
      const marked = await settled(mark(user, userName, cut, warrant.case))
      for (const accessKeyId of cut) {
        if (keys.get(accessKeyId) !== 'Active' || (await setKey(kind, userName, accessKeyId, 'Inactive'))) continue
        // Somebody deleted it a moment ago: that says nothing about the user's other keys.
        judged.set(accessKeyId, judge(user, userName, accessKeyId, undefined))
      }
      // Also for a key that is gone: its tokens may not be.
      const notes: string[] = []
      if (kind.hasTokens)
        notes.push(warrant.lane === 'p0' ? await denyTokens(account, userName, warrant, cutBefore) : TOKENS_LIVE)
      if ('fault' in marked) throw marked.fault
      if (!marked.value) notes.push('no room for a tag: to be restored by hand')

      // The last look sees a release that passed in between.
      const { left } = cut.length === 0 ? { left: [] } : await deactivate(kind, userName, (id) => cut.includes(id))
      for (const { lease, target } of ours) {
        const accessKeyId = idOf(target)
        const [answer] = judged.get(accessKeyId) ?? []
        if (left.some(({ id }) => id === accessKeyId)) {
          const said = `${word} ${accessKeyId} is still listed Active`
          answers.set(lease, { status: 'retry', said, afterSeconds: READ_BACK_SECONDS, effect: 'unknown' })
        } else if (answer !== undefined) {
          answers.set(lease, { ...answer, said: [answer.said, ...notes].join('; ') })
        }
      }
      return answers
    },

    async verify(userName, members) {
      const user = await iam.getUser(userName)
      const bearer = { holder: { kind: 'user', name: userName }, id: user.userId, tags: user.tags } as const
      const { ours, answers } = sift(account, bearer, members, (said): Liveness => ({ status: 'dead', said }))
      const keys = await statuses(userName)
      for (const { lease, target } of ours) {
        const status = keys.get(idOf(target))
        const said = status === undefined ? 'not listed any more' : `listed ${status}`
        answers.set(lease, { status: status === 'Active' ? 'alive' : 'dead', said: `${word} ${idOf(target)} is ${said}` })
      }
      return answers
    },

    async tidy(userName, members, _warrant, attempt) {
      const { user, ours, keys, answers } = await open(userName, members, absent, irrevocable)
      if (ours.length === 0) return answers
      const marks = new Set<string>()
      for (const { lease, target } of ours) {
        const accessKeyId = idOf(target)
        const status = keys.get(accessKeyId)
        const revoked = [names.revokedTag(accessKeyId)].filter((tag) => user.tags.has(tag))
        const contained = names.containedTags(user, accessKeyId)
        if (status === 'Active') {
          answers.set(lease, { status: 'irrevocable', said: `${word} ${accessKeyId} is Active again: not deleted` })
          continue
        }
        // Its cut was undone, else it had our mark or none at all.
        if (status === 'Inactive' && contained.length > 0 && revoked.length === 0) {
          answers.set(lease, { status: 'irrevocable', said: `only a containment holds ${word} ${accessKeyId}: not deleted` })
          continue
        }
        attempt.wrote ||= status === 'Inactive'
        const deleted = status === 'Inactive' && (await doneUnless('gone', () => kind.delete(userName, accessKeyId)))
        // Another lease of the same key finds it deleted.
        keys.delete(accessKeyId)
        for (const tag of [...revoked, ...contained]) marks.add(tag)
        answers.set(
          lease,
          deleted
            ? { status: 'revoked', said: `${word} ${accessKeyId} is deleted` }
            : { status: 'absent', said: `${word} ${accessKeyId} was deleted before` },
        )
      }
      if (marks.size > 0) await iam.untagUser(userName, [...marks])
      if (kind.hasTokens) await tidyTokens(account, userName)
      return answers
    },

    async restore(userName, members, _warrant, attempt) {
      const { user, ours, keys, answers } = await open(userName, members, gone, refused)
      for (const { lease, target } of ours) {
        const accessKeyId = idOf(target)
        const revoked = names.revokedTag(accessKeyId)
        const status = keys.get(accessKeyId)
        if (status === undefined) {
          answers.set(lease, gone(`${word} ${accessKeyId} is deleted: it cannot be restored`))
          continue
        }
        const cut = user.tags.get(revoked)
        const held = names.containedTags(user, accessKeyId).length > 0
        if (status === 'Inactive' && !held && cut === undefined) {
          answers.set(lease, refused(`${word} ${accessKeyId} is Inactive, and no mark says that we cut it: left as it is`))
          continue
        }
        // A containment goes on without the mark: its release, which passes over marked keys, now reactivates this one.
        if (held) {
          attempt.wrote ||= cut !== undefined
          if (cut !== undefined) await iam.untagUser(userName, [revoked])
          const said = `nothing but a containment holds ${word} ${accessKeyId} Inactive: it works when that is released`
          answers.set(lease, { status: 'restored', said })
          continue
        }
        if (status === 'Inactive') {
          attempt.wrote = true
          // Its mark goes last: where this is broken off between the two, the next try finds it.
          if (!(await setKey(kind, userName, accessKeyId, 'Active'))) {
            answers.set(lease, gone(`${word} ${accessKeyId} is deleted: it cannot be restored`))
            continue
          }
        }
        if (cut !== undefined) await iam.untagUser(userName, [revoked])
        const said = status === 'Active' ? 'is Active: there is nothing to undo' : 'is restored: Active'
        answers.set(lease, { status: 'restored', said: `${word} ${accessKeyId} ${said}` })
      }
      return answers
    },
  }
}

/** What a promise comes to, without its throw. */
async function settled<Value>(promise: Promise<Value>): Promise<{ readonly value: Value } | { readonly fault: unknown }> {
  try {
    return { value: await promise }
  } catch (fault) {
    return { fault }
  }
}

/**
 * False where there is no such key (any more).
 * @throws IamFault
 */
export const setKey = (kind: Kind<never>, userName: string, id: string, status: KeyStatus): Promise<boolean> =>
  doneUnless('gone', () => kind.set(userName, id, status))

/**
 * Deactivates what `concerns` names and is listed Active, until nothing is, for a few rounds.
 * @param before is shown what is listed, each time ahead of a deactivation
 * @returns how many the user has, and those that are still Active
 * @throws IamFault
 */
export async function deactivate(
  kind: Kind<never>,
  userName: string,
  concerns: (id: string) => boolean,
  before: (listed: readonly UserCredential[]) => Promise<void> = async () => undefined,
): Promise<{ count: number; left: readonly UserCredential[] }> {
  for (let round = 0; ; round += 1) {
    const listed = await kind.list(userName)
    const left = listed.filter(({ id, status }) => status === 'Active' && concerns(id))
    await before(listed)
    if (left.length === 0 || round === ROUNDS) return { count: listed.length, left }
    for (const { id } of left) await setKey(kind, userName, id, 'Inactive')
  }
}
