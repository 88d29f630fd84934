import { cpSync, existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Duration, RemovalPolicy } from 'aws-cdk-lib'
import type { IManagedPolicy } from 'aws-cdk-lib/aws-iam'
import { Role, ServicePrincipal } from 'aws-cdk-lib/aws-iam'
import type { CfnFunction } from 'aws-cdk-lib/aws-lambda'
import { Architecture, Code, Function as LambdaFunction, Runtime } from 'aws-cdk-lib/aws-lambda'
import type { RetentionDays } from 'aws-cdk-lib/aws-logs'
import { LogGroup } from 'aws-cdk-lib/aws-logs'
import { Construct } from 'constructs'
import { longestVisit } from '../../functions/domain/limiter.ts'
import type { Config } from '../config.ts'
import { allow } from './permissions.ts'

/** What all functions of one stack share. */
export interface FunctionContext {
  readonly config: Config
  /** `<installation>-<environment>`: begins every name. */
  readonly prefix: string
  /** IAM path of the roles: `/rescind/`. */
  readonly path: string
  /** Folder with `<function>/index.mjs`, as `lib/build.ts` writes it. */
  readonly bundles: string
  readonly guard: IManagedPolicy
}

export interface StageFunctionProps {
  /** `plan`, `revoke-postgresql`: the bundle's folder. */
  readonly name: string
  readonly description: string
  readonly timeout: Duration
  readonly memory?: number
  /** Environments at once, reserved and at most. */
  readonly reserved?: number
  /** In the network of `config.vpc`. */
  readonly inVpc?: boolean
}

/** One function with a role and a log group of its own. It may write its own logs, and nothing else until it is allowed to. */
export class StageFunction extends Construct {
  readonly name: string
  readonly role: Role
  readonly function: LambdaFunction
  readonly timeout: Duration

  constructor(scope: Construct, id: string, context: FunctionContext, props: StageFunctionProps) {
    super(scope, id)
    const { config, prefix } = context
    this.name = props.name
    this.timeout = props.timeout
    const functionName = `${prefix}-${props.name}`

    const logGroup = new LogGroup(this, 'Logs', {
      logGroupName: `/aws/lambda/${functionName}`,
      retention: config.logDays satisfies RetentionDays,
      removalPolicy: config.removal === 'retain' ? RemovalPolicy.RETAIN : RemovalPolicy.DESTROY,
    })
    this.role = new Role(this, 'Role', {
      path: context.path,
      assumedBy: new ServicePrincipal('lambda.amazonaws.com'),
      description: `Rescind: ${props.name}`,
      managedPolicies: [context.guard],
    })
    allow(this.role, { actions: ['logs:CreateLogStream', 'logs:PutLogEvents'], resources: [logGroup.logGroupArn] })

    const staged = stage(context, props.name)
    try {
      this.function = new LambdaFunction(this, 'Function', {
        functionName,
        description: props.description,
        code: Code.fromAsset(staged),
        handler: 'index.handler',
        runtime: Runtime.NODEJS_24_X,
        architecture: Architecture.ARM_64,
        memorySize: props.memory ?? 512,
        ...(props.reserved === undefined ? {} : { reservedConcurrentExecutions: props.reserved }),
        timeout: props.timeout,
        role: this.role,
        logGroup,
        environment: { NODE_OPTIONS: '--enable-source-maps', SETTINGS_FILE: 'settings.json' },
      })
    } finally {
      rmSync(staged, { recursive: true, force: true })
    }
    const resource = this.function.node.defaultChild as CfnFunction
    resource.addMetadata('Rescind', { function: props.name })
    if (props.inVpc === true) this.#joinVpc(config, resource)
  }

  set(variables: Readonly<Record<string, string>>): void {
    for (const [name, value] of Object.entries(variables)) this.function.addEnvironment(name, value)
  }

  #joinVpc({ vpc }: Config, resource: CfnFunction): void {
    if (vpc === undefined || vpc === 'none') return
    resource.vpcConfig = { subnetIds: vpc.subnetIds, securityGroupIds: vpc.securityGroupIds }
    allow(this.role, {
      actions: [
        'ec2:CreateNetworkInterface',
        'ec2:DescribeNetworkInterfaces',
        'ec2:DescribeSubnets',
        'ec2:DeleteNetworkInterface',
        'ec2:AssignPrivateIpAddresses',
        'ec2:UnassignPrivateIpAddresses',
      ],
      resources: ['*'],
      reason:
        'Lambda itself makes the network interfaces of a function in a VPC with these rights, and accepts them on all resources only.',
    })
  }
}

/**
 * A copy of the bundle with the settings beside it; CDK takes it into the cloud assembly at once. `dist/` stays as built,
 * so that one build serves every environment.
 * @throws if the bundle is not there.
 */
function stage({ bundles, config }: FunctionContext, name: string): string {
  const bundle = join(bundles, name)
  if (!existsSync(join(bundle, 'index.mjs')))
    throw new Error(`${join(bundle, 'index.mjs')} is missing: run "npm run build" first`)
  const folder = mkdtempSync(join(tmpdir(), 'rescind-stage-'))
  cpSync(bundle, folder, { recursive: true })
  writeFileSync(join(folder, 'settings.json'), JSON.stringify(config.settings))
  return folder
}

export const workerTimeout = (callSeconds: number): Duration => Duration.seconds(longestVisit(callSeconds))
