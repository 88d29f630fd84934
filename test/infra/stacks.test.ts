import { afterAll, describe, expect, it } from 'vitest'
import { catalog } from '../../functions/providers/catalog.ts'
import type { Catalog } from '../../lib/config.ts'
import example from '../../rescind.config.ts'
import { madeUp } from './catalog.ts'
import type { Resource, Statement } from './support.ts'
import { allowed, functionOf, installation, list, ofType, queueId, synthesise, target } from './support.ts'

const VPC = { subnetIds: ['subnet-0123456789abcdef0'], securityGroupIds: ['sg-0123456789abcdef0'] }
const made = synthesise(
  installation({ providers: { alpha: {}, omega: {} }, vpc: VPC, alarms: { email: 'ops@example.org' } }),
  madeUp,
)
const { template } = made
const resources = Object.entries(template.Resources)
const functions = resources.flatMap(([, { Metadata }]) => Metadata?.Rescind?.function ?? [])
const deadLetters = ofType(template, 'AWS::SQS::Queue').filter(
  ([, { Metadata }]) => Metadata?.Rescind?.queue?.endsWith('-dead') === true,
)
const living = ofType(template, 'AWS::SQS::Queue').filter(([id]) => !deadLetters.some(([dead]) => dead === id))

afterAll(() => made.remove())

/** Every policy statement of the template that is attached to a resource or a role. */
function statements(): { readonly at: string; readonly statement: Statement }[] {
  return resources.flatMap(([id, { Properties }]) =>
    ['PolicyDocument', 'KeyPolicy', 'AssumeRolePolicyDocument', 'Policy'].flatMap((name) => {
      const document = Properties?.[name] as { Statement?: Statement[] } | Statement | undefined
      if (document === undefined) return []
      return list('Effect' in document ? document : (document.Statement ?? [])).map((statement) => ({
        at: id,
        statement: statement as Statement,
      }))
    }),
  )
}

describe('the example installation', () => {
  it('synthesises without an account, and cdk-nag finds nothing that is not acknowledged', () => {
    const available: Catalog = catalog
    const providers = Object.fromEntries(Object.entries(example.providers).filter(([name]) => name in available))
    const own = synthesise({ ...example, providers }, available)
    expect(own.findings).toEqual([])
    own.remove()
  })
})

describe('the template', () => {
  it('passes the AWS Solutions rules of cdk-nag', () => {
    expect(made.findings).toEqual([])
  })

  it('uses no intrinsic function but those that the local pipeline knows', () => {
    const used = new Set<string>()
    const walk = (value: unknown): void => {
      if (Array.isArray(value)) value.forEach(walk)
      else if (typeof value === 'object' && value !== null) {
        for (const [name, inner] of Object.entries(value)) {
          if (name.startsWith('Fn::') || name === 'Ref') used.add(name)
          walk(inner)
        }
      }
    }
    walk(template.Resources)
    expect([...used].sort()).toEqual(['Fn::GetAtt', 'Fn::Join', 'Fn::Sub', 'Ref'])
  })

  it('gives nothing to the public: every allowance to somebody else names him or is conditional', () => {
    for (const { at, statement } of statements()) {
      if (statement.Effect !== 'Allow' || statement.Principal === undefined) continue
      expect(JSON.stringify(statement.Principal), at).not.toMatch(/"\*"/)
    }
    for (const [id, { Properties }] of ofType(template, 'AWS::S3::Bucket')) {
      expect(Properties['PublicAccessBlockConfiguration'], id).toEqual({
        BlockPublicAcls: true,
        BlockPublicPolicy: true,
        IgnorePublicAcls: true,
        RestrictPublicBuckets: true,
      })
    }
    for (const [id, { Properties }] of ofType(template, 'AWS::Lambda::Permission')) {
      expect(Properties['SourceArn'], id).toBeDefined()
    }
    expect(ofType(template, 'AWS::Lambda::Url')).toEqual([])
  })

  it('marks what it is made of as protected', () => {
    for (const type of [
      'AWS::DynamoDB::Table',
      'AWS::IAM::Role',
      'AWS::KMS::Key',
      'AWS::Lambda::Function',
      'AWS::S3::Bucket',
      'AWS::SQS::Queue',
    ]) {
      for (const [id, { Properties }] of ofType(template, type)) {
        expect(Properties['Tags'], id).toContainEqual({ Key: 'rescind:protected', Value: 'true' })
      }
    }
  })
})

