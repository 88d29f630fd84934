import type * as z from 'zod/mini'
import type { Lane } from '../contracts/primitives.ts'

/**
 * What a provider is. A provider is one folder: `definition.ts` (data only: no I/O, no client library, so that the
 * planner and the API can load it), `provider.ts` (the calls), `fake.ts`, `README.md`. Nothing else is edited to add
 * one: `npm run generate` lists the folders in `catalog.ts`, and the build makes one worker function for each.
 */
export interface Definition<Target = unknown, Secret = unknown, Lever = unknown, Settings = unknown, Grants = unknown> {
  /** Folder name, and `provider` of an issuer. */
  readonly name: string
  readonly title: string
  /** What a cut of one credential needs to know, in clear. Names incarnations (an oid, a unique id) where the issuer has them. */
  readonly target: z.ZodMiniType<Target>
  /** The part of the handle that is secret (the token itself): sealed at registration, opened only in this provider's worker. */
  readonly secret?: z.ZodMiniType<Secret>
  /** The secret is a handle that anybody could make up: to show one proves nothing, so registering takes a right. */
  readonly handleOnly?: true
  /** What one call needs to cut all that an identity holds at one issuer, reversibly. */
  readonly lever?: z.ZodMiniType<Lever>
  /** One issuer's configuration: where it is, how it is recognised. No secret in it. */
  readonly settings: z.ZodMiniType<Settings>
  /** What a minted credential may do at the issuer: an operator's words, never a workload's. Where the provider issues. */
  readonly grants?: z.ZodMiniType<Grants>
  /**
   * The credential's name at its issuer, unique there for all time as far as the issuer allows; its hash is the
   * credential's fingerprint, by which two leases are seen to share one credential. A secret may enter only through
   * `mac`, the installation's keyed hash: whoever reads the table must not be able to try guesses.
   */
  credential(target: Target, secret: Secret | undefined, mac: Mac): string
  /**
   * The target names several credentials at the issuer (all sessions of one name), so ending one lease must not cut the
   * others. Absent: every target names one.
   */
  namesMany?(target: Target): boolean
  /**
   * Whether `discover` lists a credential like this where it is there (a role, but not one of its sessions): only such a
   * lease is missed in a list. Absent: every target's.
   */
  listed?(target: Target): boolean
  /**
   * Why a cut of this credential is known to be in vain before it is tried (a token that resource servers check by
   * themselves), and until when it lives; `undefined` where nothing speaks against it. Pure; `now` is RFC 3339.
   */
  uncuttable?(
    target: Target,
    settings: Settings,
    now: string,
  ): { readonly said: string; readonly livesUntil?: string } | undefined
  /** Though the provider restores, this target's cut cannot be undone (a session that was ended). Absent: every target's can. */
  forGood?(target: Target): boolean
  /**
   * Reads what a person may have in hand (an access-key id, a role's name, a connection string, a token) as a credential
   * of this provider; `undefined` where it is none. Pure, and nothing of a secret leaves it but through `mac`.
   */
  recognise?(text: string, mac: Mac): Clue | undefined
  /**
   * Whether a clue's query says itself that it is of this issuer (the host of a connection string). Where it says so of
   * one, the provider's other issuers are not meant: a namesake there is another credential.
   */
  meant?(query: Clue['query'], settings: Settings): boolean
  /** The lever's name at its issuer: two identities with one lever are each other's bystanders. */
  leverName?(lever: Lever): string
  readonly capabilities: {
    /** The issuer tells "already gone" from "cut just now"; where it cannot, a repeated cut is `revoked` again. */
    readonly tellsAbsent: boolean
    /** The issuer can say afterwards whether the credential is dead. */
    readonly verifies: boolean
    /** What `contain` can do: one call for an identity, only single leases, nothing. */
    readonly containment: 'identity' | 'lease' | 'none'
    /** `restore` can undo `contain`, and `revoke` until the soak time is over. */
    readonly restores: boolean
    /** After the cut an object remains at the issuer that `tidy` deletes when the soak time is over. */
    readonly tidies: boolean
    /** A credential can be named before it is minted, so pending leases are possible. */
    readonly choosesName: boolean
    /** The issuer can be asked for a credential that no lease names, by what `recognise` made of it. */
    readonly locates: boolean
    /** Credentials can be minted here, under a name chosen beforehand. */
    readonly issues: boolean
    /** The issuer lists its credentials, page by page, so that what nobody registered is seen. */
    readonly discovers: boolean
    /**
     * What becomes of what was opened with a credential before the cut: it is ended too; or it may outlive the cut, and
     * each answer says until when as far as that is known; or nothing stays open, each use is checked anew.
     */
    readonly sessions: 'ended' | 'outlive' | 'none'
  }
  readonly limits: {
    /** Most leases in one `revoke`, `verify` or `tidy`; at most 100. */
    readonly batch: number
    /** How long after a cut the issuer may still honour the credential, in seconds: proof of death is asked after it. */
    readonly propagationSeconds: number
    /** Longest time one call to the issuer may take, in seconds. */
    readonly callSeconds: number
    /**
     * Workers at once for P1 and P2 together; P0 has its own. One issuer holds all of a lane's but one, so each lane
     * has at least three.
     */
    readonly concurrency: number
    /**
     * Most calls a second to one issuer, unless the issuer's own configuration says otherwise; default 1,000. It is where
     * the limiter begins: throttling answers bring it down to what the issuer takes, and nothing brings it above.
     */
    readonly callsPerSecond?: number
    /** Calls to the issuer that one lease costs in one method; default 0, one call serves a whole batch. */
    readonly callsPerLease?: number
  }
  /** The provider reads, changes and writes an object of the issuer: its work queues keep order per issuer. */
  readonly serial: boolean
  /** Where the worker must stand: `vpc` for issuers inside a network of yours. */
  readonly network: 'public' | 'vpc'
  /** IAM permissions of the worker beside those that every worker has. A wildcard needs a reason. */
  readonly permissions: readonly Permission[]
}

