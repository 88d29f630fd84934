// biome-ignore-all lint/suspicious/noTemplateCurlyInString: this is how Fn::Sub is written.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import type { JsonObject } from '../../../lib/local/json.ts'
import type { Stack } from '../../../lib/local/template.ts'
import { loadStacks, openTemplate, TemplateError } from '../../../lib/local/template.ts'

const place = { account: '000000000000', region: 'us-east-1', queues: 'http://127.0.0.1:4566', api: 'http://127.0.0.1:8080' }

const stack = (template: JsonObject, name = 'App', assets = new Map<string, string>()): Stack => ({
  name,
  folder: '/out',
  template,
  assets,
})
const holder = (value: JsonObject | string, more: JsonObject = {}) =>
  openTemplate([stack({ Resources: { Fn: { Type: 'AWS::Lambda::Function', Properties: { Value: value } }, ...more } })], place)
function resolved(value: JsonObject | string, more: JsonObject = {}) {
  const template = holder(value, more)
  const [resource] = template.ofType('AWS::Lambda::Function')
  if (resource === undefined) throw new Error('no function')
  return template.property(resource, 'Value')
}
const failure = (run: () => unknown): TemplateError => {
  try {
    run()
  } catch (error) {
    if (error instanceof TemplateError) return error
    throw error
  }
  throw new Error('nothing was thrown')
}

const Queue = { Type: 'AWS::SQS::Queue', Properties: { QueueName: 'plan-p0' } }
const Table = { Type: 'AWS::DynamoDB::Table' }

describe('intrinsic functions', () => {
  it('Ref of a resource, a pseudo parameter and a parameter with a default', () => {
    expect(resolved({ Ref: 'Queue' }, { Queue })).toBe('http://127.0.0.1:4566/000000000000/plan-p0')
    expect(resolved({ Ref: 'AWS::Region' })).toBe('us-east-1')
    const template = openTemplate(
      [
        stack({
          Parameters: { Stage: { Type: 'String', Default: 'live' } },
          Resources: { Fn: { Type: 'AWS::Lambda::Function', Properties: { Value: { Ref: 'Stage' } } } },
        }),
      ],
      place,
    )
    expect(template.ofType('AWS::Lambda::Function').map((resource) => template.property(resource, 'Value'))).toEqual(['live'])
  })

  it('Fn::GetAtt in both its forms', () => {
    expect(resolved({ 'Fn::GetAtt': ['Queue', 'Arn'] }, { Queue })).toBe('arn:aws:sqs:us-east-1:000000000000:plan-p0')
    expect(resolved({ 'Fn::GetAtt': 'Table.StreamArn' }, { Table })).toBe(
      'arn:aws:dynamodb:us-east-1:000000000000:table/App-Table/stream/local',
    )
  })

  it('Fn::Join, Fn::Select and Fn::Split, within each other', () => {
    expect(resolved({ 'Fn::Join': ['', ['{"q":"', { Ref: 'Queue' }, '"}']] }, { Queue })).toBe(
      '{"q":"http://127.0.0.1:4566/000000000000/plan-p0"}',
    )
    expect(resolved({ 'Fn::Select': [5, { 'Fn::Split': [':', { 'Fn::GetAtt': ['Queue', 'Arn'] }] }] }, { Queue })).toBe('plan-p0')
  })

  it('Fn::Sub with references, attributes, own names and literals', () => {
    expect(resolved({ 'Fn::Sub': 'arn:${AWS::Partition}:x:${Queue.QueueName}:${!Literal}' }, { Queue })).toBe(
      'arn:aws:x:plan-p0:${Literal}',
    )
    expect(
      resolved({ 'Fn::Sub': ['${Own}-${AWS::AccountId}', { Own: { 'Fn::GetAtt': ['Queue', 'QueueName'] } }] }, { Queue }),
    ).toBe('plan-p0-000000000000')
  })

  it('Fn::ImportValue of another stack', () => {
    const data = stack(
      {
        Resources: { Table },
        Outputs: { Out: { Value: { Ref: 'Table' }, Export: { Name: { 'Fn::Sub': '${AWS::StackName}:Table' } } } },
      },
      'Data',
    )
    const app = stack({
      Resources: { Fn: { Type: 'AWS::Lambda::Function', Properties: { Value: { 'Fn::ImportValue': 'Data:Table' } } } },
    })
    const template = openTemplate([data, app], place)
    expect(template.ofType('AWS::Lambda::Function').map((resource) => template.property(resource, 'Value'))).toEqual([
      'Data-Table',
    ])
  })

  it('AWS::NoValue takes the property away', () => {
    expect(resolved({ a: { Ref: 'AWS::NoValue' }, b: 1 })).toEqual({ b: 1 })
  })

  it('an unknown one is an error that names it and its place', () => {
    const error = failure(() => resolved({ deep: [{ 'Fn::FindInMap': ['Map', 'a', 'b'] }] }))
    expect(error.code).toBe('unsupported-intrinsic')
    expect(error.message).toMatch(/Fn::FindInMap/)
    expect(error.message).toMatch(/App\/Fn .*Value\/deep\/0/)
  })

  it('an unknown one in what nobody asks for is no error', () => {
    const template = holder('x', { Role: { Type: 'AWS::IAM::Role', Properties: { Odd: { 'Fn::Cidr': [] } } } })
    expect(template.resources).toHaveLength(2)
  })

  it('dynamic references and unknown pseudo parameters are errors', () => {
    expect(failure(() => resolved('{{resolve:ssm:/x}}')).code).toBe('unsupported-intrinsic')
    expect(failure(() => resolved({ Ref: 'AWS::NotificationARNs' })).message).toMatch(/AWS::NotificationARNs/)
  })

  it('references to what is not there are errors', () => {
    expect(failure(() => resolved({ Ref: 'Nobody' })).code).toBe('unknown-reference')
    expect(failure(() => resolved({ 'Fn::GetAtt': ['Queue', 'Colour'] }, { Queue })).message).toMatch(/Colour/)
    expect(failure(() => resolved({ 'Fn::ImportValue': 'Nowhere' })).message).toMatch(/Nowhere/)
    expect(failure(() => resolved({ Ref: 'Topic' }, { Topic: { Type: 'AWS::SNS::Topic' } })).message).toMatch(/AWS::SNS::Topic/)
  })
})

