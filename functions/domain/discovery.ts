import type { FindingKind } from '../contracts/discovery.ts'
import { FINDING_KINDS } from '../contracts/discovery.ts'
import { canonicalJson } from './canonical.ts'
import { key } from './keys.ts'
import type { Discovery, Finding, Lease } from './model.ts'
import { instant } from './time.ts'

/**
 * What a list of an issuer's credentials says beside the leases: pure, so that a finding is judged the same when the page
 * is listed and once more before it is told.
 */

/** A credential as its issuer listed it. */
export interface Seen {
  readonly target: Readonly<Record<string, unknown>>
  readonly usable: boolean
  readonly own?: string | undefined
  readonly createdAt?: string | undefined
  readonly expiresAt?: string | undefined
}

export type KnownLease = Pick<
  Lease,
  | 'id'
  | 'state'
  | 'type'
  | 'pending'
  | 'unsettledUntil'
  | 'expiresAt'
  | 'target'
  | 'ended'
  | 'identityKey'
  | 'epoch'
  | 'registeredAt'
>

/** What the table has of a credential. */
export interface Known {
  readonly leases: readonly KnownLease[]
  /** All leases that name it were read; else nothing is said that one of the others could refute. */
  readonly complete: boolean
}

export interface Moments {
  readonly now: string
  /** What was made after it may be about to be registered. */
  readonly youngAfter: string
  /** What ended after it may still be listed as it was. */
  readonly endedBefore: string
}

/** A finding of one credential, before it is stored. */
export interface Draft {
  readonly kind: FindingKind
  readonly said: string
  readonly lease?: string
  /** The lease's identity and epoch, where a fence of it would be the reason. */
  readonly held?: { readonly identityKey: string; readonly epoch: number }
}

/** What a listed credential is counted as, and what is wrong with it. */
export interface Judged {
  readonly as: 'registered' | 'dormant' | 'unsettled' | 'found'
  readonly drafts: readonly Draft[]
}

/** An issuer's clock and ours, and the moment between a mint and its registration, in seconds. */
const TOLERANCE = 60_000

/**
 * Whether a list shows another incarnation of the name than a lease means: something that the lease says of it is not so
 * there, or is not said there (a mark that a namesake lacks). What the lease does not say, nobody knew when it was made.
 */
export function differs(leased: Readonly<Record<string, unknown>>, listed: Readonly<Record<string, unknown>>): boolean {
  return Object.entries(leased).some(([name, value]) => {
    const there = listed[name]
    return value !== undefined && (there === undefined || canonicalJson(value) !== canonicalJson(there))
  })
}

/** A name for one incarnation: an acceptance holds for no other. */
export const incarnation = (target: Readonly<Record<string, unknown>>): string => key('incarnation', canonicalJson(target))

const isInForce = ({ state }: KnownLease) => state === 'live' || state === 'registering'
const isOverFor = ({ state }: KnownLease) => state === 'ended' || state === 'released'
/** A mint or a renewal under way may change what its issuer says of it. */
const isSettled = ({ state, pending, unsettledUntil }: KnownLease, now: string) =>
  state === 'live' && !pending && (unsettledUntil === undefined || unsettledUntil <= now)

/** What a listed credential is beside the leases that name it. */
export function judge(seen: Seen, known: Known, moments: Moments): Judged {
  const inForce = known.leases.filter(isInForce)
  if (inForce.length > 0) return judgeHeld(seen, inForce, known.complete, moments)
  // Some case is at it, or gives it back: what becomes of it is that case's to say.
  if (!known.complete || known.leases.some((lease) => !isOverFor(lease))) return { as: 'unsettled', drafts: [] }
  return seen.usable ? judgeLoose(seen, known.leases, moments) : { as: 'dormant', drafts: [] }
}

/** Nobody holds it, and its issuer honours it. */
function judgeLoose(seen: Seen, leases: readonly KnownLease[], { now, youngAfter, endedBefore }: Moments): Judged {
  if (seen.own !== undefined) return found({ kind: 'own', said: `nobody registers it: ${seen.own}` })
  const former = leases
    .filter(({ target }) => !differs(target, seen.target))
    .reduce<KnownLease | undefined>((last, lease) => (last === undefined || endOf(lease) > endOf(last) ? lease : last), undefined)
  const ended = former?.ended
  if (former !== undefined && ended !== undefined) {
    if (ended.at > endedBefore || (ended.livesUntil !== undefined && ended.livesUntil > now))
      return { as: 'unsettled', drafts: [] }
    if (ended.outcome === 'revoked' || ended.outcome === 'absent') {
      const was = ended.outcome === 'revoked' ? 'cut it' : 'found it gone'
      return found({ kind: 'revived', said: `case ${ended.case} ${was} at ${ended.at}, and it is honoured`, lease: former.id })
    }
    if (ended.livesUntil !== undefined)
      return found({
        kind: 'revived',
        said: `case ${ended.case} could not cut it, it was to end by itself at ${ended.livesUntil}, and it is honoured`,
        lease: former.id,
      })
  }
  if (seen.createdAt !== undefined && seen.createdAt > youngAfter) return { as: 'unsettled', drafts: [] }
  const [any] = leases
  if (former === undefined && any !== undefined)
    return found({ kind: 'unregistered', said: 'no lease names this incarnation; one that is over named another', lease: any.id })
  return found({
    kind: 'unregistered',
    said: former === undefined ? 'no lease names it' : 'its last lease is over, and nobody has cut it',
    ...(former === undefined ? {} : { lease: former.id }),
  })
}

const endOf = ({ ended, registeredAt }: KnownLease) => ended?.at ?? registeredAt

