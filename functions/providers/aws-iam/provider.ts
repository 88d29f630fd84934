import type { Lane } from '../../contracts/primitives.ts'
import { LANES } from '../../contracts/primitives.ts'
import type { Answer, LeverAnswer, Liveness, Provider, ProviderModule, Subject, Warrant } from '../contract.ts'
import { IssuerRefused, IssuerUnavailable } from '../contract.ts'
import type { AccessKey, Holder, IamClient, IamFault, IamRole, IamUser } from './client.ts'
import { classify, connectIam } from './client.ts'
import type { AccessKeyTarget, Lever, RoleSessionTarget, Settings, Target } from './definition.ts'
import { definition, SESSION_NAME } from './definition.ts'
import type { Denies } from './policy.ts'
import {
  coalesce,
  countCharacters,
  covers,
  DENY_ALL,
  isEmpty,
  LONGEST_ROLE_SESSION_SECONDS,
  LONGEST_TOKEN_SECONDS,
  merge,
  NO_DENIES,
  parseDenies,
  printDenies,
  printSecond,
  prune,
  ROLE_POLICY_CHARACTERS,
  sameDocument,
  secondFrom,
} from './policy.ts'

/** Users and roles with this tag (value `true`) are never touched: Rescind's own, break-glass access. */
export const PROTECTED_TAG = 'rescind:protected'

/** AWS sends no hint with a throttled call; its buckets refill within seconds. */
const THROTTLE_SECONDS = 5
/** IAM is eventually consistent: what was written may be read back a little later only. */
const READ_BACK_SECONDS = 5
/** How far a registrar's clock may be ahead before its `issuedBefore` is not believed. */
const CLOCK_SKEW_SECONDS = 300
/** Rounds of "deactivate, look again" against somebody who reactivates or creates keys meanwhile. */
const ROUNDS = 3

const TOKENS_LIVE = `tokens that STS gave for the key live up to ${LONGEST_TOKEN_SECONDS / 3600} h unless the user is contained`

type KeySubject = Subject<AccessKeyTarget>
type SessionSubject = Subject<RoleSessionTarget>

/** What one write to a user or role may have left behind when a later call fails. */
interface Attempt {
  wrote: boolean
}

