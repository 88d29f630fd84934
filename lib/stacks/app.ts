import type { IStackSynthesizer } from 'aws-cdk-lib'
import { App, CliCredentialsStackSynthesizer, Validations } from 'aws-cdk-lib'
import { AwsSolutionsChecks } from 'cdk-nag'
import type { Catalog } from '../config.ts'
import { parseConfig } from '../config.ts'
import { RescindStack } from './rescind-stack.ts'

export interface RescindAppProps {
  /** What a configuration file exports; checked here. */
  readonly config: unknown
  readonly catalog: Catalog
  /** Folder with `<function>/index.mjs`, as `lib/build.ts` writes it. */
  readonly bundles: string
  /** Where the cloud assembly goes; CDK chooses where absent. */
  readonly outdir?: string
  /** Publish assets and deploy with the caller's own credentials instead of the bootstrap roles. */
  readonly cliCredentials?: boolean
  /** The AWS Solutions rules of cdk-nag; a run on one machine does without, whoever deploys does not. */
  readonly checks?: boolean
}

/**
 * Behaviour of CDK that this app relies on, wherever it is synthesised from: by the CLI, by the local pipeline, by tests.
 */
const CONTEXT = {
  '@aws-cdk/aws-iam:minimizePolicies': true,
  '@aws-cdk/aws-s3:serverAccessLogsUseBucketPolicy': true,
  '@aws-cdk/aws-kms:reduceCrossAccountRegionPolicyScope': true,
  '@aws-cdk/core:checkSecretUsage': true,
  '@aws-cdk/core:target-partitions': ['aws', 'aws-us-gov', 'aws-cn'],
  // Tells in the template which asset a function's code is: the local pipeline runs that very folder.
  'aws:cdk:enable-asset-metadata': true,
}

/**
 * The CDK app: one stack for each environment, with the AWS Solutions rules of cdk-nag over all of them.
 * @throws ConfigInvalid
 */
export function rescindApp({
  config: input,
  catalog,
  bundles,
  outdir,
  cliCredentials = false,
  checks = true,
}: RescindAppProps): App {
  const config = parseConfig(input, catalog)
  const app = new App({ analyticsReporting: false, context: CONTEXT, ...(outdir === undefined ? {} : { outdir }) })
  for (const { name, account, region } of config.environments) {
    new RescindStack(app, `${config.name}-${name}`, {
      config,
      environment: name,
      catalog,
      bundles,
      env: { ...(account === undefined ? {} : { account }), ...(region === undefined ? {} : { region }) },
      ...(cliCredentials ? { synthesizer: new CliCredentialsStackSynthesizer() as IStackSynthesizer } : {}),
    })
  }
  if (checks) Validations.of(app).addPlugins(new AwsSolutionsChecks(app))
  return app
}
