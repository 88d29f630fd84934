import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { EventBridgeClient } from '@aws-sdk/client-eventbridge'
import { KMSClient } from '@aws-sdk/client-kms'
import { S3Client } from '@aws-sdk/client-s3'
import { SecretsManagerClient } from '@aws-sdk/client-secrets-manager'
import { SQSClient } from '@aws-sdk/client-sqs'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { AnnounceFailed, busAnnouncer } from '../../../functions/runtime/announcer.ts'
import { ArchiveConflict, s3Archive } from '../../../functions/runtime/archive.ts'
import { kmsKeys } from '../../../functions/runtime/keys.ts'
import { SecretMissing, SecretReferenceInvalid, secretStore } from '../../../functions/runtime/secrets.ts'
import { SendFailed, sqsQueues, sqsVisibility } from '../../../functions/runtime/sqs.ts'
import type { ScriptedAnswer, SentRequest } from '../../support/scripted-service.ts'
import { awsError, scriptedService } from '../../support/scripted-service.ts'
import { testClock, testRandomness } from '../../support/tools.ts'

type Script = (request: SentRequest, place: number) => ScriptedAnswer

describe('queues', () => {
  const urls = {
    'plan-p0': 'https://sqs.us-east-1.amazonaws.com/1/plan-p0',
    'work-aws-iam-p0': 'https://sqs.us-east-1.amazonaws.com/1/work-aws-iam-p0.fifo',
  }
  function queuesWith(answer: Script) {
    const service = scriptedService(answer)
    const clock = testClock()
    const client = new SQSClient({ ...service.configuration, md5: false, maxAttempts: 1 })
    return { queues: sqsQueues({ client, urls, clock, random: testRandomness() }), requests: service.requests, clock }
  }
  const entries = (request: SentRequest): { Id: string; [field: string]: unknown }[] => JSON.parse(request.body).Entries
  const allTaken: Script = (request) => ({
    body: { Successful: entries(request).map(({ Id }) => ({ Id, MessageId: 'm', MD5OfMessageBody: 'x' })), Failed: [] },
  })

  it('take messages in batches of ten', async () => {
    const { queues, requests } = queuesWith(allTaken)
    await queues.send(
      'plan-p0',
      Array.from({ length: 23 }, (_, n) => ({ body: { n }, group: 'issuer-a', delaySeconds: n === 0 ? 1000 : 1.2 })),
    )
    expect(requests.map((request) => entries(request).length)).toEqual([10, 10, 3])
    expect(entries(requests[0] ?? { target: '', headers: {}, body: '{}' })[0]).toEqual({
      Id: '0',
      MessageBody: '{"n":0}',
      MessageGroupId: 'issuer-a',
      DelaySeconds: 900,
    })
    expect(requests.flatMap(entries).map(({ DelaySeconds }) => DelaySeconds)).toEqual([900, ...Array(22).fill(2)])
  })

  it('in order have a group and a fresh deduplication id each time', async () => {
    const { queues, requests } = queuesWith(allTaken)
    const message = { body: { n: 1 }, group: 'issuer-a', delaySeconds: 5 }
    await queues.send('work-aws-iam-p0', [message, message])
    await queues.send('work-aws-iam-p0', [message])
    const sent = requests.flatMap(entries)
    expect(sent.every(({ MessageGroupId }) => MessageGroupId === 'issuer-a')).toBe(true)
    expect(new Set(sent.map(({ MessageDeduplicationId }) => MessageDeduplicationId)).size).toBe(3)
    expect(sent.some((entry) => 'DelaySeconds' in entry)).toBe(false)
  })

  it('are asked again for the entries that were not taken, named or not', async () => {
    const { queues, requests, clock } = queuesWith((request, place) =>
      place === 0
        ? {
            body: {
              Successful: [{ Id: '0', MessageId: 'm', MD5OfMessageBody: 'x' }],
              Failed: [{ Id: '1', SenderFault: false, Code: 'InternalError' }],
            },
          }
        : allTaken(request, place),
    )
    await queues.send('plan-p0', [{ body: 0 }, { body: 1 }, { body: 2 }])
    expect(requests.map((request) => entries(request).map(({ Id }) => Id))).toEqual([
      ['0', '1', '2'],
      ['1', '2'],
    ])
    expect(clock.slept).toHaveLength(1)
  })

  it('that take nothing are told', async () => {
    const busy = queuesWith((request) => ({
      body: { Failed: entries(request).map(({ Id }) => ({ Id, SenderFault: false, Code: 'InternalError' })) },
    }))
    await expect(busy.queues.send('plan-p0', [{ body: 0 }])).rejects.toThrow(SendFailed)
    expect(busy.requests).toHaveLength(5)
    const faulty = queuesWith((request) => ({
      body: { Failed: entries(request).map(({ Id }) => ({ Id, SenderFault: true, Code: 'InvalidMessageContents' })) },
    }))
    await expect(faulty.queues.send('plan-p0', [{ body: 0 }])).rejects.toThrow(/InvalidMessageContents/)
    expect(faulty.requests).toHaveLength(1)
  })

  it('that are not known are told', async () => {
    const { queues } = queuesWith(allTaken)
    for (const name of ['plan-p9', 'constructor', '__proto__'])
      await expect(queues.send(name, [{ body: 0 }])).rejects.toThrow(SendFailed)
  })

  it('give a message back after some seconds; their URL is asked for once', async () => {
    const service = scriptedService((request) =>
      request.target.endsWith('GetQueueUrl') ? { body: { QueueUrl: 'https://sqs.us-east-1.amazonaws.com/1/q' } } : {},
    )
    const visibility = sqsVisibility(new SQSClient({ ...service.configuration, maxAttempts: 1 }))
    const record = { eventSourceARN: 'arn:aws:sqs:eu-west-1:123456789012:q', receiptHandle: 'h' }
    await visibility.returnAfter(record, 6.2)
    await visibility.returnAfter(record, 0)
    expect(service.requests.map((request) => [request.target, JSON.parse(request.body)])).toEqual([
      ['AmazonSQS.GetQueueUrl', { QueueName: 'q', QueueOwnerAWSAccountId: '123456789012' }],
      [
        'AmazonSQS.ChangeMessageVisibility',
        { QueueUrl: 'https://sqs.us-east-1.amazonaws.com/1/q', ReceiptHandle: 'h', VisibilityTimeout: 7 },
      ],
      [
        'AmazonSQS.ChangeMessageVisibility',
        { QueueUrl: 'https://sqs.us-east-1.amazonaws.com/1/q', ReceiptHandle: 'h', VisibilityTimeout: 0 },
      ],
    ])
  })
})

