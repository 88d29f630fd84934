import { randomBytes, randomUUID } from 'node:crypto'
import { EventBridgeClient, PutEventsCommand } from '@aws-sdk/client-eventbridge'
import {
  DeleteRolePolicyCommand,
  GetRolePolicyCommand,
  IAMClient,
  ListRolePoliciesCommand,
  PutRolePolicyCommand,
} from '@aws-sdk/client-iam'
import { DecryptCommand, GenerateDataKeyCommand, KMSClient } from '@aws-sdk/client-kms'
import { GetSecretValueCommand, SecretsManagerClient } from '@aws-sdk/client-secrets-manager'
import pg from 'pg'
import type { AuditRecord } from '../../../functions/contracts/audit.ts'
import type { CaseView } from '../../../functions/contracts/case.ts'
import type { Completion } from '../../../functions/contracts/completion.ts'
import type { LeaseRegistration } from '../../../functions/contracts/lease.ts'
import { LeaseView } from '../../../functions/contracts/lease.ts'
import { TYPE_PREFIX } from '../../../functions/contracts/trigger.ts'
import type { Api } from '../../../lib/local/client.ts'
import { apiClient } from '../../../lib/local/client.ts'
import type { LocalPostgres } from '../../../lib/local/issuers/postgres.ts'
import type { MiniStack } from '../ministack.ts'
import type { AwsRole, Credentials } from './aws.ts'
import { allow, codeOf } from './aws.ts'
import { deadLetters } from './dead-letters.ts'
import type { Deployment } from './deployment.ts'
import { DOMAIN, deploy, RESPONDERS, SECURITY } from './deployment.ts'
import { safety } from './safety.ts'
import type { Held, Leased, Scene } from './scene.ts'
import { closed, inSeconds, outcomes, told, trigger, until } from './scene.ts'

export interface Finding {
  readonly what: string
  readonly fine: boolean
  readonly said: string
}

export interface Report {
  readonly findings: readonly Finding[]
  readonly seconds: number
}

export interface EndToEndOptions {
  readonly stack: MiniStack
  readonly say: (line: string) => void
  readonly signal?: AbortSignal
}

/**
 * Deploys, lets credentials die over the public interfaces alone, looks at everything, and takes it all down again.
 * What is not as it should be is a finding; only what makes going on impossible is thrown.
 */
export async function endToEnd({ stack, say, signal = new AbortController().signal }: EndToEndOptions): Promise<Report> {
  const began = performance.now()
  const findings: Finding[] = []
  const undo: (() => unknown)[] = []
  const check = (what: string, fine: boolean, said = '') => {
    findings.push({ what, fine, said })
    say(`  ${fine ? '✓' : '✗'} ${what}${said === '' ? '' : `: ${said}`}`)
  }
  try {
    say('Deploying the stacks with the CDK CLI on MiniStack, IAM enforced, TLS only')
    const deployment = await deploy(stack, (one) => undo.push(one), signal)
    const count = (type: string) => deployment.resources[type] ?? 0
    const resources = Object.values(deployment.resources).reduce((sum, each) => sum + each, 0)
    say(
      `  ${resources} resources: ${count('AWS::Lambda::Function')} functions, ${count('AWS::IAM::Role')} roles, ` +
        `${count('AWS::SQS::Queue')} queues, ${count('AWS::Lambda::EventSourceMapping')} mappings, ` +
        `${count('AWS::ApiGatewayV2::Route')} routes, ${count('AWS::CloudWatch::Alarm')} alarms`,
    )
    say(
      `  ${Object.entries(deployment.laps)
        .map(([name, took]) => `${name} ${inSeconds(took)}`)
        .join(', ')}`,
    )
    try {
      await act({ deployment, check, say, signal })
    } catch (error) {
      say(await deployment.errors().catch((failed: unknown) => `the functions' logs cannot be read: ${failed}`))
      throw error
    }
  } finally {
    for (const one of undo.reverse()) {
      try {
        await one()
      } catch (error) {
        say(`  could not tidy up: ${error instanceof Error ? error.message : String(error)}`)
      }
    }
  }
  say('Not proven here, because MiniStack has no such thing:')
  say('  partial batches, retries and on-failure queues of stream mappings; deletion by TTL; Object Lock; alarms; a VPC')
  const seconds = (performance.now() - began) / 1000
  const bad = findings.filter(({ fine }) => !fine).length
  say(`${findings.length - bad} of ${findings.length} as it should be, in ${seconds.toFixed(0)} s`)
  return { findings, seconds }
}

