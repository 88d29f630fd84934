import type { EventBridgeClient, PutEventsRequestEntry } from '@aws-sdk/client-eventbridge'
import { PutEventsCommand } from '@aws-sdk/client-eventbridge'
import { OwnError } from './log.ts'
import type { Announcer, Clock, Randomness } from './ports.ts'

const BATCH = 10
const TRIES = 5

/** Completion events were not taken by the bus. */
export class AnnounceFailed extends OwnError {
  override readonly name = 'AnnounceFailed'
  readonly code = 'announce-failed'
}

/**
 * Completion events on the outcome bus: `source` `rescind`, `detail-type` the event's type, `detail` a CloudEvent 1.0.
 * An event may be sent twice; its `id` stays the same, so receivers can tell.
 */
export function busAnnouncer(tools: {
  readonly client: EventBridgeClient
  readonly bus: string
  readonly clock: Clock
  readonly random: Randomness
}): Announcer {
  const put = async (entries: PutEventsRequestEntry[]): Promise<void> => {
    let open = entries
    for (let tried = 1; ; tried++) {
      const { Entries: answers = [] } = await tools.client.send(new PutEventsCommand({ Entries: open }))
      // Answers stand in the order of the entries; only those with an event id were taken.
      open = open.filter((_, place) => answers[place]?.EventId === undefined)
      if (open.length === 0) return
      if (tried === TRIES) throw new AnnounceFailed(`${open.length} events were not taken in ${TRIES} tries`)
      await tools.clock.sleep(tools.random.fraction() * Math.min(2000, 50 * 2 ** tried))
    }
  }
  return {
    async announce(events) {
      for (let from = 0; from < events.length; from += BATCH) {
        await put(
          events.slice(from, from + BATCH).map(({ type, id, subject, time, data }) => ({
            EventBusName: tools.bus,
            Source: 'rescind',
            DetailType: type,
            Time: new Date(time),
            Detail: JSON.stringify({
              specversion: '1.0',
              id,
              source: 'rescind',
              type,
              subject,
              time,
              datacontenttype: 'application/json',
              data,
            }),
          })),
        )
      }
    },
  }
}