describe('the announcer', () => {
  const event = (n: number) => ({
    type: 'io.rescind.case.closed',
    id: `e${n}`,
    subject: 'c',
    time: '2026-03-01T12:00:00.000Z',
    data: { n },
  })
  function announcerWith(answer: Script) {
    const service = scriptedService(answer)
    const client = new EventBridgeClient({ ...service.configuration, maxAttempts: 1 })
    return {
      announcer: busAnnouncer({ client, bus: 'outcomes', clock: testClock(), random: testRandomness() }),
      requests: service.requests,
    }
  }
  const entries = (request: SentRequest): { Detail: string; [field: string]: unknown }[] => JSON.parse(request.body).Entries

  it('puts CloudEvents on the bus, ten at a time', async () => {
    const { announcer, requests } = announcerWith((request) => ({
      body: { Entries: entries(request).map(() => ({ EventId: 'x' })) },
    }))
    await announcer.announce(Array.from({ length: 12 }, (_, n) => event(n)))
    expect(requests.map((request) => entries(request).length)).toEqual([10, 2])
    const [first] = requests.flatMap(entries)
    expect(first).toMatchObject({ EventBusName: 'outcomes', Source: 'rescind', DetailType: 'io.rescind.case.closed' })
    expect(JSON.parse(first?.Detail ?? '')).toEqual({
      specversion: '1.0',
      id: 'e0',
      source: 'rescind',
      type: 'io.rescind.case.closed',
      subject: 'c',
      time: '2026-03-01T12:00:00.000Z',
      datacontenttype: 'application/json',
      data: { n: 0 },
    })
  })

  it('puts again what was not taken, and says so in the end', async () => {
    const { announcer, requests } = announcerWith((request) => ({
      body: {
        FailedEntryCount: 1,
        Entries: entries(request).map((_, n) => (n === 0 ? { EventId: 'x' } : { ErrorCode: 'InternalFailure' })),
      },
    }))
    await announcer.announce([event(0), event(1), event(2)])
    expect(requests.map((request) => entries(request).length)).toEqual([3, 2, 1])
    const failing = announcerWith(() => ({ body: { FailedEntryCount: 1, Entries: [{ ErrorCode: 'InternalFailure' }] } }))
    await expect(failing.announcer.announce([event(0)])).rejects.toThrow(AnnounceFailed)
  })
})

describe('the archive', () => {
  function archiveWith(answer: Script) {
    const service = scriptedService(answer)
    const client = new S3Client({ ...service.configuration, maxAttempts: 1, forcePathStyle: true })
    return { archive: s3Archive({ client, bucket: 'b' }), requests: service.requests }
  }
  const xml = (status: number, code: string): ScriptedAnswer => ({
    status,
    body: `<?xml version="1.0"?><Error><Code>${code}</Code><Message>m</Message></Error>`,
    headers: { 'content-type': 'application/xml' },
  })

  it('writes only where nothing stands', async () => {
    const { archive, requests } = archiveWith(() => ({ body: '' }))
    await archive.put('segments/1', 'a\n')
    expect(requests[0]?.target).toBe('PUT /b/segments/1')
    expect(requests[0]?.headers['if-none-match']).toBe('*')
  })

  it('is content with its own content, and with no other', async () => {
    const { archive } = archiveWith((request) =>
      request.target.startsWith('PUT') ? xml(412, 'PreconditionFailed') : { body: 'a\n' },
    )
    await archive.put('segments/1', 'a\n')
    await expect(archive.put('segments/1', 'b\n')).rejects.toThrow(ArchiveConflict)
  })

  it('throws what it cannot mend, and knows what is not there', async () => {
    await expect(archiveWith(() => xml(403, 'AccessDenied')).archive.put('k', 'x')).rejects.toThrow(
      expect.objectContaining({ name: 'AccessDenied' }),
    )
    expect(await archiveWith(() => xml(404, 'NoSuchKey')).archive.get('k')).toBeUndefined()
    expect(await archiveWith(() => ({ body: 'ü' })).archive.get('k')).toBe('ü')
    await expect(archiveWith(() => xml(403, 'AccessDenied')).archive.get('k')).rejects.toThrow()
  })
})

