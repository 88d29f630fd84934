import { AssumeRoleCommand, GetCallerIdentityCommand, STSClient } from '@aws-sdk/client-sts'
import * as z from 'zod/mini'
import type { IssuerError, Tools } from './contract.ts'
import { IssuerRefused, IssuerThrottled, IssuerUnavailable } from './contract.ts'

/** What providers of AWS share: who we are, in whose account, and what a failed call means. */

/** AWS sends no hint with a throttled call; its buckets refill within seconds. */
export const THROTTLE_SECONDS = 5

/** A failed call, classified once. */
export type FaultKind =
  /** What was named does not exist. */
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

export class AwsFault extends Error {
  readonly kind: FaultKind
  /** AWS's error code, without the `Exception` at its end. */
  readonly awsCode: string
  constructor(kind: FaultKind, awsCode: string) {
    super(`${kind}: ${awsCode}`)
    this.name = 'AwsFault'
    this.kind = kind
    this.awsCode = awsCode
  }
}

const KINDS: Readonly<Record<string, FaultKind>> = {
  NoSuchEntity: 'gone',
  ResourceNotFound: 'gone',
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
  InvalidSignature: 'refused',
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

/**
 * By code first (each service's API reference, "Common errors" and each action's), then by HTTP status. The SDK's error is
 * not handed on as a cause: it holds the request's headers, the session's token among them.
 */
export function classify(error: unknown): AwsFault {
  if (error instanceof AwsFault) return error
  const known = AwsError.safeParse(error)
  if (!known.success) return new AwsFault('unavailable', 'Unknown')
  const code = known.data.name.replace(/Exception$/, '')
  const status = known.data.$metadata?.httpStatusCode
  const byStatus = (): FaultKind => {
    if (status === 429) return 'throttled'
    if (status === 401 || status === 403) return 'refused'
    return status !== undefined && status >= 400 && status < 500 ? 'invalid' : 'unavailable'
  }
  return new AwsFault(KINDS[code] ?? byStatus(), code)
}

/** Runs a call of the SDK. @throws AwsFault and nothing else */
export async function call<Result>(run: () => Promise<Result>): Promise<Result> {
  try {
    return await run()
  } catch (error) {
    throw classify(error)
  }
}

/** An answer without a field that AWS always sends is no answer to act on. */
export function present<Value>(value: Value | undefined, field: string): Value {
  if (value === undefined) throw new AwsFault('unavailable', `Missing${field}`)
  return value
}

export const tagsOf = (tags: readonly { Key?: string | undefined; Value?: string | undefined }[] | undefined) =>
  new Map((tags ?? []).map((tag) => [tag.Key ?? '', tag.Value ?? '']))

/** The admin secret: empty where the worker's own role is used. */
const AdminSecret = z.strictObject({
  accessKeyId: z.string().check(z.minLength(4), z.maxLength(128)),
  secretAccessKey: z.string().check(z.minLength(1), z.maxLength(512)),
  sessionToken: z.optional(z.string().check(z.minLength(1), z.maxLength(8192))),
})

function readAdminSecret(provider: string, text: string) {
  if (text.trim() === '') return undefined
  let json: unknown
  try {
    json = JSON.parse(text)
  } catch {
    // The parser's message quotes the text, so it must not become the cause.
    throw new IssuerRefused(`the admin secret of an ${provider} issuer is neither empty nor JSON`)
  }
  const parsed = AdminSecret.safeParse(json)
  if (!parsed.success) {
    throw new IssuerRefused(`the admin secret of an ${provider} issuer must hold accessKeyId and secretAccessKey`)
  }
  const { accessKeyId, secretAccessKey, sessionToken } = parsed.data
  return sessionToken === undefined ? { accessKeyId, secretAccessKey } : { accessKeyId, secretAccessKey, sessionToken }
}

const ONE_CALL = {
  // Two attempts of five seconds stay within `limits.callSeconds`.
  maxAttempts: 2,
  requestHandler: { connectionTimeout: 1500, requestTimeout: 3500, socketTimeout: 3500, throwOnRequestTimeout: true },
}

export interface AccountSettings {
  readonly account: string
  readonly region: string
  readonly roleArn?: string | undefined
  readonly externalId?: string | undefined
}

/**
 * The configuration of the clients of one account: with the worker's own role, or static credentials, or the role of a
 * spoke account. `whoAmI` tells the account, and `userId`: `AROA...:session`, `AIDA...`, or the account id for its root user.
 */
export async function openAws(
  issuer: { readonly provider: string; readonly name: string; readonly settings: AccountSettings },
  tools: Tools,
) {
  const { provider, name, settings } = issuer
  const admin = readAdminSecret(provider, await tools.adminSecret())
  const endpoint = (service: string) => {
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
                RoleSessionName: `rescind-${name}`,
                DurationSeconds: 900,
                ...(externalId === undefined ? {} : { ExternalId: externalId }),
              }),
            )
            if (
              session?.AccessKeyId === undefined ||
              session.SecretAccessKey === undefined ||
              session.SessionToken === undefined
            ) {
              throw new AwsFault('unavailable', 'AssumeRoleWithoutCredentials')
            }
            return {
              accessKeyId: session.AccessKeyId,
              secretAccessKey: session.SecretAccessKey,
              sessionToken: session.SessionToken,
              ...(session.Expiration === undefined ? {} : { expiration: session.Expiration }),
            }
          },
        }
  const sts = new STSClient({ ...acting, ...endpoint('STS') })
  return {
    /** For the client of a service, named as in `AWS_ENDPOINT_URL_<service>`. */
    configuration: (service: string) => ({ ...acting, ...endpoint(service) }),
    whoAmI: () =>
      call(async () => {
        const caller = await sts.send(new GetCallerIdentityCommand({}))
        return { account: present(caller.Account, 'Account'), userId: present(caller.UserId, 'UserId') }
      }),
    close() {
      sts.destroy()
      hub?.destroy()
    },
  }
}

