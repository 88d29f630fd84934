import type { ProviderModule, Subject, Tools } from '../../../functions/providers/contract.ts'

/**
 * A real issuer as the benchmark sees it: one file of this folder for each provider, found by its name
 * (`lib/bench/issuers/<provider>.ts`), whose `issuer` is an `IssuerBench`. Nothing else is edited to add one.
 */
export interface IssuerBench<Target, Secret, Lever, Settings> {
  readonly module: ProviderModule<Target, Secret, Lever, Settings>
  /** Why this machine cannot have the server; `undefined` where it can. */
  missing(): string | undefined
  /** Starts the real server on loopback, with its files in `folder`. */
  start(folder: string): Promise<RunningIssuer<Target, Secret, Settings>>
}

export interface RunningIssuer<Target, Secret, Settings> {
  /** With its version: `Redis 7.0.15`. */
  readonly counterpart: string
  /** Most credentials of one round, where the server cannot have more or is slow to make them. */
  readonly most?: number
  readonly adminSecret: string
  /** Where the server listens. */
  readonly port: number
  /** The issuer's configuration when it is reached at this port of loopback: the server's own, or that of a relay that counts. */
  reached(port: number): { readonly settings: Settings; readonly environment?: Tools['environment'] }
  /** Makes so many credentials that all work, as fast as the server allows; their names are new at each call. */
  mint(count: number): Promise<readonly Subject<Target, Secret>[]>
  /**
   * The limit to compare with: a tight loop that cuts these, one after the other as a good script would, on one connection
   * with the issuer's own client, and does nothing else: no identity checked, no mark set, nothing verified.
   */
  loop(subjects: readonly Subject<Target, Secret>[]): Promise<void>
  /** What the loop sends for one credential, in a few words: `ACL DELUSER`. */
  readonly looped: string
  /**
   * Requests that reached the issuer so far. Only where a relay before its port cannot count them (files, a server that
   * is not reached by TCP); else round trips are counted: each time that the client speaks again after an answer.
   */
  calls?(): number
  stop(): Promise<void>
}
