import { Aws, Stack, Validations } from 'aws-cdk-lib'
import type { Role } from 'aws-cdk-lib/aws-iam'
import { PolicyStatement } from 'aws-cdk-lib/aws-iam'
import type { Construct } from 'constructs'
import type { Permission } from '../../functions/providers/contract.ts'

/** Reading, as the store does it. */
export const READ = ['dynamodb:GetItem', 'dynamodb:BatchGetItem', 'dynamodb:Query'] as const
/** What each stage does with the table, and nothing else: `test/infra/rights.test.ts` compares it with the stage's code. */
export const TABLE = {
  intake: ['dynamodb:GetItem', 'dynamodb:PutItem', 'dynamodb:UpdateItem'],
  preview: READ,
  plan: [...READ, 'dynamodb:PutItem', 'dynamodb:UpdateItem', 'dynamodb:DeleteItem'],
  close: ['dynamodb:GetItem', 'dynamodb:Query', 'dynamodb:PutItem', 'dynamodb:UpdateItem', 'dynamodb:DeleteItem'],
  // Nothing that can delete: retention is the table's own.
  sweep: [...READ, 'dynamodb:PutItem', 'dynamodb:UpdateItem', 'dynamodb:ConditionCheckItem'],
  operate: [...READ, 'dynamodb:PutItem', 'dynamodb:UpdateItem', 'dynamodb:ConditionCheckItem', 'dynamodb:DeleteItem'],
  /** The registrar and the workers. */
  record: [
    ...READ,
    'dynamodb:PutItem',
    'dynamodb:BatchWriteItem',
    'dynamodb:UpdateItem',
    'dynamodb:ConditionCheckItem',
    'dynamodb:DeleteItem',
  ],
} as const

export interface Allowance {
  readonly actions: readonly string[]
  readonly resources: readonly string[]
  readonly conditions?: Readonly<Record<string, Readonly<Record<string, string | readonly string[]>>>>
  /** Why a wildcard stands in it; without one, a wildcard is an error. */
  readonly reason?: string
}

/**
 * Allows a role something. A wildcard needs a reason, which is acknowledged for exactly this role and this wildcard.
 * @throws if there is a wildcard without a reason.
 */
export function allow(role: Role, { actions, resources, conditions, reason }: Allowance): void {
  role.addToPolicy(
    new PolicyStatement({
      actions: [...actions],
      resources: [...resources],
      ...(conditions ? { conditions: { ...conditions } } : {}),
    }),
  )
  const wild = [
    ...actions.filter((action) => action.includes('*')).map((action) => `Action::${action}`),
    ...resources
      .map((resource) => flatten(Stack.of(role).resolve(resource)))
      .filter((resource) => resource.includes('*'))
      .map((resource) => `Resource::${resource}`),
  ]
  for (const finding of wild) {
    if (reason === undefined || reason.trim() === '')
      throw new Error(`${role.node.path}: ${finding} is a wildcard without a reason`)
    Validations.of(role).acknowledge({ id: `AwsSolutions-IAM5[${finding}]`, reason })
  }
}

/** What a provider's definition asks for, with `${partition}`, `${region}` and `${account}` filled in. */
export function allowProvider(role: Role, permissions: readonly Permission[]): void {
  const values: Readonly<Record<string, string>> = { partition: Aws.PARTITION, region: Aws.REGION, account: Aws.ACCOUNT_ID }
  const fill = (text: string) =>
    text.replace(/\$\{(\w+)\}/g, (whole, name: string) => {
      const value = values[name]
      if (value === undefined) throw new Error(`${role.node.path}: a permission names ${whole}, which the stack does not know`)
      return value
    })
  for (const { actions, resources, reason } of permissions) allow(role, { actions, resources: resources.map(fill), reason })
}

/** A rule that is broken on purpose, with the reason, at the construct that it is about. */
export function acknowledge(construct: Construct, id: string, reason: string): void {
  Validations.of(construct).acknowledge({ id, reason })
}

/** A resolved ARN as cdk-nag writes it into the id of a finding: references in angle brackets. */
function flatten(value: unknown): string {
  if (typeof value === 'string') return value.replace(/\$\{/g, '<').replace(/\}/g, '>')
  if (typeof value === 'object' && value !== null) {
    if ('Ref' in value) return `<${flatten(value.Ref)}>`
    if ('Fn::GetAtt' in value && Array.isArray(value['Fn::GetAtt'])) return `<${value['Fn::GetAtt'].map(flatten).join('.')}>`
    if ('Fn::Join' in value && Array.isArray(value['Fn::Join'])) {
      const [delimiter, parts] = value['Fn::Join']
      if (Array.isArray(parts)) return parts.map(flatten).join(String(delimiter))
    }
  }
  return JSON.stringify(value)
}