describe('secrets', () => {
  let folder: string
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), 'rescind-secrets-'))
    mkdirSync(join(folder, 'inside', 'issuers'), { recursive: true })
    writeFileSync(join(folder, 'outside'), 'hunter2')
    writeFileSync(join(folder, 'inside', 'issuers', 'db.json'), '{"password":"p"}\n')
    writeFileSync(join(folder, 'inside', 'plain'), ' p \n\n')
  })
  afterAll(() => rmSync(folder, { recursive: true }))

  it('are files below a folder', async () => {
    const secrets = secretStore({ kind: 'dir', path: join(folder, 'inside') }, { clock: testClock() })
    expect(await secrets.get('issuers/db.json')).toBe('{"password":"p"}')
    expect(await secrets.get('plain')).toBe(' p \n')
    await expect(secrets.get('issuers')).rejects.toThrow(SecretMissing)
    await expect(secrets.get('nothing')).rejects.toThrow(SecretMissing)
    await expect(secrets.get('plain/more')).rejects.toThrow(SecretMissing)
  })

  it.each([
    '',
    '.',
    '..',
    '../outside',
    'a/../../outside',
    '/etc/passwd',
    'issuers//db.json',
    'issuers/',
    '.hidden',
    'a\\..\\b',
    'a\0b',
    'a b',
    'arn:aws:secretsmanager:eu-west-1:123456789012:secret:x',
  ])('are not reached by %j', async (reference) => {
    const secrets = secretStore({ kind: 'dir', path: join(folder, 'inside') }, { clock: testClock() })
    await expect(secrets.get(reference)).rejects.toThrow(SecretReferenceInvalid)
  })

  it('are kept for a minute, failures are not', async () => {
    const clock = testClock()
    const secrets = secretStore({ kind: 'dir', path: folder }, { clock })
    await expect(secrets.get('late')).rejects.toThrow(SecretMissing)
    writeFileSync(join(folder, 'late'), 'one')
    expect(await secrets.get('late')).toBe('one')
    writeFileSync(join(folder, 'late'), 'two')
    clock.advance(59_999)
    expect(await secrets.get('late')).toBe('one')
    clock.advance(1)
    expect(await secrets.get('late')).toBe('two')
  })

  it('are read from Secrets Manager by name or ARN', async () => {
    const service = scriptedService((request) =>
      JSON.parse(request.body).SecretId === 'nothing' ? awsError('ResourceNotFoundException') : { body: { SecretString: 's' } },
    )
    const secrets = secretStore(
      { kind: 'aws' },
      { clock: testClock(), client: () => new SecretsManagerClient({ ...service.configuration, maxAttempts: 1 }) },
    )
    expect(await secrets.get('rescind/db')).toBe('s')
    expect(await secrets.get('arn:aws:secretsmanager:eu-west-1:123456789012:secret:rescind/db-AbCdEf')).toBe('s')
    await expect(secrets.get('nothing')).rejects.toThrow(SecretMissing)
    await expect(secrets.get('arn:aws:s3:::bucket')).rejects.toThrow(SecretReferenceInvalid)
    expect(service.requests).toHaveLength(3)
  })
})

it('KMS makes and unwraps data keys of one key and one context', async () => {
  const plain = Buffer.alloc(32, 7)
  const service = scriptedService((request) => ({
    body: request.target.endsWith('GenerateDataKey')
      ? { Plaintext: plain.toString('base64'), CiphertextBlob: Buffer.from('wrapped').toString('base64') }
      : { Plaintext: plain.toString('base64') },
  }))
  const keys = kmsKeys(new KMSClient({ ...service.configuration, maxAttempts: 1 }), 'arn:key')
  const context = { provider: 'oauth', issuer: 'i' }
  const made = await keys.generate(context)
  expect(Buffer.from(made.plain)).toEqual(plain)
  expect(Buffer.from(await keys.unwrap(made.wrapped, context))).toEqual(plain)
  expect(service.requests.map((request) => JSON.parse(request.body))).toEqual([
    { KeyId: 'arn:key', KeySpec: 'AES_256', EncryptionContext: context },
    { KeyId: 'arn:key', CiphertextBlob: Buffer.from('wrapped').toString('base64'), EncryptionContext: context },
  ])
})
