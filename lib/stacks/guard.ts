import { Aws } from 'aws-cdk-lib'
import { Effect, ManagedPolicy, PolicyStatement } from 'aws-cdk-lib/aws-iam'
import { Construct } from 'constructs'

/** Tag (value `true`) on what no worker may ever touch: the pipeline itself, and what an installation adds to it. */
export const PROTECTED_TAG = 'rescind:protected'

const whereProtected = { StringEquals: { [`aws:ResourceTag/${PROTECTED_TAG}`]: 'true' } }

/**
 * The pipeline cannot be turned on itself: every function's role carries this policy, and a deny beats whatever a role,
 * a resource policy or a careless later change allows.
 */
export class Guard extends Construct {
  readonly policy: ManagedPolicy

  constructor(scope: Construct, id: string, props: { readonly path: string }) {
    super(scope, id)
    const own = (kind: string) => `arn:${Aws.PARTITION}:iam::${Aws.ACCOUNT_ID}:${kind}${props.path}*`
    this.policy = new ManagedPolicy(this, 'Policy', {
      path: props.path,
      description: 'What no function of Rescind may do, whatever else it is allowed',
      statements: [
        deny('OwnRoles', ['iam:*', 'sts:AssumeRole'], [own('role'), own('policy')]),
        deny('Protected', ['iam:*', 'sts:AssumeRole'], ['*'], whereProtected),
        deny(
          'ThePipeline',
          [
            'dynamodb:CreateBackup',
            'dynamodb:DeleteBackup',
            'dynamodb:DeleteTable',
            'dynamodb:UpdateContinuousBackups',
            'dynamodb:UpdateTable',
            'dynamodb:UpdateTimeToLive',
            'events:DeleteEventBus',
            'events:DeleteRule',
            'events:DisableRule',
            'events:PutPermission',
            'events:PutRule',
            'events:PutTargets',
            'events:RemovePermission',
            'events:RemoveTargets',
            'kms:CreateGrant',
            'kms:DisableKey',
            'kms:PutKeyPolicy',
            'kms:ScheduleKeyDeletion',
            'lambda:*',
            'logs:DeleteLogGroup',
            'logs:DeleteLogStream',
            'logs:DeleteRetentionPolicy',
            's3:DeleteBucket*',
            's3:DeleteObject*',
            's3:PutBucket*',
            's3:PutLifecycleConfiguration',
            'sqs:AddPermission',
            'sqs:DeleteQueue',
            'sqs:PurgeQueue',
            'sqs:RemovePermission',
            'sqs:SetQueueAttributes',
          ],
          ['*'],
        ),
      ],
    })
  }
}

/** For a worker: whatever its provider may do at an issuer in AWS, it may not do to what is tagged protected. */
export const sparesProtected = (actions: readonly string[]) => deny('SparesProtected', actions, ['*'], whereProtected)

function deny(
  sid: string,
  actions: readonly string[],
  resources: readonly string[],
  conditions?: Record<string, Record<string, string>>,
): PolicyStatement {
  return new PolicyStatement({
    sid,
    effect: Effect.DENY,
    actions: [...actions],
    resources: [...resources],
    ...(conditions ? { conditions } : {}),
  })
}
