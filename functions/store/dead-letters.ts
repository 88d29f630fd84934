import type { Actor } from '../domain/model.ts'
import { ttl as ttlOf } from '../domain/time.ts'
import { actor } from './identities.ts'
import { deadLetterNote, deadLettersItem } from './keys.ts'
import type { Table } from './table.ts'

/**
 * Redrives of one dead-letter queue: written before the first message is sent back, and again with what was done, so
 * that the ledger has who did it even if he who did it crashed.
 */
export async function noteRedrive(
  table: Table,
  queue: string,
  step: { readonly began: true } | { readonly redriven: number; readonly settled: number },
  by: Actor,
): Promise<void> {
  await table.write({
    update: deadLettersItem(queue),
    set: [
      ['kind', 'dead-letters'],
      ['queue', queue],
      ['step', 'began' in step ? 'began' : 'ended'],
      ...('began' in step
        ? []
        : ([
            ['redriven', step.redriven],
            ['settled', step.settled],
          ] as const)),
      ['by', actor(by)],
    ],
    remove: 'began' in step ? ['redriven', 'settled'] : [],
  })
}

/** The error of the last delivery of a message, which its queue then takes for dead. */
export async function noteDeath(
  table: Table,
  letter: { readonly queue: string; readonly id: string; readonly error: string },
  until: string,
  by: Actor,
): Promise<void> {
  await table.write({
    put: {
      ...deadLetterNote(letter.id),
      kind: 'dead-letter',
      queue: letter.queue,
      error: letter.error,
      ttl: ttlOf(until),
      by: actor(by),
    },
  })
}

/** The errors that were noted, by id of the message. */
export async function deathsOf(table: Table, ids: readonly string[]): Promise<Map<string, string>> {
  const items = await table.getMany(ids.map(deadLetterNote))
  return new Map(
    items.flatMap((item, place) => (typeof item?.error === 'string' ? [[ids[place] ?? '', item.error] as const] : [])),
  )
}
