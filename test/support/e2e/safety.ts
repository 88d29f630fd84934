import { randomUUID } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import {
  BatchWriteItemCommand,
  DeleteItemCommand,
  DynamoDBClient,
  GetItemCommand,
  PutItemCommand,
  ScanCommand,
  TransactWriteItemsCommand,
  UpdateItemCommand,
} from '@aws-sdk/client-dynamodb'
import { ListAccessKeysCommand } from '@aws-sdk/client-iam'
import { GetObjectCommand, PutObjectCommand, S3Client } from '@aws-sdk/client-s3'
import { GetSecretValueCommand, SecretsManagerClient } from '@aws-sdk/client-secrets-manager'
import type { CaseView } from '../../../functions/contracts/case.ts'
import type { ControlView } from '../../../functions/contracts/control.ts'
import { LeaseView } from '../../../functions/contracts/lease.ts'
import type { PlanView } from '../../../functions/contracts/plan.ts'
import type { ReportReceipt } from '../../../functions/contracts/report.ts'
import type { RestorationView } from '../../../functions/contracts/restoration.ts'
import type { Api } from '../../../lib/local/client.ts'
import { Refused } from '../../../lib/local/client.ts'
import type { AwsRole } from './aws.ts'
import { allow, codeOf } from './aws.ts'
import type { Leased, Scene } from './scene.ts'
import { closed, inSeconds, outcomes, told, trigger, until } from './scene.ts'

/** What makes it safe to switch on, safe on the worst day and safe to undo; `held` is what the last part may cut. */
export async function safety(scene: Scene, api: Api, held: readonly Leased[], jobs: AwsRole): Promise<void> {
  scene.say('What a trigger would do, before there is one')
  await preview(scene, api, held)
  scene.say('A key that nobody registered is pasted by a responder, and given back')
  await pasted(scene, api)
  scene.say('Two sessions of one name')
  await siblings(scene, jobs, api)
  scene.say('The kill switch')
  await killSwitch(scene, api, held)
  scene.say('What stands beside the table')
  await besideTheTable(scene)
  const refusals = (await scene.deployment.errors()).split('\n').filter((line) => /AccessDenied|not authorized/.test(line))
  scene.check('no function was refused anything that it needs', refusals.length === 0, refusals[0]?.slice(0, 500))
}

async function preview({ deployment, check }: Scene, api: Api, held: readonly Leased[]): Promise<void> {
  const { tokens, aws, tableName } = deployment
  const cases = async () => ((await api.call('GET', '/v1/cases', { token: tokens.operator })) as { entries: CaseView[] }).entries
  const before = (await cases()).length
  const id = held[0]?.lease.identity ?? ''
  const plan = (await api.call('POST', '/v1/plans', {
    token: tokens.operator,
    body: { type: 'compromise', scope: { kind: 'identity', id } },
  })) as PlanView
  const { leases, byIssuer } = plan
  const said = byIssuer.map(({ issuer, leases: { cut }, undo }) => `${issuer} ${cut}, ${undo.said}`).join('; ')
  check(
    'POST /v1/plans counts each lease that would be cut',
    plan.complete && leases.total === held.length && leases.cut === held.length,
    said,
  )
  check('and nothing has happened: no case is open', (await cases()).length === before)
  for (const one of held) {
    const refusal = await one.refusal()
    check(`${one.title} still works`, refusal === undefined, refusal)
  }

  const client = new DynamoDBClient(aws.configuration(await aws.session(deployment.roleOf('plan-preview'), 'look')))
  const [TableName, Key] = [tableName, { pk: { S: 'LOOK' }, sk: { S: 'LOOK' } }]
  const Put = { TableName, Item: Key }
  for (const [what, command] of [
    ['PutItem', () => client.send(new PutItemCommand(Put))],
    ['UpdateItem', () => client.send(new UpdateItemCommand({ TableName, Key }))],
    ['DeleteItem', () => client.send(new DeleteItemCommand({ TableName, Key }))],
    ['BatchWriteItem', () => client.send(new BatchWriteItemCommand({ RequestItems: { [TableName]: [{ PutRequest: Put }] } }))],
    ['TransactWriteItems', () => client.send(new TransactWriteItemsCommand({ TransactItems: [{ Put }] }))],
  ] as const) {
    const answer = await command().then(() => 'written', codeOf)
    check(`the preview’s role may not write the table: ${what}`, /AccessDenied/.test(answer), answer)
  }
  const read = await client.send(new GetItemCommand({ TableName, Key })).then(() => 'read', codeOf)
  check('it may read it', read === 'read', read)
  client.destroy()
}

