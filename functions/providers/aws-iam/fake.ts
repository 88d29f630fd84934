import * as z from 'zod/mini'
import type { ProviderModule } from '../contract.ts'
import { IssuerRefused } from '../contract.ts'
import type {
  AccessKey,
  CredentialKind,
  FaultKind,
  Holder,
  IamClient,
  IamRole,
  IamUser,
  KeyStatus,
  ListedUser,
} from './client.ts'
import { IamFault } from './client.ts'
import type { Lever, Settings, Target } from './definition.ts'
import { definition } from './definition.ts'
import { countCharacters, ROLE_POLICY_CHARACTERS } from './policy.ts'
import { openProvider } from './provider.ts'

/**
 * One AWS account in memory, as the IAM and STS API references describe it: errors, quotas (10,240 characters of inline
 * policies per role, 2,048 per user, 50 tags, two keys per user), unmodifiable roles. Ids and answers follow from the
 * order of calls alone.
 */
export class FakeIam implements IamClient {
  /** Every call in order, as `<method> <name> ...`. */
  readonly calls: string[] = []
  closed = false
  /** What is wrong with AWS until it is taken back; `other`: another account answers. */
  fault: 'none' | 'other' | Extract<FaultKind, 'unavailable' | 'refused' | 'throttled'> = 'none'
  readonly #account: string
  readonly #keysPerUser: number
  readonly #users = new Map<string, FakeUser>()
  readonly #roles = new Map<string, FakeRole>()
  readonly #faults: { method: string; fault: IamFault; after: number }[] = []
  #callerId = 'AIDAADMINADMINADMIN00'
  #counter = 0

  /** `keysPerUser`: AWS allows two. */
  constructor(account: string, keysPerUser = 2) {
    this.#account = account
    this.#keysPerUser = keysPerUser
  }

  /** The provider over this account; the only admin secret that it takes. */
  readonly admin = { accessKeyId: 'AKIA0FAKE0FAKE0FAKE0', secretAccessKey: 'fake-secret-access-key' }
  readonly module: ProviderModule<Target, undefined, Lever, Settings> = {
    definition,
    connect: async ({ settings }, tools) => {
      if ((await tools.adminSecret()) !== JSON.stringify(this.admin))
        throw new IssuerRefused('AWS STS refuses to say who we are: InvalidClientTokenId')
      return await openProvider(settings, this, () => tools.now())
    },
  }

  // --- what an administrator does

  addUser(userName: string, tags: Readonly<Record<string, string>> = {}): string {
    const userId = this.#nextId('AIDA')
    const credentials = { 'ssh-key': new Map(), certificate: new Map(), 'service-credential': new Map() }
    const own = { keys: new Map(), credentials, password: undefined, policies: new Map() }
    this.#users.set(userName, { userId, tags: new Map(Object.entries(tags)), ...own })
    return userId
  }

  removeUser(userName: string): void {
    this.#users.delete(userName)
  }