describe('names', () => {
  it('without a name of their own come from stack and logical id, as long as the service allows', () => {
    const id = 'ABucketWithAVeryLongLogicalIdentifierThatGoesOnAndOnUntilItsHash1A2B3C4D'
    const template = openTemplate(
      [
        stack({
          Resources: {
            [id]: { Type: 'AWS::S3::Bucket' },
            Work: { Type: 'AWS::SQS::Queue', Properties: { FifoQueue: true } },
          },
        }),
      ],
      place,
    )
    const [bucket, queue] = [template.ofType('AWS::S3::Bucket')[0], template.ofType('AWS::SQS::Queue')[0]]
    if (bucket === undefined || queue === undefined) throw new Error('a resource is missing')
    expect(template.nameOf(bucket)).toMatch(/^[a-z0-9][a-z0-9-]{2,61}1a2b3c4d$/)
    expect(template.nameOf(queue)).toBe('App-Work.fifo')
  })
})

describe('a cloud assembly', () => {
  const folder = mkdtempSync(join(tmpdir(), 'rescind-template-'))
  afterAll(() => rmSync(folder, { recursive: true }))

  it('that is not there says what to do', () => {
    expect(failure(() => loadStacks(join(folder, 'nowhere'))).message).toMatch(/cdk synth/)
  })

  it('is read by its manifest, assets by metadata or by hash', () => {
    const write = (file: string, value: unknown) => writeFileSync(join(folder, file), JSON.stringify(value))
    write('manifest.json', {
      artifacts: {
        App: { type: 'aws:cloudformation:stack', properties: { templateFile: 'App.template.json', stackName: 'rescind-app' } },
        'App.assets': { type: 'cdk:asset-manifest', properties: { file: 'App.assets.json' } },
        Tree: { type: 'cdk:tree', properties: { file: 'tree.json' } },
      },
    })
    write('App.assets.json', { files: { abc: { source: { path: 'asset.abc', packaging: 'zip' } } } })
    write('App.template.json', {
      Resources: {
        ByHash: { Type: 'AWS::Lambda::Function', Properties: { Code: { S3Bucket: 'assets', S3Key: 'abc.zip' } } },
        ByPath: { Type: 'AWS::Lambda::Function', Metadata: { 'aws:asset:path': 'asset.def' }, Properties: { Code: {} } },
        Inline: { Type: 'AWS::Lambda::Function', Properties: { Code: { ZipFile: 'x' } } },
      },
    })
    const template = openTemplate(loadStacks(folder), place)
    const [byHash, byPath, inline] = template.ofType('AWS::Lambda::Function')
    if (byHash === undefined || byPath === undefined || inline === undefined) throw new Error('a function is missing')
    expect(byHash.stack).toBe('rescind-app')
    expect(template.assetOf(byHash)).toBe(join(folder, 'asset.abc'))
    expect(template.assetOf(byPath)).toBe(join(folder, 'asset.def'))
    expect(failure(() => template.assetOf(inline)).code).toBe('unsupported-property')
  })
})