async function act(scene: Scene): Promise<void> {
  const { deployment, check, say } = scene
  const { aws, tokens } = deployment
  const api = apiClient(deployment.apiUrl)

  say('Credentials at three issuers, each registered over the HTTP API')
  await declareIssuers(deployment, api)
  const actors = await principals(deployment)
  const ana = await holdings(deployment, api, 'invoice-bot', 'ana')
  const dora = await holdings(deployment, api, 'crm', 'dora')
  const ledger = await sessions(scene, actors.ledger)
  for (const held of [...ana, ...dora, ...ledger.cut, ...ledger.spared]) {
    const refusal = await held.refusal()
    check(`${held.title} works`, refusal === undefined, refusal)
  }

  say('What must do nothing')
  await nothingHappens(scene, api, actors)

  say('An HR system’s signed event, and a responder’s event on the bus')
  const sent = performance.now()
  const left = trigger('offboarding', { kind: 'owner', id: 'ana' }, 'ana has left the company')
  const receipt = await api.sendSigned('hr', deployment.hrSecret, left)
  const compromise = trigger(
    'compromise',
    { kind: 'identity', id: actors.ledger.arn },
    'keys of ledger were seen in a public log',
  )
  await put(deployment, actors.responder, SECURITY, compromise.type, compromise)
  say(`  POST /v1/events: case ${receipt.case} ${receipt.status}; events:PutEvents as ${RESPONDERS}: accepted`)
  const bySoc = await until(scene, 'the case of the bus event', async () => {
    const { entries } = (await api.call('GET', '/v1/cases', { token: tokens.operator })) as { entries: CaseView[] }
    return entries.find(({ eventId }) => eventId.endsWith(compromise.id))
  })
  const [offboarding, compromised] = await closed(scene, api, [receipt.case, bySoc.id], sent)
  if (offboarding === undefined || compromised === undefined) throw new Error('a case is missing')
  check('the offboarding has cut every lease of ana', offboarding.outcomes.revoked === ana.length, outcomes(offboarding))
  check('the compromise has cut the session of ledger', compromised.outcomes.revoked === ledger.cut.length, outcomes(compromised))

  say('What their holders see now')
  for (const held of [...ana, ...ledger.cut]) {
    const refusal = await held.refusal()
    check(`${held.title} is dead`, held.dead.test(refusal ?? ''), refusal)
  }
  for (const held of [...dora, ...ledger.spared]) {
    const refusal = await held.refusal()
    check(`${held.title} still works`, refusal === undefined, refusal)
  }
  const renewed = await until(scene, 'a session of ledger after the cut', async () => {
    const session = await aws.session(actors.ledger.arn, 'afterwards')
    return (await aws.refusal(session)) === undefined ? session : undefined
  })
  check('a session of ledger that was issued after the cut works', renewed !== undefined)

  say('The proof')
  for (const [one, leases] of [
    [offboarding, ana],
    [compromised, ledger.cut],
  ] as const) {
    const trail = await trailOf(scene, api, one)
    complete(check, one, trail, leases)
  }
  await announced(scene, [offboarding, compromised])

  await deadLetters(scene, api)

  await safety(scene, api, dora, actors.jobs)

  say('Least privilege')
  await leastPrivilege(scene, api)
}

