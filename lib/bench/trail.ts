import { setTimeout as sleep } from 'node:timers/promises'
import { DynamoDBClient, QueryCommand } from '@aws-sdk/client-dynamodb'
import { GetObjectCommand, S3Client } from '@aws-sdk/client-s3'
import { subjectOfCase } from '../../functions/domain/segment.ts'
import type { Pipeline } from './pipeline.ts'
import type { World } from './world.ts'

const LOOK = 50
const PATIENCE = 300_000
/** Segments read at one look. */
const LATEST = 4

/** What stands in the archive about a case. */
export interface Trail {
  /** When its closing was found there, in milliseconds since 1970. */
  readonly at: number
  readonly segments: number
  readonly records: number
  readonly bytes: number
}

/**
 * Waits until the closing of a case is in the archive and in its index, as an auditor would find it there; then counts
 * the rest.
 *
 * @param found called when it is there, before the rest is read: reading costs the pipeline's process CPU
 */
export async function trailOf(
  world: World,
  { environment }: Pipeline,
  caseId: string,
  found: () => Promise<void> = async () => {},
): Promise<Trail> {
  const common = { region: 'us-east-1', credentials: { accessKeyId: 'local', secretAccessKey: 'local' } }
  const index = new DynamoDBClient({ ...common, endpoint: String(environment['AWS_ENDPOINT_URL_DYNAMODB']) })
  const archive = new S3Client({ ...common, endpoint: String(environment['AWS_ENDPOINT_URL_S3']), forcePathStyle: true })
  const seen = new Set<string>()
  const counted = { segments: 0, records: 0, bytes: 0 }
  /** @returns whether the segment tells of the closing */
  async function read(key: string): Promise<boolean> {
    const { Body } = await archive.send(new GetObjectCommand({ Bucket: world.bucket, Key: key }))
    const text = (await Body?.transformToString()) ?? ''
    seen.add(key)
    counted.segments += 1
    counted.bytes += Buffer.byteLength(text)
    const lines = text.split('\n')
    counted.records += lines.filter((line) => line.startsWith('{"id"')).length
    return lines.some((line) => line.includes('"what":"case.closed"') && line.includes(caseId))
  }
  try {
    for (const start = performance.now(); performance.now() - start < PATIENCE; await sleep(LOOK)) {
      // The closing is among the last.
      const unseen = (await keysOf(index, world, caseId))
        .filter((key) => !seen.has(key))
        .toSorted((one, other) => lastIn(other) - lastIn(one))
      for (const key of unseen.slice(0, LATEST)) {
        if (!(await read(key))) continue
        const at = performance.timeOrigin + performance.now()
        await found()
        for (const rest of unseen) if (!seen.has(rest)) await read(rest)
        return { at, ...counted }
      }
    }
    throw new Error(`the closing of case ${caseId} does not reach the archive`)
  } finally {
    index.destroy()
    archive.destroy()
  }
}

/** The number of a segment's last change: `segments/<day>/<hour>/<first>-<last>.jsonl`. */
const lastIn = (key: string): number => Number(/-(\d+)\.jsonl$/.exec(key)?.[1] ?? 0)

async function keysOf(client: DynamoDBClient, world: World, caseId: string): Promise<string[]> {
  const keys: string[] = []
  let start: Record<string, { S: string }> | undefined
  do {
    const page = await client.send(
      new QueryCommand({
        TableName: world.auditIndex,
        KeyConditionExpression: 'pk = :pk',
        ExpressionAttributeValues: { ':pk': { S: subjectOfCase(caseId) } },
        ConsistentRead: true,
        ...(start === undefined ? {} : { ExclusiveStartKey: start }),
      }),
    )
    for (const item of page.Items ?? []) if (item['sk']?.S !== undefined) keys.push(item['sk'].S)
    start = page.LastEvaluatedKey as typeof start
  } while (start !== undefined)
  return keys
}
