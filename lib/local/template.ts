import { readdirSync, readFileSync } from 'node:fs'
import { join, resolve as resolvePath } from 'node:path'
import type { Json, JsonObject } from './json.ts'
import { arrayOf, isArray, isObject, numberOf, objectOf, textOf } from './json.ts'

/**
 * The synthesised CloudFormation template, read as the plan of what to bring up on one machine. Only the intrinsic
 * functions that the stacks need are known, and only what is used is resolved: a role's policy may hold anything.
 */

/** Why a template cannot be run on one machine: always names the resource and the place in it. */
export class TemplateError extends Error {
  override readonly name = 'TemplateError'
  readonly code: 'no-template' | 'unsupported-intrinsic' | 'unsupported-property' | 'unknown-reference'
  constructor(code: TemplateError['code'], message: string) {
    super(message)
    this.code = code
  }
}

export interface Resource {
  readonly stack: string
  readonly logicalId: string
  readonly type: string
  readonly properties: JsonObject
  readonly metadata: JsonObject
}

export interface Stack {
  readonly name: string
  /** Folder that the template and its assets stand in. */
  readonly folder: string
  readonly template: JsonObject
  /** Asset folders by source hash, from the assets manifest. */
  readonly assets: ReadonlyMap<string, string>
}

/** What this machine puts in the place of AWS's own names. */
export interface Place {
  readonly account: string
  readonly region: string
  /** `http://127.0.0.1:1234`: queue URLs begin with it. */
  readonly queues: string
  /** Address of the HTTP API. */
  readonly api: string
}

export interface Template {
  readonly resources: readonly Resource[]
  ofType(...types: readonly string[]): readonly Resource[]
  /** A property with its intrinsic functions resolved; `path` is dotted (`Environment.Variables`). */
  property(resource: Resource, path: string): Json | undefined
  /** What `Ref` of a resource gives. */
  reference(resource: Resource): string
  attribute(resource: Resource, name: string): string
  nameOf(resource: Resource): string
  /** The folder of the code that a property such as a function's `Code` points to. */
  assetOf(resource: Resource): string
}

const readJson = (path: string): JsonObject => objectOf(JSON.parse(readFileSync(path, 'utf8')) as Json, path)

function assetsOf(folder: string, file: string): Map<string, string> {
  const files = objectOf(readJson(join(folder, file)).files ?? {}, `${file}: files`)
  const found = new Map<string, string>()
  for (const [hash, entry] of Object.entries(files)) {
    const source = isObject(entry) && isObject(entry.source) ? entry.source.path : undefined
    if (typeof source === 'string') found.set(hash, resolvePath(folder, source))
  }
  return found
}

/** The stacks of a cloud assembly, those of nested assemblies (stages) included. */
export function loadStacks(cdkOut: string): Stack[] {
  let manifest: JsonObject
  try {
    manifest = readJson(join(cdkOut, 'manifest.json'))
  } catch (cause) {
    throw new TemplateError('no-template', `no cloud assembly in ${cdkOut}: run \`cdk synth\` first (${String(cause)})`)
  }
  const stacks: Stack[] = []
  for (const [name, artifact] of Object.entries(objectOf(manifest.artifacts ?? {}, 'manifest.json: artifacts'))) {
    if (!isObject(artifact)) continue
    const properties = isObject(artifact.properties) ? artifact.properties : {}
    if (artifact.type === 'cdk:cloud-assembly') {
      stacks.push(...loadStacks(join(cdkOut, textOf(properties.directoryName, `${name}: directoryName`))))
    }
    if (artifact.type !== 'aws:cloudformation:stack') continue
    const assetFile = readdirSync(cdkOut).find((file) => file === `${name}.assets.json`)
    stacks.push({
      name: typeof properties.stackName === 'string' ? properties.stackName : name,
      folder: cdkOut,
      template: readJson(join(cdkOut, textOf(properties.templateFile, `${name}: templateFile`))),
      assets: assetFile === undefined ? new Map() : assetsOf(cdkOut, assetFile),
    })
  }
  return stacks
}

