import type { AttributeValue } from '@aws-sdk/client-dynamodb'
import { ForeignItem } from '../store/items.ts'
import { readItem } from '../store/short-names.ts'
import type { Item, ItemKey } from '../store/table.ts'
import type { Log } from './ports.ts'

/** The part of a DynamoDB Streams event that is read here (NEW_AND_OLD_IMAGES). */
export interface StreamEvent {
  readonly Records: readonly {
    readonly eventID?: string
    readonly eventName?: string
    readonly dynamodb?: {
      readonly SequenceNumber?: string
      readonly ApproximateCreationDateTime?: number
      readonly Keys?: Readonly<Record<string, unknown>>
      readonly OldImage?: Readonly<Record<string, unknown>>
      readonly NewImage?: Readonly<Record<string, unknown>>
    }
  }[]
}
export interface StreamResponse {
  readonly batchItemFailures: { readonly itemIdentifier: string }[]
}

/** One change of one item, in the order of its key. */
export interface Change {
  /** Number of the record in its shard. */
  readonly sequence: string
  readonly before: Item | undefined
  readonly after: Item | undefined
}

const image = (marshalled: Readonly<Record<string, unknown>> | undefined): Item | undefined =>
  // What DynamoDB streams is what this project's store wrote; the cast is to its marshalled form.
  marshalled === undefined ? undefined : (readItem(marshalled as Record<string, AttributeValue>) as Item)

/** A record of the stream that is none, or whose images are not what the store writes. */
export interface UnreadableRecord {
  /** Its number in its shard, or its place in the batch. */
  readonly place: string
  readonly key?: ItemKey
  /** Version of the item, where that can be read. */
  readonly version?: number
}

/**
 * The changes that a batch tells, in its order. A record that cannot be read stays so however often it comes: it is told
 * to `onUnreadable` and left out, and holds up none that comes behind it. By default it is an error.
 */
export function changesOf(event: StreamEvent, onUnreadable: (record: UnreadableRecord) => void = refuse): Change[] {
  return event.Records.flatMap((record, place) => {
    const { dynamodb } = record
    try {
      if (dynamodb?.SequenceNumber !== undefined)
        return [{ sequence: dynamodb.SequenceNumber, before: image(dynamodb.OldImage), after: image(dynamodb.NewImage) }]
    } catch {
      // Told below: its message may quote a value.
    }
    onUnreadable(unreadable(record, place))
    return []
  })
}

function refuse({ place }: UnreadableRecord): never {
  throw new RangeError(`record ${place} of the stream cannot be read`)
}

function unreadable({ dynamodb, eventID }: StreamEvent['Records'][number], place: number): UnreadableRecord {
  const [pk, sk] = [textIn(dynamodb?.Keys?.['pk'], 'S'), textIn(dynamodb?.Keys?.['sk'], 'S')]
  const version = Number(textIn(dynamodb?.NewImage?.['v'], 'N') ?? Number.NaN)
  return {
    place: dynamodb?.SequenceNumber ?? eventID ?? `record ${place}`,
    ...(pk === undefined || sk === undefined ? {} : { key: { pk, sk } }),
    ...(Number.isInteger(version) ? { version } : {}),
  }
}

function textIn(attribute: unknown, type: 'S' | 'N'): string | undefined {
  const text: unknown = typeof attribute === 'object' && attribute !== null ? Reflect.get(attribute, type) : undefined
  return typeof text === 'string' ? text : undefined
}

/**
 * A handler that takes the changes one by one; at a failure the stream goes on from there (`ReportBatchItemFailures`).
 *
 * @param keep keeps what can never be handled: a record that cannot be read, an item of an unknown schema
 */
export function eachChange(
  handle: (change: Change) => Promise<void>,
  log: Log,
  keep: (what: 'record-unreadable' | 'item-unreadable', record: UnreadableRecord) => Promise<void>,
) {
  return async (event: StreamEvent): Promise<StreamResponse> => {
    const unread: UnreadableRecord[] = []
    const changes = changesOf(event, (record) => unread.push(record))
    for (const record of unread) {
      log.error('a record of the stream cannot be read', { messageId: record.place })
      await keep('record-unreadable', record)
    }
    for (const change of changes) {
      try {
        await handle(change)
      } catch (error) {
        if (error instanceof ForeignItem) {
          log.error('an item of the stream cannot be read', { messageId: change.sequence, error })
          const item = change.after ?? change.before
          await keep('item-unreadable', {
            place: change.sequence,
            ...(item === undefined ? {} : { key: { pk: item.pk, sk: item.sk } }),
          })
          continue
        }
        log.error('a change of the table could not be handled', { messageId: change.sequence, error })
        return { batchItemFailures: [{ itemIdentifier: change.sequence }] }
      }
    }
    return { batchItemFailures: [] }
  }
}
