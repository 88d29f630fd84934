import { RemovalPolicy } from 'aws-cdk-lib'
import { AccessLogFormat } from 'aws-cdk-lib/aws-apigateway'
import type { CfnStage } from 'aws-cdk-lib/aws-apigatewayv2'
import { HttpApi, HttpMethod, HttpNoneAuthorizer, HttpStage, LogGroupLogDestination } from 'aws-cdk-lib/aws-apigatewayv2'
import { HttpIamAuthorizer } from 'aws-cdk-lib/aws-apigatewayv2-authorizers'
import { HttpLambdaIntegration } from 'aws-cdk-lib/aws-apigatewayv2-integrations'
import { LogGroup } from 'aws-cdk-lib/aws-logs'
import { Construct } from 'constructs'
import type { Config } from '../config.ts'
import type { StageFunction } from './function.ts'
import { acknowledge } from './permissions.ts'

/** `METHOD /path`, by the function that answers. Those of `intake` and `register` stand under `/aws` too. */
export const ROUTES = {
  intake: ['POST /v1/events', 'POST /v1/reports'],
  register: [
    'POST /v1/leases',
    'GET /v1/leases',
    'GET /v1/leases/{id}',
    'POST /v1/leases/{id}/confirm',
    'POST /v1/leases/{id}/renew',
    'POST /v1/leases/{id}/release',
    'POST /v1/spool',
  ],
  operate: [
    'PUT /v1/identities',
    'GET /v1/identities',
    'PUT /v1/issuers/{name}',
    'GET /v1/issuers',
    'POST /v1/issuers/{name}/discoveries',
    'GET /v1/issuers/{name}/discoveries',
    'GET /v1/issuers/{name}/discoveries/{id}',
    'GET /v1/issuers/{name}/discoveries/{id}/findings',
    'POST /v1/issuers/{name}/findings/{fingerprint}',
    'GET /v1/cases',
    'GET /v1/cases/{id}',
    'GET /v1/cases/{id}/leases',
    'GET /v1/observed',
    'POST /v1/cases/{id}/approve',
    'POST /v1/cases/{id}/cancel',
    'GET /v1/parked',
    'GET /v1/orphans',
    'GET /v1/overdue',
    'GET /v1/tidy',
    'POST /v1/leases/{id}/restore',
    'POST /v1/identities/restore',
    'POST /v1/cases/{id}/restore',
    'GET /v1/restorations',
    'GET /v1/restorations/{id}',
    'GET /v1/violations',
    'POST /v1/outages',
    'GET /v1/outages',
    'GET /v1/quarantine',
    'GET /v1/audit',
    'POST /v1/cases/{id}/reject',
    'POST /v1/cases/{id}/hold',
    'GET /v1/held',
    'GET /v1/campaigns',
    'GET /v1/campaigns/{id}',
    'GET /v1/campaigns/{id}/cases',
    'POST /v1/campaigns/{id}/approve',
    'POST /v1/campaigns/{id}/reject',
    'GET /v1/control',
    'PUT /v1/control/kill-switch',
    'POST /v1/control/release',
    'GET /v1/dead-letters',
    'GET /v1/dead-letters/{queue}',
    'POST /v1/dead-letters/{queue}/redrive',
    'POST /v1/aliases',
    'GET /v1/aliases',
    'POST /v1/aliases/{id}/approve',
    'POST /v1/aliases/{id}/reject',
    'POST /v1/aliases/remove',
    'POST /v1/identities/reinstate',
    'POST /v1/groups/reinstate',
  ],
  preview: ['POST /v1/plans'],
} as const

/**
 * Registrations: of the API's rate they get this share, and a bucket of their own, so that a flood of them leaves the
 * gateway's tokens to triggers and operators.
 */
const REGISTRATIONS = ['POST /v1/leases', 'GET /v1/leases', 'GET /v1/leases/{id}', 'POST /v1/spool'] as const
const THEIR_SHARE = 0.6

const METHODS: Readonly<Record<string, HttpMethod>> = { GET: HttpMethod.GET, POST: HttpMethod.POST, PUT: HttpMethod.PUT }

export interface ApiProps {
  readonly config: Config
  readonly prefix: string
  readonly functions: { readonly [Which in keyof typeof ROUTES]: StageFunction }
}

/**
 * The HTTP API. A route has one kind of authorisation, and the API's own JWT authoriser takes RSA keys of one issuer
 * only: so workloads', operators' and senders' tokens and signatures are verified in code, and AWS principals come by
 * the routes under `/aws`, which IAM authorises.
 */
export class Api extends Construct {
  readonly api: HttpApi

  constructor(scope: Construct, id: string, { config, prefix, functions }: ApiProps) {
    super(scope, id)
    this.api = new HttpApi(this, 'Http', {
      apiName: prefix,
      description: 'Triggers, leases and operations of Rescind',
      createDefaultStage: false,
    })
    const accesses = new LogGroup(this, 'Accesses', {
      logGroupName: `/aws/apigateway/${prefix}`,
      retention: config.logDays,
      removalPolicy: config.removal === 'retain' ? RemovalPolicy.RETAIN : RemovalPolicy.DESTROY,
    })
    const stage = new HttpStage(this, 'Stage', {
      httpApi: this.api,
      stageName: '$default',
      autoDeploy: true,
      throttle: { rateLimit: config.api.rate, burstLimit: config.api.burst },
      accessLogSettings: { destination: new LogGroupLogDestination(accesses), format: FORMAT },
    })

    const iam = new HttpIamAuthorizer()
    const none = new HttpNoneAuthorizer()
    const throttled: Record<string, { ThrottlingRateLimit: number; ThrottlingBurstLimit: number }> = {}
    for (const which of ['intake', 'register', 'operate', 'preview'] as const) {
      // One permission for the whole API: one for each route would outgrow the function's policy.
      const integration = new HttpLambdaIntegration(which, functions[which].function, { scopePermissionToRoute: false })
      for (const route of ROUTES[which]) {
        const [method = '', path = ''] = route.split(' ')
        const add = (where: string, authorizer: HttpIamAuthorizer | HttpNoneAuthorizer) => {
          const made = this.api.addRoutes({ path: where, methods: [METHODS[method] ?? HttpMethod.ANY], integration, authorizer })
          if (!REGISTRATIONS.some((one) => one === route)) return made
          throttled[`${method} ${where}`] = {
            ThrottlingRateLimit: Math.ceil(config.api.rate * THEIR_SHARE),
            ThrottlingBurstLimit: Math.ceil(config.api.burst * THEIR_SHARE),
          }
          // The stage names these routes, so they must be there before it.
          for (const each of made) stage.node.addDependency(each)
          return made
        }
        for (const made of add(path, none)) {
          acknowledge(
            made,
            'AwsSolutions-APIG4',
            'Its tokens (many issuers, EC and Ed25519 keys) and signatures are verified in code; see docs/architecture.md.',
          )
        }
        if (which === 'intake' || which === 'register') add(`/aws${path}`, iam)
      }
    }
    const resource = stage.node.defaultChild as CfnStage
    resource.routeSettings = throttled
  }
}

/** No query string and no body: an identity or a token may stand in them. */
const FORMAT = AccessLogFormat.custom(
  JSON.stringify({
    requestId: '$context.requestId',
    time: '$context.requestTime',
    route: '$context.routeKey',
    status: '$context.status',
    error: '$context.error.messageString',
    principal: '$context.identity.userArn',
    sourceIp: '$context.identity.sourceIp',
    milliseconds: '$context.responseLatency',
    bytes: '$context.responseLength',
  }),
)
