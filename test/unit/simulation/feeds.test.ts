import { marshall } from '@aws-sdk/util-dynamodb'
import { describe, expect, it } from 'vitest'
import type { Change } from '../../../functions/runtime/stream.ts'
import type { Item } from '../../../functions/store/table.ts'
import type { Json } from '../../../lib/local/json.ts'
import { compilePattern } from '../../../lib/local/pattern.ts'
import { CLOSING_ITEMS } from '../../../lib/stacks/feeds.ts'
import { moves } from '../../simulation/installation.ts'

const KINDS = ['case', 'progress', 'chunk', 'amendment', 'lease', 'identity', 'fence', 'unit']

/** Items of every kind in every state that a filter could ask for. */
const items: readonly (Item | undefined)[] = [
  undefined,
  ...KINDS.flatMap((kind) =>
    ['revoke', 'verify'].flatMap((step) =>
      ['open', 'done'].flatMap((state) =>
        [undefined, 'OVERDUE', 'CASES'].map((listPk) => ({
          pk: 'P',
          sk: 'S',
          kind,
          step,
          state,
          ...(listPk === undefined ? {} : { listPk }),
        })),
      ),
    ),
  ),
]

describe('the stream of the simulation', () => {
  it('lets through to the closing function what the stacks let through', () => {
    // By way of JSON, as the template carries it.
    const patterns = CLOSING_ITEMS.map((filter) => compilePattern(JSON.parse(JSON.stringify(filter)) as Json))
    const images = new Map(
      items.map((item) => [item, item === undefined ? undefined : (JSON.parse(JSON.stringify(marshall(item))) as Json)]),
    )
    let through = 0
    for (const before of items)
      for (const after of items) {
        const change: Change = { sequence: '1', before, after }
        if (before === undefined && after === undefined) continue
        const [OldImage, NewImage] = [images.get(before), images.get(after)]
        const record = {
          eventName: before === undefined ? 'INSERT' : after === undefined ? 'REMOVE' : 'MODIFY',
          dynamodb: { ...(OldImage === undefined ? {} : { OldImage }), ...(NewImage === undefined ? {} : { NewImage }) },
        }
        const passes = patterns.some((matches) => matches(record))
        if (passes) through += 1
        if (passes !== moves(change)) expect({ change, moves: moves(change) }).toEqual({ change, moves: passes })
      }
    expect(through).toBeGreaterThan(100)
  })
})