/**
 * Whom AWS takes us for.
 *
 * @throws IssuerRefused, IssuerThrottled or IssuerUnavailable unless we act in the configured account: before that neither
 * an effect nor an "absent" counts
 */
export async function callerIn(
  account: string,
  whoAmI: () => Promise<{ account: string; userId: string }>,
): Promise<{ readonly account: string; readonly userId: string }> {
  let known: { account: string; userId: string }
  try {
    known = await whoAmI()
  } catch (error) {
    throw unidentified(ownFault(error, 'AWS STS'))
  }
  if (known.account !== account) {
    throw new IssuerRefused(`the admin credential acts in account ${known.account}, not in ${account}`)
  }
  return known
}

/** Nothing was spoken of yet, so the trouble is the issuer's, whatever it is. */
function unidentified(fault: AwsFault): IssuerError {
  if (fault.kind === 'throttled') {
    return new IssuerThrottled(`AWS STS throttles us: ${fault.awsCode}`, { cause: fault, afterSeconds: THROTTLE_SECONDS })
  }
  if (fault.kind === 'busy') {
    return new IssuerUnavailable(`AWS STS is busy: ${fault.awsCode}`, { cause: fault, afterSeconds: THROTTLE_SECONDS })
  }
  return new IssuerRefused(`AWS STS refuses to say who we are: ${fault.awsCode}`, { cause: fault })
}

/**
 * Classifies what went wrong with one object of the issuer.
 * @throws IssuerRefused or IssuerUnavailable where it is the issuer's trouble
 */
export function ownFault(error: unknown, service: string): AwsFault {
  const fault = classify(error)
  if (fault.kind === 'refused') throw new IssuerRefused(`AWS refuses the admin credential: ${fault.awsCode}`, { cause: fault })
  if (fault.kind === 'unavailable') throw new IssuerUnavailable(`${service} gives no answer: ${fault.awsCode}`, { cause: fault })
  return fault
}

/** Marks an answer for the limiter, where AWS throttled us. */
export const throttlingOf = ({ kind }: AwsFault): { readonly throttled?: true } =>
  kind === 'throttled' ? { throttled: true } : {}
