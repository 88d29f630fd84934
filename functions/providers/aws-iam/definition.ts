// biome-ignore-all lint/suspicious/noTemplateCurlyInString: placeholders that the stack fills in, see Permission.resources
import * as z from 'zod/mini'
import { Instant } from '../../contracts/primitives.ts'
import type { Definition } from '../contract.ts'
import { recognise } from './recognise.ts'

/**
 * AWS IAM: access keys of users, and sessions of roles. The patterns are those of the IAM and STS API references
 * (`UserName`, `RoleName`: `[\w+=,.@-]+` up to 64; `RoleSessionName`: the same, 2 to 64; unique ids and key ids:
 * `[\w]+`, 16 to 128), narrowed by the unique ids' published prefixes. None of them admits `$`, `*` or `?`.
 */
const UserName = z.string().check(z.regex(/^[\w+=,.@-]{1,64}$/))
const RoleName = z.string().check(z.regex(/^[\w+=,.@-]{1,64}$/))
const UserId = z.string().check(z.regex(/^AIDA[A-Z0-9]{12,124}$/))
const RoleId = z.string().check(z.regex(/^AROA[A-Z0-9]{12,124}$/))

export const SESSION_NAME = /^[\w+=,.@-]{2,64}$/

export const AccessKeyTarget = z.strictObject({
  kind: z.literal('access-key'),
  userName: UserName,
  /** The user's unique id: a later user of the same name is somebody else. */
  userId: z.optional(UserId),
  /** A long-term key. Keys of sessions (`ASIA...`) are cut as their role session. */
  accessKeyId: z.string().check(z.regex(/^AKIA[A-Z0-9]{12,124}$/)),
})
export type AccessKeyTarget = z.infer<typeof AccessKeyTarget>

/** What else lets somebody in as a user, and can be made inactive: named by the id that IAM gave it, unique for all time. */
const userCredential = <Kind extends string>(kind: Kind) =>
  z.strictObject({
    kind: z.literal(kind),
    userName: UserName,
    userId: z.optional(UserId),
    id: z.string().check(z.regex(/^\w{20,64}$/)),
  })
/** A public key for CodeCommit (`APKA...`). */
export const SshKeyTarget = userCredential('ssh-key')
/** An X.509 signing certificate. */
export const CertificateTarget = userCredential('certificate')
/** User name and password, or token, for one service: CodeCommit, Keyspaces, Bedrock (`ACCA...`). */
export const ServiceCredentialTarget = userCredential('service-credential')
export type UserCredentialTarget = z.infer<typeof SshKeyTarget | typeof CertificateTarget | typeof ServiceCredentialTarget>

/** The password for the console. */
export const LoginProfileTarget = z.strictObject({
  kind: z.literal('login-profile'),
  userName: UserName,
  userId: z.optional(UserId),
  /** When it was made (`CreateDate`): a later one is another password. */
  createdAt: z.optional(Instant),
})
export type LoginProfileTarget = z.infer<typeof LoginProfileTarget>

export const RoleSessionTarget = z
  .strictObject({
    kind: z.literal('role-session'),
    roleName: RoleName,
    /** The role's unique id: the first half of the session's `aws:userid`. */
    roleId: RoleId,
    sessionName: z.string().check(z.regex(SESSION_NAME)),
    /**
     * The session's token was issued before this moment; it names the incarnation where a session name is used again.
     * Without it, whatever was issued under that name until the moment of the cut dies.
     */
    issuedBefore: z.optional(Instant),
    /**
     * The second in which the session's token was issued (`aws:TokenIssueTime`): it tells the session from others that
     * bear its name at the same time, and it alone is cut. Without it the target names all sessions of the name.
     */
    issuedAt: z.optional(
      Instant.check(z.refine((text) => Date.parse(text) % 1000 === 0, 'must be a whole second, as AWS dates tokens')),
    ),
  })
  .check(
    z.refine(({ issuedBefore, issuedAt }) => issuedBefore === undefined || issuedAt === undefined, {
      error: 'issuedAt names the session: issuedBefore adds nothing to it',
      path: ['issuedBefore'],
    }),
  )
