import type { S3Client } from '@aws-sdk/client-s3'
import { GetObjectCommand, NoSuchKey, PutObjectCommand, S3ServiceException } from '@aws-sdk/client-s3'
import * as z from 'zod/mini'
import { OwnError } from './log.ts'
import type { GenerationMark } from './ports.ts'

/** The one object of the archive's bucket that is written anew: its versions are kept like every other. */
export const MARK_KEY = 'control/generation.json'

const Mark = z.strictObject({ v: z.literal(1), generation: z.int().check(z.minimum(1)) })

/** What stands under the mark's key is no mark of ours: it is never guessed at. */
export class MarkInvalid extends OwnError {
  override readonly name = 'MarkInvalid'
  readonly code = 'mark-invalid'
}

/**
 * The generation mark in a bucket. Writes are conditional on the version that was read (`If-Match` with its entity tag,
 * `If-None-Match: *` where there is none): S3 answers 412 where somebody else wrote meanwhile, or 409 where both write at
 * once (S3 user guide, "Add preconditions to S3 operations with conditional requests").
 */
export function s3Mark(tools: { readonly client: S3Client; readonly bucket: string }): GenerationMark {
  const { client, bucket } = tools
  return {
    async read() {
      try {
        const answer = await client.send(new GetObjectCommand({ Bucket: bucket, Key: MARK_KEY }))
        const parsed = z.safeParse(Mark, parse(await answer.Body?.transformToString('utf-8')))
        if (!parsed.success || answer.ETag === undefined) throw new MarkInvalid('the generation mark cannot be read')
        return { generation: parsed.data.generation, version: answer.ETag }
      } catch (error) {
        if (error instanceof NoSuchKey) return undefined
        throw error
      }
    },
    async write(generation, over) {
      try {
        await client.send(
          new PutObjectCommand({
            Bucket: bucket,
            Key: MARK_KEY,
            Body: JSON.stringify({ v: 1, generation }),
            ContentType: 'application/json',
            ...(over === undefined ? { IfNoneMatch: '*' } : { IfMatch: over }),
          }),
        )
        return true
      } catch (error) {
        const status = error instanceof S3ServiceException ? error.$metadata.httpStatusCode : undefined
        if (status === 412 || status === 409) return false
        throw error
      }
    },
  }
}

function parse(text: string | undefined): unknown {
  try {
    return JSON.parse(text ?? '')
  } catch {
    return undefined
  }
}
