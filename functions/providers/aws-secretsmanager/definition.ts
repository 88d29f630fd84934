// biome-ignore-all lint/suspicious/noTemplateCurlyInString: placeholders that the stack fills in, see Permission.resources
import * as z from 'zod/mini'
import { accountChecks, accountSettings } from '../aws-settings.ts'
import type { Definition } from '../contract.ts'
import { credentialOf, recognise } from './recognise.ts'

/** The whole ARN, with the six characters that Secrets Manager adds: a later secret of the same name has others. */
export const SECRET_ARN =
  /^arn:(?:aws|aws-cn|aws-us-gov):secretsmanager:([a-z]{2}(?:-[a-z]+)+-\d):(\d{12}):secret:[A-Za-z0-9/_+=.@-]{1,512}-[A-Za-z0-9]{6}$/

export const Target = z.strictObject({
  arn: z.string().check(z.regex(SECRET_ARN)),
  /** The version whose value was handed out. */
  versionId: z.string().check(z.regex(/^[A-Za-z0-9/_+=.@-]{32,64}$/)),
})
export type Target = z.infer<typeof Target>

export const STRATEGIES = ['single-user', 'alternating-users'] as const
const Strategy = z.enum(STRATEGIES)
export type Strategy = z.infer<typeof Strategy>

export const Settings = z
  .strictObject({
    ...accountSettings,
    /**
     * What a rotation does where the secret's tag `rescind:rotation` does not say it. `single-user`: it changes the password
     * of the one user, so the value before is dead. `alternating-users`: it changes that of the other user, so the value
     * before lives until the next rotation. To take the first for the second costs a rotation more and is always safe.
     */
    strategy: z._default(Strategy, 'alternating-users'),
    /**
     * A rotation that stands still for a quarter of an hour keeps all later ones from starting. `true`: its label
     * AWSPENDING is taken away and the secret is rotated anew; what the function may have set at the database is lost.
     */
    clearsStuck: z._default(z.boolean(), false),
  })
  .check(...accountChecks)
export type Settings = z.infer<typeof Settings>

const WHICH_IS_UNKNOWN = 'which secrets hold leases is known only when they are registered'

export const definition: Definition<Target, undefined, never, Settings> = {
  name: 'aws-secretsmanager',
  title: 'Values of AWS Secrets Manager, cut by rotation',
  target: Target,
  settings: Settings,
  credential: credentialOf,
  recognise,
  capabilities: {
    tellsAbsent: false,
    verifies: true,
    containment: 'none',
    // The old value does not come back: the database takes another one now.
    restores: false,
    tidies: false,
    choosesName: false,
    locates: true,
    issues: false,
    discovers: true,
    // What was opened with the old value lives as long as the database lets it.
    sessions: 'outlive',
  },
  // Secrets Manager takes 50 rotations a second and account; others write too.
  limits: { batch: 20, propagationSeconds: 5, callSeconds: 60, concurrency: 5, callsPerSecond: 40, callsPerLease: 3 },
  serial: false,
  network: 'public',
  permissions: [
    {
      actions: [
        'secretsmanager:DescribeSecret',
        'secretsmanager:ListSecretVersionIds',
        'secretsmanager:RotateSecret',
        'secretsmanager:UpdateSecretVersionStage',
      ],
      resources: ['arn:${partition}:secretsmanager:*:${account}:secret:*'],
      reason: `reads labels, rotates, and takes a stuck label away; never reads a value; ${WHICH_IS_UNKNOWN}`,
    },
    {
      actions: ['secretsmanager:ListSecrets'],
      resources: ['*'],
      reason: 'lists what lives in the account; the call takes no resource',
    },
    {
      actions: ['lambda:InvokeFunction'],
      resources: ['arn:${partition}:lambda:*:${account}:function:SecretsManager*'],
      reason: "RotateSecret demands it of its caller, for the secret's rotation function; AWS's own are named so",
    },
    {
      actions: ['sts:AssumeRole'],
      resources: ['arn:${partition}:iam::*:role/rescind-spoke', 'arn:${partition}:iam::*:role/rescind-spoke-*'],
      reason: 'acts in other accounts through the role that each of them gives it by this name and an external id',
    },
  ],
}
