import * as z from 'zod/mini'
import type { Asker, Decision } from '../domain/decide.ts'
import type { Actor, Case, Credential, Issuer, Lease } from '../domain/model.ts'
import type { Restraint } from '../domain/modes.ts'
import { modeOfLease, modesAt, observedOutcome, observesSome, restraintOn } from '../domain/modes.ts'
import { policyOf } from '../domain/policy.ts'
import { canUndo } from '../domain/undo.ts'
import type { Definition } from '../providers/contract.ts'
import { heldByWatched, observeOperation, watchedHolders } from '../store/observed.ts'
import type { Table, Update } from '../store/table.ts'

/** What keeps a case from cutting single leases of one issuer. */
export interface Watch {
  restraintOn(lease: Lease): Promise<Restraint | undefined>
  /** How many holders of the lease's shared credential this case has only watched so far: without them it would be counted as ended. */
  watchedHolders(lease: Lease): Promise<number>
  /** Why a cut of the lease is known to be in vain, where it is. */
  unable(lease: Lease): { readonly said: string; readonly livesUntil?: string } | undefined
}

/** What a watch has to know of a provider. */
type Known = Pick<Definition, 'capabilities' | 'forGood' | 'target' | 'settings' | 'uncuttable'>
export type Catalog = Readonly<Record<string, Known>>

/**
 * The watch over one issuer's leases in a case; `undefined` where all of them may be cut. It remembers what it read:
 * make one for each visit.
 *
 * @param definition the worker's provider; of an issuer that is not configured only each lease says which one it had
 */
export function watchOver(
  table: Table,
  current: Case,
  name: string,
  issuer: Issuer | undefined,
  definition: Known,
  catalog: Catalog,
  now: string,
): Watch | undefined {
  const someForGood = issuer === undefined || !definition.capabilities.restores || definition.forGood !== undefined
  const providerOf = (lease: Lease): Known => (issuer === undefined ? (catalog[lease.provider] ?? definition) : definition)
  const held = (mode: string) => mode === 'observe' || (mode === 'contain' && someForGood)
  if (!modesAt(current, name, issuer).some(held)) return undefined
  const { shared } = policyOf(current.type, current.scope.kind)
  const bystanders = new Map<string, Promise<boolean>>()
  const watched = new Map<string, Promise<number>>()
  const once = <Value>(known: Map<string, Promise<Value>>, fingerprint: string, read: () => Promise<Value>): Promise<Value> => {
    const value = known.get(fingerprint) ?? read()
    known.set(fingerprint, value)
    return value
  }
  return {
    async restraintOn(lease) {
      const own = restraintOn(current, lease, issuer, canUndo(providerOf(lease), lease.target))
      if (own !== undefined || lease.sharing !== 'shared' || shared !== 'cut' || !observesSome(current, name, issuer)) return own
      // A compromise cuts a credential for all who hold it; one of them may only be watched.
      const spared = await once(bystanders, lease.fingerprint, () =>
        heldByWatched(table, lease.fingerprint, (other) => modeOfLease(current, other, issuer) === 'observe'),
      )
      return spared ? { mode: 'observe', said: 'mode observe for another holder of the credential' } : undefined
    },
    unable(lease) {
      const { uncuttable, target: schema, settings: configured } = providerOf(lease)
      if (uncuttable === undefined) return undefined
      const target = z.safeParse(schema, lease.target)
      const settings = z.safeParse(configured, issuer?.settings)
      return target.success && settings.success ? uncuttable(target.data, settings.data, now) : undefined
    },
    watchedHolders: (lease) => once(watched, lease.fingerprint, () => watchedHolders(table, current.id, lease.fingerprint)),
  }
}

/** What the observation of one lease writes; `undefined` where there is nothing to write about it. */
export function observation(
  lease: Lease,
  decision: Decision,
  current: Case,
  asker: Pick<Asker, 'unit'>,
  credential: Credential | undefined,
  restraint: Restraint,
  watch: Watch,
  by: Actor,
): Update | undefined {
  switch (decision.do) {
    case 'release':
    case 'claim':
    case 'cut':
    case 'wait': {
      const outcome = observedOutcome(lease, decision, (credential?.holders ?? 1) - 1, restraint, by.at, watch.unable(lease))
      return observeOperation(lease, current, asker.unit, outcome, restraint.mode, by)
    }
    default:
      return undefined
  }
}
