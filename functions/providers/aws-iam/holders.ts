import type { Answer, Liveness, Restored, Subject, Warrant } from '../contract.ts'
import type { Account, Bearer } from './account.ts'
import { holderName, namesakeOf, ownFault, THROTTLE_SECONDS, throttlingOf } from './account.ts'
import type { Holder, IamFault } from './client.ts'
import type { Target } from './definition.ts'

/** What one write to a user or role may have left behind when a later call fails. */
export interface Attempt {
  wrote: boolean
}

/**
 * What a method does for the leases of one user or role: an answer for each of them, by lease id.
 * @throws IamFault for a user or role that has no answer
 */
export type Work<Kind extends Target, Result> = (
  name: string,
  members: readonly Subject<Kind>[],
  warrant: Warrant,
  attempt: Attempt,
) => Promise<Map<string, Result>>

/** The provider's methods for one kind of target. */
export interface Works<Kind extends Target> {
  readonly revoke: Work<Kind, Answer>
  readonly verify: Work<Kind, Liveness>
  readonly tidy: Work<Kind, Answer>
  readonly restore: Work<Kind, Restored>
}

type Failed<Result> = (fault: IamFault, holder: Holder, where: string, attempt: Attempt) => Result

/** The works of every kind of target. */
export type AllWorks = { readonly [Kind in Target['kind']]: Works<Extract<Target, { readonly kind: Kind }>> }

/** `Map.groupBy`, which Node 20 lacks. */
function groupBy<Member>(members: readonly Member[], name: (member: Member) => string): Map<string, Member[]> {
  const groups = new Map<string, Member[]>()
  for (const member of members) groups.set(name(member), [...(groups.get(name(member)) ?? []), member])
  return groups
}

const holderOf = (target: Target): Holder =>
  'userName' in target ? { kind: 'user', name: target.userName } : { kind: 'role', name: target.roleName }

/** Users, or roles, that are worked on at once: they share nothing, and a call to IAM is mostly waiting. */
const AT_ONCE = 5

/**
 * Works on each user and role of a batch; a fault ends that user's or role's part, not the others'.
 * @throws IssuerRefused, IssuerThrottled or IssuerUnavailable where the trouble is the issuer's
 */
export async function eachHolder<Result>(
  account: Account,
  batch: readonly Subject<Target>[],
  warrant: Warrant,
  works: AllWorks,
  pick: <Kind extends Target>(works: Works<Kind>) => Work<Kind, Result>,
  failed: Failed<Result>,
): Promise<Result[]> {
  await account.caller()
  const answers = new Map<string, Result>()
  let throttled: IamFault | undefined
  async function answer<Kind extends Target>(holder: Holder, members: readonly Subject<Kind>[], work: Work<Kind, Result>) {
    const attempt = { wrote: false }
    try {
      // More calls into a throttled API only make it last longer.
      if (throttled !== undefined) throw throttled
      for (const [lease, said] of await work(holder.name, members, warrant, attempt)) answers.set(lease, said)
    } catch (error) {
      const fault = ownFault(error)
      if (fault.kind === 'throttled') throttled = fault
      for (const { lease } of members) answers.set(lease, failed(fault, holder, account.where, attempt))
    }
  }
  async function ofKind<Kind extends Target>(kind: Kind['kind'], of: Works<Kind>) {
    const members = batch.filter((subject): subject is Subject<Kind> => subject.target.kind === kind)
    const groups = groupBy(members, ({ target }) => holderOf(target).name).entries()
    const failures: unknown[] = []
    const lane = async () => {
      for (const [name, same] of groups) {
        const [first] = same
        // The trouble is the issuer's: nobody goes on.
        if (first === undefined || failures.length > 0) continue
        await answer({ ...holderOf(first.target), name }, same, pick(of)).catch((error: unknown) => failures.push(error))
      }
    }
    // All have ended before the batch has its answer.
    await Promise.all(Array.from({ length: AT_ONCE }, lane))
    if (failures.length > 0) throw failures[0]
  }
  await ofKind('access-key', works['access-key'])
  await ofKind('ssh-key', works['ssh-key'])
  await ofKind('certificate', works.certificate)
  await ofKind('service-credential', works['service-credential'])
  await ofKind('login-profile', works['login-profile'])
  await ofKind('role-session', works['role-session'])
  await ofKind('source-identity', works['source-identity'])
  return batch.map(({ lease, target }) => {
    const found = answers.get(lease)
    if (found === undefined) throw new Error(`no answer for ${target.kind} of lease ${lease}`)
    return found
  })
}

/** What a fault leaves to say of a cut. */
export const failedCut: Failed<Answer> = (fault, holder, where, attempt) => {
  const name = holderName(holder)
  switch (fault.kind) {
    case 'gone':
      return { status: 'absent', said: `${name} is not in ${where} (${fault.awsCode})` }
    case 'throttled':
    case 'busy': {
      const effect = attempt.wrote ? 'unknown' : 'none'
      return {
        status: 'retry',
        said: `${name}: ${fault.awsCode}`,
        afterSeconds: THROTTLE_SECONDS,
        effect,
        ...throttlingOf(fault),
      }
    }
    case 'unmodifiable':
      return { status: 'unsupported', said: `${name} cannot be changed by its account (${fault.awsCode})` }
    default:
      return { status: 'irrevocable', said: `${name}: AWS refuses the request (${fault.awsCode})` }
  }
}

/** What a fault leaves to say of an undoing. */
export const failedRestore: Failed<Restored> = (fault, holder, where, attempt) => {
  const { status, said } = failedCut(fault, holder, where, attempt)
  if (status === 'absent') return { status: 'gone', said }
  if (status !== 'retry') return { status: 'refused', said }
  return { status, said, afterSeconds: THROTTLE_SECONDS, ...throttlingOf(fault) }
}

/** What a fault leaves to say of a look: only a user or role that is gone took its credentials along. */
export const failedLook: Failed<Liveness> = (fault, holder, where) =>
  fault.kind === 'gone'
    ? { status: 'dead', said: `${holderName(holder)} is not in ${where} any more` }
    : {
        status: 'unknown',
        said: `${holderName(holder)}: ${fault.awsCode}`,
        ...(fault.kind === 'throttled' ? { afterSeconds: THROTTLE_SECONDS, ...throttlingOf(fault) } : {}),
      }

/** Those who mean the present bearer of the name. `gone` answers the others: an earlier one died when it was deleted. */
export function sift<Kind extends Target, Result>(
  account: Account,
  bearer: Bearer,
  members: readonly Subject<Kind>[],
  gone: (said: string) => Result,
): { ours: Subject<Kind>[]; answers: Map<string, Result> } {
  const answers = new Map<string, Result>()
  const ours = members.filter(({ lease, target }) => {
    const wanted = ('userName' in target ? target.userId : target.roleId) ?? bearer.id
    if (wanted !== bearer.id) answers.set(lease, gone(namesakeOf(bearer, wanted, account.where)))
    return wanted === bearer.id
  })
  return { ours, answers }
}