describe('queues', () => {
  it('has one for each lane of the planner and of each worker', () => {
    expect(living.map(([, { Metadata }]) => Metadata?.Rescind?.queue).sort()).toEqual(
      ['plan', 'work-alpha', 'work-omega'].flatMap((name) => ['p0', 'p1', 'p2'].map((lane) => `${name}-${lane}`)),
    )
  })

  it('gives each a dead-letter queue of its own kind', () => {
    for (const [id, { Properties }] of living) {
      const redrive = Properties['RedrivePolicy'] as { deadLetterTargetArn: unknown; maxReceiveCount: number }
      const dead = target(redrive.deadLetterTargetArn) ?? ''
      expect(
        deadLetters.map(([name]) => name),
        id,
      ).toContain(dead)
      expect(template.Resources[dead]?.Properties['FifoQueue'], id).toBe(Properties['FifoQueue'])
      expect(redrive.maxReceiveCount, id).toBeGreaterThanOrEqual(5)
    }
  })

  it('hides a message for at least six times as long as its function may run', () => {
    for (const [id, mapping] of ofType(template, 'AWS::Lambda::EventSourceMapping')) {
      const queue = template.Resources[target(mapping.Properties['EventSourceArn']) ?? '']
      if (queue?.Type !== 'AWS::SQS::Queue') continue
      const reader = template.Resources[target(mapping.Properties['FunctionName']) ?? '']
      expect(Number(queue.Properties['VisibilityTimeout']), id).toBeGreaterThanOrEqual(6 * Number(reader?.Properties['Timeout']))
    }
  })

  it('keeps order for serial providers, and for them alone; no content-based deduplication swallows what is sent anew', () => {
    for (const [, { Properties, Metadata }] of living) {
      const name = Metadata?.Rescind?.queue ?? ''
      expect(Properties['FifoQueue'] === true, name).toBe(name.startsWith('work-omega-'))
      expect(String(Properties['QueueName']).endsWith('.fifo'), name).toBe(name.startsWith('work-omega-'))
      expect(Properties['ContentBasedDeduplication'], name).toBeUndefined()
    }
  })

  it('encrypts each and refuses plain HTTP', () => {
    const guarded = ofType(template, 'AWS::SQS::QueuePolicy').flatMap(([, { Properties }]) => {
      const [statement] = (Properties['PolicyDocument'] as { Statement: Statement[] }).Statement
      const refuses = statement?.Effect === 'Deny' && statement.Condition?.['Bool']?.['aws:SecureTransport'] === 'false'
      return refuses ? list(Properties['Queues'] as unknown[]).map(target) : []
    })
    for (const [id, { Properties }] of [...living, ...deadLetters]) {
      expect(Properties['SqsManagedSseEnabled'], id).toBe(true)
      expect(guarded).toContain(id)
    }
  })

  it('raises an alarm for every dead-letter queue, and for old messages soonest in P0', () => {
    const alarms = ofType(template, 'AWS::CloudWatch::Alarm').map(([, { Properties }]) => Properties)
    const queueOf = (alarm: Resource['Properties']) => {
      const [dimension] = list(alarm['Dimensions'] as { Value: unknown }[] | undefined)
      return target(dimension?.Value)
    }
    for (const [id] of deadLetters) {
      expect(
        alarms.some((alarm) => alarm['MetricName'] === 'ApproximateNumberOfMessagesVisible' && queueOf(alarm) === id),
        id,
      ).toBe(true)
    }
    const threshold = (name: string) =>
      Number(
        alarms.find(
          (alarm) => alarm['MetricName'] === 'ApproximateAgeOfOldestMessage' && queueOf(alarm) === queueId(template, name),
        )?.['Threshold'],
      )
    for (const name of ['plan', 'work-alpha', 'work-omega']) {
      expect(threshold(`${name}-p0`), name).toBeLessThanOrEqual(60)
      expect(threshold(`${name}-p0`), name).toBeLessThan(threshold(`${name}-p1`))
      expect(threshold(`${name}-p1`), name).toBeLessThan(threshold(`${name}-p2`))
    }
    for (const alarm of alarms) expect(list(alarm['AlarmActions'] as unknown[])).toHaveLength(1)
    const quarantined = alarms.find((alarm) => alarm['MetricName'] === 'Quarantined')
    expect(quarantined).toMatchObject({ Namespace: 'Rescind', Threshold: 0, Dimensions: [{ Name: 'Installation' }] })
  })
})

