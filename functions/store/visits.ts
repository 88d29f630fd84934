import type { WorkMessage } from '../contracts/message.ts'
import type { Breaker, Case, Chunk, Control, Issuer } from '../domain/model.ts'
import { as } from './items.ts'
import { amendment, breakerItem, caseItem, chunkItem, controlItem, issuerItem } from './keys.ts'
import type { Table } from './table.ts'

/** What stands around a chunk or an amendment, as one call read it. */
export interface Around {
  readonly current: Case | undefined
  readonly issuer: Issuer | undefined
  /** Whether the issuer may be called; it is looked at again before each call. */
  readonly calling: { readonly control: Control | undefined; readonly breaker: Breaker | undefined }
}

/**
 * Reads what a visit begins with in one call: the chunk or amendment of a message, its case, and the issuer that the message
 * names, with what may keep it from being called.
 *
 * @returns what stands around it as a function: where the chunk is over, nobody stumbles over what else cannot be read
 */
export async function visited(
  table: Table,
  message: Extract<WorkMessage, { kind: 'chunk' | 'amend' }>,
): Promise<{ readonly chunk: Chunk | undefined; around(): Around }> {
  const [chunk, current, issuer, control, breaker] = await table.getMany([
    message.kind === 'chunk' ? chunkItem(message.case, message.progress, message.chunk) : amendment(message.case, message.lease),
    caseItem(message.case),
    issuerItem(message.issuer),
    controlItem(),
    breakerItem(message.issuer),
  ])
  return {
    chunk: chunk === undefined ? undefined : as(message.kind === 'chunk' ? 'chunk' : 'amendment', chunk),
    around: () => ({
      current: current === undefined ? undefined : as('case', current),
      issuer: issuer === undefined ? undefined : as('issuer', issuer),
      calling: {
        control: control === undefined ? undefined : as('control', control),
        breaker: breaker === undefined ? undefined : as('breaker', breaker),
      },
    }),
  }
}
