import type { BuildAppOptions } from 'fauxqs'
import { buildApp } from 'fauxqs'
import type { Json } from './json.ts'
import { isObject, objectOf } from './json.ts'
import type { Template } from './template.ts'

type Stores = NonNullable<BuildAppOptions['stores']>
type Queue = ReturnType<Stores['sqsStore']['createQueue']>

/** A message as `ReceiveMessage` gives it, with all its system attributes. */
export interface Received {
  readonly messageId: string
  readonly receiptHandle: string
  readonly body: string
  readonly md5: string
  readonly attributes: Readonly<Record<string, string>>
  readonly messageAttributes: Readonly<Record<string, { DataType: string; StringValue?: string; BinaryValue?: string }>>
}

export interface Depth {
  readonly ready: number
  readonly inFlight: number
  readonly delayed: number
}

/** SQS and S3 on the loopback interface, in this process. */
export interface Sqs {
  /** For `AWS_ENDPOINT_URL_SQS` and `AWS_ENDPOINT_URL_S3`. */
  readonly endpoint: string
  create(template: Template): void
  /** By queue name. Waits up to `waitSeconds` (at most 20) for a first message. */
  receive(queue: string, most: number, waitSeconds: number): Promise<Received[]>
  delete(queue: string, receiptHandles: readonly string[]): void
  /** To a queue by ARN, as EventBridge or Lambda would: a FIFO queue needs a group. */
  send(arn: string, body: string, group?: string): void
  depths(): Record<string, Depth>
  /** Ends all waiting `receive` calls. */
  wake(): void
  stop(): Promise<void>
}

/**
 * The stores behind fauxqs's application. Its own `startFauxqs` listens on all interfaces, and this service asks
 * nobody for a password, so we make the application ourselves and listen on the loopback interface. The stores' classes
 * are not among the package's exports: they are taken from its files, and checked, as the version is pinned.
 */
async function loadStores(): Promise<Stores & { persistS3(folder: string): { close(): void } }> {
  const load = async (file: string, name: string): Promise<new (argument?: string) => unknown> => {
    const module: unknown = await import(/* @vite-ignore */ new URL(file, import.meta.resolve('fauxqs')).href)
    const found: unknown = isRecord(module) ? module[name] : undefined
    if (!isConstructor(found)) throw new Error(`fauxqs has no ${name} in ${file}: this adapter was written for 2.4.1`)
    return found
  }
  const [Sqs, Sns, S3, Files] = await Promise.all([
    load('./sqs/sqsStore.js', 'SqsStore'),
    load('./sns/snsStore.js', 'SnsStore'),
    load('./s3/s3Store.js', 'S3Store'),
    load('./s3/fileS3Persistence.js', 'FileS3Persistence'),
  ])
  const sqsStore = new Sqs() as Stores['sqsStore']
  const snsStore = new Sns() as Stores['snsStore']
  const s3Store = new S3() as Stores['s3Store']
  return {
    sqsStore,
    snsStore,
    s3Store,
    persistS3(folder) {
      const files = new Files(folder) as NonNullable<typeof s3Store.persistence> & {
        loadS3(store: typeof s3Store): void
        close(): void
      }
      files.loadS3(s3Store)
      s3Store.persistence = files
      return files
    },
  }
}

const isRecord = (value: unknown): value is Record<string, unknown> => typeof value === 'object' && value !== null
const isConstructor = (value: unknown): value is new (argument?: string) => unknown => typeof value === 'function'