/** The installation's keyed hash (HMAC-SHA-256) as lower-case hexadecimal: of one text, the same for ever. */
export type Mac = (text: string) => string

/** A credential by what somebody has in hand. Holds no secret: it is stored, queued and shown. */
export interface Clue {
  /** The credential's name at its issuer, exactly as `credential` gives it at a registration. */
  readonly credential: string
  /** What people are shown: `access key AKIA...`, `role billing`. */
  readonly shown: string
  /** What `locate` asks the issuer with; plain JSON. */
  readonly query: Readonly<Record<string, string>>
}

export interface Permission {
  readonly actions: readonly string[]
  /** ARNs; `${partition}`, `${region}` and `${account}` are filled in by the stack. */
  readonly resources: readonly string[]
  readonly reason: string
}

/** One lease as its provider sees it. */
export interface Subject<Target = unknown, Secret = unknown> {
  readonly lease: string
  readonly target: Target
  /** Opened only for the length of the call; never log it, never put it in an answer. */
  readonly secret?: Secret
}

/** One answer of an issuer about one lease: the whole truth about one attempt. */
export type Answer =
  /** We cut it, now. `sessionsUntil`: RFC 3339, what was opened with it before may live on until then at the latest. */
  | { readonly status: 'revoked'; readonly said: string; readonly sessionsUntil?: string }
  /** It was gone before we came: the right issuer answered, and it does not have it. */
  | { readonly status: 'absent'; readonly said: string }
  /** The world may heal. `unknown`: the attempt may have worked, its answer was lost. */
  | {
      readonly status: 'retry'
      readonly said: string
      readonly afterSeconds?: number
      readonly effect: 'none' | 'unknown'
      /** The issuer throttled us: it is called more slowly, and the lease spends no attempt. */
      readonly throttled?: true
    }
  /** This issuer cannot cut it; it lives to its expiry. */
  | { readonly status: 'unsupported'; readonly said: string; readonly livesUntil?: string }
  /** It will not heal by itself: a person must look. */
  | { readonly status: 'irrevocable'; readonly said: string }

/** What an issuer says when asked whether a credential is dead. */
export type Liveness =
  | { readonly status: 'dead'; readonly said: string }
  | { readonly status: 'alive'; readonly said: string }
  | { readonly status: 'unknown'; readonly said: string; readonly throttled?: true; readonly afterSeconds?: number }