/** The property that names a resource, `Ref`'s meaning, and the attributes that `Fn::GetAtt` may ask for. */
interface Shape {
  readonly named?: string
  readonly longest?: number
  readonly ref: (name: string, place: Place) => string
  readonly attributes: Readonly<Record<string, (name: string, place: Place) => string>>
}

const arn = (service: string, prefix: string) => (name: string, place: Place) =>
  `arn:aws:${service}:${place.region}:${place.account}:${prefix}${name}`
const itself = (name: string) => name

const TABLE: Shape = {
  named: 'TableName',
  ref: itself,
  attributes: {
    Arn: arn('dynamodb', 'table/'),
    StreamArn: (name, place) => `${arn('dynamodb', 'table/')(name, place)}/stream/local`,
  },
}

const SHAPES: Readonly<Record<string, Shape>> = {
  'AWS::DynamoDB::Table': TABLE,
  'AWS::DynamoDB::GlobalTable': TABLE,
  'AWS::Lambda::Function': { named: 'FunctionName', longest: 64, ref: itself, attributes: { Arn: arn('lambda', 'function:') } },
  'AWS::SQS::Queue': {
    named: 'QueueName',
    longest: 80,
    ref: (name, place) => `${place.queues}/${place.account}/${name}`,
    attributes: {
      Arn: arn('sqs', ''),
      QueueName: itself,
      QueueUrl: (name, place) => `${place.queues}/${place.account}/${name}`,
    },
  },
  'AWS::Events::EventBus': { named: 'Name', ref: itself, attributes: { Arn: arn('events', 'event-bus/'), Name: itself } },
  'AWS::Events::Rule': { named: 'Name', longest: 64, ref: itself, attributes: { Arn: arn('events', 'rule/') } },
  'AWS::Scheduler::Schedule': {
    named: 'Name',
    longest: 64,
    ref: itself,
    attributes: { Arn: arn('scheduler', 'schedule/default/') },
  },
  'AWS::S3::Bucket': { named: 'BucketName', longest: 63, ref: itself, attributes: { Arn: (name) => `arn:aws:s3:::${name}` } },
  'AWS::KMS::Key': { ref: itself, attributes: { Arn: arn('kms', 'key/'), KeyId: itself } },
  'AWS::ApiGatewayV2::Api': { ref: itself, attributes: { ApiId: itself, ApiEndpoint: (_, place) => place.api } },
  'AWS::ApiGatewayV2::Integration': { ref: itself, attributes: { IntegrationId: itself } },
  'AWS::IAM::Role': {
    named: 'RoleName',
    ref: itself,
    attributes: { Arn: (name, place) => `arn:aws:iam::${place.account}:role/${name}` },
  },
  'AWS::Logs::LogGroup': { named: 'LogGroupName', ref: itself, attributes: { Arn: arn('logs', 'log-group:') } },
}

const SUPPORTED = new Set(['Ref', 'Fn::GetAtt', 'Fn::Join', 'Fn::Sub', 'Fn::Select', 'Fn::Split', 'Fn::ImportValue'])