/** `buckets` is the folder that objects are kept in as files. */
export async function startSqs(options: {
  readonly region: string
  readonly account: string
  readonly buckets: string
}): Promise<Sqs> {
  const stores = await loadStores()
  const { sqsStore, s3Store } = stores
  sqsStore.host = ''
  const files = stores.persistS3(options.buckets)
  const application = buildApp({ logger: false, defaultRegion: options.region, stores })
  application.addHook('preHandler', async (request, reply) => {
    if (request.method === 'PUT' && request.headers['if-none-match'] === '*' && objectExists(s3Store, request.url)) {
      reply.header('content-type', 'application/xml').code(412)
      return reply.send('<Error><Code>PreconditionFailed</Code><Condition>If-None-Match</Condition></Error>')
    }
  })
  application.addHook('preHandler', async (request, reply) => {
    const wanted = request.headers['if-match']
    if (request.method === 'PUT' && wanted !== undefined && wanted !== entityTagOf(s3Store, request.url)) {
      reply.header('content-type', 'application/xml').code(412)
      return reply.send('<Error><Code>PreconditionFailed</Code><Condition>If-Match</Condition></Error>')
    }
  })
  const endpoint = await application.listen({ port: 0, host: '127.0.0.1' })
  const returns = setInterval(() => {
    for (const queue of sqsStore.allQueues()) if (queue.pollWaiters.length > 0) queue.processTimers()
  }, RETURN_TICK)

  const named = (name: string): Queue => {
    const queue = sqsStore.getQueueByName(name)
    if (queue === undefined) throw new Error(`there is no queue ${name}`)
    return queue
  }
  const StoreClass = sqsStore.constructor as typeof sqsStore.constructor & {
    createMessage(
      body: string,
      attributes?: object,
      delay?: number,
      group?: string,
      deduplication?: string,
    ): Parameters<Queue['enqueue']>[0]
    contentBasedDeduplicationId(body: string): string
  }

  return {
    endpoint,
    create(template) {
      for (const resource of template.ofType('AWS::SQS::Queue')) {
        const name = template.nameOf(resource)
        const url = template.reference(resource)
        sqsStore.createQueue(name, url, template.attribute(resource, 'Arn'), attributesOf(template, resource))
      }
      for (const resource of template.ofType('AWS::S3::Bucket')) {
        const name = template.nameOf(resource)
        if (!s3Store.hasBucket(name)) s3Store.createBucket(name)
      }
    },
    async receive(name, most, waitSeconds) {
      const queue = named(name)
      const dequeue = () => queue.dequeue(Math.min(most, 10), undefined, (arn) => sqsStore.getQueueByArn(arn))
      let messages = dequeue()
      if (messages.length === 0 && waitSeconds > 0) {
        await waitFor(queue, waitSeconds)
        messages = dequeue()
      }
      return messages.map((message) => {
        const entry = queue.inflightMessages.get(message.ReceiptHandle)?.message
        return {
          messageId: message.MessageId,
          receiptHandle: message.ReceiptHandle,
          body: message.Body,
          md5: message.MD5OfBody,
          messageAttributes: message.MessageAttributes ?? {},
          attributes: {
            ApproximateReceiveCount: String(entry?.approximateReceiveCount ?? 1),
            SentTimestamp: String(entry?.sentTimestamp ?? 0),
            SenderId: options.account,
            ApproximateFirstReceiveTimestamp: String(entry?.approximateFirstReceiveTimestamp ?? 0),
            ...(entry?.messageGroupId !== undefined && { MessageGroupId: entry.messageGroupId }),
            ...(entry?.messageDeduplicationId !== undefined && { MessageDeduplicationId: entry.messageDeduplicationId }),
            ...(entry?.sequenceNumber !== undefined && { SequenceNumber: entry.sequenceNumber }),
          },
        }
      })
    },
    delete(name, receiptHandles) {
      const queue = named(name)
      for (const handle of receiptHandles) queue.deleteMessage(handle)
    },
    send(arn, body, group) {
      const queue = sqsStore.getQueueByArn(arn)
      if (queue === undefined) throw new Error(`there is no queue ${arn}`)
      const delay = Number(queue.attributes.DelaySeconds ?? 0)
      if (!queue.isFifo()) return queue.enqueue(StoreClass.createMessage(body, {}, delay > 0 ? delay : undefined))
      if (group === undefined) throw new Error(`${queue.name} is a FIFO queue: its target needs a MessageGroupId`)
      const deduplication = StoreClass.contentBasedDeduplicationId(body)
      if (queue.checkDeduplication(deduplication).isDuplicate) return
      const message = StoreClass.createMessage(body, {}, delay > 0 ? delay : undefined, group, deduplication)
      message.sequenceNumber = queue.nextSequenceNumber()
      queue.recordDeduplication(deduplication, message.messageId, message.sequenceNumber)
      queue.enqueue(message)
    },
    depths() {
      const depths: Record<string, Depth> = {}
      for (const queue of sqsStore.allQueues()) {
        queue.processTimers()
        depths[queue.name] = {
          ready: Number(queue.getAttribute('ApproximateNumberOfMessages')),
          inFlight: Number(queue.getAttribute('ApproximateNumberOfMessagesNotVisible')),
          delayed: Number(queue.getAttribute('ApproximateNumberOfMessagesDelayed')),
        }
      }
      return depths
    },
    wake: () => sqsStore.shutdown(),
    async stop() {
      clearInterval(returns)
      await application.close()
      files.close()
    },
  }
}

