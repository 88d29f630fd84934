import * as z from 'zod/mini'
import type { Mode } from '../contracts/mode.ts'
import type { Settings } from '../contracts/settings.ts'
import { askerFor } from '../domain/asker.ts'
import type { Fate, Gist, Surroundings } from '../domain/foresee.ts'
import { foresee } from '../domain/foresee.ts'
import type { Case, Credential, Issuer } from '../domain/model.ts'
import { modeOfLease, observesSome, restraintOn } from '../domain/modes.ts'
import { policyOf } from '../domain/policy.ts'
import { isExempt, isPlaced } from '../domain/treatment.ts'
import { canUndo } from '../domain/undo.ts'
import type { Definition } from '../providers/contract.ts'
import { gistById } from '../store/gists.ts'
import { issuerOf } from '../store/issuers.ts'
import { credentialOf } from '../store/leases.ts'
import { heldByExempt, heldByWatched } from '../store/observed.ts'
import type { Table } from '../store/table.ts'
import { Recent } from './recent.ts'

/** The case that a trigger would open, as far as anybody decides by it. It stands nowhere. */
export type ForeseenCase = Pick<
  Case,
  'id' | 'type' | 'lane' | 'mode' | 'modes' | 'scope' | 'source' | 'decisions' | 'openedAt' | 'effectiveAt'
>

export interface FactPorts {
  readonly table: Table
  readonly settings: Settings
  readonly catalog: Readonly<Record<string, Definition>>
}

export interface IssuerFacts {
  readonly configured: Issuer | undefined
  readonly definition: Definition | undefined
  /** Its settings as its provider reads them; absent where they do not fit. */
  readonly settings: unknown
}

/** How many of each it remembers: one request uses the same memory whatever it reaches. */
const REMEMBERED = 5_000

/** What one request finds out about leases, and remembers for a while: fates, modes, and what stands around them. */
export function factsFor({ table, settings, catalog }: FactPorts, current: ForeseenCase) {
  const policy = policyOf(current.type, current.scope.kind)
  const cuts = policy.shared === 'cut'
  const asker = askerFor(current, { unit: '', amends: false, because: 'scan', now: current.openedAt })
  const issuers = new Recent<IssuerFacts>(REMEMBERED)
  const exempts = new Recent<boolean>(REMEMBERED)
  const spared = new Recent<boolean>(REMEMBERED)
  const exemptHolders = new Recent<boolean>(REMEMBERED)
  const credentials = new Recent<Credential | 'none'>(REMEMBERED)
  const leases = new Recent<Gist | 'none'>(REMEMBERED)

  const issuer = (name: string): Promise<IssuerFacts> =>
    issuers.of(name, async () => {
      const configured = await issuerOf(table, name)
      const definition = configured === undefined ? undefined : catalog[configured.provider]
      const parsed = definition === undefined ? undefined : z.safeParse(definition.settings, configured?.settings)
      return { configured, definition, settings: parsed?.success === true ? parsed.data : undefined }
    })

  const exempt = (identity: string): boolean => exempts.get(identity) ?? exempts.set(identity, isExempt(settings, identity))

  async function fateOf(lease: Gist): Promise<Fate | undefined> {
    const at = await issuer(lease.issuer)
    // Whoever takes up what nobody serves parks it, whatever can be undone elsewhere.
    const undoes = at.definition === undefined || canUndo(at.definition, lease.target)
    const own = restraintOn(current, lease, at.configured, undoes)
    return foresee(lease, asker, {
      exempt: exempt(lease.identity) ? 'itself' : (await heldWithExempt(lease)) ? 'another' : undefined,
      restraint: own ?? (await restraintOfOthers(lease, at)),
      unable: unable(lease, at),
    })
  }

  /** A compromise cuts a credential for all who hold it; one of them may be exempt. */
  async function heldWithExempt({ sharing, state, fingerprint }: Gist): Promise<boolean> {
    if (!cuts || sharing !== 'shared' || !(state === 'registering' || isPlaced(state))) return false
    return exemptHolders.of(fingerprint, () => heldByExempt(table, settings, fingerprint))
  }

  /** A compromise cuts a credential for all who hold it; one of them may only be watched. */
  async function restraintOfOthers(lease: Gist, { configured }: IssuerFacts): Promise<Surroundings['restraint']> {
    if (!cuts || lease.sharing !== 'shared' || !observesSome(current, lease.issuer, configured)) return undefined
    const watched = await spared.of(lease.fingerprint, () =>
      heldByWatched(table, lease.fingerprint, (other) => modeOfLease(current, other, configured) === 'observe'),
    )
    return watched ? { mode: 'observe', said: 'mode observe for another holder of the credential' } : undefined
  }

  function unable(lease: Gist, { configured, definition, settings: read }: IssuerFacts): Surroundings['unable'] {
    if (configured === undefined) return { word: 'parked', said: `issuer ${lease.issuer} is not configured` }
    if (definition === undefined) return { word: 'parked', said: `provider ${configured.provider} is not installed` }
    const target = definition.uncuttable === undefined ? undefined : z.safeParse(definition.target, lease.target)
    if (target?.success !== true || read === undefined) return undefined
    const known = definition.uncuttable?.(target.data, read, current.openedAt)
    return known === undefined ? undefined : { word: 'unsupported', ...known }
  }

  async function modeOf(lease: Gist): Promise<{ mode: Mode; environment: string | undefined }> {
    const { configured } = await issuer(lease.issuer)
    return { mode: modeOfLease(current, lease, configured), environment: lease.environment ?? configured?.environment }
  }

  /** Whether a cut of it can be undone as long as its soak time runs. */
  async function undoes(lease: Gist): Promise<boolean> {
    const { definition } = await issuer(lease.issuer)
    return definition !== undefined && canUndo(definition, lease.target)
  }

  async function lease(id: string): Promise<Gist | undefined> {
    const found = await leases.of(id, async () => (await gistById(table, id)) ?? 'none')
    return found === 'none' ? undefined : found
  }

  /** Whether the credential is being cut already: then nobody is spared as the last but one. */
  async function isCutting(fingerprint: string): Promise<boolean> {
    const found = await credentials.of(fingerprint, async () => (await credentialOf(table, fingerprint)) ?? 'none')
    return found === 'none' || found.cutting
  }

  return { policy, cuts, issuer, exempt, fateOf, modeOf, undoes, lease, isCutting }
}
export type Facts = ReturnType<typeof factsFor>
