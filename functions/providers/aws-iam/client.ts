import {
  DeleteAccessKeyCommand,
  DeleteLoginProfileCommand,
  DeleteRolePolicyCommand,
  DeleteUserPolicyCommand,
  GetAccessKeyLastUsedCommand,
  GetLoginProfileCommand,
  GetRoleCommand,
  GetRolePolicyCommand,
  GetUserCommand,
  GetUserPolicyCommand,
  IAMClient,
  ListAccessKeysCommand,
  ListRolePoliciesCommand,
  ListUsersCommand,
  PutRolePolicyCommand,
  PutUserPolicyCommand,
  TagUserCommand,
  UntagUserCommand,
  UpdateAccessKeyCommand,
} from '@aws-sdk/client-iam'
import { call, classify, openAws, present, tagsOf } from '../aws.ts'
import type { Tools } from '../contract.ts'
import { credentialCommands, statusOf } from './commands.ts'
import type { Settings } from './definition.ts'

export type { FaultKind } from '../aws.ts'
export { AwsFault as IamFault, classify } from '../aws.ts'

/** The part of IAM and STS that this provider needs. Every method throws `IamFault` and nothing else. */
export interface IamClient {
  /** `userId`: `AROA...:session`, `AIDA...`, or the account id for its root user. */
  whoAmI(): Promise<{ account: string; userId: string }>
  getUser(userName: string): Promise<IamUser>
  /** One page of the account's users, and where the next one begins. */
  listUsers(from: string | undefined, most: number): Promise<{ readonly users: readonly ListedUser[]; readonly next?: string }>
  listAccessKeys(userName: string): Promise<readonly AccessKey[]>
  /** The name of the user who has the key, and when it was last used, as far as AWS knows. */
  accessKeyUse(accessKeyId: string): Promise<{ readonly userName: string; readonly lastUsedAt: Date | undefined }>
  setAccessKey(userName: string, accessKeyId: string, status: KeyStatus): Promise<void>
  deleteAccessKey(userName: string, accessKeyId: string): Promise<void>
  /** Credentials of a user of another kind than access keys. */
  listCredentials(kind: CredentialKind, userName: string): Promise<readonly UserCredential[]>
  setCredential(kind: CredentialKind, userName: string, id: string, status: KeyStatus): Promise<void>
  deleteCredential(kind: CredentialKind, userName: string, id: string): Promise<void>
  /** When the user's password for the console was made; `undefined` where there is none. */
  passwordMade(userName: string): Promise<Date | undefined>
  deletePassword(userName: string): Promise<void>
  /** Adds to the tags that are there; a tag of the same key is replaced. */
  tagUser(userName: string, tags: Readonly<Record<string, string>>): Promise<void>
  untagUser(userName: string, keys: readonly string[]): Promise<void>
  getRole(roleName: string): Promise<IamRole>
  /** Inline policies of a role only. */
  policyNames(roleName: string): Promise<readonly string[]>
  /** The document as JSON text; `undefined` where there is no such policy (or no such user or role). */
  getPolicy(holder: Holder, policyName: string): Promise<string | undefined>
  putPolicy(holder: Holder, policyName: string, document: string): Promise<void>
  /** Also where there is none. */
  deletePolicy(holder: Holder, policyName: string): Promise<void>
  close(): void
}

export interface Holder {
  readonly kind: 'user' | 'role'
  readonly name: string
}

export type KeyStatus = 'Active' | 'Inactive'

export type CredentialKind = 'ssh-key' | 'certificate' | 'service-credential'

export interface UserCredential {
  readonly id: string
  readonly status: KeyStatus
}

export interface AccessKey {
  readonly accessKeyId: string
  readonly status: KeyStatus
  readonly createdAt: Date | undefined
}

export interface ListedUser {
  readonly userName: string
  readonly userId: string
  readonly arn: string
}

export interface IamUser {
  readonly userId: string
  readonly arn: string
  readonly tags: ReadonlyMap<string, string>
}

export interface IamRole {
  readonly roleId: string
  readonly arn: string
  readonly path: string
  readonly maxSessionSeconds: number | undefined
  readonly tags: ReadonlyMap<string, string>
}

