import { s3Archive } from '../runtime/archive.ts'
import { s3Client } from '../runtime/aws.ts'
import { readEnvironment } from '../runtime/environment.ts'
import type { StreamEvent } from '../runtime/stream.ts'
import { changesOf } from '../runtime/stream.ts'
import { tableOf } from '../runtime/wiring.ts'
import { prover } from './prove.ts'

const environment = readEnvironment(['archiveBucket', 'auditIndexTable'])
const prove = prover({
  archive: s3Archive({ client: s3Client(), bucket: environment.archiveBucket }),
  index: tableOf({ tableName: environment.auditIndexTable }),
})

/** A failure is thrown: the whole batch comes again, in order, for a trail with a hole is worse than one that is late. */
export const handler = async (event: StreamEvent): Promise<void> => {
  await prove(changesOf(event))
}
