import { IssuerUnavailable } from '../contract.ts'
import type { Revocations } from './revocations.ts'
import { both, readRevocations, saysTheSame, withRevocations } from './revocations.ts'
import type { Open, Servers } from './session.ts'
import type { Claims } from './token.ts'
import { signToken } from './token.ts'

/** Writers that keep changing one account at once give way to each other so many times. */
const ROUNDS = 12
/** Milliseconds between looks for what servers should have done: 3 s in all at most. */
const PAUSES = [10, 20, 50, 100, 200, 400, 800, 1400]

/** Milliseconds for a push that was heard: it may also be that another one has replaced it since. */
const OBEYED = [5, 10, 20, 40, 80]

const YIELD = 25

export interface Changed<Outcome> {
  readonly outcome: Outcome
  /** Servers that answer and do not enforce it yet. */
  readonly unseen: number
}

/**
 * Reads an account's token, changes its revocations, signs it, pushes it to all servers, and reads it back from each.
 *
 * A push replaces the token as a whole, and NATS has no condition for it: whoever pushes what was read too long ago
 * takes another's change back. So the pushes of all others are listened to from before the reading until after the
 * reading back: where one came in between, the change is made again on both. `make` may run several times, must change
 * nothing the second time, and its first outcome counts.
 */
export async function change<Outcome>(
  session: Servers,
  account: string,
  now: number,
  make: (state: Revocations) => { readonly state: Revocations; readonly outcome: Outcome },
): Promise<Changed<Outcome> | 'unknown' | 'too-large'> {
  session.pushedSince(account)
  let base = await read(session, account)
  if (base === undefined) return 'unknown'
  const first = make(readRevocations(base))
  let ours = withRevocations(base, first.state)
  let unseen = saysTheSame(base, ours) ? 0 : undefined
  const window = new Window(base)
  for (let round = 1; round <= ROUNDS; round += 1) {
    if (unseen === undefined) {
      // The servers keep the later of two tokens when they compare theirs.
      const made = { ...ours, [MADE_FROM]: window.heads().map(({ jti }) => jti) }
      const { token, claims } = signToken(made, session.signer, Math.max(now, base.iat + 1))
      if (Buffer.byteLength(token) > session.largest) return 'too-large'
      window.push(claims)
      session.pushed = true
      await session.push(token)
    }
    unseen = await notYet(session, account, window, make)
    const current = await read(session, account)
    if (current === undefined) return 'unknown'
    window.hear(session.pushedSince(account))
    const heads = window.heads()
    const rebased = window.disturbed ? all(heads, current) : current
    const wanted = withRevocations(rebased, make(readRevocations(rebased)).state)
    // Where somebody else pushed, the looks before broke off: what counts is what the servers show now.
    if (saysTheSame(current, wanted)) {
      return { outcome: first.outcome, unseen: unseen === 0 ? 0 : await lackingNow(session, account, make) }
    }
    // Seen on 2.9: a token whose signer the server does not trust is answered 200, and not enforced.
    if (unseen >= session.servers && !window.disturbed) {
      throw new IssuerUnavailable('NATS: the servers take the token of the account, and do not enforce it')
    }
    // Of two who repair at once one waits: else each would take the other's repair back for ever.
    if (heads.some(({ jti = '' }) => !window.isOwn(jti) && jti > window.ownLast)) await session.pause(YIELD)
    base = current.iat > rebased.iat ? { ...rebased, iat: current.iat } : rebased
    ours = wanted
    unseen = undefined
  }
  throw new IssuerUnavailable("NATS: others keep replacing the account's token")
}

/** A claim of ours, which the servers pass over: the tokens that this one was made from. */
const MADE_FROM = 'rescind_after'

/** The tokens of an account from the one that was read on, by id: what somebody else pushed meanwhile, and what we did. */
class Window {
  readonly #known = new Map<string, Claims>()
  readonly #own = new Set<string>()
  disturbed = false
  ownLast = ''

  constructor(base: Claims) {
    this.#known.set(base.jti ?? '', base)
  }

  push(claims: Claims): void {
    this.ownLast = claims.jti ?? ''
    this.#own.add(this.ownLast)
    this.#known.set(this.ownLast, claims)
  }

  hear(pushed: readonly Claims[]): void {
    for (const claims of pushed) {
      const id = claims.jti ?? ''
      if (this.#known.has(id)) continue
      this.#known.set(id, claims)
      this.disturbed = true
    }
  }

  isOwn(id: string | undefined): boolean {
    return this.#own.has(id ?? '')
  }

  /** Those that no other was made from. Other writers' tools do not say what theirs was made from: it may be anything older. */
  heads(): Claims[] {
    const older = new Set([...this.#known.values()].flatMap(madeFrom))
    return [...this.#known].filter(([id]) => !older.has(id)).map(([, claims]) => claims)
  }
}

const madeFrom = (claims: Claims): unknown[] => (Array.isArray(claims[MADE_FROM]) ? claims[MADE_FROM] : [])

/** All that any of them revokes; the rest is the last one's. Who lifts a revocation while another is being set does so in vain. */
function all(heads: readonly Claims[], otherwise: Claims): Claims {
  const last = heads.at(-1) ?? otherwise
  return withRevocations(last, heads.map(readRevocations).reduce(both))
}

/** How many of the servers that answer still lack the change, after some patience; none is had where somebody else pushed since. */
async function notYet(
  session: Servers,
  account: string,
  window: Pick<Window, 'isOwn'>,
  make: (state: Revocations) => { readonly state: Revocations },
): Promise<number> {
  for (let round = 0; ; round += 1) {
    const lacking = await lackingNow(session, account, make)
    const pause = PAUSES[round]
    const last = session.lastPushed(account)
    if (lacking === 0 || pause === undefined || (last !== undefined && !window.isOwn(last.jti))) return lacking
    await session.pause(pause)
  }
}

async function lackingNow(
  session: Servers,
  account: string,
  make: (state: Revocations) => { readonly state: Revocations },
): Promise<number> {
  const enforced = (await session.enforced(account)) ?? []
  return enforced.filter((claims) => !saysTheSame(claims, withRevocations(claims, make(readRevocations(claims)).state))).length
}

/** The connections that are still open, after some patience, of those that should not be. */
export async function settled(session: Servers, account: string, shouldBeGone: (open: Open) => boolean): Promise<Open[]> {
  for (let round = 0; ; round += 1) {
    const open = (await session.open(account)).filter(shouldBeGone)
    const pause = PAUSES[round]
    if (open.length === 0 || pause === undefined) return open
    await session.pause(pause)
  }
}

/**
 * The newest token that a server enforces. A push is heard a moment before it has been obeyed: what was read in that moment
 * lacks it, so the last one that was heard is waited for.
 */
async function read(session: Servers, account: string): Promise<Claims | undefined> {
  for (let round = 0; ; round += 1) {
    const enforced = await session.enforced(account)
    const last = session.lastPushed(account)
    const pause = OBEYED[round]
    if (pause === undefined || last === undefined || enforced?.some(({ jti }) => jti === last.jti) === true)
      return newest(enforced)
    await session.pause(pause)
  }
}

const newest = (enforced: readonly Claims[] | undefined): Claims | undefined =>
  enforced?.reduce((one, two) => (two.iat > one.iat ? two : one))
