import type { S3Client } from '@aws-sdk/client-s3'
import { GetObjectCommand, NoSuchKey, PutObjectCommand, S3ServiceException } from '@aws-sdk/client-s3'
import { OwnError } from './log.ts'
import type { Archive } from './ports.ts'

/** Another content stands under this key already: an archive is written once. */
export class ArchiveConflict extends OwnError {
  override readonly name = 'ArchiveConflict'
  readonly code = 'archive-conflict'
}

/**
 * The archive in a bucket. Writing is conditional on the key being free (`If-None-Match: *`), so nothing is overwritten;
 * a redelivered batch that finds its own content there has succeeded, any other content is an `ArchiveConflict`.
 */
export function s3Archive(tools: { readonly client: S3Client; readonly bucket: string }): Archive {
  const { client, bucket } = tools
  const get = async (key: string): Promise<string | undefined> => {
    try {
      const answer = await client.send(new GetObjectCommand({ Bucket: bucket, Key: key }))
      return await answer.Body?.transformToString('utf-8')
    } catch (error) {
      if (error instanceof NoSuchKey) return undefined
      throw error
    }
  }
  return {
    get,
    async put(key, body) {
      try {
        await client.send(
          new PutObjectCommand({
            Bucket: bucket,
            Key: key,
            Body: body,
            ContentType: 'application/x-ndjson; charset=utf-8',
            IfNoneMatch: '*',
          }),
        )
      } catch (error) {
        if (!(error instanceof S3ServiceException) || error.$metadata.httpStatusCode !== 412) throw error
        if ((await get(key)) !== body) throw new ArchiveConflict('another segment has this key', { cause: error })
      }
    },
  }
}