/** fauxqs overwrites where S3 answers 412 ("How to prevent object overwrites with conditional writes"). */
function objectExists(store: Stores['s3Store'], url: string): boolean {
  const [bucket, ...rest] = new URL(url, 'http://localhost').pathname.slice(1).split('/').map(decodeURIComponent)
  const key = rest.join('/')
  if (bucket === undefined || !store.hasBucket(bucket)) return false
  return store.listObjects(bucket, { prefix: key, maxKeys: 1 }).objects[0]?.key === key
}

/** fauxqs does not know `If-Match` on writes either. The tag as S3 writes it, in quotation marks. */
function entityTagOf(store: Stores['s3Store'], url: string): string | undefined {
  const [bucket, ...rest] = new URL(url, 'http://localhost').pathname.slice(1).split('/').map(decodeURIComponent)
  const key = rest.join('/')
  if (bucket === undefined || !store.hasBucket(bucket)) return undefined
  const found = store.listObjects(bucket, { prefix: key, maxKeys: 1 }).objects[0]
  return found?.key === key ? found.etag : undefined
}

/**
 * Waits until a message may have come. `waitForMessages` would look through its queue every 20 ms, which for some
 * thirty queues is most of what an idle machine does: what comes is told to the waiters anyway, and what comes back
 * (delays, visibility) is looked for by one timer for all queues.
 */
function waitFor(queue: Queue, seconds: number): Promise<void> {
  return new Promise((resolve) => {
    const waiter = {
      resolve,
      timer: setTimeout(() => {
        queue.pollWaiters = queue.pollWaiters.filter((other) => other !== waiter)
        resolve()
      }, seconds * 1000),
    }
    queue.pollWaiters.push(waiter)
  })
}

/** Milliseconds between two looks for messages whose delay or visibility time-out is over. */
const RETURN_TICK = 50

const ATTRIBUTES = [
  'VisibilityTimeout',
  'DelaySeconds',
  'MaximumMessageSize',
  'MessageRetentionPeriod',
  'ReceiveMessageWaitTimeSeconds',
  'FifoQueue',
  'ContentBasedDeduplication',
  'DeduplicationScope',
  'FifoThroughputLimit',
]

function attributesOf(template: Template, resource: ReturnType<Template['ofType']>[number]): Record<string, string> {
  const attributes: Record<string, string> = {}
  for (const name of ATTRIBUTES) {
    const value: Json | undefined = template.property(resource, name)
    if (value !== undefined) attributes[name] = String(value)
  }
  const redrive = template.property(resource, 'RedrivePolicy')
  if (isObject(redrive)) {
    const { deadLetterTargetArn, maxReceiveCount } = objectOf(redrive, 'RedrivePolicy')
    attributes.RedrivePolicy = JSON.stringify({ deadLetterTargetArn, maxReceiveCount: Number(maxReceiveCount) })
  }
  return attributes
}
