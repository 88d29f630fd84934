import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { CreateBucketCommand, S3Client } from '@aws-sdk/client-s3'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { s3Mark } from '../../../functions/runtime/mark.ts'
import type { Sqs } from '../../../lib/local/sqs.ts'
import { startSqs } from '../../../lib/local/sqs.ts'

describe('the generation mark on one machine', () => {
  const folder = mkdtempSync(join(tmpdir(), 'rescind-mark-'))
  let stores: Sqs
  let client: S3Client

  beforeAll(async () => {
    stores = await startSqs({ region: 'us-east-1', account: '000000000000', buckets: folder })
    client = new S3Client({
      endpoint: stores.endpoint,
      region: 'us-east-1',
      forcePathStyle: true,
      credentials: { accessKeyId: 'local', secretAccessKey: 'local' },
    })
    await client.send(new CreateBucketCommand({ Bucket: 'archive' }))
  })
  afterAll(async () => {
    client.destroy()
    await stores.stop()
    rmSync(folder, { recursive: true, force: true })
  })

  it('is written once for each version that was read, as in S3', async () => {
    const mark = s3Mark({ client, bucket: 'archive' })
    expect(await mark.read()).toBeUndefined()
    expect(await mark.write(1, '"none"')).toBe(false)
    expect(await mark.write(1, undefined)).toBe(true)
    expect(await mark.write(1, undefined)).toBe(false)
    const first = await mark.read()
    expect(first?.generation).toBe(1)
    expect(await Promise.all([mark.write(2, first?.version), mark.write(3, '"none"')])).toEqual([true, false])
    expect(await mark.write(2, first?.version)).toBe(false)
    expect((await mark.read())?.generation).toBe(2)
  })
})
