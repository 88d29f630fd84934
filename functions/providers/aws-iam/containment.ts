import { LANES } from '../../contracts/primitives.ts'
import type { LeverAnswer, Warrant } from '../contract.ts'
import type { Account, Bearer } from './account.ts'
import {
  doneUnless,
  holderName,
  managedByAws,
  namesakeOf,
  ownFault,
  READ_BACK_SECONDS,
  THROTTLE_SECONDS,
  throttlingOf,
} from './account.ts'
import type { Holder, IamUser, UserCredential } from './client.ts'
import type { Lever } from './definition.ts'
import { deactivate, setKey } from './keys.ts'
import { accessKeyKind } from './kinds.ts'
import { DENY_ALL, merge, parseDenies, printDenies, printSecond, sameDocument, secondFrom } from './policy.ts'

/** Pulls a lever, or puts it back. @throws IssuerRefused or IssuerUnavailable */
type Pull = (lever: Lever, warrant: Warrant) => Promise<LeverAnswer>

/** Cuts all that a user holds, or all sessions of a role from before the fence, reversibly. */
export function levers(account: Account): { contain: Pull; release: Pull } {
  const { iam, names } = account
  const keys = accessKeyKind(iam)

  async function containUser(userName: string, user: IamUser, warrant: Warrant): Promise<LeverAnswer> {
    const holder: Holder = { kind: 'user', name: userName }
    const policyName = names.containPolicy(warrant.epoch, warrant.lane)
    const isDenied = async () => sameDocument(await iam.getPolicy(holder, policyName), DENY_ALL)
    let denied = await isDenied()
    if (!denied && (await doneUnless('full', () => iam.putPolicy(holder, policyName, DENY_ALL)))) {
      denied = await isDenied()
      if (!denied) return { status: 'retry', said: `${policyName} does not show yet`, afterSeconds: READ_BACK_SECONDS }
    }
    const tagged = new Set(user.tags.keys())
    let room = true
    // Marked before it is deactivated, so that no crash leaves a key inactive that `release` does not know of. A key that
    // another epoch's containment holds is marked for this one too.
    const mark = async (listed: readonly UserCredential[]) => {
      const held = listed.filter(({ id, status }) => status === 'Active' || names.containedTags(user, id).length > 0)
      const tags = held.map(({ id }) => names.containedTag(warrant.epoch, id)).filter((tag) => !tagged.has(tag))
      if (tags.length === 0) return
      for (const tag of tags) tagged.add(tag)
      const write = () => iam.tagUser(userName, Object.fromEntries(tags.map((tag) => [tag, warrant.case])))
      if (!(await doneUnless('full', write))) room = false
    }
    const { count, left } = await deactivate(keys, userName, () => true, mark)
    if (left.length > 0) {
      const said = `${left.length} keys of user ${userName} are still Active`
      return { status: 'retry', said, afterSeconds: READ_BACK_SECONDS }
    }
    const said = [
      `all ${count} keys of user ${userName} are Inactive`,
      ...(room ? [] : ['no room for a tag: a release will not reactivate the keys']),
      denied ? `${policyName} denies all else` : 'but a deny for its tokens and password does not fit into 2,048 characters',
    ].join('; ')
    return { status: denied ? 'done' : 'unsupported', said }
  }

  async function releaseUser(userName: string, user: IamUser, warrant: Warrant): Promise<LeverAnswer> {
    const ending = (await iam.listAccessKeys(userName)).filter(({ accessKeyId }) =>
      user.tags.has(names.containedTag(warrant.epoch, accessKeyId)),
    )
    const stays = (of: IamUser, accessKeyId: string) =>
      of.tags.has(names.revokedTag(accessKeyId)) ||
      names.containedTags(of, accessKeyId).some((tag) => tag !== names.containedTag(warrant.epoch, accessKeyId))
    const active = new Set<string>()
    for (const { accessKeyId } of ending) {
      if (!stays(user, accessKeyId) && (await setKey(keys, userName, accessKeyId, 'Active'))) active.add(accessKeyId)
    }
    // A lease of the key may have been cut between the first look and the reactivation.
    const again = active.size === 0 ? user : await iam.getUser(userName)
    for (const accessKeyId of [...active].filter((id) => stays(again, id))) {
      await setKey(keys, userName, accessKeyId, 'Inactive')
      active.delete(accessKeyId)
    }
    const marks = names.epochTags(user, warrant.epoch)
    if (marks.length > 0) await iam.untagUser(userName, marks)
    await dropPolicies({ kind: 'user', name: userName }, warrant.epoch)
    const said = `${active.size} keys of user ${userName} are Active again, ${ending.length - active.size} stay Inactive`
    return { status: 'done', said }
  }

  async function containRole(roleName: string, warrant: Warrant): Promise<LeverAnswer> {
    const holder: Holder = { kind: 'role', name: roleName }
    const policyName = names.containPolicy(warrant.epoch, warrant.lane)
    const second = secondFrom(Date.parse(warrant.fencedAt))
    const said = `${policyName} denies every session of role ${roleName} from before ${printSecond(second)}`
    const before = parseDenies(await iam.getPolicy(holder, policyName))
    if (before === undefined) return { status: 'unsupported', said: `policy ${policyName} is not readable: not overwritten` }
    if ((before.all ?? 0) >= second) return { status: 'done', said }
    if (!(await doneUnless('full', () => iam.putPolicy(holder, policyName, printDenies(merge(before, [], second)))))) {
      return { status: 'unsupported', said: `the inline policies of role ${roleName} leave no room for a deny` }
    }
    const after = parseDenies(await iam.getPolicy(holder, policyName))
    return (after?.all ?? 0) >= second
      ? { status: 'done', said }
      : { status: 'retry', said: `${policyName} does not show the deny yet`, afterSeconds: READ_BACK_SECONDS }
  }

  async function releaseRole(roleName: string, warrant: Warrant): Promise<LeverAnswer> {
    await dropPolicies({ kind: 'role', name: roleName }, warrant.epoch)
    return { status: 'done', said: `role ${roleName} is not contained in epoch ${warrant.epoch} any more` }
  }

  async function dropPolicies(holder: Holder, epoch: number): Promise<void> {
    for (const lane of LANES) await iam.deletePolicy(holder, names.containPolicy(epoch, lane))
  }

  /** The answer for a lever that is not ours to pull: it names an earlier user or role, or a protected one. */
  async function refusal(bearer: Bearer, wanted: string | undefined, managed?: string): Promise<LeverAnswer | undefined> {
    if (wanted !== undefined && wanted !== bearer.id) {
      return { status: 'done', said: namesakeOf(bearer, wanted, account.where) }
    }
    const said = managed ?? (await account.protection(bearer))
    return said === undefined ? undefined : { status: 'unsupported', said }
  }

  const pull =
    (pullUser: typeof containUser, pullRole: typeof containRole): Pull =>
    async (lever, warrant) => {
      await account.caller()
      const holder: Holder =
        lever.kind === 'user' ? { kind: 'user', name: lever.userName } : { kind: 'role', name: lever.roleName }
      const { name } = holder
      try {
        if (lever.kind === 'user') {
          const user = await iam.getUser(name)
          const refused = await refusal({ holder, id: user.userId, tags: user.tags }, lever.userId)
          return refused ?? (await pullUser(name, user, warrant))
        }
        const role = await iam.getRole(name)
        const refused = await refusal({ holder, id: role.roleId, tags: role.tags }, lever.roleId, managedByAws(name, role))
        return refused ?? (await pullRole(name, warrant))
      } catch (error) {
        const fault = ownFault(error)
        if (fault.kind === 'gone') return { status: 'done', said: `${holderName(holder)} is not in ${account.where}` }
        if (fault.kind === 'throttled' || fault.kind === 'busy') {
          return {
            status: 'retry',
            said: `${holderName(holder)}: ${fault.awsCode}`,
            afterSeconds: THROTTLE_SECONDS,
            ...throttlingOf(fault),
          }
        }
        return { status: 'unsupported', said: `${holderName(holder)}: AWS refuses the request (${fault.awsCode})` }
      }
    }

  return { contain: pull(containUser, containRole), release: pull(releaseUser, releaseRole) }
}