describe('feeds', () => {
  const mappings = (name: string) =>
    ofType(template, 'AWS::Lambda::EventSourceMapping').filter(
      ([, { Properties }]) => target(Properties['FunctionName']) === functionOf(template, name).id,
    )

  it('answers partial batches, small ones, and puts a ceiling on P1 and P2 only', () => {
    for (const [name, queue] of [
      ['plan', 'plan'],
      ['revoke-alpha', 'work-alpha'],
      ['revoke-omega', 'work-omega'],
    ] as const) {
      const own = mappings(name)
      expect(own.map(([, { Properties }]) => target(Properties['EventSourceArn'])).sort()).toEqual(
        ['p0', 'p1', 'p2'].map((lane) => queueId(template, `${queue}-${lane}`)).sort(),
      )
      for (const [id, { Properties }] of own) {
        expect(Properties['FunctionResponseTypes'], id).toEqual(['ReportBatchItemFailures'])
        expect(Number(Properties['BatchSize']), id).toBeLessThanOrEqual(10)
        const urgent = target(Properties['EventSourceArn']) === queueId(template, `${queue}-p0`)
        if (urgent) expect(Properties['BatchSize'], id).toBe(1)
        expect(Properties['ScalingConfig'] === undefined, id).toBe(urgent)
      }
    }
  })

  it('shares what a provider allows at once between P1 and P2', () => {
    const ceilings = mappings('revoke-alpha').flatMap(([, { Properties }]) => {
      const scaling = Properties['ScalingConfig'] as { MaximumConcurrency: number } | undefined
      return scaling?.MaximumConcurrency ?? []
    })
    expect(ceilings.sort()).toEqual([3, 6])
  })

  it('cuts a bad record out of the stream and keeps its place, hours before the stream forgets it', () => {
    for (const name of ['close', 'prove']) {
      const [mapping] = mappings(name)
      expect(mapping?.[1].Properties).toMatchObject({
        BisectBatchOnFunctionError: true,
        FunctionResponseTypes: ['ReportBatchItemFailures'],
        StartingPosition: 'TRIM_HORIZON',
        MaximumRecordAgeInSeconds: (name === 'prove' ? 24 : 6) * 3600,
      })
      expect(Number(mapping?.[1].Properties['MaximumRetryAttempts'])).toBeGreaterThan(0)
      expect(JSON.stringify(mapping?.[1].Properties['DestinationConfig'])).toContain(queueId(template, `${name}-dead`))
    }
    // What moves a case on: itself, its progress, a chunk that waits for proof; a lease that is overdue or that retention removed.
    const filters = JSON.parse(JSON.stringify(mappings('close')[0]?.[1].Properties['FilterCriteria'])) as {
      Filters: { Pattern: string }[]
    }
    expect(filters.Filters.map(({ Pattern }) => JSON.parse(Pattern))).toEqual([
      { eventName: ['INSERT', 'MODIFY'], dynamodb: { NewImage: { kind: { S: ['case', 'progress'] } } } },
      {
        eventName: ['MODIFY'],
        dynamodb: { NewImage: { kind: { S: ['chunk'] }, step: { S: ['verify'] }, state: { S: ['open'] } } },
      },
      { eventName: ['MODIFY'], dynamodb: { NewImage: { kind: { S: ['lease'] }, listPk: { S: ['OVERDUE'] } } } },
      { eventName: ['MODIFY'], dynamodb: { NewImage: { kind: { S: ['discovery'] }, state: { S: ['done', 'failed'] } } } },
      { eventName: ['REMOVE'], dynamodb: { OldImage: { kind: { S: ['lease', 'case'] } } } },
    ])
    expect(mappings('prove')[0]?.[1].Properties['FilterCriteria']).toBeUndefined()
  })

  it('sweeps each minute', () => {
    const schedules = ofType(template, 'AWS::Events::Rule').filter(
      ([, { Properties }]) => Properties['ScheduleExpression'] === 'rate(1 minute)',
    )
    expect(schedules).toHaveLength(1)
    expect(JSON.stringify(schedules[0]?.[1].Properties['Targets'])).toContain(functionOf(template, 'sweep').id)
  })
})

