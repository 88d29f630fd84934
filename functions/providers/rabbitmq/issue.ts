import { createHash } from 'node:crypto'
import type { Issued, Order } from '../contract.ts'
import type { Management, User } from './api.ts'
import type { Grants, Target } from './definition.ts'

const PASSWORD_BYTES = 32
const SALT_BYTES = 4
const SETTLED_MILLISECONDS = 100

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
  const hash = hashOf(password, random(SALT_BYTES))
  if ((await api.putHash({ name, hashing_algorithm: 'rabbit_password_hashing_sha256', tags: [] }, hash)) === 'taken') {
    return refused('somebody made a user of that name at the same moment')
  }
  // A write has no condition: of two that make one name at once the last one's password stays.
  await api.pause(SETTLED_MILLISECONDS)
  const kept = await api.user(name)
  if (kept?.password_hash !== hash) {
    return { status: 'retry', said: 'somebody else made or deleted a user of that name at the same moment', effect: 'unknown' }
  }
  for (const { vhost, ...patterns } of grants.permissions) {
    const problem = await api.permit(name, vhost, patterns)
    if (problem === undefined) continue
    await api.deleteUser(name)
    return refused(problem)
  }
  return { status: 'issued', said: 'made without tags', target: targetOf(kept), credential: { user: name, password } }
}

/** As the server makes it ("Passwords", rabbitmq.com): the password itself does not travel. */
function hashOf(password: string, salt: Uint8Array): string {
  return Buffer.concat([salt, createHash('sha256').update(salt).update(password).digest()]).toString('base64')
}