async function pasted(scene: Scene, api: Api): Promise<void> {
  const { deployment, check, say } = scene
  const { aws, tokens } = deployment
  const { userName, key } = await aws.user('stray', [allow('s3:ListAllMyBuckets')])
  const status = async () => {
    const { AccessKeyMetadata = [] } = await aws.iam.send(new ListAccessKeysCommand({ UserName: userName }))
    return AccessKeyMetadata.find(({ AccessKeyId }) => AccessKeyId === key.accessKeyId)?.Status
  }
  const works = await aws.unknown(key)
  check('the key works, and no lease names it', works === undefined, works)

  const sent = performance.now()
  const text = `[default]\naws_access_key_id = ${key.accessKeyId}\naws_secret_access_key = ${key.secretAccessKey}\n`
  const receipt = (await api.call('POST', '/v1/reports', {
    token: tokens.responder,
    headers: { 'idempotency-key': randomUUID() },
    body: { reason: 'found in a public repository', credentials: [{ text }] },
  })) as ReportReceipt
  const [entry] = receipt.credentials
  const read = entry?.readAs?.map(({ issuer, shown }) => `${shown} at ${issuer}`).join(', ') ?? entry?.said
  check('what was pasted is read as that key', entry?.status === 'opened' && read?.includes(key.accessKeyId) === true, read)
  if (entry?.case === undefined) return
  const id = entry.case
  await closed(scene, api, [id], sent)
  const current = await until(scene, 'the cut of what was found', async () => {
    const view = await api.case(tokens.operator, id)
    if (view.amendments.expected > 0 && view.amendments.done === view.amendments.expected) return view
    await deployment.invoke('sweep')
    return undefined
  })
  const asked = current.asked.map(({ issuer, state, said }) => `${issuer} ${state}: ${said}`).join('; ')
  check(
    'IAM itself was asked for it, and found it',
    current.asked.some(({ state }) => state === 'found'),
    asked,
  )
  check('it is cut by an amendment of its case', current.amendments.outcomes.revoked === 1, inSeconds(performance.now() - sent))
  const inactive = await status()
  check('it is Inactive at IAM, and not deleted', inactive === 'Inactive', inactive)
  const dead = await aws.unknown(key)
  check('the real key is refused', dead === 'InvalidClientTokenId', dead)

  const { entries } = (await api.call('GET', `/v1/cases/${id}/leases`, { token: tokens.operator })) as {
    entries: { lease: LeaseView }[]
  }
  const lease = entries[0]?.lease
  check('it is a lease now, of the user that IAM named', lease?.identity.endsWith(`user/${userName}`) === true, lease?.identity)
  if (lease === undefined) return

  const restore = (token: string, more: Record<string, unknown>) =>
    api.call('POST', `/v1/leases/${lease.id}/restore`, { token, body: { reason: 'a false alarm', ...more } }).then(
      (view) => view as RestorationView,
      (error: unknown) => {
        if (error instanceof Refused) return error.problem.code
        throw error
      },
    )
  const plain = await restore(tokens.approver, {})
  check('nobody restores it by the way: it was a compromise', plain === 'restore-refused', `${JSON.stringify(plain)}`)
  const operator = await restore(tokens.operator, { undoesCompromise: true })
  check('nor does who has no right to approve', operator === 'forbidden', `${JSON.stringify(operator)}`)
  const begun = performance.now()
  const restoration = await restore(tokens.approver, { undoesCompromise: true })
  if (typeof restoration === 'string') {
    check('an approver restores it', false, restoration)
    return
  }
  const done = await until(scene, 'the restoration', async () => {
    const view = (await api.call('GET', `/v1/restorations/${restoration.id}`, { token: tokens.approver })) as RestorationView
    if (view.state === 'done') return view
    await deployment.invoke('sweep')
    return undefined
  })
  const how = `${done.counts.restored} restored, ${done.counts.refused} refused ${done.refused.map(({ said }) => said).join()}`
  check('an approver restores it', done.counts.restored === 1, `${how}after ${inSeconds(performance.now() - begun)}`)
  const active = await status()
  const again = await aws.unknown(key)
  check('the very same key works again', active === 'Active' && again === undefined, again ?? active)

  const clear = await everything(scene)
  check(
    'the pasted secret stands nowhere in the table',
    clear.includes(key.accessKeyId) && !clear.includes(key.secretAccessKey),
    `${(clear.length / 1024).toFixed(0)} KB looked through`,
  )
  say(`  ${inSeconds(performance.now() - sent)} from the paste to the key that works again`)
}

