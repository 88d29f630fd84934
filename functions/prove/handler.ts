import { s3Archive } from '../runtime/archive.ts'
import { s3Client } from '../runtime/aws.ts'
import { readEnvironment } from '../runtime/environment.ts'
import { jsonLog } from '../runtime/log.ts'
import type { StreamEvent, UnreadableRecord } from '../runtime/stream.ts'
import { changesOf } from '../runtime/stream.ts'
import { clock, metricsOf, tableOf } from '../runtime/wiring.ts'
import { prover } from './prove.ts'

const environment = readEnvironment(['archiveBucket', 'auditIndexTable'])
const log = jsonLog({ clock, function: 'prove' })
const metrics = metricsOf('prove')
const prove = prover({
  archive: s3Archive({ client: s3Client(), bucket: environment.archiveBucket }),
  index: tableOf({ tableName: environment.auditIndexTable }),
  // It may not write the streamed table: what cannot be read is counted, logged, and told by the trail itself.
  unreadable({ place, key }) {
    metrics.count('Quarantined', 'record-unreadable')
    log.error('a record of the stream cannot be told in the trail', { messageId: place, scope: key?.pk, kind: key?.sk })
  },
})

/**
 * A failure is thrown: the whole batch comes again, in order, for a trail with a hole is worse than one that is late. A
 * record that can never be read holds up nothing: its version stands in the trail, with the word that it could not be told.
 */
export const handler = async (event: StreamEvent): Promise<void> => {
  const unread: UnreadableRecord[] = []
  await prove(
    changesOf(event, (record) => unread.push(record)),
    unread,
  )
}