/** Makes the provider over any client: the AWS SDK's, or the fake. `now` in milliseconds since 1970. */
export function createProvider(settings: Settings, iam: IamClient, now: () => number): Provider<Target, undefined, Lever> {
  const prefix = settings.denyPrefix ?? 'rescind'
  // Each lane has its own FIFO queue, hence its own writer: a policy per lane has one writer only.
  const sessionPolicy = (lane: Lane) => `${prefix}-sessions-${lane}`
  const tokenPolicy = (lane: Lane) => `${prefix}-tokens-${lane}`
  const containPolicy = (epoch: number, lane: Lane) => `${prefix}-contain-${epoch}-${lane}`
  // Tags are written one by one, so lanes that mark different keys or epochs do not overwrite each other.
  const revokedTag = (accessKeyId: string) => `${prefix}:revoked:${accessKeyId}`
  const containedTag = (epoch: number, accessKeyId: string) => `${prefix}:contained:${epoch}:${accessKeyId}`
  const containedTags = (user: IamUser, accessKeyId: string) =>
    [...user.tags.keys()].filter((tag) => tag.startsWith(`${prefix}:contained:`) && tag.endsWith(`:${accessKeyId}`))
  const where = `account ${settings.account}`
  const nowSecond = () => secondFrom(now())

  let caller: { account: string; userId: string } | undefined
  /** Throws unless the credential acts in the configured account: before that neither an effect nor an "absent" counts. */
  async function rightIssuer(): Promise<{ userId: string }> {
    if (caller === undefined) {
      try {
        caller = await iam.whoAmI()
      } catch (error) {
        throw issuerError(classify(error)) ?? error
      }
    }
    if (caller.account !== settings.account) {
      throw new IssuerRefused(`the admin credential acts in account ${caller.account}, not in ${settings.account}`)
    }
    return caller
  }

  const isProtected = (id: string, tags: ReadonlyMap<string, string>, self: { userId: string }) =>
    tags.get(PROTECTED_TAG) === 'true' || self.userId.split(':')[0] === id

  const untouchable = (role: IamRole, roleName: string) =>
    role.path.startsWith('/aws-service-role/') ||
    role.path.startsWith('/aws-reserved/') ||
    roleName.startsWith('AWSServiceRoleFor') ||
    roleName.startsWith('AWSReservedSSO_')

  /** Runs `run` for each user or role of a batch; a fault ends that user's or role's part, not the others'. */
  async function eachHolder<Result>(
    batch: readonly Subject<Target>[],
    keys: (userName: string, members: readonly KeySubject[], attempt: Attempt) => Promise<Map<string, Result>>,
    sessions: (roleName: string, members: readonly SessionSubject[], attempt: Attempt) => Promise<Map<string, Result>>,
    failed: (fault: IamFault, holder: string, attempt: Attempt) => Result,
  ): Promise<Result[]> {
    const users = new Map<string, KeySubject[]>()
    const roles = new Map<string, SessionSubject[]>()
    for (const subject of batch) {
      const { target } = subject
      if (target.kind === 'access-key') {
        users.set(target.userName, [...(users.get(target.userName) ?? []), { lease: subject.lease, target }])
      } else {
        roles.set(target.roleName, [...(roles.get(target.roleName) ?? []), { lease: subject.lease, target }])
      }
    }
    const answers = new Map<string, Result>()
    let throttled: IamFault | undefined
    async function one<Member extends Subject<Target>>(
      holder: string,
      members: readonly Member[],
      run: (attempt: Attempt) => Promise<Map<string, Result>>,
    ) {
      const attempt = { wrote: false }
      try {
        // More calls into a throttled API only make it last longer.
        if (throttled !== undefined) throw throttled
        for (const [lease, answer] of await run(attempt)) answers.set(lease, answer)
      } catch (error) {
        const fault = classify(error)
        const fatal = issuerError(fault)
        if (fatal !== undefined) throw fatal
        if (fault.kind === 'throttled') throttled = fault
        for (const { lease } of members) answers.set(lease, failed(fault, holder, attempt))
      }
    }
    for (const [name, members] of users) await one(`user ${name}`, members, (attempt) => keys(name, members, attempt))
    for (const [name, members] of roles) await one(`role ${name}`, members, (attempt) => sessions(name, members, attempt))
    return batch.map(({ lease, target }) => {
      const answer = answers.get(lease)
      if (answer === undefined) throw new Error(`no answer for ${target.kind} of lease ${lease}`)
      return answer
    })
  }

  function failedCut(fault: IamFault, holder: string, attempt: Attempt): Answer {
    const effect = attempt.wrote ? 'unknown' : 'none'
    switch (fault.kind) {
      case 'gone':
        return { status: 'absent', said: `${holder} is not in ${where} (${fault.awsCode})` }
      case 'throttled':
      case 'busy':
        return { status: 'retry', said: `${holder}: ${fault.awsCode}`, afterSeconds: THROTTLE_SECONDS, effect }
      case 'unmodifiable':
        return { status: 'unsupported', said: `${holder} cannot be changed by its account (${fault.awsCode})` }
      default:
        return { status: 'irrevocable', said: `${holder}: AWS refuses the request (${fault.awsCode})` }
    }
  }

  function failedLook(fault: IamFault, holder: string): Liveness {
    return fault.kind === 'gone'
      ? { status: 'dead', said: `${holder} is not in ${where} any more` }
      : { status: 'unknown', said: `${holder}: ${fault.awsCode}` }
  }

  /** Splits off those who mean an earlier user or role of the same name, dead since that one was deleted. */
  function namesakes<Member extends Subject<Target>>(
    members: readonly Member[],
    id: string,
    wanted: (member: Member) => string | undefined,
  ) {
    const meant = (member: Member) => (wanted(member) ?? id) === id
    return { ours: members.filter(meant), others: members.filter((member) => !meant(member)) }
  }

  // --- access keys

  async function revokeKeys(
    userName: string,
    members: readonly KeySubject[],
    warrant: Warrant,
    attempt: Attempt,
    self: { userId: string },
  ): Promise<Map<string, Answer>> {
    const answers = new Map<string, Answer>()
    const user = await iam.getUser(userName)
    const { ours, others } = namesakes(members, user.userId, ({ target }) => target.userId)
    for (const { lease, target } of others) {
      answers.set(lease, { status: 'absent', said: `user ${userName} of ${where} is ${user.userId}; ${target.userId} is gone` })
    }
    if (ours.length > 0 && isProtected(user.userId, user.tags, self)) {
      for (const { lease } of ours) answers.set(lease, protectedAnswer(`user ${userName}`))
      return answers
    }
    const before = new Map((await iam.listAccessKeys(userName)).map((key) => [key.accessKeyId, key.status]))
    const cut = new Set<string>()
    for (const { lease, target } of ours) {
      const { accessKeyId } = target
      const status = before.get(accessKeyId)
      const marked = user.tags.has(revokedTag(accessKeyId))
      if (status === undefined) {
        answers.set(lease, { status: 'absent', said: `user ${userName} of ${where} has no key ${accessKeyId}` })
      } else if (status === 'Inactive' && marked) {
        answers.set(lease, { status: 'absent', said: `key ${accessKeyId} was cut before: listed Inactive` })
      } else if (status === 'Inactive' && containedTags(user, accessKeyId).length === 0) {
        cut.add(accessKeyId)
        answers.set(lease, { status: 'absent', said: `key ${accessKeyId} was Inactive before we came` })
      } else {
        cut.add(accessKeyId)
        answers.set(lease, { status: 'revoked', said: `key ${accessKeyId} is Inactive` })
      }
    }
    attempt.wrote = cut.size > 0
    for (const accessKeyId of cut) {
      if (before.get(accessKeyId) === 'Active') await iam.setAccessKey(userName, accessKeyId, 'Inactive')
    }
    const notes: string[] = []
    if (ours.length > 0) {
      // Also for a key that is gone: its tokens may not be.
      notes.push(warrant.lane === 'p0' ? await denyTokens(userName, warrant) : TOKENS_LIVE)
    }
    // The mark tells `release` that this key is to stay inactive. It comes after the cut, which must not wait for it,
    // and before the last look, which therefore sees a release that passed in between.
    try {
      if (cut.size > 0) await iam.tagUser(userName, Object.fromEntries([...cut].map((id) => [revokedTag(id), warrant.case])))
    } catch (error) {
      const fault = classify(error)
      if (fault.kind !== 'full') throw fault
      const marks = [...cut].flatMap((id) => containedTags(user, id))
      if (marks.length > 0) await iam.untagUser(userName, marks)
      notes.push('no room for a tag')
    }

    const after = cut.size === 0 ? [] : await settle(userName, (key) => cut.has(key.accessKeyId))
    for (const { lease, target } of ours) {
      const answer = answers.get(lease)
      if (answer === undefined) continue
      if (after.some((key) => key.accessKeyId === target.accessKeyId)) {
        const said = `key ${target.accessKeyId} is still listed Active`
        answers.set(lease, { status: 'retry', said, afterSeconds: READ_BACK_SECONDS, effect: 'unknown' })
      } else {
        answers.set(lease, { ...answer, said: [answer.said, ...notes].join('; ') })
      }
    }
    return answers
  }

  /** Deactivates what `concerns` names and is listed Active, until none is, for a few rounds; answers with those left. */
  async function settle(userName: string, concerns: (key: AccessKey) => boolean): Promise<readonly AccessKey[]> {
    const active = async () => (await iam.listAccessKeys(userName)).filter((key) => key.status === 'Active' && concerns(key))
    let left = await active()
    for (let round = 0; round < ROUNDS && left.length > 0; round += 1) {
      for (const key of left) await iam.setAccessKey(userName, key.accessKeyId, 'Inactive')
      left = await active()
    }
    return left
  }

  /**
   * GetSessionToken and GetFederationToken make tokens that outlive their key. Which key made one cannot be told, so a
   * dated deny on the user cuts those of its other keys too: for a compromise only.
   */
  async function denyTokens(userName: string, warrant: Warrant): Promise<string> {
    const holder: Holder = { kind: 'user', name: userName }
    const policyName = tokenPolicy(warrant.lane)
    const denies = parseDenies(await iam.getPolicy(holder, policyName)) ?? NO_DENIES
    const fenced = secondFrom(Date.parse(warrant.fencedAt))
    // The key goes on minting tokens until its deactivation has propagated.
    const second = Math.max(fenced, nowSecond()) + definition.limits.propagationSeconds
    const said = (until: number) =>
      `tokens of user ${userName} from before ${printSecond(until)} are denied, also those of its other keys`
    if (denies.all !== undefined && denies.all >= fenced) return said(denies.all)
    try {
      await iam.putPolicy(holder, policyName, printDenies(merge(denies, [], second)))
      return said(second)
    } catch (error) {
      const fault = classify(error)
      if (fault.kind !== 'full') throw fault
      return `${TOKENS_LIVE}: no room for a deny on the user`
    }
  }

  async function verifyKeys(userName: string, members: readonly KeySubject[]): Promise<Map<string, Liveness>> {
    const user = await iam.getUser(userName)
    const keys = new Map((await iam.listAccessKeys(userName)).map((key) => [key.accessKeyId, key.status]))
    return new Map(
      members.map(({ lease, target }): [string, Liveness] => {
        if (target.userId !== undefined && target.userId !== user.userId) {
          return [lease, { status: 'dead', said: `user ${target.userId} is gone; ${userName} is another one now` }]
        }
        const status = keys.get(target.accessKeyId)
        if (status === undefined) return [lease, { status: 'dead', said: `key ${target.accessKeyId} is not listed any more` }]
        return [
          lease,
          { status: status === 'Inactive' ? 'dead' : 'alive', said: `key ${target.accessKeyId} is listed ${status}` },
        ]
      }),
    )
  }

  async function tidyKeys(userName: string, members: readonly KeySubject[], attempt: Attempt): Promise<Map<string, Answer>> {
    const user = await iam.getUser(userName)
    const { ours, others } = namesakes(members, user.userId, ({ target }) => target.userId)
    const answers = new Map<string, Answer>(
      others.map(({ lease, target }) => [lease, { status: 'absent', said: `user ${target.userId} is gone` }]),
    )
    const keys = new Map((await iam.listAccessKeys(userName)).map((key) => [key.accessKeyId, key.status]))
    const marks: string[] = []
    for (const { lease, target } of ours) {
      const { accessKeyId } = target
      const status = keys.get(accessKeyId)
      if (status === 'Active') {
        answers.set(lease, { status: 'irrevocable', said: `key ${accessKeyId} is Active again: not deleted` })
        continue
      }
      if (status === 'Inactive') {
        attempt.wrote = true
        await iam.deleteAccessKey(userName, accessKeyId)
      }
      marks.push(...[revokedTag(accessKeyId)].filter((tag) => user.tags.has(tag)), ...containedTags(user, accessKeyId))
      answers.set(
        lease,
        status === undefined
          ? { status: 'absent', said: `key ${accessKeyId} was deleted before` }
          : { status: 'revoked', said: `key ${accessKeyId} is deleted` },
      )
    }
    if (marks.length > 0) await iam.untagUser(userName, [...new Set(marks)])
    await tidyTokens(userName)
    return answers
  }

  async function tidyTokens(userName: string): Promise<void> {
    const holder: Holder = { kind: 'user', name: userName }
    const policyName = tokenPolicy('p0')
    const denies = parseDenies(await iam.getPolicy(holder, policyName))
    if (denies === undefined || isEmpty(denies)) return
    if (isEmpty(prune(denies, nowSecond(), LONGEST_TOKEN_SECONDS))) await iam.deletePolicy(holder, policyName)
  }

  async function restoreKeys(userName: string, members: readonly KeySubject[], attempt: Attempt): Promise<Map<string, Answer>> {
    const user = await iam.getUser(userName)
    const { ours, others } = namesakes(members, user.userId, ({ target }) => target.userId)
    const answers = new Map<string, Answer>(
      others.map(({ lease, target }) => [lease, { status: 'absent', said: `user ${target.userId} is gone` }]),
    )
    const keys = new Map((await iam.listAccessKeys(userName)).map((key) => [key.accessKeyId, key.status]))
    for (const { lease, target } of ours) {
      const { accessKeyId } = target
      if (!keys.has(accessKeyId)) {
        answers.set(lease, { status: 'absent', said: `key ${accessKeyId} is deleted: it cannot be restored` })
        continue
      }
      attempt.wrote = true
      if (user.tags.has(revokedTag(accessKeyId))) await iam.untagUser(userName, [revokedTag(accessKeyId)])
      if (containedTags(user, accessKeyId).length > 0) {
        answers.set(lease, { status: 'revoked', said: `key ${accessKeyId} is restored when the containment of its user ends` })
        continue
      }
      await iam.setAccessKey(userName, accessKeyId, 'Active')
      answers.set(lease, { status: 'revoked', said: `key ${accessKeyId} is restored: Active` })
    }
    return answers
  }

  // --- role sessions

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

  async function cutSessions(
    roleName: string,
    members: readonly SessionSubject[],
    warrant: Warrant,
    attempt: Attempt,
    self: { userId: string },
  ): Promise<Map<string, Answer>> {
    const answers = new Map<string, Answer>()
    const role = await iam.getRole(roleName)
    const { ours, others } = namesakes(members, role.roleId, ({ target }) => target.roleId)
    for (const { lease, target } of others) {
      answers.set(lease, { status: 'absent', said: `role ${roleName} of ${where} is ${role.roleId}; ${target.roleId} is gone` })
    }
    if (ours.length === 0) return answers
    if (untouchable(role, roleName)) {
      for (const { lease, target } of ours) answers.set(lease, unsupported(role, roleName, cutOff(target, warrant)))
      return answers
    }
    if (isProtected(role.roleId, role.tags, self)) {
      for (const { lease } of ours) answers.set(lease, protectedAnswer(`role ${roleName}`))
      return answers
    }
    const holder: Holder = { kind: 'role', name: roleName }
    const policyName = sessionPolicy(warrant.lane)
    const before = parseDenies(await iam.getPolicy(holder, policyName))
    if (before === undefined) {
      for (const { lease } of ours) answers.set(lease, unreadable(roleName, policyName))
      return answers
    }

    const open: { lease: string; user: string; second: number }[] = []
    for (const { lease, target } of ours) {
      const session = { lease, user: awsUserId(target), second: cutOff(target, warrant) }
      if (!SESSION_NAME.test(target.sessionName)) {
        answers.set(lease, { status: 'irrevocable', said: 'this is no session name of STS: it would not be safe in a policy' })
      } else if (session.second + LONGEST_TOKEN_SECONDS <= nowSecond()) {
        answers.set(lease, { status: 'absent', said: `every token of ${session.user} has expired` })
      } else if (covers(before, session.user, session.second)) {
        answers.set(lease, {
          status: 'absent',
          said: `${policyName} denies ${target.sessionName} before ${printSecond(session.second)} already`,
        })
      } else {
        open.push(session)
      }
    }
    if (open.length === 0) return answers

    const written = await write(holder, policyName, before, open, warrant.lane, attempt)
    const readBack = written.denies === undefined ? undefined : parseDenies(await iam.getPolicy(holder, policyName))
    for (const { lease, user, second } of open) {
      const left = written.left.get(lease)
      if (left !== undefined) {
        answers.set(lease, left)
      } else if (readBack === undefined || !covers(readBack, user, second)) {
        const said = `${policyName} does not show the deny yet`
        answers.set(lease, { status: 'retry', said, afterSeconds: READ_BACK_SECONDS, effect: 'unknown' })
      } else {
        answers.set(lease, {
          status: 'revoked',
          said: written.coalesced
            ? `${policyName} was full: every session of role ${roleName} from before ${printSecond(readBack.all ?? second)} is denied`
            : `${policyName} denies ${user} before ${printSecond(second)}`,
        })
      }
    }
    return answers
  }

  /** Writes the denies of a batch in one go, as many as fit. */
  async function write(
    holder: Holder,
    policyName: string,
    before: Denies,
    open: readonly { lease: string; user: string; second: number }[],
    lane: Lane,
    attempt: Attempt,
  ): Promise<{ denies: Denies | undefined; left: Map<string, Answer>; coalesced: boolean }> {
    const second = nowSecond()
    const pairs = open.map(({ user, second: until }) => [user, until] as const)
    const whole = prune(merge(before, pairs), second, LONGEST_TOKEN_SECONDS)
    const put = async (denies: Denies) => {
      attempt.wrote = true
      try {
        await iam.putPolicy(holder, policyName, printDenies(denies))
        return true
      } catch (error) {
        const fault = classify(error)
        if (fault.kind === 'full') return false
        throw fault
      }
    }
    // The other policies are measured only if AWS says that there is no room: that costs a call for each of them.
    if (printDenies(whole).length <= ROLE_POLICY_CHARACTERS && (await put(whole))) {
      return { denies: whole, left: new Map(), coalesced: false }
    }
    const room = ROLE_POLICY_CHARACTERS - (await othersCharacters(holder, policyName))
    const fits = (denies: Denies) => printDenies(denies).length <= room
    const current = prune(before, second, LONGEST_ROLE_SESSION_SECONDS)
    const all = merge(current, pairs)
    const noRoom = (): Answer => ({
      status: 'retry',
      said: `the inline policies of role ${holder.name} are full`,
      afterSeconds: THROTTLE_SECONDS,
      effect: 'none',
    })
    if (fits(all)) {
      const done = await put(all)
      return { denies: all, left: done ? new Map() : new Map(open.map(({ lease }) => [lease, noRoom()])), coalesced: false }
    }
    const one = coalesce(all)
    if (lane === 'p0' && fits(one) && (await put(one))) return { denies: one, left: new Map(), coalesced: true }

    let some = current
    const left = new Map<string, Answer>()
    for (const { lease, user, second: until } of open) {
      const more = merge(some, [[user, until]])
      if (fits(more)) some = more
      else left.set(lease, { ...noRoom(), ...laterOrNever(current, holder, second) })
    }
    if (left.size < open.length && !(await put(some))) for (const { lease } of open) left.set(lease, noRoom())
    return { denies: left.size < open.length ? some : undefined, left, coalesced: false }
  }

  /** Room comes when the oldest of our own denies has outlived every token it hits; where there is none, it never comes. */
  function laterOrNever(denies: Denies, holder: Holder, second: number): Answer {
    const oldest = Math.min(...denies.sessions.values(), denies.all ?? Number.POSITIVE_INFINITY)
    if (!Number.isFinite(oldest)) {
      const said = `the inline policies of role ${holder.name} leave no room for a deny (${ROLE_POLICY_CHARACTERS} characters for all)`
      return { status: 'irrevocable', said }
    }
    const afterSeconds = Math.max(THROTTLE_SECONDS, oldest + LONGEST_ROLE_SESSION_SECONDS - second)
    const said = `the inline policies of role ${holder.name} are full until older denies may go`
    return { status: 'retry', said, afterSeconds, effect: 'none' }
  }

  async function othersCharacters(holder: Holder, policyName: string): Promise<number> {
    let characters = 0
    for (const name of await iam.policyNames(holder.name)) {
      if (name === policyName) continue
      characters += countCharacters((await iam.getPolicy(holder, name)) ?? '')
    }
    return characters
  }

  async function verifySessions(
    roleName: string,
    members: readonly SessionSubject[],
    warrant: Warrant,
  ): Promise<Map<string, Liveness>> {
    const role = await iam.getRole(roleName)
    const answers = new Map<string, Liveness>()
    let open = members.filter(({ lease, target }) => {
      if (target.roleId !== role.roleId) {
        answers.set(lease, { status: 'dead', said: `role ${target.roleId} is gone; ${roleName} is another one now` })
      } else if (provenBy(target, warrant) + LONGEST_TOKEN_SECONDS <= nowSecond()) {
        answers.set(lease, { status: 'dead', said: `every token of ${awsUserId(target)} has expired` })
      }
      return !answers.has(lease)
    })
    // A containment does not count: its release would bring the session back to life.
    for (const lane of [warrant.lane, ...LANES.filter((other) => other !== warrant.lane)]) {
      if (open.length === 0) break
      const policyName = sessionPolicy(lane)
      const denies = parseDenies(await iam.getPolicy({ kind: 'role', name: roleName }, policyName))
      open = open.filter(({ lease, target }) => {
        const dead = denies !== undefined && covers(denies, awsUserId(target), provenBy(target, warrant))
        if (dead) answers.set(lease, { status: 'dead', said: `${policyName} denies ${awsUserId(target)}` })
        return !dead
      })
    }
    for (const { lease, target } of open) answers.set(lease, { status: 'alive', said: `no policy denies ${awsUserId(target)}` })
    return answers
  }

  /** Takes one session's deny out again: `tidy` when it hits nothing any more, `restore` at once. */
  async function takeOut(
    roleName: string,
    members: readonly SessionSubject[],
    warrant: Warrant,
    attempt: Attempt,
    when: 'expired' | 'now',
  ): Promise<Map<string, Answer>> {
    const answers = new Map<string, Answer>()
    const role = await iam.getRole(roleName)
    const { ours, others } = namesakes(members, role.roleId, ({ target }) => target.roleId)
    for (const { lease, target } of others) answers.set(lease, { status: 'absent', said: `role ${target.roleId} is gone` })
    const holder: Holder = { kind: 'role', name: roleName }
    const policyName = sessionPolicy(warrant.lane)
    const before = parseDenies(await iam.getPolicy(holder, policyName))
    if (before === undefined) {
      for (const { lease } of ours) answers.set(lease, unreadable(roleName, policyName))
      return answers
    }
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

  function unsupported(role: IamRole, roleName: string, second: number): Answer {
    const said = `role ${roleName} (${role.path}) is managed by AWS: its policies cannot be changed by the account`
    if (role.maxSessionSeconds === undefined) return { status: 'unsupported', said }
    return { status: 'unsupported', said, livesUntil: new Date((second + role.maxSessionSeconds) * 1000).toISOString() }
  }

  const protectedAnswer = (holder: string): Answer => ({
    status: 'irrevocable',
    said: `${holder} carries ${PROTECTED_TAG}, or is what we act as: not touched`,
  })

  const unreadable = (roleName: string, policyName: string): Answer => ({
    status: 'irrevocable',
    said: `policy ${policyName} of role ${roleName} is not readable as a policy: not overwritten`,
  })

  // --- containment

  async function containUser(
    userName: string,
    userId: string | undefined,
    warrant: Warrant,
    self: { userId: string },
  ): Promise<LeverAnswer> {
    const user = await iam.getUser(userName)
    if (userId !== undefined && userId !== user.userId) {
      return { status: 'done', said: `user ${userId} is gone; ${userName} is another one now` }
    }
    if (isProtected(user.userId, user.tags, self)) {
      return { status: 'unsupported', said: `user ${userName} carries ${PROTECTED_TAG}, or is what we act as: not touched` }
    }
    const holder: Holder = { kind: 'user', name: userName }
    const policyName = containPolicy(warrant.epoch, warrant.lane)
    const notes: string[] = []
    let denied = sameDocument(await iam.getPolicy(holder, policyName), DENY_ALL)
    if (!denied) {
      try {
        await iam.putPolicy(holder, policyName, DENY_ALL)
        denied = sameDocument(await iam.getPolicy(holder, policyName), DENY_ALL)
        if (!denied) return { status: 'retry', said: `${policyName} does not show yet`, afterSeconds: READ_BACK_SECONDS }
      } catch (error) {
        const fault = classify(error)
        if (fault.kind !== 'full') throw fault
      }
    }
    // Marked before it is deactivated, so that no crash leaves a key inactive that `release` does not know of. A key that
    // another epoch's containment holds is marked for this one too.
    const mark = async (keys: readonly AccessKey[]) => {
      const marked = keys.filter(({ accessKeyId, status }) => status === 'Active' || containedTags(user, accessKeyId).length > 0)
      const tags = marked.map(({ accessKeyId }) => containedTag(warrant.epoch, accessKeyId)).filter((tag) => !user.tags.has(tag))
      if (tags.length === 0) return
      try {
        await iam.tagUser(userName, Object.fromEntries(tags.map((tag) => [tag, warrant.case])))
      } catch (error) {
        const fault = classify(error)
        if (fault.kind !== 'full') throw fault
        notes.push('no room for a tag: a release will not reactivate the keys')
      }
    }
    const keys = await iam.listAccessKeys(userName)
    await mark(keys)
    let left = keys.filter(({ status }) => status === 'Active')
    for (let round = 0; round < ROUNDS && left.length > 0; round += 1) {
      for (const { accessKeyId } of left) await iam.setAccessKey(userName, accessKeyId, 'Inactive')
      left = (await iam.listAccessKeys(userName)).filter(({ status }) => status === 'Active')
      // A key that was made meanwhile, before the deny took effect.
      await mark(left.filter(({ accessKeyId }) => !keys.some((known) => known.accessKeyId === accessKeyId)))
    }
    if (left.length > 0) {
      return {
        status: 'retry',
        said: `${left.length} keys of user ${userName} are still Active`,
        afterSeconds: READ_BACK_SECONDS,
      }
    }
    const said = [`all ${keys.length} keys of user ${userName} are Inactive`, ...notes]
    return denied
      ? { status: 'done', said: [...said, `${policyName} denies all else`].join('; ') }
      : {
          status: 'unsupported',
          said: [...said, 'but a deny for its tokens and password does not fit into 2,048 characters'].join('; '),
        }
  }

  async function releaseUser(userName: string, userId: string | undefined, warrant: Warrant): Promise<LeverAnswer> {
    const user = await iam.getUser(userName)
    if (userId !== undefined && userId !== user.userId) {
      return { status: 'done', said: `user ${userId} is gone; ${userName} is another one now` }
    }
    const ending = (await iam.listAccessKeys(userName)).filter(({ accessKeyId }) =>
      user.tags.has(containedTag(warrant.epoch, accessKeyId)),
    )
    const stays = (of: IamUser, accessKeyId: string) =>
      of.tags.has(revokedTag(accessKeyId)) ||
      containedTags(of, accessKeyId).some((tag) => tag !== containedTag(warrant.epoch, accessKeyId))
    let active = 0
    for (const { accessKeyId } of ending) {
      if (stays(user, accessKeyId)) continue
      await iam.setAccessKey(userName, accessKeyId, 'Active')
      active += 1
    }
    if (active > 0) {
      // A lease of the key may have been cut between the first look and the reactivation.
      const again = await iam.getUser(userName)
      for (const { accessKeyId } of ending) {
        if (stays(user, accessKeyId) || !stays(again, accessKeyId)) continue
        await iam.setAccessKey(userName, accessKeyId, 'Inactive')
        active -= 1
      }
    }
    const marks = [...user.tags.keys()].filter((tag) => tag.startsWith(`${prefix}:contained:${warrant.epoch}:`))
    if (marks.length > 0) await iam.untagUser(userName, marks)
    for (const lane of LANES) await iam.deletePolicy({ kind: 'user', name: userName }, containPolicy(warrant.epoch, lane))
    return {
      status: 'done',
      said: `${active} keys of user ${userName} are Active again, ${ending.length - active} stay Inactive`,
    }
  }

  async function containRole(
    roleName: string,
    roleId: string | undefined,
    warrant: Warrant,
    self: { userId: string },
  ): Promise<LeverAnswer> {
    const role = await iam.getRole(roleName)
    if (roleId !== undefined && roleId !== role.roleId) {
      return { status: 'done', said: `role ${roleId} is gone; ${roleName} is another one now` }
    }
    if (untouchable(role, roleName)) return { status: 'unsupported', said: `role ${roleName} (${role.path}) is managed by AWS` }
    if (isProtected(role.roleId, role.tags, self)) {
      return { status: 'unsupported', said: `role ${roleName} carries ${PROTECTED_TAG}, or is what we act as: not touched` }
    }
    const holder: Holder = { kind: 'role', name: roleName }
    const policyName = containPolicy(warrant.epoch, warrant.lane)
    const second = secondFrom(Date.parse(warrant.fencedAt))
    const said = `${policyName} denies every session of role ${roleName} from before ${printSecond(second)}`
    const before = parseDenies(await iam.getPolicy(holder, policyName))
    if (before === undefined) return { status: 'unsupported', said: `policy ${policyName} is not readable: not overwritten` }
    if ((before.all ?? 0) >= second) return { status: 'done', said }
    try {
      await iam.putPolicy(holder, policyName, printDenies(merge(before, [], second)))
    } catch (error) {
      const fault = classify(error)
      if (fault.kind !== 'full') throw fault
      return { status: 'unsupported', said: `the inline policies of role ${roleName} leave no room for a deny` }
    }
    const after = parseDenies(await iam.getPolicy(holder, policyName))
    return (after?.all ?? 0) >= second
      ? { status: 'done', said }
      : { status: 'retry', said: `${policyName} does not show the deny yet`, afterSeconds: READ_BACK_SECONDS }
  }

  async function releaseRole(roleName: string, roleId: string | undefined, warrant: Warrant): Promise<LeverAnswer> {
    const role = await iam.getRole(roleName)
    if (roleId !== undefined && roleId !== role.roleId) {
      return { status: 'done', said: `role ${roleId} is gone; ${roleName} is another one now` }
    }
    for (const lane of LANES) await iam.deletePolicy({ kind: 'role', name: roleName }, containPolicy(warrant.epoch, lane))
    return { status: 'done', said: `role ${roleName} is not contained in epoch ${warrant.epoch} any more` }
  }

  async function pull(lever: Lever, run: () => Promise<LeverAnswer>): Promise<LeverAnswer> {
    try {
      return await run()
    } catch (error) {
      const fault = classify(error)
      const fatal = issuerError(fault)
      if (fatal !== undefined) throw fatal
      const holder = lever.kind === 'user' ? `user ${lever.userName}` : `role ${lever.roleName}`
      if (fault.kind === 'gone') return { status: 'done', said: `${holder} is not in ${where}` }
      if (fault.kind === 'throttled' || fault.kind === 'busy') {
        return { status: 'retry', said: `${holder}: ${fault.awsCode}`, afterSeconds: THROTTLE_SECONDS }
      }
      return { status: 'unsupported', said: `${holder}: AWS refuses the request (${fault.awsCode})` }
    }
  }

  return {
    async revoke(batch, warrant) {
      const self = await rightIssuer()
      return eachHolder<Answer>(
        batch,
        (userName, members, attempt) => revokeKeys(userName, members, warrant, attempt, self),
        (roleName, members, attempt) => cutSessions(roleName, members, warrant, attempt, self),
        failedCut,
      )
    },
    async verify(batch, warrant) {
      await rightIssuer()
      return eachHolder<Liveness>(
        batch,
        (userName, members) => verifyKeys(userName, members),
        (roleName, members) => verifySessions(roleName, members, warrant),
        failedLook,
      )
    },
    async tidy(batch, warrant) {
      await rightIssuer()
      return eachHolder<Answer>(
        batch,
        (userName, members, attempt) => tidyKeys(userName, members, attempt),
        (roleName, members, attempt) => takeOut(roleName, members, warrant, attempt, 'expired'),
        failedCut,
      )
    },
    async restore(batch, warrant) {
      await rightIssuer()
      return eachHolder<Answer>(
        batch,
        (userName, members, attempt) => restoreKeys(userName, members, attempt),
        (roleName, members, attempt) => takeOut(roleName, members, warrant, attempt, 'now'),
        failedCut,
      )
    },
    async contain(lever, warrant) {
      const self = await rightIssuer()
      return pull(lever, () =>
        lever.kind === 'user'
          ? containUser(lever.userName, lever.userId, warrant, self)
          : containRole(lever.roleName, lever.roleId, warrant, self),
      )
    },
    async release(lever, warrant) {
      await rightIssuer()
      return pull(lever, () =>
        lever.kind === 'user'
          ? releaseUser(lever.userName, lever.userId, warrant)
          : releaseRole(lever.roleName, lever.roleId, warrant),
      )
    },
    async close() {
      iam.close()
    },
  }
}

/** The faults that are the issuer's, not a lease's. */
function issuerError(fault: IamFault): IssuerRefused | IssuerUnavailable | undefined {
  if (fault.kind === 'refused') return new IssuerRefused(`AWS refuses the admin credential: ${fault.awsCode}`, { cause: fault })
  if (fault.kind === 'unavailable') return new IssuerUnavailable(`AWS IAM gives no answer: ${fault.awsCode}`, { cause: fault })
  return undefined
}

export const provider: ProviderModule<Target, undefined, Lever, Settings> = {
  definition,
  connect: async (issuer, tools) =>
    createProvider(issuer.settings, await connectIam(issuer.name, issuer.settings, tools), () => tools.now()),
}
