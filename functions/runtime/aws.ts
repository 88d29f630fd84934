import { DynamoDBClient } from '@aws-sdk/client-dynamodb'
import { EventBridgeClient } from '@aws-sdk/client-eventbridge'
import { KMSClient } from '@aws-sdk/client-kms'
import { S3Client } from '@aws-sdk/client-s3'
import { SecretsManagerClient } from '@aws-sdk/client-secrets-manager'
import { SQSClient } from '@aws-sdk/client-sqs'

/**
 * One client of each service for a process: made by its entry file, at its cold start. Region, endpoints and credentials
 * come from the standard variables. Time-outs are short against a function's own: a call that hangs is better tried
 * again by the message's next delivery than waited for.
 */
const requestHandler = (seconds: number) => ({
  connectionTimeout: 1_000,
  requestTimeout: seconds * 1_000,
  // Without it the SDK only warns of a request that takes too long.
  throwOnRequestTimeout: true,
  httpAgent: { keepAlive: true, maxSockets: 64 },
  httpsAgent: { keepAlive: true, maxSockets: 64 },
})

/** The table's adapter retries by itself and must know of every failed try: see `store/dynamodb.ts`. */
export const dynamoClient = () => {
  const client = new DynamoDBClient({ maxAttempts: 1, requestHandler: requestHandler(4) })
  // It copies every request and answer, field by field, for a logger that is not there: a sixth of a worker's CPU.
  client.middlewareStack.remove('loggerMiddleware')
  plainAnswers(client)
  return client
}

/**
 * Answers of the table's data operations are JSON already in the shape that the SDK gives them: it walks through every
 * attribute of every item to find the bytes and dates of operations that nobody here calls, a fifth of a worker's CPU.
 * What is refused is read the SDK's way, with its classes of errors.
 */
function plainAnswers({ config }: DynamoDBClient): void {
  const { protocol } = config
  const thorough: unknown = Reflect.get(protocol, 'deserializeResponse')
  if (typeof thorough !== 'function') return
  const read = async (operation: unknown, context: Collecting, response: Answer): Promise<unknown> => {
    if (response.statusCode !== 200) return Reflect.apply(thorough, protocol, [operation, context, response])
    const bytes = await context.streamCollector(response.body)
    const answer: unknown = bytes.byteLength === 0 ? {} : JSON.parse(Buffer.from(bytes).toString('utf8'))
    return Object.assign({ $metadata: { httpStatusCode: response.statusCode } }, answer)
  }
  Reflect.set(protocol, 'deserializeResponse', read)
}

interface Answer {
  readonly statusCode: number
  readonly body: unknown
}
interface Collecting {
  streamCollector(body: unknown): Promise<Uint8Array>
}

/** A queue's URL is its name, not an address: emulators write host names into it that nobody serves. */
export const sqsClient = () => new SQSClient({ maxAttempts: 3, useQueueUrlAsEndpoint: false, requestHandler: requestHandler(4) })
export const eventBridgeClient = () => new EventBridgeClient({ maxAttempts: 3, requestHandler: requestHandler(4) })
export const kmsClient = () => new KMSClient({ maxAttempts: 3, requestHandler: requestHandler(4) })
export const secretsManagerClient = () => new SecretsManagerClient({ maxAttempts: 3, requestHandler: requestHandler(4) })

/** At another endpoint than AWS's, buckets have no host names of their own. */
export const s3Client = () =>
  new S3Client({
    maxAttempts: 3,
    requestHandler: requestHandler(8),
    forcePathStyle: (process.env['AWS_ENDPOINT_URL_S3'] ?? process.env['AWS_ENDPOINT_URL']) !== undefined,
  })
