import { LANES } from '../../contracts/primitives.ts'
import type { Answer, Liveness, Subject, Warrant } from '../contract.ts'
import type { Account } from './account.ts'
import { managedByAws, READ_BACK_SECONDS } from './account.ts'
import type { Holder } from './client.ts'
import type { RoleSessionTarget } from './definition.ts'
import { SESSION_NAME } from './definition.ts'
import type { Attempt, Works } from './holders.ts'
import { sift } from './holders.ts'
import {
  covers,
  isEmpty,
  LONGEST_TOKEN_SECONDS,
  NO_DENIES,
  parseDenies,
  printDenies,
  printSecond,
  prune,
  secondFrom,
} from './policy.ts'
import type { Cut } from './room.ts'
import { writeDenies } from './room.ts'

/** How far a registrar's clock may be ahead before its `issuedBefore` is not believed. */
const CLOCK_SKEW_SECONDS = 300

type Members = readonly Subject<RoleSessionTarget>[]

/** Sessions of roles: denied by `aws:userid` and the time of issue, in an inline policy of the role. */
export function roleSessions(account: Account): Works<RoleSessionTarget> {
  const { iam, names, now, nowSecond } = account

  /** When the session's token had been issued. A time that has not come yet is not believed: a deny up to it would hit future sessions. */
  function issuedBefore(target: RoleSessionTarget, cut: number): number | undefined {
    const issued = target.issuedBefore === undefined ? undefined : Date.parse(target.issuedBefore)
    return issued !== undefined && issued <= cut + CLOCK_SKEW_SECONDS * 1000 ? issued : undefined
  }

  /** The second before which this session's tokens are to be dead, at a cut made now. */
  function cutOff(target: RoleSessionTarget, warrant: Warrant): number {
    const cut = Math.max(now(), Date.parse(warrant.fencedAt))
    return secondFrom(issuedBefore(target, cut) ?? cut)
  }

  /** The second that a deny must reach to prove that this session is dead. */
  const provenBy = (target: RoleSessionTarget, warrant: Warrant) =>
    secondFrom(issuedBefore(target, now()) ?? Date.parse(warrant.fencedAt))

  const awsUserId = (target: RoleSessionTarget) => `${target.roleId}:${target.sessionName}`

  /** The lane's policy as it stands, and those of the leases that may be acted on; the others have their answer. */
  async function open(roleName: string, members: Members, warrant: Warrant) {
    const role = await iam.getRole(roleName)
    const holder: Holder = { kind: 'role', name: roleName }
    const policyName = names.sessionPolicy(warrant.lane)
    const bearer = { holder, id: role.roleId, tags: role.tags }
    const { ours, answers } = sift(account, bearer, members, (said): Answer => ({ status: 'absent', said }))
    const closed = { holder, policyName, ours: [], answers, before: NO_DENIES }
    if (ours.length === 0) return closed
    const managed = managedByAws(roleName, role)
    if (managed !== undefined) {
      for (const { lease, target } of ours) {
        const until = role.maxSessionSeconds === undefined ? undefined : cutOff(target, warrant) + role.maxSessionSeconds
        const livesUntil = until === undefined ? {} : { livesUntil: new Date(until * 1000).toISOString() }
        answers.set(lease, { status: 'unsupported', said: managed, ...livesUntil })
      }
      return closed
    }
    const unreadable = `policy ${policyName} of role ${roleName} is not readable as a policy: not overwritten`
    const said = await account.protection(bearer)
    const before = said === undefined ? parseDenies(await iam.getPolicy(holder, policyName)) : undefined
    if (before !== undefined) return { ...closed, ours, before }
    for (const { lease } of ours) answers.set(lease, { status: 'irrevocable', said: said ?? unreadable })
    return closed
  }

  /** Takes one session's deny out again: `expired` when it hits nothing any more, `now` at once. */
  async function takeOut(roleName: string, members: Members, warrant: Warrant, attempt: Attempt, when: 'expired' | 'now') {
    const { holder, policyName, ours, answers, before } = await open(roleName, members, warrant)
    const second = nowSecond()
    const sessions = new Map(before.sessions)
    for (const { lease, target } of ours) {
      const user = awsUserId(target)
      const until = before.sessions.get(user)
      const waits = until === undefined ? 0 : until + LONGEST_TOKEN_SECONDS - second
      if (when === 'expired' && waits > 0) {
        answers.set(lease, { status: 'retry', said: `tokens of ${user} may still live`, afterSeconds: waits, effect: 'none' })
      } else if (when === 'now' && until === undefined && before.all !== undefined) {
        answers.set(lease, { status: 'unsupported', said: `${policyName} denies the whole role: one session cannot be restored` })
      } else if (sessions.delete(user)) {
        answers.set(lease, { status: 'revoked', said: when === 'now' ? `${user} is restored` : `the deny of ${user} is removed` })
      } else {
        answers.set(lease, { status: 'absent', said: `${policyName} does not deny ${user}` })
      }
    }
    const after = prune({ ...before, sessions }, second, LONGEST_TOKEN_SECONDS)
    if (printDenies(after) === printDenies(before)) return answers
    attempt.wrote = true
    if (isEmpty(after)) await iam.deletePolicy(holder, policyName)
    else await iam.putPolicy(holder, policyName, printDenies(after))
    return answers
  }

  return {
    async revoke(roleName, members, warrant, attempt) {
      const { holder, policyName, ours, answers, before } = await open(roleName, members, warrant)
      const cuts: Cut[] = []
      for (const { lease, target } of ours) {
        const cut = { lease, user: awsUserId(target), second: cutOff(target, warrant) }
        if (!SESSION_NAME.test(target.sessionName)) {
          answers.set(lease, { status: 'irrevocable', said: 'this is no session name of STS: it would not be safe in a policy' })
        } else if (cut.second + LONGEST_TOKEN_SECONDS <= nowSecond()) {
          answers.set(lease, { status: 'absent', said: `every token of ${cut.user} has expired` })
        } else if (covers(before, cut.user, cut.second)) {
          const said = `${policyName} denies ${target.sessionName} before ${printSecond(cut.second)} already`
          answers.set(lease, { status: 'absent', said })
        } else {
          cuts.push(cut)
        }
      }
      if (cuts.length === 0) return answers

      const written = await writeDenies(account, holder, policyName, before, cuts, warrant.lane, attempt)
      const readBack = written.any ? parseDenies(await iam.getPolicy(holder, policyName)) : undefined
      for (const { lease, user, second } of cuts) {
        const left = written.left.get(lease)
        if (left !== undefined) {
          answers.set(lease, left)
        } else if (readBack === undefined || !covers(readBack, user, second)) {
          const said = `${policyName} does not show the deny yet`
          answers.set(lease, { status: 'retry', said, afterSeconds: READ_BACK_SECONDS, effect: 'unknown' })
        } else {
          const said = written.coalesced
            ? `${policyName} was full: every session of role ${roleName} from before ${printSecond(readBack.all ?? second)} is denied`
            : `${policyName} denies ${user} before ${printSecond(second)}`
          answers.set(lease, { status: 'revoked', said })
        }
      }
      return answers
    },

    async verify(roleName, members, warrant) {
      const role = await iam.getRole(roleName)
      const holder: Holder = { kind: 'role', name: roleName }
      const bearer = { holder, id: role.roleId, tags: role.tags }
      const { ours, answers } = sift(account, bearer, members, (said): Liveness => ({ status: 'dead', said }))
      let open = ours.filter(({ lease, target }) => {
        const expired = provenBy(target, warrant) + LONGEST_TOKEN_SECONDS <= nowSecond()
        if (expired) answers.set(lease, { status: 'dead', said: `every token of ${awsUserId(target)} has expired` })
        return !expired
      })
      // A containment does not count: its release would bring the session back to life.
      for (const lane of [warrant.lane, ...LANES.filter((other) => other !== warrant.lane)]) {
        if (open.length === 0) break
        const policyName = names.sessionPolicy(lane)
        const denies = parseDenies(await iam.getPolicy(holder, policyName))
        open = open.filter(({ lease, target }) => {
          const dead = denies !== undefined && covers(denies, awsUserId(target), provenBy(target, warrant))
          if (dead) answers.set(lease, { status: 'dead', said: `${policyName} denies ${awsUserId(target)}` })
          return !dead
        })
      }
      for (const { lease, target } of open) answers.set(lease, { status: 'alive', said: `no policy denies ${awsUserId(target)}` })
      return answers
    },

    tidy: (roleName, members, warrant, attempt) => takeOut(roleName, members, warrant, attempt, 'expired'),
    restore: (roleName, members, warrant, attempt) => takeOut(roleName, members, warrant, attempt, 'now'),
  }
}