/** Who acts in the account: with keys, with sessions, and with the rights that each of them needs. */
async function principals({ aws, account, region }: Deployment) {
  const bus = `arn:aws:events:${region}:${account}:event-bus/*`
  const responder = await aws.role(RESPONDERS, [allow('events:PutEvents', bus)])
  const stranger = await aws.role('stranger', [allow('events:PutEvents', bus)])
  const administrator = await aws.role('administrator', [allow('*')])
  const ledger = await aws.role('ledger', [
    allow('s3:ListAllMyBuckets'),
    allow('execute-api:Invoke', `arn:aws:execute-api:${region}:${account}:*/*/POST/aws/v1/leases`),
  ])
  const jobs = await aws.role('jobs', [
    allow('s3:ListAllMyBuckets'),
    allow('execute-api:Invoke', [
      `arn:aws:execute-api:${region}:${account}:*/*/POST/aws/v1/leases`,
      `arn:aws:execute-api:${region}:${account}:*/*/POST/aws/v1/leases/*/release`,
    ]),
  ])
  return {
    ledger,
    jobs,
    responder: await aws.session(responder.arn, 'shift-1'),
    stranger: await aws.session(stranger.arn, 'shift-1'),
    administrator: await aws.session(administrator.arn, 'shift-1'),
  }
}

async function declareIssuers({ oauth, postgres, tokens, account, region }: Deployment, api: Api): Promise<void> {
  // No admin secret: the worker may do what its own role allows, and nothing else.
  await api.declareIssuer(tokens.operator, 'account', {
    provider: 'aws-iam',
    settings: { account, region },
    soakSeconds: 3600,
  })
  await api.declareIssuer(tokens.operator, 'login', {
    provider: 'oauth',
    settings: { issuer: oauth.issuer, introspects: 'all' },
    adminSecret: 'rescind/issuers/oauth/login',
    soakSeconds: 0,
  })
  if (postgres === undefined) return
  await api.declareIssuer(tokens.operator, 'orders', {
    provider: 'postgresql',
    settings: { ...place(postgres), tls: { mode: 'disable' }, system: postgres.system },
    adminSecret: 'rescind/issuers/postgresql/orders',
    soakSeconds: 3600,
  })
}

const place = ({ host, port, database }: LocalPostgres) => ({ host, port, database })

/** One credential at each issuer, of one identity, registered by a broker. */
async function holdings(deployment: Deployment, api: Api, name: string, owner: string): Promise<Leased[]> {
  const { aws, oauth, postgres, tokens } = deployment
  const common = {
    identity: `${DOMAIN}/agent/${name}`,
    owner,
    consumer: name,
    purpose: 'end-to-end proof',
    kind: 'dynamic' as const,
    expiresAt: new Date(Date.now() + 3_600_000).toISOString(),
  }
  const register = (rest: Pick<LeaseRegistration, 'issuer' | 'registers' | 'target' | 'lever' | 'secret' | 'mintBy'>) =>
    api.register(tokens.broker, { ...common, ...rest })

  const { userName, userId, key } = await aws.user(name, [allow('s3:ListAllMyBuckets')])
  const user = await register({
    issuer: 'account',
    registers: 'credential',
    target: { kind: 'access-key', userName, userId, accessKeyId: key.accessKeyId },
    lever: { kind: 'user', userName, userId },
  })
  const token = await oauth.issueToken(name)
  const login = await register({
    issuer: 'login',
    registers: 'credential',
    target: { tokenType: 'access_token', clientId: token.clientId, expiresAt: token.expiresAt },
    secret: { token: token.accessToken },
  })
  const held: Leased[] = [
    { title: `the access key of ${name}`, lease: user, dead: /^InvalidClientTokenId$/, refusal: () => aws.unknown(key) },
    {
      title: `the token of ${name}`,
      lease: login,
      dead: /^401$/,
      refusal: async () => ((await oauth.honours(token.accessToken, 'access_token')) ? undefined : '401'),
    },
  ]
  if (postgres === undefined) return held

  const role = `${name}-${randomBytes(3).toString('hex')}`
  const password = randomBytes(18).toString('base64url')
  const intent = await register({
    issuer: 'orders',
    registers: 'intent',
    mintBy: new Date(Date.now() + 60_000).toISOString(),
    target: { role },
  })
  const [created] = await query(postgres, postgres.admin, [
    `CREATE ROLE ${pg.escapeIdentifier(role)} LOGIN PASSWORD ${pg.escapeLiteral(password)}`,
    `SELECT oid::text FROM pg_roles WHERE rolname = ${pg.escapeLiteral(role)}`,
  ])
  const lease = await api.confirm(tokens.broker, intent.id, { role, oid: created?.['oid'] })
  held.push({
    title: `the database role of ${name}`,
    lease,
    dead: /is not permitted to log in/,
    refusal: async () => {
      try {
        await query(postgres, { user: role, password }, ['SELECT 1'])
        return undefined
      } catch (error) {
        return error instanceof Error ? error.message : String(error)
      }
    },
  })
  return held
}

