import type { Settings } from '../contracts/settings.ts'
import type { Dispatch } from '../runtime/dispatch.ts'
import type { IssuerPorts } from './issuer.ts'

export interface WorkPorts extends IssuerPorts {
  readonly dispatch: Dispatch
  readonly limits: Settings['limits']
  /** Patterns of identities that no case touches. */
  readonly exempt?: Settings['exempt']
  readonly outage?: Settings['outage']
}

/** Seconds until a piece of work is due again; absent: it is over for now. */
export type Again = number | undefined
