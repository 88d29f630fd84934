import { Duration, Stack } from 'aws-cdk-lib'
import type { CfnEventBus } from 'aws-cdk-lib/aws-events'
import { EventBus, Match, Rule } from 'aws-cdk-lib/aws-events'
import { LambdaFunction } from 'aws-cdk-lib/aws-events-targets'
import type { Role } from 'aws-cdk-lib/aws-iam'
import { AccountPrincipal, AnyPrincipal, Effect, PolicyStatement } from 'aws-cdk-lib/aws-iam'
import { CfnEventInvokeConfig } from 'aws-cdk-lib/aws-lambda'
import type { Queue } from 'aws-cdk-lib/aws-sqs'
import { Construct } from 'constructs'
import { TYPE_PREFIX } from '../../functions/contracts/trigger.ts'
import type { Config } from '../config.ts'
import type { StageFunction } from './function.ts'
import { allow } from './permissions.ts'
import { deadLetterQueue } from './queues.ts'

interface Sender {
  readonly source: string
  readonly principals: readonly string[]
  readonly types: readonly string[]
}

/**
 * Where named sources put their triggers. A policy that only allows would not bind principals of this very account,
 * whose own policies may already let them put events: so each source name is denied to everybody but its principals, and
 * every other name and type to everybody.
 */
export class IntakeBus extends Construct {
  readonly bus: EventBus
  readonly #senders: readonly Sender[]

  constructor(scope: Construct, id: string, { config, prefix }: { readonly config: Config; readonly prefix: string }) {
    super(scope, id)
    this.bus = new EventBus(this, 'Bus', {
      eventBusName: `${prefix}-intake`,
      description: 'Triggers of named sources for Rescind',
    })
    this.#senders = config.settings.sources.flatMap(({ busSource, busPrincipals, triggers }) =>
      busSource === undefined
        ? []
        : [{ source: busSource, principals: busPrincipals ?? [], types: triggers.map((trigger) => `${TYPE_PREFIX}${trigger}`) }],
    )
    govern(this.bus, this.#statements(busArn(this, `${prefix}-intake`)))
  }

  *#statements(arn: string): Generator<PolicyStatement> {
    const put = { actions: ['events:PutEvents'], resources: [arn] }
    for (const [index, { source, principals, types }] of this.#senders.entries()) {
      yield new PolicyStatement({
        ...put,
        sid: `Allow${index}`,
        principals: accountsOf(principals).map((account) => new AccountPrincipal(account)),
        conditions: {
          ArnLike: { 'aws:PrincipalArn': principals },
          StringEquals: { 'events:source': source, 'events:detail-type': types },
        },
      })
      yield new PolicyStatement({
        ...put,
        sid: `Bind${index}`,
        effect: Effect.DENY,
        principals: [new AnyPrincipal()],
        conditions: { StringEquals: { 'events:source': source }, ArnNotLike: { 'aws:PrincipalArn': principals } },
      })
    }
    const known = this.#senders.map(({ source }) => source)
    yield new PolicyStatement({
      ...put,
      sid: 'OtherSources',
      effect: Effect.DENY,
      principals: [new AnyPrincipal()],
      ...(known.length > 0 ? { conditions: { StringNotEquals: { 'events:source': known } } } : {}),
    })
    yield new PolicyStatement({
      ...put,
      sid: 'OtherTypes',
      effect: Effect.DENY,
      principals: [new AnyPrincipal()],
      conditions: { StringNotLike: { 'events:detail-type': `${TYPE_PREFIX}*` } },
    })
  }

  /** Two safety nets: for what cannot be delivered to the function, and for what the function failed on until the end. */
  feed(intake: StageFunction, prefix: string): Queue | undefined {
    if (this.#senders.length === 0) return undefined
    const dead = deadLetterQueue(this, 'Dead', { prefix, name: 'intake-bus-dead' })
    new Rule(this, 'Triggers', {
      eventBus: this.bus,
      description: 'Triggers of the configured sources',
      eventPattern: {
        source: this.#senders.map(({ source }) => source),
        detailType: Match.prefix(TYPE_PREFIX),
      },
      targets: [
        new LambdaFunction(intake.function, { deadLetterQueue: dead, maxEventAge: Duration.hours(24), retryAttempts: 185 }),
      ],
    })
    new CfnEventInvokeConfig(this, 'Invocations', {
      functionName: intake.function.functionName,
      qualifier: '$LATEST',
      maximumEventAgeInSeconds: Duration.hours(6).toSeconds(),
      maximumRetryAttempts: 2,
      destinationConfig: { onFailure: { destination: dead.queueArn } },
    }).node.addDependency(intake.role)
    allow(intake.role, { actions: ['sqs:SendMessage'], resources: [dead.queueArn] })
    return dead
  }
}

/** Where completion events go. No rule of ours listens here, so an answer is never taken for a trigger. */
export class OutcomeBus extends Construct {
  readonly bus: EventBus
  readonly #name: string

  constructor(scope: Construct, id: string, { prefix }: { readonly prefix: string }) {
    super(scope, id)
    this.#name = `${prefix}-outcome`
    this.bus = new EventBus(this, 'Bus', { eventBusName: this.#name, description: 'Completion events of Rescind' })
  }

  /** The one function that may speak here; who listens must be able to believe what he hears. */
  allowAnnouncing(role: Role): void {
    allow(role, { actions: ['events:PutEvents'], resources: [this.bus.eventBusArn] })
    govern(this.bus, [
      new PolicyStatement({
        sid: 'OnlyRescind',
        effect: Effect.DENY,
        principals: [new AnyPrincipal()],
        actions: ['events:PutEvents'],
        resources: [busArn(this, this.#name)],
        conditions: { ArnNotEquals: { 'aws:PrincipalArn': role.roleArn } },
      }),
    ])
  }
}

/** The bus's own property, not `AWS::Events::EventBusPolicy`: one document, so there is no moment at which only half of it holds. */
function govern(bus: EventBus, statements: Iterable<PolicyStatement>): void {
  const resource = bus.node.defaultChild as CfnEventBus
  resource.policy = { Version: '2012-10-17', Statement: [...statements].map((statement) => statement.toJSON()) }
}

/** By name, because a bus cannot refer to itself. */
const busArn = (scope: Construct, name: string) =>
  Stack.of(scope).formatArn({ service: 'events', resource: 'event-bus', resourceName: name })

const accountsOf = (arns: readonly string[]) => [...new Set(arns.map((arn) => arn.split(':')[4] ?? ''))]