/** All that the table holds, as text. */
async function everything({ deployment }: Scene): Promise<string> {
  const { aws, tableName } = deployment
  const client = new DynamoDBClient(aws.configuration(aws.root))
  const texts: string[] = []
  let ExclusiveStartKey: Record<string, { S: string }> | undefined
  do {
    const page = await client.send(new ScanCommand({ TableName: tableName, ExclusiveStartKey }))
    texts.push(JSON.stringify(page.Items))
    ExclusiveStartKey = page.LastEvaluatedKey as typeof ExclusiveStartKey
  } while (ExclusiveStartKey !== undefined)
  client.destroy()
  return texts.join('\n')
}

async function siblings(scene: Scene, role: AwsRole, api: Api): Promise<void> {
  const { deployment, check } = scene
  const { aws, apiUrl, tokens } = deployment
  const sessionName = 'nightly'
  const first = await aws.session(role.arn, sessionName)
  // AWS dates tokens by whole seconds: two of one second cannot be told apart.
  await sleep(1100 - (Date.now() % 1000))
  const second = await aws.session(role.arn, sessionName)
  check('the two were issued in different seconds', first.issuedAt !== second.issuedAt, `${first.issuedAt}, ${second.issuedAt}`)
  const register = async (session: typeof first) => {
    const answer = await aws.signed(
      session,
      'execute-api',
      'POST',
      `${apiUrl}/aws/v1/leases`,
      {
        issuer: 'account',
        kind: 'dynamic',
        registers: 'credential',
        owner: 'ben',
        consumer: 'jobs',
        purpose: 'end-to-end proof',
        expiresAt: new Date(Date.now() + 3_600_000).toISOString(),
        target: {
          kind: 'role-session',
          roleName: role.roleName,
          roleId: role.roleId,
          sessionName,
          issuedAt: session.issuedAt,
        },
      },
      { 'idempotency-key': randomUUID() },
    )
    check(`the session of ${session.issuedAt} is a lease of its own`, answer.status === 201, told(answer))
    return LeaseView.parse(answer.body)
  }
  const ending = await register(first)
  const going = await register(second)
  check('the two are two credentials', ending.fingerprint !== going.fingerprint)
  for (const session of [first, second]) {
    const refusal = await aws.refusal(session)
    check(`the session of ${session.issuedAt} works`, refusal === undefined, refusal)
  }
  const sent = performance.now()
  const url = `${apiUrl}/aws/v1/leases/${ending.id}/release`
  const released = await aws.signed(first, 'execute-api', 'POST', url, {})
  check('the first job gives its session back', released.status === 202, told(released))
  const { case: id } = released.body as { case: string }
  const [current] = await closed(scene, api, [id], sent)
  check('its lease is revoked', current?.outcomes.revoked === 1, current && outcomes(current))
  const dead = await aws.refusal(first)
  check('the session that ended is refused', dead === 'AccessDenied', dead)
  const alive = await aws.refusal(second)
  check('its sibling of the same name goes on', alive === undefined, alive)
  const lease = await api.lease(tokens.operator, going.id)
  check('and its lease is live', lease.state === 'live', lease.state)
}

