import type { IssuerError } from '../contract.ts'
import { IssuerRefused, IssuerThrottled, IssuerUnavailable } from '../contract.ts'
import type { FaultKind, Holder, IamClient, IamFault, IamRole } from './client.ts'
import { classify } from './client.ts'
import type { Settings } from './definition.ts'
import type { Names } from './names.ts'
import { namesUnder, PROTECTED_TAG } from './names.ts'
import { secondFrom } from './policy.ts'

/** AWS sends no hint with a throttled call; its buckets refill within seconds. */
export const THROTTLE_SECONDS = 5
/** IAM is eventually consistent: what was written may be read back a little later only. */
export const READ_BACK_SECONDS = 5

/** Who bears a name now. */
export interface Bearer {
  readonly holder: Holder
  /** The unique id, `AIDA...` or `AROA...`: a later user or role of the same name has another one. */
  readonly id: string
  readonly tags: ReadonlyMap<string, string>
}

/** The one account that a connection may act in. */
export interface Account {
  readonly iam: IamClient
  readonly names: Names
  /** `account 123456789012`, for evidence. */
  readonly where: string
  /** Milliseconds since 1970. */
  now(): number
  /** The first whole second that is not before now, since 1970. */
  nowSecond(): number
  /**
   * Whom AWS takes us for; asked once, as a connection's credential does not change its account.
   * @throws IssuerRefused, IssuerThrottled or IssuerUnavailable unless we act in the configured account: before that neither an effect
   * nor an "absent" counts
   */
  caller(): Promise<{ readonly userId: string }>
  /** The reason not to touch a user or role, if it is protected. */
  protection(bearer: Bearer): Promise<string | undefined>
}

/** `now` in milliseconds since 1970. */
export function openAccount(settings: Settings, iam: IamClient, now: () => number): Account {
  let known: { account: string; userId: string } | undefined
  async function caller() {
    if (known === undefined) {
      try {
        known = await iam.whoAmI()
      } catch (error) {
        throw unidentified(ownFault(error))
      }
    }
    if (known.account !== settings.account) {
      throw new IssuerRefused(`the admin credential acts in account ${known.account}, not in ${settings.account}`)
    }
    return known
  }
  return {
    iam,
    names: namesUnder(settings.denyPrefix ?? 'rescind'),
    where: `account ${settings.account}`,
    now,
    nowSecond: () => secondFrom(now()),
    caller,
    async protection({ holder, id, tags }) {
      // The caller of an assumed role is `AROA...:session`.
      const ours = (await caller()).userId.split(':')[0] === id
      if (!ours && tags.get(PROTECTED_TAG) !== 'true') return undefined
      return `${holderName(holder)} carries ${PROTECTED_TAG}, or is what we act as: not touched`
    },
  }
}

/** No user, role or key was spoken of yet, so the trouble is the issuer's, whatever it is. */
function unidentified(fault: IamFault): IssuerError {
  if (fault.kind === 'throttled') {
    return new IssuerThrottled(`AWS STS throttles us: ${fault.awsCode}`, { cause: fault, afterSeconds: THROTTLE_SECONDS })
  }
  if (fault.kind === 'busy') {
    return new IssuerUnavailable(`AWS STS is busy: ${fault.awsCode}`, { cause: fault, afterSeconds: THROTTLE_SECONDS })
  }
  return new IssuerRefused(`AWS STS refuses to say who we are: ${fault.awsCode}`, { cause: fault })
}

/**
 * Classifies what went wrong with one user, role or key.
 * @throws IssuerRefused or IssuerUnavailable where it is the issuer's trouble
 */
export function ownFault(error: unknown): IamFault {
  const fault = classify(error)
  if (fault.kind === 'refused') throw new IssuerRefused(`AWS refuses the admin credential: ${fault.awsCode}`, { cause: fault })
  if (fault.kind === 'unavailable') throw new IssuerUnavailable(`AWS IAM gives no answer: ${fault.awsCode}`, { cause: fault })
  return fault
}

/**
 * Runs a write that AWS may refuse for one expected reason: false if it does.
 * @throws IamFault for any other
 */
export async function doneUnless(expected: FaultKind, write: () => Promise<void>): Promise<boolean> {
  try {
    await write()
    return true
  } catch (error) {
    const fault = classify(error)
    if (fault.kind !== expected) throw fault
    return false
  }
}

/** Marks an answer for the limiter, where AWS throttled us. */
export const throttlingOf = ({ kind }: IamFault): { readonly throttled?: true } =>
  kind === 'throttled' ? { throttled: true } : {}

/** `user ci`, for evidence. */
export const holderName = ({ kind, name }: Holder) => `${kind} ${name}`

/** What to say to whoever means an earlier user or role of the same name. */
export const namesakeOf = ({ holder, id }: Bearer, wanted: string, where: string) =>
  `${holderName(holder)} of ${where} is ${id}; ${wanted} is gone`

/** The reason why an account cannot change a role's policies, if it cannot: service-linked roles and those of Identity Center. */
export function managedByAws(roleName: string, { path }: IamRole): string | undefined {
  const managed =
    path.startsWith('/aws-service-role/') ||
    path.startsWith('/aws-reserved/') ||
    roleName.startsWith('AWSServiceRoleFor') ||
    roleName.startsWith('AWSReservedSSO_')
  return managed ? `role ${roleName} (${path}) is managed by AWS: its policies cannot be changed by the account` : undefined
}
