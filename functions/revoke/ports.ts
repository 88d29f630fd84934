import type { Settings } from '../contracts/settings.ts'
import type { Dispatch } from '../runtime/dispatch.ts'
import type { ItemKey } from '../store/table.ts'
import type { IssuerPorts } from './issuer.ts'
import type { Catalog } from './observe.ts'

export interface WorkPorts extends IssuerPorts {
  readonly dispatch: Dispatch
  readonly limits: Settings['limits']
  /** What each provider can: leases of an issuer that is not configured come to any worker. */
  readonly catalog: Catalog
  /** Patterns of identities that no case touches. */
  readonly exempt?: Settings['exempt']
  readonly outage?: Settings['outage']
  readonly discovery?: Settings['discovery']
  /** Keeps that the item of a lease cannot be read: its chunk stays open, and the others of it go on. */
  readonly unreadable?: (item: ItemKey) => Promise<void>
}

/** Seconds until a piece of work is due again; absent: it is over for now. */
export type Again = number | undefined
