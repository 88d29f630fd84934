import { LANES } from '../../contracts/primitives.ts'
import type { Answer, Liveness, Restored, Subject, Warrant } from '../contract.ts'
import type { Account } from './account.ts'
import { managedByAws, READ_BACK_SECONDS } from './account.ts'
import type { Holder } from './client.ts'
import type { RoleSessionTarget, SourceIdentityTarget } from './definition.ts'
import { SESSION_NAME } from './definition.ts'
import type { Works } from './holders.ts'
import { sift } from './holders.ts'
import type { Denies } from './policy.ts'
import {
  covers,
  coversExactly,
  isEmpty,
  LONGEST_TOKEN_SECONDS,
  NO_DENIES,
  parseDenies,
  printDenies,
  printSecond,
  prune,
  secondFrom,
  sourceKey,
  without,
} from './policy.ts'
import type { Cut } from './room.ts'
import { writeDenies } from './room.ts'

/** How far a registrar's clock may be ahead before its `issuedBefore` is not believed. */
const CLOCK_SKEW_SECONDS = 300

/** One session, all of one name, or all of one source identity. */
type SessionTarget = RoleSessionTarget | SourceIdentityTarget
type Members = readonly Subject<SessionTarget>[]

/** What to say of leases that a method may not act on. */
interface Words<Result> {
  gone(said: string): Result
  refused(said: string): Result
  managed(said: string, livesUntil: string | undefined): Result
}

const CUT: Words<Answer> = {
  gone: (said) => ({ status: 'absent', said }),
  refused: (said) => ({ status: 'irrevocable', said }),
  managed: (said, livesUntil) => ({ status: 'unsupported', said, ...(livesUntil === undefined ? {} : { livesUntil }) }),
}

const UNDO: Words<Restored> = {
  gone: (said) => ({ status: 'gone', said }),
  refused: (said) => ({ status: 'refused', said }),
  managed: (said) => ({ status: 'refused', said }),
}

