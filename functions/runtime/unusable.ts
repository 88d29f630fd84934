import { OwnError } from './log.ts'

/** Why something that was brought to a stage can never be handled: the word that its metric counts it by, and what people read. */
export const UNUSABLE = {
  'not-json': 'the message is not JSON',
  'version-unknown': 'the version of the message is not known here',
  'message-invalid': 'the message does not fit its schema',
  'case-gone': 'the case that it is about is not in the table',
  'chunk-gone': 'the chunk that it is about is not in the table',
  'amendment-gone': 'the amendment that it is about is not in the table',
  'lever-gone': 'the lever that it is about is not in the table',
  'question-gone': 'the question that it is about is not in the table',
  'scan-gone': 'the scan that it is about is not in the table',
  'identity-gone': 'the identity that it is about is not in the table',
  'campaign-gone': 'the campaign that it is about is not in the table',
  'restoration-gone': 'the restoration that it is about is not in the table',
  'discovery-gone': 'the discovery that it is about is not in the table',
  'item-unreadable': 'an item that it needs is of another kind, of an older or of an unknown schema',
  'lease-unreadable': 'the item of a lease is of another kind, of an older or of an unknown schema',
  'record-unreadable': 'a record of the table stream cannot be read',
} as const
export type UnusableReason = keyof typeof UNUSABLE

/**
 * Thrown by a stage: what was brought to it can never be handled, however often it comes again. It is kept in the
 * quarantine and counted, and what came with it goes on. Nothing is lost by it: what is still to be done stands in the
 * table with a due time, and is sent again once the cause is mended.
 */
export class Unusable extends OwnError {
  override readonly name = 'Unusable'
  readonly code: UnusableReason
  constructor(code: UnusableReason) {
    super(UNUSABLE[code])
    this.code = code
  }
}