/** Rows of the last statement. */
async function query(
  postgres: LocalPostgres,
  who: { readonly user: string; readonly password: string },
  statements: readonly string[],
): Promise<readonly Record<string, unknown>[]> {
  const client = new pg.Client({ ...place(postgres), ...who, connectionTimeoutMillis: 5000 })
  try {
    await client.connect()
    let rows: readonly Record<string, unknown>[] = []
    for (const statement of statements) ({ rows } = await client.query<Record<string, unknown>>(statement))
    return rows
  } finally {
    await client.end().catch(() => undefined)
  }
}

/** A program in AWS registers its own session, as the AWS principal that it is. */
async function sessions({ deployment, check }: Scene, role: AwsRole) {
  const { aws, apiUrl } = deployment
  const url = `${apiUrl}/aws/v1/leases`
  const body = (sessionName: string) => ({
    issuer: 'account',
    kind: 'dynamic',
    registers: 'credential',
    owner: 'ben',
    consumer: 'ledger',
    purpose: 'end-to-end proof',
    expiresAt: new Date(Date.now() + 3_600_000).toISOString(),
    target: { kind: 'role-session', roleName: role.roleName, roleId: role.roleId, sessionName },
    lever: { kind: 'role', roleName: role.roleName, roleId: role.roleId },
  })
  const register = (credentials: Credentials, sessionName: string) =>
    aws.signed(credentials, 'execute-api', 'POST', url, body(sessionName), { 'idempotency-key': randomUUID() })

  const session = await aws.session(role.arn, 'night-run')
  const registered = await register(session, 'night-run')
  check('an AWS principal registers its own session over /aws/v1, signed', registered.status === 201, told(registered))
  const lease = LeaseView.parse(registered.body)
  check('its identity is its role, whatever the body could say', lease.identity === role.arn, lease.identity)

  const stranger = await aws.role('no-rights', [allow('s3:ListAllMyBuckets')])
  const other = await aws.session(stranger.arn, 'job')
  const refused = await register(other, 'night-run')
  check('a principal without execute-api:Invoke is refused by the API itself', refused.status === 403, told(refused))
  const forged = await register({ ...session, secretAccessKey: randomBytes(20).toString('hex') }, 'night-run')
  check('a wrong signature is refused', forged.status === 403, told(forged))
  return {
    cut: [
      { title: 'the session of ledger', lease, dead: /^AccessDenied$/, refusal: () => aws.refusal(session) },
    ] satisfies Leased[],
    spared: [{ title: 'the session of another role', refusal: () => aws.refusal(other) }] satisfies Held[],
  }
}

/** Puts one event on the intake bus; what AWS refuses is thrown. */
async function put(
  { aws, intakeBus }: Deployment,
  credentials: Credentials,
  source: string,
  type: string,
  detail: unknown,
): Promise<string | undefined> {
  const client = new EventBridgeClient(aws.configuration(credentials))
  try {
    const { Entries } = await client.send(
      new PutEventsCommand({
        Entries: [{ EventBusName: intakeBus, Source: source, DetailType: type, Detail: JSON.stringify(detail) }],
      }),
    )
    return Entries?.[0]?.EventId
  } finally {
    client.destroy()
  }
}

interface Kept {
  readonly reason: string
  readonly source?: string
  readonly origin: string
}

