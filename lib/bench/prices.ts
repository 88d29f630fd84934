/**
 * List prices of us-east-1 in dollars, and what is assumed where nothing can be measured here. Each says where it was
 * read and when: change it here, and `npm run bench:docs` computes the tables anew.
 */

export interface Price {
  readonly dollars: number
  /** How many units that buys. */
  readonly per: number
  readonly unit: string
  readonly source: string
  readonly read: string
}

const read = '2026-11'
const price = (dollars: number, per: number, unit: string, source: string): Price => ({ dollars, per, unit, source, read })
const MILLION = 1_000_000

export const PRICES = {
  write: price(0.625, MILLION, 'write request units, on demand', 'aws.amazon.com/dynamodb/pricing/on-demand'),
  read: price(0.125, MILLION, 'read request units, on demand', 'aws.amazon.com/dynamodb/pricing/on-demand'),
  stream: price(0, MILLION, 'stream reads by Lambda', 'aws.amazon.com/dynamodb/pricing/on-demand: reads by triggers are free'),
  queue: price(0.4, MILLION, 'SQS requests, standard', 'aws.amazon.com/sqs/pricing'),
  fairQueue: price(
    0.1,
    MILLION,
    'SQS requests with a message group, beside the above',
    'aws.amazon.com/sqs/pricing (fair queues)',
  ),
  compute: price(0.0000133334, 1, 'GB-seconds, arm64', 'aws.amazon.com/lambda/pricing'),
  invocation: price(0.2, MILLION, 'Lambda requests', 'aws.amazon.com/lambda/pricing'),
  put: price(5, MILLION, 'S3 PUT requests', 'aws.amazon.com/s3/pricing (from memory)'),
  get: price(0.4, MILLION, 'S3 GET requests', 'aws.amazon.com/s3/pricing (from memory)'),
  archive: price(0.023, 1, 'GB-months, S3 standard', 'aws.amazon.com/s3/pricing (from memory)'),
  event: price(1, MILLION, 'custom events, 64 KB each', 'aws.amazon.com/eventbridge/pricing'),
  api: price(1, MILLION, 'HTTP API requests', 'aws.amazon.com/api-gateway/pricing (from memory)'),
  key: price(0.03, 10_000, 'KMS requests, symmetric', 'aws.amazon.com/kms/pricing (from memory)'),
  log: price(0.5, 1, 'GB of logs taken in', 'aws.amazon.com/cloudwatch/pricing (from memory)'),
} as const satisfies Record<string, Price>
export type Billed = keyof typeof PRICES

export const costOf = (what: Billed, quantity: number): number => (PRICES[what].dollars * quantity) / PRICES[what].per

/** Megabytes of memory at which a function has one CPU. */
export const ONE_CPU_MEGABYTES = 1769

/**
 * Milliseconds there and back from a function to a service of its own region, as the services' own metrics usually show
 * them. Not measured: no account is at hand. A function is billed while it waits.
 */
export const DELAY_MILLISECONDS: Readonly<Record<string, number>> = {
  dynamodb: 6,
  sqs: 8,
  s3: 30,
  events: 15,
  kms: 8,
  secrets: 10,
}

/** Bytes of the lines that Lambda itself writes about an invocation (START, END, REPORT). */
export const LAMBDA_LOG_BYTES = 350
/** SQS, EventBridge and Lambda's asynchronous calls bill a request for each of these. */
export const BILLED_BLOCK = 64 * 1024