export type RoleSessionTarget = z.infer<typeof RoleSessionTarget>

/** All sessions of a role that somebody assumed under one source identity, whatever they are named. */
export const SourceIdentityTarget = z.strictObject({
  kind: z.literal('source-identity'),
  roleName: RoleName,
  roleId: RoleId,
  /** `SourceIdentity` of AssumeRole: it stays with the session, and with those that it assumes in its turn. */
  sourceIdentity: z.string().check(z.regex(SESSION_NAME)),
  /** As of a role session. */
  issuedBefore: z.optional(Instant),
})
export type SourceIdentityTarget = z.infer<typeof SourceIdentityTarget>

export const Target = z.discriminatedUnion('kind', [
  AccessKeyTarget,
  RoleSessionTarget,
  SourceIdentityTarget,
  SshKeyTarget,
  CertificateTarget,
  ServiceCredentialTarget,
  LoginProfileTarget,
])
export type Target = z.infer<typeof Target>

export const Lever = z.discriminatedUnion('kind', [
  /** All access keys of a user, and all else that the user may do. */
  z.strictObject({ kind: z.literal('user'), userName: UserName, userId: z.optional(UserId) }),
  /** All sessions of a role that were issued before the fence. */
  z.strictObject({ kind: z.literal('role'), roleName: RoleName, roleId: z.optional(RoleId) }),
])
export type Lever = z.infer<typeof Lever>

const ROLE_ARN = /^arn:(?:aws|aws-cn|aws-us-gov):iam::(\d{12}):role\/[\x21-\x7e]{1,512}$/

export const Settings = z
  .strictObject({
    /** The account whose users and roles are meant; nothing is done, and nothing believed, in another one. */
    account: z.string().check(z.regex(/^\d{12}$/)),
    /** Region of the STS endpoint; IAM itself has one endpoint per partition, which follows from it. */
    region: z.string().check(z.regex(/^[a-z]{2}(-[a-z]+)+-\d$/)),
    /** A role of that account to assume first, where the worker stands in another account. */
    roleArn: z.optional(z.string().check(z.regex(ROLE_ARN))),
    /** What that role's trust policy demands, against a confused deputy. */
    externalId: z.optional(z.string().check(z.regex(/^[\w+=,.@:/-]{2,1224}$/))),
    /** First part of the names of all inline policies and user tags that Rescind writes. Default `rescind`. */
    denyPrefix: z.optional(z.string().check(z.regex(/^(?!aws$)[a-z0-9][a-z0-9-]{0,31}$/))),
  })
  .check(
    z.refine(({ account, roleArn }) => roleArn === undefined || ROLE_ARN.exec(roleArn)?.[1] === account, {
      error: 'roleArn must be a role of the account',
      path: ['roleArn'],
    }),
    z.refine(({ roleArn, externalId }) => externalId === undefined || roleArn !== undefined, {
      error: 'externalId is of use with a roleArn only',
      path: ['externalId'],
    }),
  )
export type Settings = z.infer<typeof Settings>

const WHICH_IS_UNKNOWN = 'which of them hold leases is known only when they are registered'

