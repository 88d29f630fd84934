import type { Issued, Order } from '../contract.ts'
import type { Management, User } from './api.ts'
import type { Grants, Target } from './definition.ts'

const PASSWORD_BYTES = 32

/** A user without tags: no management API, only what its permissions name. */
export async function issueUser(
  api: Management,
  { name, grants }: Order<Grants>,
  random: ((length: number) => Uint8Array) | undefined,
  targetOf: (user: User) => Target,
): Promise<Issued<Target, never, never>> {
  const refused = (said: string) => ({ status: 'refused', said }) as const
  if (random === undefined) return refused('nothing here makes passwords')
  if ((await api.user(name)) !== undefined) return refused('the cluster has a user of that name')
  for (const { vhost } of grants.permissions) {
    if (!(await api.hasVhost(vhost))) return refused(`the cluster has no virtual host ${JSON.stringify(vhost)}`)
  }
  const password = Buffer.from(random(PASSWORD_BYTES)).toString('base64url')
  if ((await api.putPassword(name, password)) !== 'made') {
    return { status: 'retry', said: 'somebody made a user of that name at the same moment', effect: 'unknown' }
  }
  for (const { vhost, ...patterns } of grants.permissions) {
    const problem = await api.permit(name, vhost, patterns)
    if (problem === undefined) continue
    await api.deleteUser(name)
    return refused(problem)
  }
  const made = await api.user(name)
  if (made === undefined) return { status: 'retry', said: 'the user was deleted while it was made', effect: 'unknown' }
  return { status: 'issued', said: 'made without tags', target: targetOf(made), credential: { user: name, password } }
}
