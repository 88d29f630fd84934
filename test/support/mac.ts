import { createHmac } from 'node:crypto'
import type { Mac } from '../../functions/providers/contract.ts'

/** The keyed hash of an installation that exists in tests only. */
export const mac: Mac = (text) => createHmac('sha256', 'fingerprint-key-of-the-tests').update(text).digest('hex')
