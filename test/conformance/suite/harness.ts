import { randomBytes } from 'node:crypto'
import { inspect } from 'node:util'
import { expect } from 'vitest'
import type { Answer, Issued, IssuerHandle, Subject, Tools, Warrant } from '../../../functions/providers/contract.ts'
import type { Property } from '../../../lib/conformance/properties.ts'

/** Against what a provider is shown, and what cannot be shown there. */
export interface About {
  /** Tells several runs of one provider apart: `the admin is no superuser`. */
  readonly title?: string
  readonly against: 'real' | 'fake'
  /** With its version, as the server itself says it: `Redis 7.0.15`; of a fake, what it is made from. */
  readonly counterpart: string
  /** `always` in the test command, so continuous integration must have the server; `long` in the long run alone. */
  readonly runs?: 'always' | 'long'
  /** Why this machine lacks the server: the properties are skipped and counted, with a loud line. */
  readonly missing?: string
  /** Properties that this issuer cannot have, and why: `{ throttled: 'Redis refuses connections, it never throttles' }`. */
  readonly lacks?: Readonly<Partial<Record<Property, string>>>
}

/** What a harness may have beyond what the definition claims; what is not among them needs a reason in `lacks`. */
export type Extra = 'poison' | 'replace' | 'throttled' | 'nonsense' | 'named'

/**
 * What every provider must show, against its real issuer or its fake. A provider's test file makes a `Harness`, calls
 * `conformance`, and adds what only that issuer knows. What a definition claims (`containment: 'identity'`, `restores`,
 * `choosesName`, `tidies`, `issues`, `discovers`, `sessions`) must be in the harness.
 */
export interface Harness<Target, Secret, Lever, Settings, Grants = unknown> {
  /** Reaches the issuer through `faults`. Time-outs of half a second, so that a hang is noticed soon. */
  readonly issuer: IssuerHandle<Settings>
  readonly adminSecret: string
  /** Well-formed, and refused by the issuer. */
  readonly wrongSecret: string
  readonly faults: Faults
  /** Environment of the worker that concerns clients. */
  readonly environment?: Tools['environment']
  /** What a second cut of the same credential is answered with. */
  readonly repeated: Answer['status']
  mint(options?: MintOptions<Lever>): Promise<Credential<Target, Secret>>
  /** A credential that this issuer never had, and the answer to cutting it. */
  neverExisted(): { readonly subject: Subject<Target, Secret>; readonly status: Answer['status'] }
  /** A lease that cannot be cut, and the answer to trying. */
  poison?(): Promise<{ readonly subject: Subject<Target, Secret>; readonly status: Answer['status'] }>
  /** Deletes the credential at the issuer and makes another one of the same name. */
  replace?(credential: Credential<Target, Secret>): Promise<Credential<Target, Secret>>
  /**
   * As many credentials as asked for, all cut by changing one object of the issuer (an account's token, a role's policy,
   * a revocation list). Absent: credentials share nothing, and any will do.
   */
  siblings?(count: number): Promise<readonly Credential<Target, Secret>[]>
  /** Names that this issuer allows and that are hard to quote. */
  readonly hostileNames?: readonly string[]
  /**
   * What a registration would name by this name (or token, serial number), without an incarnation; nothing is made at
   * the issuer. The name may be impossible there.
   */
  named?(name: string): Subject<Target, Secret>
  /** Texts that a person may have of it, secrets included: each must be recognised. Where the definition recognises. */
  pasted?(credential: Credential<Target, Secret>): readonly string[]
  /** Makes the lever of a new identity. */
  lever?(): Promise<Lever>
  /** What a minted credential may do: so much that it `works`. Where the provider issues. */
  readonly grants?: Grants
  /** The use of a credential that the provider minted. Where the provider issues. */
  use?(issued: Minted<Target, Secret, Lever>): Credential<Target, Secret>
  /**
   * The admin's own credential as the issuer lists it, by the name that `definition.credential` gives it. Where the
   * provider discovers and its admin is one of the listed.
   */
  readonly own?: string
  stop(): Promise<void>
}

export type Minted<Target, Secret, Lever> = Extract<Issued<Target, Secret, Lever>, { readonly status: 'issued' }>

export interface MintOptions<Lever> {
  readonly name?: string
  readonly lever?: Lever
}

export interface Credential<Target, Secret> {
  readonly subject: Subject<Target, Secret>
  /** What must not stand in any error. */
  readonly secrets: readonly string[]
  /** Does a new use of it succeed? */
  works(): Promise<boolean>
  /** A session that goes on, where the issuer has such a thing. */
  open?(): Promise<OpenSession>
}

export interface OpenSession {
  alive(): Promise<boolean>
  close(): Promise<void>
}

/** An HTML page with status 200, or bytes in no order. */
export type Nonsense = 'html' | 'garbage'

/** What can be wrong with an issuer; one at a time, `heal` ends it. */
export interface Faults {
  /** Connections are refused. */
  down(): Promise<void>
  /** Connections are taken, and nothing is answered; those that are open go silent. */
  hang(): Promise<void>
  /** Another server of the same kind answers at the same address. */
  other(): Promise<void>
  /** Everything is answered with what is no answer. */
  nonsense?(kind: Nonsense): Promise<void>
  /**
   * The issuer throttles every call.
   * @returns the seconds that it says to wait, if it says so
   */
  throttled?(): Promise<number | undefined>
  heal(): Promise<void>
}

export const WARRANT: Warrant = { case: 'a'.repeat(26), lane: 'p1', epoch: 1, fencedAt: '2026-01-01T00:00:00.000Z' }

export function tools(adminSecret: string, environment: Tools['environment'] = {}): Tools {
  return { adminSecret: async () => adminSecret, now: () => Date.now(), random: (length) => randomBytes(length), environment }
}

/** The error that something was rejected with. */
export async function rejection(promise: Promise<unknown>): Promise<unknown> {
  try {
    await promise
  } catch (error) {
    return error
  }
  throw new Error('it should have been rejected')
}

export function expectNoSecret(value: unknown, secrets: readonly string[]): void {
  const text = inspect(value, { depth: null, showHidden: true, maxArrayLength: null, maxStringLength: null })
  for (const secret of secrets) {
    expect(text.includes(secret)).toBe(false)
    expect(text.includes(encodeURIComponent(secret))).toBe(false)
    expect(text.includes(Buffer.from(secret).toString('base64'))).toBe(false)
  }
}

/** The secret values of a secret that is JSON. A user name may well stand in a message, and so may the id of a key. */
export function secretParts(secret: string): string[] {
  const parsed: unknown = JSON.parse(secret)
  return Object.entries(parsed as Record<string, unknown>).flatMap(([name, value]) =>
    /password|secret|key|seed|token/i.test(name) && !/Id$/.test(name) && typeof value === 'string' ? [value] : [],
  )
}
