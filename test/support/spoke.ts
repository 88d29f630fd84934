import { App, Stack } from 'aws-cdk-lib'
import { Template } from 'aws-cdk-lib/assertions'
import { CfnInclude } from 'aws-cdk-lib/cloudformation-include'
import * as z from 'zod'

const Statement = z.object({
  Sid: z.string(),
  Effect: z.enum(['Allow', 'Deny']),
  Action: z.array(z.string()),
  Resource: z.string(),
  Condition: z.optional(z.record(z.string(), z.record(z.string(), z.string()))),
})
const Role = z.object({
  RoleName: z.string(),
  Tags: z.array(z.object({ Key: z.string(), Value: z.string() })),
  AssumeRolePolicyDocument: z.object({ Statement: z.array(z.json()) }),
  Policies: z.tuple([
    z.object({ PolicyName: z.string(), PolicyDocument: z.object({ Version: z.string(), Statement: z.array(Statement) }) }),
  ]),
})

/** The role of a spoke's template as CloudFormation would make it, with these parameters, in this account. */
export function spokeRole(
  templateFile: string,
  given: { readonly account: string; readonly WorkerRoleArn: string; readonly ExternalId: string },
): z.infer<typeof Role> {
  const stack = new Stack(new App())
  new CfnInclude(stack, 'Spoke', { templateFile })
  const { Resources: resources } = Template.fromStack(stack).toJSON()
  const values: Readonly<Record<string, string>> = { ...given, 'AWS::Partition': 'aws', 'AWS::AccountId': given.account }
  const value = (name: string) => {
    const known = values[name]
    if (known === undefined) throw new Error(`the template refers to ${name}`)
    return known
  }
  const resolve = (node: unknown): unknown => {
    if (Array.isArray(node)) return node.map(resolve)
    if (typeof node !== 'object' || node === null) return node
    const entries = Object.entries(node)
    const [[name, only] = []] = entries
    if (entries.length === 1 && name === 'Ref') return value(String(only))
    if (entries.length === 1 && name === 'Fn::Sub')
      return String(only).replaceAll(/\$\{([\w:]+)\}/g, (_, key: string) => value(key))
    return Object.fromEntries(entries.map(([key, child]) => [key, resolve(child)]))
  }
  return Role.parse(resolve(resources['Spoke'].Properties))
}