/** Clients of the AWS SDK, with the worker's own role, or static credentials, or a spoke account's role. */
export async function connectIam(issuerName: string, settings: Settings, tools: Tools): Promise<IamClient> {
  const aws = await openAws({ provider: 'aws-iam', name: issuerName, settings }, tools)
  const iam = new IAMClient(aws.configuration('IAM'))
  const commands = credentialCommands(iam)

  return {
    whoAmI: aws.whoAmI,
    getUser: (userName) =>
      call(async () => {
        const { User: user } = await iam.send(new GetUserCommand({ UserName: userName }))
        return { userId: present(user?.UserId, 'UserId'), arn: present(user?.Arn, 'Arn'), tags: tagsOf(user?.Tags) }
      }),
    listAccessKeys: (userName) =>
      call(async () => {
        const keys: AccessKey[] = []
        let marker: string | undefined
        do {
          const page = await iam.send(
            new ListAccessKeysCommand({ UserName: userName, ...(marker === undefined ? {} : { Marker: marker }) }),
          )
          for (const key of page.AccessKeyMetadata ?? []) {
            keys.push({
              accessKeyId: present(key.AccessKeyId, 'AccessKeyId'),
              status: statusOf(key.Status),
              createdAt: key.CreateDate,
            })
          }
          marker = page.IsTruncated === true ? page.Marker : undefined
        } while (marker !== undefined)
        return keys
      }),
    accessKeyUse: (accessKeyId) =>
      call(async () => {
        const use = await iam.send(new GetAccessKeyLastUsedCommand({ AccessKeyId: accessKeyId }))
        return { userName: present(use.UserName, 'UserName'), lastUsedAt: use.AccessKeyLastUsed?.LastUsedDate }
      }),
    listUsers: (from, most) =>
      call(async () => {
        const page = await iam.send(new ListUsersCommand({ MaxItems: most, ...(from === undefined ? {} : { Marker: from }) }))
        const users = (page.Users ?? []).map((user) => ({
          userName: present(user.UserName, 'UserName'),
          userId: present(user.UserId, 'UserId'),
          arn: present(user.Arn, 'Arn'),
        }))
        return { users, ...(page.IsTruncated === true && page.Marker !== undefined ? { next: page.Marker } : {}) }
      }),
    setAccessKey: (userName, accessKeyId, status) =>
      call(async () => {
        await iam.send(new UpdateAccessKeyCommand({ UserName: userName, AccessKeyId: accessKeyId, Status: status }))
      }),
    deleteAccessKey: (userName, accessKeyId) =>
      call(async () => {
        await iam.send(new DeleteAccessKeyCommand({ UserName: userName, AccessKeyId: accessKeyId }))
      }),
    listCredentials: (kind, userName) => call(() => commands[kind].list(userName)),
    setCredential: (kind, userName, id, status) =>
      call(async () => {
        await commands[kind].set(userName, id, status)
      }),
    deleteCredential: (kind, userName, id) =>
      call(async () => {
        await commands[kind].delete(userName, id)
      }),
    passwordMade: async (userName) => {
      try {
        return await call(async () => {
          const { LoginProfile: profile } = await iam.send(new GetLoginProfileCommand({ UserName: userName }))
          return present(profile?.CreateDate, 'CreateDate')
        })
      } catch (error) {
        const fault = classify(error)
        if (fault.kind === 'gone') return undefined
        throw fault
      }
    },
    deletePassword: (userName) =>
      call(async () => {
        await iam.send(new DeleteLoginProfileCommand({ UserName: userName }))
      }),
    tagUser: (userName, tags) =>
      call(async () => {
        const list = Object.entries(tags).map(([Key, Value]) => ({ Key, Value }))
        await iam.send(new TagUserCommand({ UserName: userName, Tags: list }))
      }),
    untagUser: (userName, keys) =>
      call(async () => {
        await iam.send(new UntagUserCommand({ UserName: userName, TagKeys: [...keys] }))
      }),
    getRole: (roleName) =>
      call(async () => {
        const { Role: role } = await iam.send(new GetRoleCommand({ RoleName: roleName }))
        return {
          roleId: present(role?.RoleId, 'RoleId'),
          arn: present(role?.Arn, 'Arn'),
          path: present(role?.Path, 'Path'),
          maxSessionSeconds: role?.MaxSessionDuration,
          tags: tagsOf(role?.Tags),
        }
      }),
    policyNames: (roleName) =>
      call(async () => {
        const names: string[] = []
        let marker: string | undefined
        do {
          const page = await iam.send(
            new ListRolePoliciesCommand({ RoleName: roleName, ...(marker === undefined ? {} : { Marker: marker }) }),
          )
          names.push(...(page.PolicyNames ?? []))
          marker = page.IsTruncated === true ? page.Marker : undefined
        } while (marker !== undefined)
        return names
      }),
    getPolicy: async (holder, policyName) => {
      try {
        return await call(async () => {
          const { PolicyDocument: encoded } =
            holder.kind === 'role'
              ? await iam.send(new GetRolePolicyCommand({ RoleName: holder.name, PolicyName: policyName }))
              : await iam.send(new GetUserPolicyCommand({ UserName: holder.name, PolicyName: policyName }))
          // RFC 3986 encoded: GetRolePolicy, "policies returned by this operation are URL-encoded".
          return decodeURIComponent(present(encoded, 'PolicyDocument'))
        })
      } catch (error) {
        const fault = classify(error)
        if (fault.kind === 'gone') return undefined
        throw fault
      }
    },
    putPolicy: (holder, policyName, document) =>
      call(async () => {
        if (holder.kind === 'role') {
          await iam.send(new PutRolePolicyCommand({ RoleName: holder.name, PolicyName: policyName, PolicyDocument: document }))
        } else {
          await iam.send(new PutUserPolicyCommand({ UserName: holder.name, PolicyName: policyName, PolicyDocument: document }))
        }
      }),
    deletePolicy: async (holder, policyName) => {
      try {
        await call(async () => {
          if (holder.kind === 'role') {
            await iam.send(new DeleteRolePolicyCommand({ RoleName: holder.name, PolicyName: policyName }))
          } else {
            await iam.send(new DeleteUserPolicyCommand({ UserName: holder.name, PolicyName: policyName }))
          }
        })
      } catch (error) {
        const fault = classify(error)
        if (fault.kind !== 'gone') throw fault
      }
    },
    close: () => {
      iam.destroy()
      aws.close()
    },
  }
}