export const definition: Definition<Target, undefined, Lever, Settings> = {
  name: 'aws-iam',
  title: 'AWS IAM: access keys and other credentials of users, sessions of roles',
  target: Target,
  lever: Lever,
  settings: Settings,
  credential(target) {
    if (target.kind === 'access-key') return `access-key:${target.accessKeyId}`
    if (target.kind === 'login-profile') return `login-profile:${target.userId ?? target.userName.toLowerCase()}`
    if (target.kind === 'source-identity') return `source-identity:${target.roleId}:${target.sourceIdentity}`
    if (target.kind !== 'role-session') return `${target.kind}:${target.id}`
    const { roleId, sessionName, issuedAt } = target
    // All sessions of one name are one credential: the deny that cuts one of them hits the older ones too.
    const all = `role-session:${roleId}:${sessionName}`
    return issuedAt === undefined ? all : `${all}:${Date.parse(issuedAt) / 1000}`
  },
  recognise,
  // A password is deleted: IAM cannot make one inactive.
  forGood: (target) => target.kind === 'login-profile',
  // No list of IAM's has sessions.
  listed: ({ kind }) => kind === 'access-key',
  namesMany: (target) => target.kind === 'source-identity' || (target.kind === 'role-session' && target.issuedAt === undefined),
  // Names of users and roles are unique in an account without regard to case (IAM User Guide, "IAM name requirements").
  leverName: (lever) => (lever.kind === 'user' ? `user:${lever.userName.toLowerCase()}` : `role:${lever.roleName.toLowerCase()}`),
  capabilities: {
    tellsAbsent: true,
    verifies: true,
    containment: 'identity',
    restores: true,
    tidies: true,
    choosesName: true,
    locates: true,
    issues: false,
    discovers: true,
    sessions: 'none',
  },
  // AWS publishes no rates of IAM's writes: the ceiling is where we begin. A key takes four calls, a role's sessions fewer.
  limits: { batch: 25, propagationSeconds: 10, callSeconds: 12, concurrency: 5, callsPerSecond: 25, callsPerLease: 4 },
  serial: true,
  network: 'public',
  permissions: [
    {
      actions: ['iam:GetUser', 'iam:ListAccessKeys', 'iam:GetUserPolicy'],
      resources: ['arn:${partition}:iam::${account}:user/*'],
      reason: `reads a user, its keys and the denies of ours before and after a cut; ${WHICH_IS_UNKNOWN}`,
    },
    {
      actions: [
        'iam:UpdateAccessKey',
        'iam:DeleteAccessKey',
        'iam:TagUser',
        'iam:UntagUser',
        'iam:PutUserPolicy',
        'iam:DeleteUserPolicy',
      ],
      resources: ['arn:${partition}:iam::${account}:user/*'],
      reason: `deactivates keys, deletes them after the soak time, marks why, denies a contained user; ${WHICH_IS_UNKNOWN}`,
    },
    {
      actions: [
        'iam:ListSSHPublicKeys',
        'iam:UpdateSSHPublicKey',
        'iam:DeleteSSHPublicKey',
        'iam:ListSigningCertificates',
        'iam:UpdateSigningCertificate',
        'iam:DeleteSigningCertificate',
        'iam:ListServiceSpecificCredentials',
        'iam:UpdateServiceSpecificCredential',
        'iam:DeleteServiceSpecificCredential',
        'iam:GetLoginProfile',
        'iam:DeleteLoginProfile',
      ],
      resources: ['arn:${partition}:iam::${account}:user/*'],
      reason: `the same for a user's other credentials; a password can only be deleted; ${WHICH_IS_UNKNOWN}`,
    },
    {
      actions: ['iam:GetRole', 'iam:GetRolePolicy', 'iam:ListRolePolicies', 'iam:PutRolePolicy', 'iam:DeleteRolePolicy'],
      resources: ['arn:${partition}:iam::${account}:role/*'],
      reason: `writes dated denies into inline policies of roles, and reads them back; ${WHICH_IS_UNKNOWN}`,
    },
    {
      actions: ['iam:GetAccessKeyLastUsed', 'iam:ListUsers'],
      resources: ['*'],
      reason:
        'finds the user of an access key that no lease names, and lists the keys that nobody registered: neither names a user',
    },
    {
      actions: ['sts:AssumeRole'],
      resources: ['arn:${partition}:iam::*:role/rescind-spoke', 'arn:${partition}:iam::*:role/rescind-spoke-*'],
      reason: 'acts in other accounts through the role that each of them gives it by this name and an external id',
    },
  ],
}
