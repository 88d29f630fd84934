import type { AttributeValue } from '@aws-sdk/client-dynamodb'
import { unmarshall } from '@aws-sdk/util-dynamodb'
import type { Item } from '../store/table.ts'
import type { Log } from './ports.ts'

/** The part of a DynamoDB Streams event that is read here (NEW_AND_OLD_IMAGES). */
export interface StreamEvent {
  readonly Records: readonly {
    readonly eventID?: string
    readonly eventName?: string
    readonly dynamodb?: {
      readonly SequenceNumber?: string
      readonly ApproximateCreationDateTime?: number
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
  marshalled === undefined ? undefined : (unmarshall(marshalled as Record<string, AttributeValue>) as Item)

export function changesOf(event: StreamEvent): Change[] {
  return event.Records.flatMap(({ dynamodb }) => {
    if (dynamodb?.SequenceNumber === undefined) return []
    return [{ sequence: dynamodb.SequenceNumber, before: image(dynamodb.OldImage), after: image(dynamodb.NewImage) }]
  })
}

/** A handler that takes the changes one by one; at a failure the stream goes on from there (`ReportBatchItemFailures`). */
export function eachChange(handle: (change: Change) => Promise<void>, log: Log) {
  return async (event: StreamEvent): Promise<StreamResponse> => {
    for (const change of changesOf(event)) {
      try {
        await handle(change)
      } catch (error) {
        log.error('a change of the table could not be handled', { messageId: change.sequence, error })
        return { batchItemFailures: [{ itemIdentifier: change.sequence }] }
      }
    }
    return { batchItemFailures: [] }
  }
}