/** What came of an attempt to undo a cut. */
export type Restored =
  /** The very same credential works again, or did already because it was undone before. */
  | { readonly status: 'restored'; readonly said: string }
  /** It was deleted at its issuer: nothing can bring it back. */
  | { readonly status: 'gone'; readonly said: string }
  /** It was not cut by us, or is another incarnation: left as it is. */
  | { readonly status: 'refused'; readonly said: string }
  | { readonly status: 'retry'; readonly said: string; readonly afterSeconds?: number; readonly throttled?: true }

/** What an issuer says when asked for a credential that no lease names. */
export type Located<Target = unknown, Lever = unknown> =
  | {
      readonly status: 'found'
      readonly said: string
      readonly target: Target
      readonly lever?: Lever
      /** Whose it is, as a canonical URI, where the issuer knows such a name (an ARN). */
      readonly identity?: string
      readonly expiresAt?: string
    }
  | { readonly status: 'unknown'; readonly said: string }
  | { readonly status: 'retry'; readonly said: string; readonly afterSeconds?: number; readonly throttled?: true }

/** What a credential is to be that is minted. */
export interface Order<Grants = unknown> {
  /** The lease names it before it exists. 1 to 40 small letters, digits and `-`, a letter first; unique at the issuer. */
  readonly name: string
  readonly grants: Grants
  /** RFC 3339: when it ends by itself where the issuer can do that; elsewhere its lease alone says so. */
  readonly expiresAt: string
}

/** What came of an order. */
export type Issued<Target = unknown, Secret = unknown, Lever = unknown> =
  | {
      readonly status: 'issued'
      readonly said: string
      readonly target: Target
      readonly secret?: Secret
      readonly lever?: Lever
      /** What its user needs to use it (user name, password, key): handed over once, never stored, never logged. */
      readonly credential: Readonly<Record<string, string>>
      /** When it ends by itself; absent where the issuer ends nothing by itself. */
      readonly expiresAt?: string
    }
  /** The name is taken, or the grants are not to be had: nothing was made. */
  | { readonly status: 'refused'; readonly said: string }
  /** `unknown`: it may have been made, its answer was lost; whoever ordered cuts it by its name. */
  | {
      readonly status: 'retry'
      readonly said: string
      readonly effect: 'none' | 'unknown'
      readonly afterSeconds?: number
      readonly throttled?: true
    }

/** A credential as its issuer lists it. No secret in it. */
export interface Listed<Target = unknown> {
  /** As a registration would name it, incarnation included. */
  readonly target: Target
  /** What people are shown: `role billing`, `ACL user worker-7`. */
  readonly shown: string
  /** Whether the issuer honours it now. */
  readonly usable: boolean
  /** It is the admin's own, or the server's: nobody registers it. Says which. */
  readonly own?: string
  /** Whose it is, as a canonical URI, where the issuer knows such a name. */
  readonly identity?: string
  readonly createdAt?: string
  readonly lastUsedAt?: string
  readonly expiresAt?: string
}

/** One page of what lives at an issuer. */
export type Discovered<Target = unknown> =
  | { readonly status: 'page'; readonly listed: readonly Listed<Target>[]; readonly next?: string }
  /** It cannot be listed as things are: a right is missing, the server keeps no list. */
  | { readonly status: 'unknown'; readonly said: string }
  | { readonly status: 'retry'; readonly said: string; readonly afterSeconds?: number; readonly throttled?: true }

/** An answer about a lever. */
export type LeverAnswer =
  | { readonly status: 'done'; readonly said: string }
  | { readonly status: 'retry'; readonly said: string; readonly afterSeconds?: number; readonly throttled?: true }
  | { readonly status: 'unsupported'; readonly said: string }

/** In whose name a call is made; levers are named or dated by it, never by the wall clock. */
export interface Warrant {
  readonly case: string
  readonly lane: Lane
  /** The identity's epoch that the case fences through. */
  readonly epoch: number
  /** When the fence closed, RFC 3339: what was issued before it dies, what comes later is another epoch's business. */
  readonly fencedAt: string
}

/**
 * One connected issuer. Each method must be safe to call twice, and must check that it speaks to the right issuer
 * (server identifier, account id) before it believes "absent" or has any effect: else it throws `IssuerRefused`.
 * `revoke`, `verify` and `tidy` take at most `limits.batch` subjects and give one answer for each, in order. A throw
 * means that the whole batch has no answer; the worker then tries its leases one by one.
 */