describe('functions', () => {
  it('are all there', () => {
    expect(functions.sort()).toEqual(
      [
        'close',
        'intake-bus',
        'intake-http',
        'operate',
        'plan',
        'plan-preview',
        'prove',
        'register',
        'revoke-alpha',
        'revoke-omega',
        'sweep',
      ].sort(),
    )
  })

  it("run Node 24 on arm64 with source maps, settings beside them, and no reserved concurrency but the registrar's ceiling", () => {
    for (const name of functions) {
      const { resource, environment } = functionOf(template, name)
      expect(resource.Properties).toMatchObject({ Runtime: 'nodejs24.x', Architectures: ['arm64'], Handler: 'index.handler' })
      expect(environment).toMatchObject({ NODE_OPTIONS: '--enable-source-maps', SETTINGS_FILE: 'settings.json' })
      expect(resource.Properties['ReservedConcurrentExecutions']).toBe(name === 'register' ? 200 : undefined)
    }
    const code = made.codeOf('plan')
    expect(code('index.mjs')).toContain('plan')
    expect(JSON.parse(code('settings.json'))).toEqual(installation().settings)
  })

  it('have a role and a log group each, and the logs end', () => {
    const roles = functions.map((name) => functionOf(template, name).role)
    expect(new Set(roles).size).toBe(functions.length)
    for (const name of functions) {
      const logging = functionOf(template, name).resource.Properties['LoggingConfig'] as { LogGroup: unknown }
      expect(template.Resources[target(logging.LogGroup) ?? '']?.Properties['RetentionInDays'], name).toBe(90)
    }
  })

  it('are denied their own roles, what is tagged protected, and the destruction of the pipeline', () => {
    for (const name of functions) {
      const denied = functionOf(template, name).statements.filter(({ Effect }) => Effect === 'Deny')
      const by = (sid: string) => denied.find(({ Sid }) => Sid === sid)
      expect(list(by('OwnRoles')?.Action), name).toContain('iam:*')
      expect(JSON.stringify(by('OwnRoles')?.Resource), name).toContain(':role/rescind/*')
      expect(by('Protected')?.Condition, name).toEqual({ StringEquals: { 'aws:ResourceTag/rescind:protected': 'true' } })
      expect(list(by('ThePipeline')?.Action), name).toEqual(
        expect.arrayContaining([
          'dynamodb:DeleteTable',
          'kms:ScheduleKeyDeletion',
          's3:DeleteObject*',
          'sqs:PurgeQueue',
          'lambda:*',
        ]),
      )
    }
    for (const [id, { Properties }] of ofType(template, 'AWS::IAM::Role')) expect(Properties['Path'], id).toBe('/rescind/')
  })

  it('are denied at protected things whatever their provider may do elsewhere', () => {
    const denied = functionOf(template, 'revoke-omega').statements.find(({ Sid }) => Sid === 'SparesProtected')
    expect(denied).toMatchObject({ Effect: 'Deny', Action: 'iam:PutRolePolicy', Resource: '*' })
  })

  it('may do nothing with a wildcard that has no reason', () => {
    const reasoned = ['segments/*', ':secret:rescind/', 'ec2:', 'dynamodb:ListStreams', 'iam:PutRolePolicy']
    for (const name of functions) {
      for (const right of allowed(functionOf(template, name).statements).filter((each) => each.includes('*'))) {
        expect(
          reasoned.some((known) => right.includes(known)),
          `${name}: ${right}`,
        ).toBe(true)
      }
    }
    expect(() => synthesise(installation({ providers: { silent: {} } }), madeUp)).toThrow(
      /Action::s3:\* is a wildcard without a reason/,
    )
  })

  it('stand in the network of the configuration only if their provider says so', () => {
    expect(functionOf(template, 'revoke-omega').resource.Properties['VpcConfig']).toEqual({
      SubnetIds: VPC.subnetIds,
      SecurityGroupIds: VPC.securityGroupIds,
    })
    expect(functionOf(template, 'revoke-alpha').resource.Properties['VpcConfig']).toBeUndefined()
  })
})