export function openTemplate(stacks: readonly Stack[], place: Place): Template {
  const resources: Resource[] = []
  const byId = new Map<string, Resource>()
  const stackOf = new Map(stacks.map((stack) => [stack.name, stack]))
  for (const stack of stacks) {
    for (const [logicalId, value] of Object.entries(objectOf(stack.template.Resources ?? {}, `${stack.name}: Resources`))) {
      const entry = objectOf(value, `${stack.name}/${logicalId}`)
      const resource: Resource = {
        stack: stack.name,
        logicalId,
        type: textOf(entry.Type, `${stack.name}/${logicalId}: Type`),
        properties: isObject(entry.Properties) ? entry.Properties : {},
        metadata: isObject(entry.Metadata) ? entry.Metadata : {},
      }
      resources.push(resource)
      byId.set(`${stack.name}/${logicalId}`, resource)
    }
  }

  function shapeOf(resource: Resource, where: string): Shape {
    const shape = SHAPES[resource.type]
    if (shape === undefined) {
      throw new TemplateError(
        'unknown-reference',
        `${where}: ${resource.type} (${resource.logicalId}) has no counterpart on one machine`,
      )
    }
    return shape
  }

  function nameOf(resource: Resource): string {
    const shape = SHAPES[resource.type]
    const given = shape?.named === undefined ? undefined : property(resource, shape.named)
    if (typeof given === 'string') return given
    // As CloudFormation names what has no name: by stack and logical id, which ends in CDK's own hash.
    const longest = shape?.longest ?? 128
    if (resource.type === 'AWS::S3::Bucket')
      return `${resource.stack}-${resource.logicalId}`.toLowerCase().slice(-longest).replace(/^-+/, '')
    const suffix = resource.type === 'AWS::SQS::Queue' && String(property(resource, 'FifoQueue')) === 'true' ? '.fifo' : ''
    return `${resource.stack}-${resource.logicalId}`.slice(-(longest - suffix.length)).replace(/^-+/, '') + suffix
  }

  function lookup(stack: string, logicalId: string, where: string): Resource {
    const resource = byId.get(`${stack}/${logicalId}`)
    if (resource === undefined)
      throw new TemplateError('unknown-reference', `${where}: ${logicalId} is not a resource of ${stack}`)
    return resource
  }

  function pseudo(stack: string, name: string, where: string): string | undefined {
    switch (name) {
      case 'AWS::Region':
        return place.region
      case 'AWS::AccountId':
        return place.account
      case 'AWS::Partition':
        return 'aws'
      case 'AWS::URLSuffix':
        return 'amazonaws.com'
      case 'AWS::StackName':
        return stack
      case 'AWS::StackId':
        return `arn:aws:cloudformation:${place.region}:${place.account}:stack/${stack}/local`
      case 'AWS::NoValue':
        return undefined
      default:
        throw new TemplateError('unsupported-intrinsic', `${where}: pseudo parameter ${name} is not known on one machine`)
    }
  }

  function refer(stack: string, name: string, where: string): string | undefined {
    if (name.startsWith('AWS::')) return pseudo(stack, name, where)
    const parameters = stackOf.get(stack)?.template.Parameters
    const parameter = isObject(parameters) ? parameters[name] : undefined
    if (isObject(parameter)) {
      if (typeof parameter.Default === 'string' && !String(parameter.Type).startsWith('AWS::SSM')) return parameter.Default
      throw new TemplateError('unknown-reference', `${where}: parameter ${name} has no value on one machine`)
    }
    const resource = lookup(stack, name, where)
    return shapeOf(resource, where).ref(nameOf(resource), place)
  }

  function attributeOf(resource: Resource, name: string, where: string): string {
    const attribute = shapeOf(resource, where).attributes[name]
    if (attribute === undefined) {
      throw new TemplateError(
        'unknown-reference',
        `${where}: attribute ${name} of ${resource.type} (${resource.logicalId}) is not known`,
      )
    }
    return attribute(nameOf(resource), place)
  }

  function exported(name: string, where: string): Json | undefined {
    for (const stack of stacks) {
      const outputs = isObject(stack.template.Outputs) ? stack.template.Outputs : {}
      for (const [id, output] of Object.entries(outputs)) {
        if (!isObject(output) || !isObject(output.Export)) continue
        const here = `${stack.name}/Outputs/${id}`
        if (resolve(stack.name, output.Export.Name, here) === name) return resolve(stack.name, output.Value, here)
      }
    }
    throw new TemplateError('unknown-reference', `${where}: no stack exports ${name}`)
  }

  function substitute(stack: string, value: Json | undefined, where: string): string {
    const [text, names] = isArray(value) ? [value[0], objectOf(value[1], where)] : [value, objectOf({}, where)]
    return textOf(text, `${where}/Fn::Sub`).replace(/\$\{(!?)([^}]+)\}/g, (_, literal: string, name: string) => {
      if (literal === '!') return `\${${name}}`
      const own = names[name]
      if (own !== undefined) return String(resolve(stack, own, where))
      const dot = name.indexOf('.')
      if (dot < 0) return refer(stack, name, where) ?? ''
      return attributeOf(lookup(stack, name.slice(0, dot), where), name.slice(dot + 1), where)
    })
  }

  function intrinsic(stack: string, name: string, value: Json | undefined, where: string): Json | undefined {
    switch (name) {
      case 'Ref':
        return refer(stack, textOf(value, `${where}/Ref`), where)
      case 'Fn::GetAtt': {
        const [logicalId, attribute] = isArray(value) ? value : textOf(value, `${where}/Fn::GetAtt`).split(/\.(.*)/s)
        return attributeOf(lookup(stack, textOf(logicalId, where), where), textOf(attribute, where), where)
      }
      case 'Fn::Join': {
        const [separator, parts] = arrayOf(value, `${where}/Fn::Join`)
        return arrayOf(resolve(stack, parts, where), `${where}/Fn::Join`)
          .map(String)
          .join(textOf(separator, where))
      }
      case 'Fn::Sub':
        return substitute(stack, value, where)
      case 'Fn::Select': {
        const [index, list] = arrayOf(value, `${where}/Fn::Select`)
        const chosen = arrayOf(resolve(stack, list, where), `${where}/Fn::Select`)[numberOf(index, where)]
        if (chosen === undefined)
          throw new TemplateError('unknown-reference', `${where}/Fn::Select: nothing at ${JSON.stringify(index)}`)
        return chosen
      }
      case 'Fn::Split': {
        const [separator, text] = arrayOf(value, `${where}/Fn::Split`)
        return textOf(resolve(stack, text, where), `${where}/Fn::Split`).split(textOf(separator, where))
      }
      case 'Fn::ImportValue':
        return exported(textOf(resolve(stack, value, where), where), where)
      default:
        throw new TemplateError(
          'unsupported-intrinsic',
          `${where}: ${name} is not known on one machine (only ${[...SUPPORTED].join(', ')} are)`,
        )
    }
  }

  function resolve(stack: string, value: Json | undefined, where: string): Json | undefined {
    if (isArray(value))
      return value.map((part, index) => resolve(stack, part, `${where}/${index}`)).filter((part) => part !== undefined)
    if (typeof value === 'string' && value.includes('{{resolve:')) {
      throw new TemplateError('unsupported-intrinsic', `${where}: dynamic reference ${value} is not known on one machine`)
    }
    if (!isObject(value)) return value
    const names = Object.keys(value)
    const [only] = names
    if (names.length === 1 && only !== undefined && (only === 'Ref' || only === 'Condition' || only.startsWith('Fn::'))) {
      return intrinsic(stack, only, value[only], where)
    }
    const made: Record<string, Json> = {}
    for (const name of names) {
      const part = resolve(stack, value[name], `${where}/${name}`)
      if (part !== undefined) made[name] = part
    }
    return made
  }

  function property(resource: Resource, path: string): Json | undefined {
    const where = `${resource.stack}/${resource.logicalId} (${resource.type})`
    let value: Json | undefined = resource.properties
    for (const part of path.split('.')) {
      if (!isObject(value)) return undefined
      // `Condition` is the name of an intrinsic function only where it stands alone: not at the top of a resource.
      const names = Object.keys(value)
      if (names.length === 1 && names[0]?.startsWith('Fn::')) value = resolve(resource.stack, value, where)
      if (!isObject(value)) return undefined
      value = value[part]
    }
    return resolve(resource.stack, value, `${where}/${path.replaceAll('.', '/')}`)
  }

  return {
    resources,
    ofType: (...types) => resources.filter((resource) => types.includes(resource.type)),
    property,
    nameOf,
    reference: (resource) => shapeOf(resource, resource.logicalId).ref(nameOf(resource), place),
    attribute: (resource, name) => attributeOf(resource, name, resource.logicalId),
    assetOf(resource) {
      const stack = stackOf.get(resource.stack)
      const path = resource.metadata['aws:asset:path']
      if (stack !== undefined && typeof path === 'string') return resolvePath(stack.folder, path)
      // Without asset metadata (`cdk synth --no-asset-metadata`, or `app.synth()`): the key is `<source hash>.zip`.
      const code = resource.properties.Code
      const key = isObject(code) ? code.S3Key : undefined
      const found = typeof key === 'string' ? stack?.assets.get(key.replace(/\.zip$/, '')) : undefined
      if (found === undefined) {
        throw new TemplateError(
          'unsupported-property',
          `${resource.stack}/${resource.logicalId}: its code is not an asset of this assembly`,
        )
      }
      return found
    },
  }
}