/** Sessions of roles: denied by `aws:userid` and the time of issue, in an inline policy of the role. */
export function roleSessions(account: Account): Works<SessionTarget> {
  const { iam, names, now, nowSecond } = account

  /** When the session's token had been issued. A time that has not come yet is not believed: a deny up to it would hit future sessions. */
  function issuedBefore(target: SessionTarget, cut: number): number | undefined {
    const issued = target.issuedBefore === undefined ? undefined : Date.parse(target.issuedBefore)
    return issued !== undefined && issued <= cut + CLOCK_SKEW_SECONDS * 1000 ? issued : undefined
  }

  /** The second before which this session's tokens are to be dead, at a cut made now. */
  function cutOff(target: SessionTarget, warrant: Warrant): number {
    const cut = Math.max(now(), Date.parse(warrant.fencedAt))
    return secondFrom(issuedBefore(target, cut) ?? cut)
  }

  /** The second that a deny must reach to prove that this session is dead. */
  const provenBy = (target: SessionTarget, warrant: Warrant) =>
    secondFrom(issuedBefore(target, now()) ?? Date.parse(warrant.fencedAt))

  /** How a policy names it. */
  const keyOf = (target: SessionTarget) =>
    target.kind === 'source-identity' ? sourceKey(target.sourceIdentity) : `${target.roleId}:${target.sessionName}`

  /** The second that names this session among those of its name. */
  const issuedAt = (target: SessionTarget) =>
    target.kind === 'source-identity' || target.issuedAt === undefined
      ? undefined
      : Math.floor(Date.parse(target.issuedAt) / 1000)

  /** Is it denied: the one where the target names one, else all of its name from before the second? */
  function denies(policy: Denies, target: SessionTarget, second: number): boolean {
    const at = issuedAt(target)
    return at === undefined ? covers(policy, keyOf(target), second) : coversExactly(policy, keyOf(target), at)
  }

  /** The second whose deny of this session a policy holds, if it holds one. */
  function deniedAt(policy: Denies, target: SessionTarget): number | undefined {
    const at = issuedAt(target)
    if (at === undefined) return policy.sessions.get(keyOf(target))
    return policy.exact.get(keyOf(target))?.has(at) === true ? at : undefined
  }

  const shortName = (target: SessionTarget) => (target.kind === 'source-identity' ? target.sourceIdentity : target.sessionName)

  /** For evidence. */
  function nameOf(target: SessionTarget): string {
    const at = issuedAt(target)
    if (target.kind === 'source-identity') return `source identity ${target.sourceIdentity} in role ${target.roleId}`
    return at === undefined ? keyOf(target) : `${keyOf(target)} of ${printSecond(at)}`
  }

  /** The lane's policy as it stands, and those of the leases that may be acted on; the others have their answer. */
  async function open<Result>(roleName: string, members: Members, warrant: Warrant, words: Words<Result>) {
    const role = await iam.getRole(roleName)
    const holder: Holder = { kind: 'role', name: roleName }
    const policyName = names.sessionPolicy(warrant.lane)
    const bearer = { holder, id: role.roleId, tags: role.tags }
    const { ours, answers } = sift(account, bearer, members, words.gone)
    const closed = { holder, policyName, ours: [], answers, before: NO_DENIES }
    if (ours.length === 0) return closed
    const managed = managedByAws(roleName, role)
    if (managed !== undefined) {
      for (const { lease, target } of ours) {
        const until = role.maxSessionSeconds === undefined ? undefined : cutOff(target, warrant) + role.maxSessionSeconds
        answers.set(lease, words.managed(managed, until === undefined ? undefined : new Date(until * 1000).toISOString()))
      }
      return closed
    }
    const unreadable = `policy ${policyName} of role ${roleName} is not readable as a policy: not overwritten`
    const said = await account.protection(bearer)
    const before = said === undefined ? parseDenies(await iam.getPolicy(holder, policyName)) : undefined
    if (before !== undefined) return { ...closed, ours, before }
    for (const { lease } of ours) answers.set(lease, words.refused(said ?? unreadable))
    return closed
  }

  /** Writes what is left of the lane's policy. */
  async function write(holder: Holder, policyName: string, before: Denies, after: Denies): Promise<boolean> {
    const left = prune(after, nowSecond(), LONGEST_TOKEN_SECONDS)
    if (printDenies(left) === printDenies(before)) return false
    if (isEmpty(left)) await iam.deletePolicy(holder, policyName)
    else await iam.putPolicy(holder, policyName, printDenies(left))
    return true
  }

  return {
    async revoke(roleName, members, warrant, attempt) {
      const { holder, policyName, ours, answers, before } = await open(roleName, members, warrant, CUT)
      const cuts: Cut[] = []
      for (const { lease, target } of ours) {
        const at = issuedAt(target)
        const cut = { lease, user: keyOf(target), second: at ?? cutOff(target, warrant), exact: at !== undefined }
        if (!SESSION_NAME.test(shortName(target))) {
          answers.set(lease, { status: 'irrevocable', said: 'this is no session name of STS: it would not be safe in a policy' })
        } else if (cut.second + LONGEST_TOKEN_SECONDS <= nowSecond()) {
          answers.set(lease, { status: 'absent', said: `every token of ${nameOf(target)} has expired` })
        } else if (denies(before, target, cut.second)) {
          const said = `${policyName} denies ${shortName(target)} ${cut.exact ? 'of' : 'before'} ${printSecond(cut.second)} already`
          answers.set(lease, { status: 'absent', said })
        } else {
          cuts.push(cut)
        }
      }
      if (cuts.length === 0) return answers

      const written = await writeDenies(account, holder, policyName, before, cuts, warrant.lane, attempt)
      const readBack = written.any ? parseDenies(await iam.getPolicy(holder, policyName)) : undefined
      for (const { lease, user, second, exact } of cuts) {
        const left = written.left.get(lease)
        if (left !== undefined) {
          answers.set(lease, left)
        } else if (readBack === undefined || !(exact ? coversExactly : covers)(readBack, user, second)) {
          const said = `${policyName} does not show the deny yet`
          answers.set(lease, { status: 'retry', said, afterSeconds: READ_BACK_SECONDS, effect: 'unknown' })
        } else {
          const said = written.coalesced
            ? `${policyName} was full: every session of role ${roleName} from before ${printSecond(readBack.all ?? second)} is denied`
            : `${policyName} denies ${user} ${exact ? 'of' : 'before'} ${printSecond(second)}`
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
        const expired = (issuedAt(target) ?? provenBy(target, warrant)) + LONGEST_TOKEN_SECONDS <= nowSecond()
        if (expired) answers.set(lease, { status: 'dead', said: `every token of ${nameOf(target)} has expired` })
        return !expired
      })
      // A containment does not count: its release would bring the session back to life.
      for (const lane of [warrant.lane, ...LANES.filter((other) => other !== warrant.lane)]) {
        if (open.length === 0) break
        const policyName = names.sessionPolicy(lane)
        const policy = parseDenies(await iam.getPolicy(holder, policyName))
        open = open.filter(({ lease, target }) => {
          const dead = policy !== undefined && denies(policy, target, provenBy(target, warrant))
          if (dead) answers.set(lease, { status: 'dead', said: `${policyName} denies ${nameOf(target)}` })
          return !dead
        })
      }
      for (const { lease, target } of open) answers.set(lease, { status: 'alive', said: `no policy denies ${nameOf(target)}` })
      return answers
    },

    async tidy(roleName, members, warrant, attempt) {
      const { holder, policyName, ours, answers, before } = await open(roleName, members, warrant, CUT)
      let after = before
      for (const { lease, target } of ours) {
        const until = deniedAt(after, target)
        const waits = until === undefined ? 0 : until + LONGEST_TOKEN_SECONDS - nowSecond()
        if (waits > 0) {
          const said = `tokens of ${nameOf(target)} may still live`
          answers.set(lease, { status: 'retry', said, afterSeconds: waits, effect: 'none' })
        } else if (until === undefined) {
          answers.set(lease, { status: 'absent', said: `${policyName} does not deny ${nameOf(target)}` })
        } else {
          after = without(after, keyOf(target), issuedAt(target))
          answers.set(lease, { status: 'revoked', said: `the deny of ${nameOf(target)} is removed` })
        }
      }
      if (ours.length > 0) attempt.wrote = await write(holder, policyName, before, after)
      return answers
    },

    async restore(roleName, members, warrant, attempt) {
      const { holder, policyName, ours, answers, before } = await open(roleName, members, warrant, UNDO)
      if (ours.length === 0) return answers
      let after = before
      for (const { target } of ours) after = without(after, keyOf(target), issuedAt(target))
      attempt.wrote = await write(holder, policyName, before, after)
      // Only its own writer changes a lane's policy, so what another lane denies stays denied.
      const inForce = (policy: Denies) => prune(policy, nowSecond(), LONGEST_TOKEN_SECONDS)
      const policies: [string, Denies][] = [[policyName, inForce(after)]]
      for (const lane of LANES.filter((other) => other !== warrant.lane)) {
        const denied = parseDenies(await iam.getPolicy(holder, names.sessionPolicy(lane)))
        if (denied !== undefined) policies.push([names.sessionPolicy(lane), inForce(denied)])
      }
      const contained = (await iam.policyNames(roleName)).some(names.isContainment)
      for (const { lease, target } of ours) {
        const at = issuedAt(target)
        const until = deniedAt(before, target) ?? at
        const still = policies.find(([, policy]) =>
          at === undefined ? covers(policy, keyOf(target), 1) : coversExactly(policy, keyOf(target), at),
        )
        if (until !== undefined && until + LONGEST_TOKEN_SECONDS <= nowSecond()) {
          answers.set(lease, { status: 'gone', said: `every token of ${nameOf(target)} has expired` })
        } else if (still !== undefined) {
          const why = still[0] === policyName ? 'denies more than this session' : 'denies it too, by a cut of another lane'
          answers.set(lease, { status: 'refused', said: `${still[0]} ${why}: ${nameOf(target)} stays cut` })
        } else {
          const undone =
            deniedAt(before, target) === undefined ? 'there is nothing to undo' : `${nameOf(target)} is not denied any more`
          answers.set(lease, {
            status: 'restored',
            said: contained ? `${undone}; a containment of role ${roleName} is in force until it is released` : undone,
          })
        }
      }
      return answers
    },
  }
}
