import type { AwsFault, FaultKind } from '../aws.ts'
import { callerIn, classify, ownFault as faultOf } from '../aws.ts'
import type { Holder, IamClient, IamRole } from './client.ts'
import type { Settings } from './definition.ts'
import type { Names } from './names.ts'
import { namesUnder, PROTECTED_TAG } from './names.ts'
import { secondFrom } from './policy.ts'

export { THROTTLE_SECONDS, throttlingOf } from '../aws.ts'
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
   * Whom AWS takes us for; asked for each piece of work, for another account may stand behind an address or a role by now.
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
    known = await callerIn(settings.account, () => iam.whoAmI())
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
      const ours = (known ?? (await caller())).userId.split(':')[0] === id
      if (!ours && tags.get(PROTECTED_TAG) !== 'true') return undefined
      return `${holderName(holder)} carries ${PROTECTED_TAG}, or is what we act as: not touched`
    },
  }
}

/**
 * Classifies what went wrong with one user, role or key.
 * @throws IssuerRefused or IssuerUnavailable where it is the issuer's trouble
 */
export const ownFault = (error: unknown): AwsFault => faultOf(error, 'AWS IAM')

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
