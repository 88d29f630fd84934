import {
  DeleteAccessKeyCommand,
  DeleteRolePolicyCommand,
  DeleteUserPolicyCommand,
  GetAccessKeyLastUsedCommand,
  GetRoleCommand,
  GetRolePolicyCommand,
  GetUserCommand,
  GetUserPolicyCommand,
  IAMClient,
  ListAccessKeysCommand,
  ListRolePoliciesCommand,
  PutRolePolicyCommand,
  PutUserPolicyCommand,
  TagUserCommand,
  UntagUserCommand,
  UpdateAccessKeyCommand,
} from '@aws-sdk/client-iam'
import { AssumeRoleCommand, GetCallerIdentityCommand, STSClient } from '@aws-sdk/client-sts'
import * as z from 'zod/mini'
import type { Tools } from '../contract.ts'
import { IssuerRefused } from '../contract.ts'
import type { Settings } from './definition.ts'

/** The part of IAM and STS that this provider needs. Every method throws `IamFault` and nothing else. */
export interface IamClient {
  /** `userId`: `AROA...:session`, `AIDA...`, or the account id for its root user. */
  whoAmI(): Promise<{ account: string; userId: string }>
  getUser(userName: string): Promise<IamUser>
  listAccessKeys(userName: string): Promise<readonly AccessKey[]>
  /** The name of the user who has the key. */
  accessKeyUser(accessKeyId: string): Promise<string>
  setAccessKey(userName: string, accessKeyId: string, status: KeyStatus): Promise<void>
  deleteAccessKey(userName: string, accessKeyId: string): Promise<void>
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

export interface AccessKey {
  readonly accessKeyId: string
  readonly status: KeyStatus
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

/** A failed call, classified once. */
export type FaultKind =
  /** The user, role, key or policy does not exist. */
  | 'gone'
  /** A quota: the policies' size, the number of tags. */
  | 'full'
  /** AWS does not let anybody edit it: a service-linked or an Identity Center role. */
  | 'unmodifiable'
  /** It was changed a moment ago, or by somebody else at the same time. */
  | 'busy'
  | 'throttled'
  /** Our own credential is refused or may not do this. */
  | 'refused'
  /** No answer, or none of sense. */
  | 'unavailable'
  /** The request itself is refused; another try gets the same answer. */
  | 'invalid'

export class IamFault extends Error {
  readonly kind: FaultKind
  /** AWS's error code, without the `Exception` at its end. */
  readonly awsCode: string
  constructor(kind: FaultKind, awsCode: string, cause?: unknown) {
    super(`${kind}: ${awsCode}`, cause === undefined ? undefined : { cause })
    this.name = 'IamFault'
    this.kind = kind
    this.awsCode = awsCode
  }
}

const KINDS: Readonly<Record<string, FaultKind>> = {
  NoSuchEntity: 'gone',
  LimitExceeded: 'full',
  UnmodifiableEntity: 'unmodifiable',
  EntityTemporarilyUnmodifiable: 'busy',
  ConcurrentModification: 'busy',
  Throttling: 'throttled',
  Throttled: 'throttled',
  RequestThrottled: 'throttled',
  RequestLimitExceeded: 'throttled',
  TooManyRequests: 'throttled',
  AccessDenied: 'refused',
  InvalidClientTokenId: 'refused',
  UnrecognizedClient: 'refused',
  SignatureDoesNotMatch: 'refused',
  ExpiredToken: 'refused',
  IncompleteSignature: 'refused',
  MissingAuthenticationToken: 'refused',
  OptInRequired: 'refused',
  RegionDisabled: 'refused',
  CredentialsProviderError: 'refused',
}

const AwsError = z.looseObject({
  name: z.string(),
  $metadata: z.optional(z.looseObject({ httpStatusCode: z.optional(z.number()) })),
})

/** By code first (IAM and STS API references, "Common errors" and each action's), then by HTTP status. */
export function classify(error: unknown): IamFault {
  if (error instanceof IamFault) return error
  const known = AwsError.safeParse(error)
  if (!known.success) return new IamFault('unavailable', 'Unknown', error)
  const code = known.data.name.replace(/Exception$/, '')
  const status = known.data.$metadata?.httpStatusCode
  const byStatus = (): FaultKind => {
    if (status === 429) return 'throttled'
    if (status === 401 || status === 403) return 'refused'
    return status !== undefined && status >= 400 && status < 500 ? 'invalid' : 'unavailable'
  }
  return new IamFault(KINDS[code] ?? byStatus(), code, error)
}

/** The admin secret: empty where the worker's own role is used. */
const AdminSecret = z.strictObject({
  accessKeyId: z.string().check(z.minLength(4), z.maxLength(128)),
  secretAccessKey: z.string().check(z.minLength(1), z.maxLength(512)),
  sessionToken: z.optional(z.string().check(z.minLength(1), z.maxLength(8192))),
})

function readAdminSecret(text: string) {
  if (text.trim() === '') return undefined
  let json: unknown
  try {
    json = JSON.parse(text)
  } catch {
    // The parser's message quotes the text, so it must not become the cause.
    throw new IssuerRefused('the admin secret of an aws-iam issuer is neither empty nor JSON')
  }
  const parsed = AdminSecret.safeParse(json)
  if (!parsed.success) throw new IssuerRefused('the admin secret of an aws-iam issuer must hold accessKeyId and secretAccessKey')
  const { accessKeyId, secretAccessKey, sessionToken } = parsed.data
  return sessionToken === undefined ? { accessKeyId, secretAccessKey } : { accessKeyId, secretAccessKey, sessionToken }
}

const ONE_CALL = {
  // Two attempts of five seconds and a half stay within `limits.callSeconds`.
  maxAttempts: 2,
  requestHandler: { connectionTimeout: 1500, requestTimeout: 4000, socketTimeout: 4000, throwOnRequestTimeout: true },
}

/** Clients of the AWS SDK, with the worker's own role, or static credentials, or a spoke account's role. */
export async function connectIam(issuerName: string, settings: Settings, tools: Tools): Promise<IamClient> {
  const admin = readAdminSecret(await tools.adminSecret())
  const endpoint = (service: 'IAM' | 'STS') => {
    const url = tools.environment[`AWS_ENDPOINT_URL_${service}`] ?? tools.environment.AWS_ENDPOINT_URL
    return url === undefined || url === '' ? {} : { endpoint: url }
  }
  const own = { region: settings.region, ...ONE_CALL, ...(admin === undefined ? {} : { credentials: admin }) }
  const { roleArn, externalId } = settings
  const hub = roleArn === undefined ? undefined : new STSClient({ ...own, ...endpoint('STS') })
  const acting =
    hub === undefined
      ? own
      : {
          ...own,
          // The SDK calls this again when the session is about to expire.
          credentials: async () => {
            const { Credentials: session } = await hub.send(
              new AssumeRoleCommand({
                RoleArn: roleArn,
                RoleSessionName: `rescind-${issuerName}`,
                DurationSeconds: 900,
                ...(externalId === undefined ? {} : { ExternalId: externalId }),
              }),
            )
            if (
              session?.AccessKeyId === undefined ||
              session.SecretAccessKey === undefined ||
              session.SessionToken === undefined
            ) {
              throw new IamFault('unavailable', 'AssumeRoleWithoutCredentials')
            }
            return {
              accessKeyId: session.AccessKeyId,
              secretAccessKey: session.SecretAccessKey,
              sessionToken: session.SessionToken,
              ...(session.Expiration === undefined ? {} : { expiration: session.Expiration }),
            }
          },
        }
  const iam = new IAMClient({ ...acting, ...endpoint('IAM') })
  const sts = new STSClient({ ...acting, ...endpoint('STS') })

  async function call<Result>(run: () => Promise<Result>): Promise<Result> {
    try {
      return await run()
    } catch (error) {
      throw classify(error)
    }
  }
  /** An answer without a field that AWS always sends is no answer to act on. */
  function present<Value>(value: Value | undefined, field: string): Value {
    if (value === undefined) throw new IamFault('unavailable', `Missing${field}`)
    return value
  }
  const tagsOf = (tags: readonly { Key: string | undefined; Value: string | undefined }[] | undefined) =>
    new Map((tags ?? []).map((tag) => [tag.Key ?? '', tag.Value ?? '']))

  return {
    whoAmI: () =>
      call(async () => {
        const caller = await sts.send(new GetCallerIdentityCommand({}))
        return { account: present(caller.Account, 'Account'), userId: present(caller.UserId, 'UserId') }
      }),
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
              // Whatever is not clearly inactive is taken for usable (there is a third status, `Expired`).
              status: key.Status === 'Inactive' ? 'Inactive' : 'Active',
            })
          }
          marker = page.IsTruncated === true ? page.Marker : undefined
        } while (marker !== undefined)
        return keys
      }),
    accessKeyUser: (accessKeyId) =>
      call(async () => {
        const { UserName: userName } = await iam.send(new GetAccessKeyLastUsedCommand({ AccessKeyId: accessKeyId }))
        return present(userName, 'UserName')
      }),
    setAccessKey: (userName, accessKeyId, status) =>
      call(async () => {
        await iam.send(new UpdateAccessKeyCommand({ UserName: userName, AccessKeyId: accessKeyId, Status: status }))
      }),
    deleteAccessKey: (userName, accessKeyId) =>
      call(async () => {
        await iam.send(new DeleteAccessKeyCommand({ UserName: userName, AccessKeyId: accessKeyId }))
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
      sts.destroy()
      hub?.destroy()
    },
  }
}