async function nothingHappens(scene: Scene, api: Api, actors: Awaited<ReturnType<typeof principals>>): Promise<void> {
  const { deployment, check } = scene
  const { operator } = deployment.tokens
  const quarantine = async () => ((await api.call('GET', '/v1/quarantine', { token: operator })) as { entries: Kept[] }).entries
  const compromise = trigger('compromise', { kind: 'identity', id: `${DOMAIN}/agent/crm` }, 'nobody who may say so')
  const attempt = async (who: Credentials, source: string, type = compromise.type) =>
    put(deployment, who, source, type, compromise).then((id) => `accepted as ${id}`, codeOf)
  for (const [what, answer] of [
    ['a source’s name is bound to its principals: another role is refused', await attempt(actors.stranger, SECURITY)],
    ['a source that is not configured is refused', await attempt(actors.responder, 'org.example.unknown')],
    ['an event of another type is refused', await attempt(actors.responder, SECURITY, 'com.example.anything')],
    ['the account’s own administrator is refused too', await attempt(actors.administrator, 'org.example.unknown')],
  ] as const) {
    check(what, /AccessDenied/.test(answer), answer)
  }
  await put(deployment, actors.responder, SECURITY, `${TYPE_PREFIX}compromise`, { scope: 'everything' })
  const kept = await until(scene, 'the malformed event in the quarantine', async () => {
    const found = await quarantine()
    return found.length > 0 ? found : undefined
  })
  check('a malformed event is kept in the quarantine', kept.length === 1 && kept[0]?.source === 'security', kept[0]?.reason)
  const { entries } = (await api.call('GET', '/v1/cases', { token: operator })) as { entries: CaseView[] }
  check('none of these opens a case', entries.length === 0, `${entries.length} cases`)
}

/** The trail follows the table's stream, item by item: asked again until the close and each outcome are in it. */
const trailOf = (scene: Scene, api: Api, { id, outcomes: counts }: CaseView) =>
  until(scene, 'the end of the audit trail', async () => {
    const trail = await api.audit(scene.deployment.tokens.operator, { case: id })
    const told = trail.filter(({ outcome }) => outcome !== undefined).length
    const due = Object.values(counts).reduce((sum, count) => sum + count, 0)
    return trail.some(({ what }) => what === 'case.closed') && told >= due ? trail : undefined
  })

function complete(check: Scene['check'], one: CaseView, trail: readonly AuditRecord[], leases: readonly Leased[]): void {
  const words = new Set(trail.map(({ what }) => what))
  const said = `${trail.length} records: ${[...words].join(', ')}`
  const proven = leases.every(({ lease }) =>
    trail.some(
      (record) =>
        record.lease === lease.id && record.outcome === 'revoked' && record.evidence?.said !== '' && record.evidence?.verified,
    ),
  )
  check(
    `the trail of the ${one.type} goes from its opening to its close`,
    words.has('case.opened') && words.has('case.closed'),
    said,
  )
  check('each of its leases has its outcome with the issuer’s words and a proof of death', proven)
  const key = trail.find(({ what }) => what === 'case.closed')?.item.key
  // Its containment is a moment beside its states: it comes when the last lever has been pulled.
  const own = trail
    .filter(({ item, what }) => item.key === key && what !== 'case.contained')
    .toSorted((left, right) => left.item.version - right.item.version)
  const states = own.map(({ state }) => state ?? '')
  const broken = own.some(({ previous }, index) => index > 0 && previous !== states[index - 1])
  check('each state of the case follows the one before it', !broken, states.join(' → '))
}

async function announced(scene: Scene, cases: readonly CaseView[]): Promise<void> {
  const found: Completion[] = []
  await until(scene, 'the completion events', async () => {
    found.push(...(await scene.deployment.completions()))
    return cases.every(({ id }) => found.some(({ subject }) => subject === id)) ? true : undefined
  })
  for (const { id, type } of cases) {
    const event = found.find(({ subject }) => subject === id)
    const { toFence, toClose } = event?.data.milliseconds ?? {}
    const took = `fenced after ${toFence} ms, closed after ${toClose} ms`
    scene.check(`the ${type}’s completion came out of the outcome bus`, event?.data.case.state === 'closed', took)
  }
}