describe('rights', () => {
  const table =
    ofType(template, 'AWS::DynamoDB::Table').find(([, { Properties }]) => Properties['StreamSpecification'] !== undefined)?.[0] ??
    ''
  const index = ofType(template, 'AWS::DynamoDB::Table').find(([id]) => id !== table)?.[0] ?? ''
  const rights = (name: string) => allowed(functionOf(template, name).statements)
  const sends = (name: string) =>
    rights(name)
      .filter((right) => right.startsWith('sqs:SendMessage '))
      .map((right) => right.split(' ')[1] ?? '')
      .map((id) => template.Resources[id]?.Metadata?.Rescind?.queue)
      .filter((queue) => queue?.endsWith('-dead') === false)
      .sort()
  const lanes = (...names: string[]) => names.flatMap((name) => ['p0', 'p1', 'p2'].map((lane) => `${name}-${lane}`)).sort()

  it('to send: only where the stage must, and QUEUES names just these', () => {
    const expected: Record<string, string[]> = {
      'intake-http': lanes('plan'),
      'intake-bus': lanes('plan'),
      // To the workers it only sends back what they let die, by another variable.
      operate: lanes('plan', 'work-alpha', 'work-omega'),
      register: lanes('work-alpha', 'work-omega'),
      plan: lanes('plan', 'work-alpha', 'work-omega'),
      sweep: lanes('plan', 'work-alpha', 'work-omega'),
      'revoke-alpha': lanes('work-alpha', 'work-omega'),
      'revoke-omega': lanes('work-alpha', 'work-omega'),
      close: [],
      prove: [],
      'plan-preview': [],
    }
    for (const name of functions) {
      expect(sends(name), name).toEqual(expected[name])
      const named = [
        ...JSON.stringify(functionOf(template, name).environment['QUEUES'] ?? '').matchAll(/((?:plan|work)-[a-z0-9-]*p\d)/g),
      ]
      expect(named.map(([, queue]) => queue).sort(), name).toEqual(name === 'operate' ? lanes('plan') : expected[name])
    }
  })

  it('to dead letters: the operators alone may take out what they sent back, and each is named with where it came from', () => {
    const dead = ofType(template, 'AWS::SQS::Queue').filter(([, { Metadata }]) => Metadata?.Rescind?.queue?.endsWith('-dead'))
    for (const name of functions) {
      const deletes = rights(name).filter((right) => right.startsWith('sqs:DeleteMessage '))
      const of = deletes.map((right) => right.split(' ')[1]).filter((id) => dead.some(([known]) => known === id))
      expect(of.sort(), name).toEqual(name === 'operate' ? dead.map(([id]) => id).sort() : [])
    }
    const named = JSON.stringify(functionOf(template, 'operate').environment['DEAD_LETTERS'])
    for (const [id, { Metadata }] of dead) {
      expect(named).toContain(id)
      expect(named).toContain(`${Metadata?.Rescind?.queue}`)
    }
    for (const name of ['plan', 'sweep'])
      expect(new Set(rights(name).filter((right) => right.startsWith('sqs:GetQueueAttributes '))).size, name).toBe(9)
  })

  it('on the table: intake and sweeper cannot delete, the prover cannot read or write, sweeper, operators and workers alone see what is due', () => {
    const deletes = functions.filter((name) =>
      rights(name).some((right) => /^dynamodb:(DeleteItem|BatchWriteItem) /.test(right) && right.endsWith(` ${table}`)),
    )
    expect(deletes.sort()).toEqual(['close', 'operate', 'plan', 'register', 'revoke-alpha', 'revoke-omega'])
    const indexes = functions.filter((name) => rights(name).some((right) => right.includes('/index/due')))
    expect(indexes.sort()).toEqual(['operate', 'revoke-alpha', 'revoke-omega', 'sweep'])
    expect(rights('prove').filter((right) => right.endsWith(` ${table}`))).toEqual(
      ['dynamodb:DescribeStream', 'dynamodb:GetRecords', 'dynamodb:GetShardIterator'].map((action) => `${action} ${table}`),
    )
    expect(functions.filter((name) => rights(name).some((right) => right.includes('Scan')))).toEqual([])
  })

  it('on the table: the preview reads, and can change nothing anywhere', () => {
    // The key is the table's, and of use by way of DynamoDB alone.
    const reads = /^(dynamodb:(GetItem|BatchGetItem|Query)|kms:\w+|secretsmanager:GetSecretValue|logs:\w+) /
    expect(rights('plan-preview').filter((right) => !reads.test(right))).toEqual([])
    expect(
      rights('plan-preview')
        .filter((right) => right.endsWith(` ${table}`))
        .sort(),
    ).toEqual(['dynamodb:BatchGetItem', 'dynamodb:GetItem', 'dynamodb:Query'].map((action) => `${action} ${table}`))
  })

  it('on the audit trail: the prover puts, operators read, nobody else sees it', () => {
    const trail = (name: string) =>
      rights(name)
        .filter((right) => right.endsWith(` ${index}`) || right.includes('segments/*'))
        .map((right) => right.split(' ')[0])
    expect(trail('prove').sort()).toEqual(['dynamodb:BatchWriteItem', 'dynamodb:PutItem', 's3:GetObject', 's3:PutObject'])
    expect(trail('operate').sort()).toEqual(['dynamodb:BatchGetItem', 'dynamodb:GetItem', 'dynamodb:Query', 's3:GetObject'])
    for (const name of functions.filter((each) => each !== 'prove' && each !== 'operate')) expect(trail(name), name).toEqual([])
  })

  it('on secrets: a worker reads its own provider’s, the intake its sources’', () => {
    const read = (name: string) =>
      rights(name)
        .filter((right) => right.startsWith('secretsmanager:'))
        .flatMap((right) => /secret:([^"]*)/.exec(right)?.[1] ?? [])
    expect(read('revoke-alpha')).toEqual(['rescind/issuers/alpha/*'])
    expect(read('revoke-omega')).toEqual(['rescind/issuers/omega/*'])
    expect(read('intake-http')).toEqual(['rescind/sources/*'])
    for (const name of functions.filter((each) => !each.startsWith('revoke-') && each !== 'intake-http'))
      expect(read(name), name).toEqual([])
  })

  it('on the key of the keyed hash: whoever hashes reads it and it alone, no worker does', () => {
    const [[id = '', secret] = []] = ofType(template, 'AWS::SecretsManager::Secret')
    expect(secret?.Properties['Name']).toBe('rescind/keys/fingerprint')
    expect(secret?.DeletionPolicy).toBe('Retain')
    const readers = functions.filter((name) => rights(name).includes(`secretsmanager:GetSecretValue ${id}`))
    expect(readers.sort()).toEqual(['intake-bus', 'intake-http', 'plan-preview', 'register'])
    for (const name of readers)
      expect(functionOf(template, name).environment, name).toMatchObject({
        FINGERPRINT_KEY: 'rescind/keys/fingerprint',
        SECRETS: 'aws',
      })
  })

  it('on the sealing key: the registrar seals and never opens, a worker opens its own provider’s handles', () => {
    const sealing = target(
      (functionOf(template, 'register').environment['SEALING'] as { 'Fn::Join': [string, unknown[]] })['Fn::Join'][1][1],
    )
    const uses = (name: string) =>
      functionOf(template, name).statements.filter(
        ({ Effect, Resource }) => Effect === 'Allow' && list(Resource).some((each) => target(each) === sealing),
      )
    expect(uses('register')).toMatchObject([
      { Action: 'kms:GenerateDataKey', Condition: { StringEquals: { 'kms:EncryptionContext:provider': ['alpha'] } } },
    ])
    expect(uses('revoke-alpha')).toMatchObject([
      { Action: 'kms:Decrypt', Condition: { StringEquals: { 'kms:EncryptionContext:provider': ['alpha'] } } },
    ])
    // A provider whose handles hold no secret has nothing to open.
    for (const name of functions.filter((each) => each !== 'revoke-alpha' && each !== 'register'))
      expect(uses(name), name).toEqual([])
  })

  it('on the generation mark: the sweeper writes that one object, nobody else sees it', () => {
    const marked = (name: string) =>
      rights(name)
        .filter((right) => right.includes('control/generation.json'))
        .map((right) => right.split(' ')[0])
    expect(marked('sweep').sort()).toEqual(['s3:GetObject', 's3:PutObject'])
    for (const name of functions.filter((each) => each !== 'sweep')) expect(marked(name), name).toEqual([])
    // Without it an object that is missing and one that may not be read look the same.
    expect(functions.filter((name) => rights(name).some((right) => right.startsWith('s3:ListBucket')))).toEqual(['sweep'])
    expect(functionOf(template, 'sweep').environment).toHaveProperty('ARCHIVE_BUCKET')
  })

  it('to announce: one function', () => {
    expect(functions.filter((name) => rights(name).some((right) => right.startsWith('events:PutEvents')))).toEqual(['close'])
  })
})

describe('storage', () => {
  it('recovers to a point in time, is encrypted with our key, and does not vanish', () => {
    const tables = ofType(template, 'AWS::DynamoDB::Table')
    expect(tables).toHaveLength(2)
    for (const [id, { Properties, DeletionPolicy }] of tables) {
      expect(Properties['PointInTimeRecoverySpecification'], id).toEqual({ PointInTimeRecoveryEnabled: true })
      expect(Properties['SSESpecification'], id).toMatchObject({
        SSEEnabled: true,
        SSEType: 'KMS',
        KMSMasterKeyId: expect.anything(),
      })
      expect(Properties['DeletionProtectionEnabled'], id).toBe(true)
      expect(Properties['BillingMode'], id).toBe('PAY_PER_REQUEST')
      expect(DeletionPolicy, id).toBe('Retain')
    }
  })

  it('has keys, stream, expiry and indexes as the store expects them', () => {
    const streamed = ofType(template, 'AWS::DynamoDB::Table').filter(
      ([, { Properties }]) => Properties['StreamSpecification'] !== undefined,
    )
    expect(streamed).toHaveLength(1)
    expect(streamed[0]?.[1].Properties).toMatchObject({
      KeySchema: [
        { AttributeName: 'pk', KeyType: 'HASH' },
        { AttributeName: 'sk', KeyType: 'RANGE' },
      ],
      StreamSpecification: { StreamViewType: 'NEW_AND_OLD_IMAGES' },
      TimeToLiveSpecification: { AttributeName: 'ttl', Enabled: true },
      GlobalSecondaryIndexes: [
        {
          IndexName: 'due',
          KeySchema: [
            { AttributeName: 'duePk', KeyType: 'HASH' },
            { AttributeName: 'dueAt', KeyType: 'RANGE' },
          ],
          Projection: { ProjectionType: 'ALL' },
        },
        {
          IndexName: 'list',
          KeySchema: [
            { AttributeName: 'listPk', KeyType: 'HASH' },
            { AttributeName: 'listAt', KeyType: 'RANGE' },
          ],
          Projection: { ProjectionType: 'ALL' },
        },
      ],
    })
  })

  it('keeps the archive versioned, encrypted, logged, and for years', () => {
    const archive = ofType(template, 'AWS::S3::Bucket').find(
      ([, { Properties }]) => Properties['VersioningConfiguration'] !== undefined,
    )
    expect(archive?.[1].Properties).toMatchObject({
      VersioningConfiguration: { Status: 'Enabled' },
      LoggingConfiguration: { LogFilePrefix: 'archive/' },
      LifecycleConfiguration: {
        Rules: [
          { ExpirationInDays: 2555, NoncurrentVersionExpiration: { NoncurrentDays: 2555 } },
          { Prefix: 'control/generation.json', NoncurrentVersionExpiration: { NoncurrentDays: 30 } },
        ],
      },
    })
    expect(JSON.stringify(archive?.[1].Properties['BucketEncryption'])).toContain('aws:kms')
    expect(archive?.[1].DeletionPolicy).toBe('Retain')
  })
})

describe('buses', () => {
  const policies = (bus: string, of = template) =>
    ofType(of, 'AWS::Events::EventBus')
      .filter(([id]) => id.startsWith(bus))
      .flatMap(([, { Properties }]) => (Properties['Policy'] as { Statement: Statement[] }).Statement)

  it('binds each source to its principals, by allowing and by denying, also inside this very account', () => {
    const own = policies('IntakeBus')
    expect(own.filter(({ Effect }) => Effect === 'Allow')).toMatchObject([
      {
        Condition: {
          ArnLike: { 'aws:PrincipalArn': ['arn:aws:iam::111122223333:role/hr'] },
          StringEquals: { 'events:source': 'org.example.hr', 'events:detail-type': ['io.rescind.offboarding'] },
        },
      },
    ])
    const denied = own.filter(({ Effect }) => Effect === 'Deny')
    for (const { Principal, Action } of denied) {
      expect(Principal).toEqual({ AWS: '*' })
      expect(Action).toBe('events:PutEvents')
    }
    expect(denied.map(({ Condition }) => Condition)).toEqual([
      {
        StringEquals: { 'events:source': 'org.example.hr' },
        ArnNotLike: { 'aws:PrincipalArn': ['arn:aws:iam::111122223333:role/hr'] },
      },
      { StringNotEquals: { 'events:source': ['org.example.hr'] } },
      { StringNotLike: { 'events:detail-type': 'io.rescind.*' } },
    ])
  })

  it('is shut while no source is configured', () => {
    const shut = synthesise(installation({}, { sources: [] }), madeUp)
    const denied = policies('IntakeBus', shut.template).find(({ Sid }) => Sid === 'OtherSources')
    expect(denied).toMatchObject({ Effect: 'Deny', Principal: { AWS: '*' } })
    expect(denied?.Condition).toBeUndefined()
    expect(shut.findings).toEqual([])
    shut.remove()
  })

  it('takes triggers of the configured sources only, and loses none that fails', () => {
    const rule = ofType(template, 'AWS::Events::Rule').find(([, { Properties }]) => Properties['EventPattern'] !== undefined)
    expect(rule?.[1].Properties['EventPattern']).toEqual({
      source: ['org.example.hr'],
      'detail-type': [{ prefix: 'io.rescind.' }],
    })
    const [intake] = list(
      rule?.[1].Properties['Targets'] as { Arn: unknown; DeadLetterConfig: { Arn: unknown }; RetryPolicy: unknown }[],
    )
    expect(target(intake?.Arn)).toBe(functionOf(template, 'intake-bus').id)
    expect(target(intake?.DeadLetterConfig.Arn)).toBe(queueId(template, 'intake-bus-dead'))
    const invoked = ofType(template, 'AWS::Lambda::EventInvokeConfig').find(
      ([, { Properties }]) => target(Properties['FunctionName']) === functionOf(template, 'intake-bus').id,
    )
    expect(JSON.stringify(invoked?.[1].Properties['DestinationConfig'])).toContain(queueId(template, 'intake-bus-dead'))
  })

  it('lets only the closing stage speak on the outcome bus, and lets no rule of ours listen there', () => {
    expect(policies('OutcomeBus')).toMatchObject([
      {
        Effect: 'Deny',
        Principal: { AWS: '*' },
        Condition: { ArnNotEquals: { 'aws:PrincipalArn': { 'Fn::GetAtt': [functionOf(template, 'close').role, 'Arn'] } } },
      },
    ])
    for (const [id, { Properties }] of ofType(template, 'AWS::Events::Rule')) {
      expect(target(Properties['EventBusName'])?.startsWith('OutcomeBus') ?? false, id).toBe(false)
    }
  })
})

describe('the HTTP API', () => {
  const routes = ofType(template, 'AWS::ApiGatewayV2::Route').map(([, { Properties }]) => Properties)
  const functionBehind = (route: Resource['Properties']) => {
    const integration = /integrations\/"?,?\s*\{"Ref":"([^"]+)"/.exec(JSON.stringify(route['Target']))?.[1] ?? ''
    const uri = JSON.stringify(template.Resources[integration]?.Properties['IntegrationUri'])
    return functions.find((name) => uri.includes(functionOf(template, name).id))
  }

  it('answers the routes of the API with the right function', () => {
    const leases = [
      'POST /v1/leases',
      'GET /v1/leases',
      'GET /v1/leases/{id}',
      'POST /v1/leases/{id}/confirm',
      'POST /v1/leases/{id}/renew',
      'POST /v1/leases/{id}/release',
      'POST /v1/spool',
    ]
    const underAws = (route: string) => route.replace(' /v1', ' /aws/v1')
    const expected: Record<string, string> = Object.fromEntries([
      ...['POST /v1/events', 'POST /aws/v1/events', 'POST /v1/reports', 'POST /aws/v1/reports'].map((route) => [
        route,
        'intake-http',
      ]),
      ...[...leases, ...leases.map(underAws)].map((route) => [route, 'register']),
      ['POST /v1/plans', 'plan-preview'],
      ...[
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
        'POST /v1/cases/{id}/approve',
        'POST /v1/cases/{id}/cancel',
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
        'GET /v1/parked',
        'GET /v1/orphans',
        'GET /v1/overdue',
        'GET /v1/violations',
        'POST /v1/outages',
        'GET /v1/outages',
        'GET /v1/quarantine',
        'GET /v1/audit',
        'GET /v1/cases/{id}/leases',
        'GET /v1/observed',
        'GET /v1/tidy',
        'POST /v1/leases/{id}/restore',
        'POST /v1/identities/restore',
        'POST /v1/cases/{id}/restore',
        'GET /v1/restorations',
        'GET /v1/restorations/{id}',
        'POST /v1/aliases',
        'GET /v1/aliases',
        'POST /v1/aliases/{id}/approve',
        'POST /v1/aliases/{id}/reject',
        'POST /v1/aliases/remove',
        'POST /v1/identities/reinstate',
        'POST /v1/groups/reinstate',
      ].map((route) => [route, 'operate']),
    ])
    expect(Object.fromEntries(routes.map((route) => [route['RouteKey'], functionBehind(route)]))).toEqual(expected)
  })

  it('has IAM authorise everything under /aws, and nothing else', () => {
    for (const route of routes) {
      expect(route['AuthorizationType'], String(route['RouteKey'])).toBe(
        String(route['RouteKey']).includes(' /aws/') ? 'AWS_IAM' : 'NONE',
      )
    }
  })

  it('is throttled and logged, without query strings', () => {
    const [stage] = ofType(template, 'AWS::ApiGatewayV2::Stage')
    expect(stage?.[1].Properties).toMatchObject({
      DefaultRouteSettings: { ThrottlingRateLimit: 500, ThrottlingBurstLimit: 1000 },
    })
    // Registrations have buckets of their own: a flood of them leaves triggers and operators theirs.
    const own = stage?.[1].Properties['RouteSettings'] as Record<string, unknown>
    expect(Object.keys(own).sort()).toEqual(
      ['', '/aws']
        .flatMap((prefix) => [
          `GET ${prefix}/v1/leases`,
          `GET ${prefix}/v1/leases/{id}`,
          `POST ${prefix}/v1/leases`,
          `POST ${prefix}/v1/spool`,
        ])
        .sort(),
    )
    expect(own['POST /v1/leases']).toEqual({ ThrottlingRateLimit: 300, ThrottlingBurstLimit: 600 })
    const format = JSON.stringify(stage?.[1].Properties['AccessLogSettings'])
    expect(format).toContain('$context.routeKey')
    expect(format).not.toMatch(/path|query|authorizer/i)
  })
})

describe('a trial installation', () => {
  it('leaves nothing behind', () => {
    const trial = synthesise(installation({ removal: 'destroy' }), madeUp)
    for (const type of ['AWS::DynamoDB::Table', 'AWS::S3::Bucket', 'AWS::KMS::Key', 'AWS::Logs::LogGroup']) {
      for (const [id, { DeletionPolicy }] of ofType(trial.template, type)) expect(DeletionPolicy, id).toBe('Delete')
    }
    trial.remove()
  })

  it('can keep its sealing key and secrets in files, and then asks AWS for neither', () => {
    const local = synthesise(installation({ sealing: 'file:/tmp/key', secrets: 'dir:/tmp/secrets' }), madeUp)
    expect(ofType(local.template, 'AWS::SecretsManager::Secret')).toEqual([])
    expect(functionOf(local.template, 'register').environment['FINGERPRINT_KEY']).toBe('rescind/keys/fingerprint')
    expect(functionOf(local.template, 'register').environment['SEALING']).toBe('file:/tmp/key')
    expect(functionOf(local.template, 'revoke-alpha').environment['SECRETS']).toBe('dir:/tmp/secrets')
    for (const name of ['register', 'revoke-alpha']) {
      expect(
        allowed(functionOf(local.template, name).statements).filter((right) =>
          /^(secretsmanager|kms:GenerateDataKey [^S])/.test(right),
        ),
      ).toEqual([])
    }
    expect(ofType(local.template, 'AWS::KMS::Key')).toHaveLength(1)
    local.remove()
  })
})
