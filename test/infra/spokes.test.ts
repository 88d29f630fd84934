// biome-ignore-all lint/suspicious/noTemplateCurlyInString: placeholders of Permission.resources
import { readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { definition as awsIam } from '../../functions/providers/aws-iam/definition.ts'
import { definition as awsSecretsManager } from '../../functions/providers/aws-secretsmanager/definition.ts'
import type { Permission } from '../../functions/providers/contract.ts'
import { spokeRole } from '../support/spoke.ts'

const ACCOUNT = '123456789012'
const WORKER = 'arn:aws:iam::999999999999:role/worker'
/** Of the hub alone: a spoke assumes nobody. */
const HUB = ['sts:AssumeRole']
const READS = /:(Get|List|Describe)/

describe.each([
  ['aws-iam', awsIam.permissions],
  ['aws-secretsmanager', awsSecretsManager.permissions],
] as const)('the spoke role of %s', (provider, permissions: readonly Permission[]) => {
  const folder = new URL(`../../functions/providers/${provider}/`, import.meta.url).pathname
  const role = spokeRole(`${folder}spoke.yaml`, { account: ACCOUNT, WorkerRoleArn: WORKER, ExternalId: 'drawn-by-chance' })
  const statements = role.Policies[0].PolicyDocument.Statement
  const allowed = statements.filter(({ Effect: effect }) => effect === 'Allow')
  const pairs = (from: readonly { readonly actions: readonly string[]; readonly resources: readonly string[] }[]) =>
    from
      .flatMap(({ actions, resources }) => actions.flatMap((action) => resources.map((resource) => `${action} ${resource}`)))
      .filter((pair) => !HUB.some((action) => pair.startsWith(action)))
      .map((pair) => pair.replace('${partition}', 'aws').replace('${account}', ACCOUNT))
      .sort()

  it('may do exactly what the definition lists, on exactly the same resources', () => {
    expect(pairs(allowed.map(({ Action: actions, Resource: resource }) => ({ actions, resources: [resource] })))).toEqual(
      pairs(permissions),
    )
  })

  it('has a name that the worker may assume, and is assumed by the worker alone, with the external id', () => {
    const assumes = permissions.find(({ actions }) => actions.includes('sts:AssumeRole'))?.resources ?? []
    const names = assumes.map((arn) => new RegExp(`^${arn.split(':role/')[1]?.replace('*', '.*')}$`))
    expect(names.some((name) => name.test(role.RoleName))).toBe(true)
    expect(role.AssumeRolePolicyDocument.Statement).toEqual([
      {
        Effect: 'Allow',
        Principal: { AWS: WORKER },
        Action: 'sts:AssumeRole',
        Condition: { StringEquals: { 'sts:ExternalId': 'drawn-by-chance' } },
      },
    ])
    expect(role.Tags).toEqual([{ Key: 'rescind:protected', Value: 'true' }])
  })

  it('is what the README refers to', () => {
    expect(readFileSync(`${folder}README.md`, 'utf8')).toContain('(spoke.yaml)')
  })
})

it('of aws-iam is denied every change of what is protected', () => {
  const { Policies: policies } = spokeRole(new URL('../../functions/providers/aws-iam/spoke.yaml', import.meta.url).pathname, {
    account: ACCOUNT,
    WorkerRoleArn: WORKER,
    ExternalId: 'drawn-by-chance',
  })
  const statements = policies[0].PolicyDocument.Statement
  const of = (wanted: 'Allow' | 'Deny') =>
    statements
      .flatMap(({ Effect: effect, Action: actions }) => (effect === wanted ? actions : []))
      .filter((action) => !READS.test(action))
  expect(of('Deny').sort()).toEqual(of('Allow').sort())
  expect(statements.find(({ Effect: effect }) => effect === 'Deny')).toMatchObject({
    Resource: '*',
    Condition: { StringEquals: { 'aws:ResourceTag/rescind:protected': 'true' } },
  })
})