/** Somebody holds it. */
function judgeHeld(seen: Seen, inForce: readonly KnownLease[], complete: boolean, { now }: Moments): Judged {
  const drafts: Draft[] = []
  const settled = inForce.filter((lease) => isSettled(lease, now))
  const other = settled.find(({ target }) => differs(target, seen.target))
  const same = inForce.filter(({ target }) => !differs(target, seen.target))
  if (other !== undefined)
    drafts.push({
      kind: 'replaced',
      said: `its issuer has another incarnation under this name${seen.usable ? ', and honours it' : ''}`,
      lease: other.id,
    })
  const [held] = same.filter((lease) => isSettled(lease, now))
  if (held !== undefined && !seen.usable)
    drafts.push({
      kind: 'disabled',
      said: 'its lease is live, and its issuer does not honour it',
      lease: held.id,
      held: { identityKey: held.identityKey, epoch: held.epoch },
    })
  const ends = endsAt(seen)
  const last = same.reduce((latest, { expiresAt }) => (expiresAt > latest ? expiresAt : latest), '')
  // What was there before its leases, and will be after them, has an end of its own.
  const minted = same.length > 0 && same.every(({ type }) => type === 'dynamic')
  if (held !== undefined && complete && minted && ends !== undefined && ends - Date.parse(last) > TOLERANCE)
    drafts.push({
      kind: 'outlives',
      said: `its issuer ends it at ${instant(ends)}, its lease at ${last}`,
      lease: held.id,
    })
  return drafts.length > 0 ? { as: 'found', drafts } : { as: 'registered', drafts }
}

function endsAt({ expiresAt }: Seen): number | undefined {
  const at = expiresAt === undefined ? Number.NaN : Date.parse(expiresAt)
  return Number.isNaN(at) || at > LAST ? undefined : at
}
/** Later than any moment that can be written as RFC 3339. */
const LAST = Date.parse('9999-12-31T23:59:59.999Z')

const found = (draft: Draft): Judged => ({ as: 'found', drafts: [draft] })

/** Clocks of those who write leases differ by less, in milliseconds. */
const SKEW = 5000

/**
 * Whether a lease can be missed in the list of a pass: it was in force before the pass began, and nobody has touched it
 * since (confirmed it, renewed it, begun to cut it), so that it must have been listed on one of the pages.
 *
 * @param listedAt when the last page was listed
 */
export function canBeMissed(
  lease: Pick<Lease, 'state' | 'acknowledged' | 'pending' | 'unsettledUntil' | 'expiresAt' | 'overdueSince' | 'by'>,
  startedAt: string,
  listedAt: string,
): boolean {
  return (
    lease.state === 'live' &&
    lease.acknowledged &&
    !lease.pending &&
    lease.by.at < instant(Date.parse(startedAt) - SKEW) &&
    (lease.unsettledUntil === undefined || lease.unsettledUntil < startedAt) &&
    // What runs out may end by itself, before its case has come round.
    (lease.expiresAt > listedAt || lease.overdueSince !== undefined)
  )
}

/**
 * What is left of a fingerprint in the record of what a pass saw: 65 bits of a hash, so that a million take 13 MB and two
 * of ten million credentials are taken for one with a probability below one in a hundred thousand.
 */
const MARK = 13
export const markOf = (fingerprint: string): string => fingerprint.slice(0, MARK)
export const joinMarks = (fingerprints: readonly string[]): string => fingerprints.map(markOf).join('')
export function* splitMarks(marks: string): Generator<string> {
  for (let start = 0; start + MARK <= marks.length; start += MARK) yield marks.slice(start, start + MARK)
}

/** A count for each kind of finding. */
export const noFindings = (): Record<FindingKind, number> => ({
  unregistered: 0,
  own: 0,
  revived: 0,
  disabled: 0,
  replaced: 0,
  outlives: 0,
  gone: 0,
})

/** Honoured by its issuer, and should not be. */
export const isAlarming = (kind: FindingKind): boolean => kind === 'unregistered' || kind === 'revived'

export const isOver = ({ state }: Pick<Discovery, 'state'>): boolean => state === 'done' || state === 'failed'

/** More was found than is kept. */
export const isTruncated = ({ found: all, kept }: Pick<Discovery, 'found' | 'kept'>): boolean =>
  FINDING_KINDS.some((kind) => all[kind] > kept[kind])

/**
 * When an issuer is listed next: once in each period, at a moment of it that follows from the issuer's name, so that many
 * issuers do not come at the same time; at once where it never was, and never before half a period is over.
 *
 * @param last when the last one began
 */
export function nextDiscovery(issuer: string, everySeconds: number, last: string | undefined): string | undefined {
  if (last === undefined) return undefined
  const every = everySeconds * 1000
  const phase = Number.parseInt(Buffer.from(key('discovery', issuer)).toString('hex').slice(0, 12), 16) % every
  const earliest = Date.parse(last) + every / 2
  return instant(Math.ceil((earliest - phase) / every) * every + phase)
}

/** Text of an issuer as people may be shown it: without control characters, and not longer than a line or two. */
export function legible(text: string, longest: number): string {
  const plain = text.replace(/[\p{Cc}\p{Cs}\u2028\u2029]/gu, '\ufffd')
  return plain.length <= longest ? plain : `${plain.slice(0, longest - 1).toWellFormed()}…`
}

/** Whether somebody has accepted a finding of this very incarnation, and has not taken that back. */
export const holdsFor = (
  accepted: { readonly incarnation: string; readonly until?: string; readonly withdrawn?: true },
  finding: Pick<Finding, 'target'>,
  now: string,
): boolean =>
  accepted.withdrawn === undefined &&
  accepted.incarnation === incarnation(finding.target) &&
  (accepted.until === undefined || accepted.until > now)