async function killSwitch(scene: Scene, api: Api, held: readonly Leased[]): Promise<void> {
  const { deployment, check } = scene
  const { tokens } = deployment
  const turn = (engaged: boolean) =>
    api.call('PUT', '/v1/control/kill-switch', {
      token: tokens.operator,
      body: { engaged, reason: engaged ? 'something is wrong: no issuer is to be called' : 'it was nothing' },
    }) as Promise<ControlView>
  const engaged = await turn(true)
  check('an operator engages it', engaged.killSwitch !== undefined, engaged.killSwitch?.by)
  const id = held[0]?.lease.identity ?? ''
  const sent = performance.now()
  const receipt = await api.send(tokens.responder, trigger('compromise', { kind: 'identity', id }, 'seen in a public log'))
  const fenced = await until(scene, 'the fence', async () => {
    const view = await api.case(tokens.operator, receipt.case)
    return view.sealedAt === undefined ? undefined : view
  })
  check('a compromise fences all the same', fenced.fencedAt !== undefined, fenced.state)
  const refusal = await api
    .register(tokens.broker, {
      identity: id,
      issuer: 'account',
      kind: 'dynamic',
      registers: 'intent',
      mintBy: new Date(Date.now() + 60_000).toISOString(),
      target: { kind: 'access-key', userName: 'later', accessKeyId: 'AKIAIOSFODNN7EXAMPLE' },
      consumer: 'late',
      purpose: 'end-to-end proof',
      expiresAt: new Date(Date.now() + 3_600_000).toISOString(),
    })
    .then(
      () => 'registered',
      (error: unknown) => (error instanceof Refused ? error.problem.code : String(error)),
    )
  check('and a new lease of the identity is refused', refusal === 'fenced', refusal)
  // Long enough for a worker to do what it must not.
  for (let tick = 0; tick < 3; tick += 1) {
    await deployment.invoke('sweep')
    await sleep(1000)
  }
  for (const one of held) {
    const said = await one.refusal()
    check(`${one.title} is not cut: it still works`, said === undefined, said)
  }
  const { waits } = (await api.call('GET', '/v1/control', { token: tokens.operator })) as ControlView
  const what = waits.issuers.map(({ issuer, chunks, levers }) => `${issuer}: ${chunks} chunks, ${levers} levers`).join('; ')
  check('GET /v1/control says what waits', waits.issuers.length === new Set(held.map(({ lease }) => lease.issuer)).size, what)

  const opened = await turn(false)
  check('released, it is gone', opened.killSwitch === undefined)
  const [current] = await closed(scene, api, [receipt.case], sent)
  check('and what waited is cut', current?.outcomes.revoked === held.length, current && outcomes(current))
  for (const one of held) {
    const said = await one.refusal()
    check(`${one.title} is dead`, one.dead.test(said ?? ''), said)
  }
}

/** The key that the stack made, and the mark by which a restored table is known: who may see them. */
async function besideTheTable({ deployment, check }: Scene): Promise<void> {
  const { aws, archive } = deployment
  const as = async (name: string) => aws.configuration(await aws.session(deployment.roleOf(name), 'look'))
  for (const [name, expected] of [
    ['register', /^64 characters$/],
    ['plan-preview', /^64 characters$/],
    ['revoke-aws-iam', /AccessDenied/],
    ['operate', /AccessDenied/],
  ] as const) {
    const client = new SecretsManagerClient(await as(name))
    const answer = await client
      .send(new GetSecretValueCommand({ SecretId: 'rescind/keys/fingerprint' }))
      .then(({ SecretString = '' }) => `${SecretString.length} characters`, codeOf)
    check(
      `${name} ${expected.test('AccessDenied') ? 'does not read' : 'reads'} the key of the keyed hash`,
      expected.test(answer),
      answer,
    )
    client.destroy()
  }
  const Mark = { Bucket: archive, Key: 'control/generation.json' }
  const root = new S3Client({ ...aws.configuration(aws.root), forcePathStyle: true })
  const text = await root.send(new GetObjectCommand(Mark)).then(({ Body }) => Body?.transformToString(), codeOf)
  check('the sweeper counts the generation of the table in the bucket', /^\{.*\d+.*\}\s*$/s.test(text ?? ''), text)
  root.destroy()
  for (const name of ['operate', 'prove', 'plan']) {
    const client = new S3Client({ ...(await as(name)), forcePathStyle: true })
    const answer = await client.send(new PutObjectCommand({ ...Mark, Body: '{}' })).then(() => 'written', codeOf)
    check(`${name} cannot write that mark`, /AccessDenied/.test(answer), answer)
    client.destroy()
  }
}
