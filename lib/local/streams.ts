import { isDeepStrictEqual } from 'node:util'
import type { Dynamo, Positions, StreamRecord } from './dynamodb.ts'
import { openStream } from './dynamodb.ts'
import { textOf } from './json.ts'

/** One mapping's way through a table's stream. */
export interface StreamReader {
  /** The next records of every open shard; empty where there is nothing new. The mapping advances its own positions. */
  read(limit: number): Promise<ReadRecords[]>
}

export interface ReadRecords {
  readonly shard: string
  readonly records: readonly StreamRecord[]
}

export interface WantedStream {
  readonly table: string
  /** Where the mapping stands; it advances them as it goes. */
  readonly positions: Positions
  readonly latest: boolean
}

/** A mapping that is so many records behind the one that reads ahead goes on with a stream of its own. */
const FAR_BEHIND = 5000

/**
 * Opens the streams of several mappings, so that nothing written from here on is missed. Those that stand at the same place
 * of one table share its reading: each record is asked for and parsed once. On AWS each mapping polls for itself, on
 * machines of its own; here that was a tenth of all that a case costs.
 */
export async function openStreams(dynamo: Dynamo, wanted: readonly WantedStream[]): Promise<StreamReader[]> {
  const groups: { readonly from: WantedStream; readonly members: WantedStream[] }[] = []
  for (const one of wanted) {
    const same = groups.find(({ from }) => sameStart(from, one))
    if (same === undefined) groups.push({ from: one, members: [one] })
    else same.members.push(one)
  }
  const readers = new Map<WantedStream, StreamReader>()
  for (const { members } of groups)
    for (const [place, reader] of (await openShared(dynamo, members)).entries()) {
      const member = members[place]
      if (member !== undefined) readers.set(member, reader)
    }
  return wanted.flatMap((one) => readers.get(one) ?? [])
}

const sameStart = (one: WantedStream, other: WantedStream): boolean =>
  one.table === other.table && one.latest === other.latest && isDeepStrictEqual({ ...one.positions }, { ...other.positions })

async function openShared(dynamo: Dynamo, wanted: readonly WantedStream[]): Promise<StreamReader[]> {
  const [first] = wanted
  if (first === undefined) return []
  // Where the common reading stands: ahead of each mapping that has not handled yet what was read.
  const reached: Positions = { ...first.positions }
  const stream = await openStream(dynamo, first.table, reached, first.latest)
  const members = wanted.map(() => ({ waiting: [] as ReadRecords[], behind: 0, own: undefined as StreamReader | undefined }))
  let reading: Promise<void> | undefined
  let most = 0

  async function readOn(): Promise<void> {
    for (const batch of await stream.read(most)) {
      const last = batch.records.at(-1)
      if (last !== undefined) reached[batch.shard] = textOf(last.dynamodb.SequenceNumber, 'SequenceNumber')
      for (const member of members) {
        if (member.own !== undefined) continue
        member.waiting.push(batch)
        member.behind += batch.records.length
      }
    }
  }

  return members.map((member, place) => ({
    async read(limit) {
      const positions = wanted[place]?.positions ?? {}
      // Nobody waits for one whose function fails: what it has not handled is read again from where it stands.
      const stands = !first.latest || member.waiting.every(({ shard }) => positions[shard] !== undefined)
      if (member.own === undefined && member.behind > FAR_BEHIND && stands) {
        member.own = await openStream(dynamo, first.table, positions, first.latest)
        member.waiting = []
      }
      if (member.own !== undefined) return member.own.read(limit)
      if (member.waiting.length === 0) {
        most = Math.max(most, limit)
        reading ??= readOn().finally(() => {
          reading = undefined
        })
        await reading
      }
      const records = member.waiting
      member.waiting = []
      member.behind = 0
      return records
    },
  }))
}