  addAccessKey(userName: string): string {
    const user = this.#user(userName)
    if (user.keys.size >= this.#keysPerUser) throw fault('full', 'LimitExceeded')
    const accessKeyId = this.#nextId('AKIA')
    user.keys.set(accessKeyId, 'Active')
    return accessKeyId
  }

  addCredential(kind: CredentialKind, userName: string): string {
    const id = this.#nextId({ 'ssh-key': 'APKA', certificate: 'CERT', 'service-credential': 'ACCA' }[kind])
    this.#user(userName).credentials[kind].set(id, 'Active')
    return id
  }

  /** CreateLoginProfile; one that was there before is gone. */
  setPassword(userName: string): Date {
    this.#counter += 1
    const made = new Date(this.#counter * 1000)
    this.#user(userName).password = made
    return made
  }

  addRole(
    roleName: string,
    options: { path?: string; tags?: Readonly<Record<string, string>>; maxSessionSeconds?: number } = {},
  ): string {
    const roleId = this.#nextId('AROA')
    const { path = '/', tags = {}, maxSessionSeconds = 3600 } = options
    this.#roles.set(roleName, { roleId, path, maxSessionSeconds, tags: new Map(Object.entries(tags)), policies: new Map() })
    return roleId
  }

  removeRole(roleName: string): void {
    this.#roles.delete(roleName)
  }

  actAs(userId: string): void {
    this.#callerId = userId
  }

  /** The next call of `method` (after `after` more) fails. */
  fail(method: keyof IamClient, kind: FaultKind, after = 0): void {
    this.#faults.push({ method, fault: fault(kind, `Injected-${kind}`), after })
  }

  // --- what AWS would answer to the holder of a credential

  keyWorks(userName: string, accessKeyId: string): boolean {
    const user = this.#users.get(userName)
    return user?.keys.get(accessKeyId) === 'Active' && !denied(user.policies, {})
  }

  credentialWorks(kind: CredentialKind, userName: string, id: string): boolean {
    const user = this.#users.get(userName)
    return user?.credentials[kind].get(id) === 'Active' && !denied(user.policies, {})
  }

  passwordWorks(userName: string): boolean {
    return this.#users.get(userName)?.password !== undefined
  }

  /** A session that was issued at the second (since 1970). */
  sessionWorks(roleName: string, sessionName: string, issuedAt: number, sourceIdentity?: string): boolean {
    const role = this.#roles.get(roleName)
    if (role === undefined) return false
    const request = { userId: `${role.roleId}:${sessionName}`, issuedAt }
    return !denied(role.policies, sourceIdentity === undefined ? request : { ...request, sourceIdentity })
  }

  /** A token of GetSessionToken. */
  tokenWorks(userName: string, issuedAt: number): boolean {
    const user = this.#users.get(userName)
    return user !== undefined && !denied(user.policies, { userId: user.userId, issuedAt })
  }

  policiesOf(holder: Holder): ReadonlyMap<string, string> {
    return this.#holder(holder).policies
  }

  // --- IamClient

  async whoAmI() {
    this.#called('whoAmI')
    return { account: this.fault === 'other' ? '999999999999' : this.#account, userId: this.#callerId }
  }

  async getUser(userName: string): Promise<IamUser> {
    this.#called('getUser', userName)
    const { userId, tags } = this.#user(userName)
    return { userId, arn: `arn:aws:iam::${this.#account}:user/people/${userName}`, tags: new Map(tags) }
  }

  async listAccessKeys(userName: string): Promise<readonly AccessKey[]> {
    this.#called('listAccessKeys', userName)
    return [...this.#user(userName).keys].map(([accessKeyId, status]) => ({ accessKeyId, status, createdAt: new Date(0) }))
  }

  async listUsers(from: string | undefined, most: number) {
    this.#called('listUsers', from ?? '')
    const behind = [...this.#users.keys()].filter((name) => from === undefined || name > from).toSorted()
    const users = behind.slice(0, most).map((userName): ListedUser => {
      const { userId } = this.#user(userName)
      return { userName, userId, arn: `arn:aws:iam::${this.#account}:user/people/${userName}` }
    })
    const last = users.at(-1)?.userName
    return { users, ...(behind.length > most && last !== undefined ? { next: last } : {}) }
  }

  async accessKeyUse(accessKeyId: string) {
    this.#called('accessKeyUse', accessKeyId)
    for (const [userName, { keys }] of this.#users) if (keys.has(accessKeyId)) return { userName, lastUsedAt: undefined }
    throw fault('gone', 'NoSuchEntity')
  }

  async setAccessKey(userName: string, accessKeyId: string, status: KeyStatus): Promise<void> {
    this.#called('setAccessKey', userName, accessKeyId, status)
    const { keys } = this.#user(userName)
    if (!keys.has(accessKeyId)) throw fault('gone', 'NoSuchEntity')
    keys.set(accessKeyId, status)
  }

  async deleteAccessKey(userName: string, accessKeyId: string): Promise<void> {
    this.#called('deleteAccessKey', userName, accessKeyId)
    if (!this.#user(userName).keys.delete(accessKeyId)) throw fault('gone', 'NoSuchEntity')
  }

  async listCredentials(kind: CredentialKind, userName: string) {
    this.#called('listCredentials', kind, userName)
    return [...this.#user(userName).credentials[kind]].map(([id, status]) => ({ id, status }))
  }

  async setCredential(kind: CredentialKind, userName: string, id: string, status: KeyStatus): Promise<void> {
    this.#called('setCredential', kind, userName, id, status)
    const kept = this.#user(userName).credentials[kind]
    if (!kept.has(id)) throw fault('gone', 'NoSuchEntity')
    kept.set(id, status)
  }

  async deleteCredential(kind: CredentialKind, userName: string, id: string): Promise<void> {
    this.#called('deleteCredential', kind, userName, id)
    if (!this.#user(userName).credentials[kind].delete(id)) throw fault('gone', 'NoSuchEntity')
  }

  async passwordMade(userName: string): Promise<Date | undefined> {
    this.#called('passwordMade', userName)
    return this.#users.get(userName)?.password
  }

  async deletePassword(userName: string): Promise<void> {
    this.#called('deletePassword', userName)
    const user = this.#user(userName)
    if (user.password === undefined) throw fault('gone', 'NoSuchEntity')
    user.password = undefined
  }

  async tagUser(userName: string, tags: Readonly<Record<string, string>>): Promise<void> {
    this.#called('tagUser', userName, ...Object.keys(tags))
    const user = this.#user(userName)
    const wanted = new Map([...user.tags, ...Object.entries(tags)])
    for (const [key, value] of Object.entries(tags)) {
      if (!/^[\p{L}\p{Z}\p{N}_.:/=+\-@]{1,128}$/u.test(key) || !/^[\p{L}\p{Z}\p{N}_.:/=+\-@]{0,256}$/u.test(value)) {
        throw fault('invalid', 'ValidationError')
      }
      if (/^aws:/i.test(key)) throw fault('invalid', 'InvalidInput')
    }
    if (wanted.size > 50) throw fault('full', 'LimitExceeded')
    for (const [key, value] of wanted) user.tags.set(key, value)
  }

  async untagUser(userName: string, keys: readonly string[]): Promise<void> {
    this.#called('untagUser', userName, ...keys)
    const { tags } = this.#user(userName)
    for (const key of keys) tags.delete(key)
  }

  async getRole(roleName: string): Promise<IamRole> {
    this.#called('getRole', roleName)
    const { roleId, path, maxSessionSeconds, tags } = this.#role(roleName)
    const arn = `arn:aws:iam::${this.#account}:role${path}${roleName}`
    return { roleId, arn, path, maxSessionSeconds, tags: new Map(tags) }
  }

  async policyNames(roleName: string): Promise<readonly string[]> {
    this.#called('policyNames', roleName)
    return [...this.#role(roleName).policies.keys()].toSorted()
  }

  async getPolicy(holder: Holder, policyName: string): Promise<string | undefined> {
    this.#called('getPolicy', holder.name, policyName)
    const entity = holder.kind === 'user' ? this.#users.get(holder.name) : this.#roles.get(holder.name)
    return entity?.policies.get(policyName)
  }

  async putPolicy(holder: Holder, policyName: string, document: string): Promise<void> {
    this.#called('putPolicy', holder.name, policyName)
    const { policies } = this.#holder(holder)
    if (holder.kind === 'role' && /^\/(aws-service-role|aws-reserved)\//.test(this.#role(holder.name).path)) {
      throw fault('unmodifiable', 'UnmodifiableEntity')
    }
    if (!/^[\w+=,.@-]{1,128}$/.test(policyName)) throw fault('invalid', 'ValidationError')
    if (!Policy.safeParse(JSON.parse(document)).success) throw fault('invalid', 'MalformedPolicyDocument')
    const others = [...policies].filter(([name]) => name !== policyName).map(([, text]) => countCharacters(text))
    const total = others.reduce((sum, characters) => sum + characters, countCharacters(document))
    if (total > (holder.kind === 'role' ? ROLE_POLICY_CHARACTERS : 2048)) throw fault('full', 'LimitExceeded')
    policies.set(policyName, document)
  }

  async deletePolicy(holder: Holder, policyName: string): Promise<void> {
    this.#called('deletePolicy', holder.name, policyName)
    const entity = holder.kind === 'user' ? this.#users.get(holder.name) : this.#roles.get(holder.name)
    entity?.policies.delete(policyName)
  }

  close(): void {
    this.closed = true
  }

  #called(method: string, ...words: readonly string[]): void {
    if (this.fault !== 'none' && this.fault !== 'other') throw fault(this.fault, `Injected-${this.fault}`)
    this.calls.push([method, ...words].join(' '))
    const planned = this.#faults.find((entry) => entry.method === method)
    if (planned === undefined) return
    if (planned.after > 0) {
      planned.after -= 1
      return
    }
    this.#faults.splice(this.#faults.indexOf(planned), 1)
    throw planned.fault
  }

  #nextId(prefix: string): string {
    this.#counter += 1
    return `${prefix}${String(this.#counter).padStart(17, '0')}`
  }

  #user(userName: string): FakeUser {
    const user = this.#users.get(userName)
    if (user === undefined) throw fault('gone', 'NoSuchEntity')
    return user
  }

  #role(roleName: string): FakeRole {
    const role = this.#roles.get(roleName)
    if (role === undefined) throw fault('gone', 'NoSuchEntity')
    return role
  }

  #holder(holder: Holder): FakeUser | FakeRole {
    return holder.kind === 'user' ? this.#user(holder.name) : this.#role(holder.name)
  }
}

interface FakeUser {
  readonly userId: string
  readonly tags: Map<string, string>
  readonly keys: Map<string, KeyStatus>
  readonly credentials: Readonly<Record<CredentialKind, Map<string, KeyStatus>>>
  password: Date | undefined
  readonly policies: Map<string, string>
}

interface FakeRole {
  readonly roleId: string
  readonly path: string
  readonly maxSessionSeconds: number
  readonly tags: Map<string, string>
  readonly policies: Map<string, string>
}

const fault = (kind: FaultKind, code: string) => new IamFault(kind, code)

const Policy = z.looseObject({
  Version: z.literal('2012-10-17'),
  Statement: z.array(
    z.looseObject({
      Effect: z.enum(['Allow', 'Deny']),
      Condition: z.optional(
        z.strictObject({
          StringEquals: z.optional(z.record(z.string(), z.union([z.string(), z.array(z.string())]))),
          DateLessThan: z.optional(z.strictObject({ 'aws:TokenIssueTime': z.string() })),
          DateEquals: z.optional(z.strictObject({ 'aws:TokenIssueTime': z.string() })),
        }),
      ),
    }),
  ),
})

/** The part of IAM's evaluation that our denies use: each condition must hold, and an absent key holds none. */
function denied(
  policies: ReadonlyMap<string, string>,
  request: { userId?: string; issuedAt?: number; sourceIdentity?: string },
): boolean {
  return [...policies.values()].some((document) =>
    Policy.parse(JSON.parse(document)).Statement.some(({ Effect: effect, Condition: condition }) => {
      if (effect !== 'Deny') return false
      const users = condition?.StringEquals?.['aws:userid']
      if (users !== undefined && !(request.userId !== undefined && [users].flat().includes(request.userId))) return false
      const sources = condition?.StringEquals?.['aws:SourceIdentity']
      const { sourceIdentity: source } = request
      if (sources !== undefined && !(source !== undefined && [sources].flat().includes(source))) return false
      const at = condition?.DateEquals?.['aws:TokenIssueTime']
      if (at !== undefined && request.issuedAt !== Date.parse(at) / 1000) return false
      const before = condition?.DateLessThan?.['aws:TokenIssueTime']
      return before === undefined || (request.issuedAt !== undefined && request.issuedAt * 1000 < Date.parse(before))
    }),
  )
}