const DENY = { Effect: 'Deny', Action: 's3:*', Resource: '*' }

/** The grants are no more than is needed, and no less: each of them is felt when it is gone. */
async function leastPrivilege({ deployment, check }: Scene, api: Api): Promise<void> {
  const { aws, tokens } = deployment
  const asWorker = await aws.session(deployment.roleOf('revoke-oauth'), 'look')
  const secrets = new SecretsManagerClient(aws.configuration(asWorker))
  const read = (name: string) =>
    secrets.send(new GetSecretValueCommand({ SecretId: `rescind/${name}` })).then(() => 'read', codeOf)
  const own = await read('issuers/oauth/login')
  check('the oauth worker’s role reads the secrets of its own provider', own === 'read', own)
  for (const other of ['issuers/postgresql/orders', 'sources/hr']) {
    const answer = await read(other)
    check(`the oauth worker’s role does not read ${other}`, /AccessDenied/.test(answer), answer)
  }
  secrets.destroy()

  const kms = new KMSClient(aws.configuration(asWorker))
  const key = deployment.sealingKey
  const generated = await kms
    .send(new GenerateDataKeyCommand({ KeyId: key, KeySpec: 'AES_256', EncryptionContext: { provider: 'oauth' } }))
    .then(() => 'made', codeOf)
  check('it opens sealed handles and makes none', /AccessDenied/.test(generated), generated)
  const root = new KMSClient(aws.configuration(aws.root))
  for (const [provider, expected] of [
    ['oauth', /^opened$/],
    ['postgresql', /AccessDenied/],
  ] as const) {
    const EncryptionContext = { provider, issuer: 'any' }
    const { CiphertextBlob } = await root.send(new GenerateDataKeyCommand({ KeyId: key, KeySpec: 'AES_256', EncryptionContext }))
    const answer = await kms
      .send(new DecryptCommand({ KeyId: key, CiphertextBlob, EncryptionContext }))
      .then(() => 'opened', codeOf)
    check(`it ${provider === 'oauth' ? 'opens' : 'does not open'} what was sealed for ${provider}`, expected.test(answer), answer)
  }
  kms.destroy()
  root.destroy()

  const cutter = new IAMClient(aws.configuration(await aws.session(deployment.roleOf('revoke-aws-iam'), 'look')))
  const deny = { PolicyName: 'look', PolicyDocument: JSON.stringify({ Version: '2012-10-17', Statement: [DENY] }) }
  const cut = (RoleName: string | undefined) =>
    cutter.send(new PutRolePolicyCommand({ RoleName, ...deny })).then(() => 'done', codeOf)
  const foreign = await cut('ledger')
  check('the aws-iam worker’s role may write a deny into a role of the account', foreign === 'done', foreign)
  for (const name of ['revoke-aws-iam', 'plan']) {
    const answer = await cut(deployment.roleOf(name).split('/').at(-1))
    check(`it may not into the role of ${name}: the pipeline cannot be turned on itself`, /AccessDenied/.test(answer), answer)
  }
  cutter.destroy()

  const roleArn = deployment.roleOf('operate')
  const RoleName = roleArn.split('/').at(-1)
  const { PolicyNames: [PolicyName] = [] } = await aws.iam.send(new ListRolePoliciesCommand({ RoleName }))
  const { PolicyDocument = '' } = await aws.iam.send(new GetRolePolicyCommand({ RoleName, PolicyName }))
  const list = () =>
    api.call('GET', '/v1/cases', { token: tokens.operator }).then(
      () => 'answers',
      (error: unknown) => (error instanceof Error ? error.message : String(error)),
    )
  await aws.iam.send(new DeleteRolePolicyCommand({ RoleName, PolicyName }))
  const without = await list()
  check('without its grants a function fails', without.startsWith('500'), without)
  await aws.iam.send(new PutRolePolicyCommand({ RoleName, PolicyName, PolicyDocument: decodeURIComponent(PolicyDocument) }))
  const again = await list()
  check('with them it answers again', again === 'answers', again)
}