export interface Provider<Target = unknown, Secret = unknown, Lever = unknown> {
  /** New logins are refused, live sessions are ended, the credential does not come back by itself. */
  revoke(batch: readonly Subject<Target, Secret>[], warrant: Warrant): Promise<Answer[]>
  /** Is it really dead, sessions included? */
  verify(batch: readonly Subject<Target, Secret>[], warrant: Warrant): Promise<Liveness[]>
  /** Delete what the cut left behind; only after the soak time. Owned objects are reassigned, never dropped. */
  tidy?(batch: readonly Subject<Target, Secret>[], warrant: Warrant): Promise<Answer[]>
  /** Undo `revoke` within the soak time. */
  restore?(batch: readonly Subject<Target, Secret>[], warrant: Warrant): Promise<Restored[]>
  /** Cut all that one identity holds here, in one call whatever their number, reversibly. */
  contain?(lever: Lever, warrant: Warrant): Promise<LeverAnswer>
  /** Find a credential that no lease names, by a clue's `query`. */
  locate?(query: Clue['query']): Promise<Located<Target, Lever>>
  /** Mint a credential of the name that the order chose. A second order of one name is refused, and changes nothing. */
  issue?(order: Order): Promise<Issued<Target, Secret, Lever>>
  /**
   * One page of the issuer's credentials, at most `most` of them, in an order that a change in between does not upset;
   * `from` is the page before's `next`. Reads alone.
   */
  discover?(from: string | undefined, most: number): Promise<Discovered<Target>>
  /** Undo `contain`. */
  release?(lever: Lever, warrant: Warrant): Promise<LeverAnswer>
  /** Give connections back. */
  close(): Promise<void>
}

/** What a provider is given to reach its issuer. */
export interface Tools {
  /** The issuer's admin credential, as its provider's README describes it; read anew for each connection. */
  adminSecret(): Promise<string>
  /** Milliseconds since 1970. */
  now(): number
  /** Bytes that nobody can guess, for the secret of what is minted; absent where nothing is minted. */
  random?(length: number): Uint8Array
  /** Environment of the worker that concerns clients (endpoints, region); never read `process.env`. */
  readonly environment: Readonly<Record<string, string | undefined>>
}

/** A configured issuer as its provider sees it. */
export interface IssuerHandle<Settings = unknown> {
  readonly name: string
  readonly settings: Settings
}

export interface ProviderModule<Target = unknown, Secret = unknown, Lever = unknown, Settings = unknown, Grants = unknown> {
  readonly definition: Definition<Target, Secret, Lever, Settings, Grants>
  connect(issuer: IssuerHandle<Settings>, tools: Tools): Promise<Provider<Target, Secret, Lever>>
}

/** Thrown by `connect` or any method: what failed is the issuer, not a lease, so no lease spends an attempt on it. */
export abstract class IssuerError extends Error {
  abstract readonly code: 'issuer-refused' | 'issuer-unavailable' | 'issuer-throttled'
  /** When to try again, in seconds, if the issuer said so. */
  readonly afterSeconds: number | undefined
  constructor(message: string, options?: { cause?: unknown; afterSeconds?: number }) {
    super(message, options?.cause === undefined ? undefined : { cause: options.cause })
    this.name = new.target.name
    this.afterSeconds = options?.afterSeconds
  }
}

/** The admin credential is refused, or another server answers at this address: opens the breaker until a person mends it. */
export class IssuerRefused extends IssuerError {
  readonly code = 'issuer-refused'
}

/** The issuer cannot be reached, hangs or answers nonsense: it may heal. */
export class IssuerUnavailable extends IssuerError {
  readonly code = 'issuer-unavailable'
}

/**
 * The issuer serves us, but not so fast (HTTP 429, `Throttling`, too many connections): thrown where nothing of the call
 * has taken effect. No breaker opens; the issuer is called more slowly, not before `afterSeconds`. Where a part of a batch
 * is done already, its other leases are answered `retry` with `throttled` instead.
 */
export class IssuerThrottled extends IssuerError {
  readonly code = 'issuer-throttled'
}
