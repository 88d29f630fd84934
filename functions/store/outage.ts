import type { OutageSettings } from '../contracts/outage.ts'
import type { Actor, Heartbeat, Identity, Lease, Outage } from '../domain/model.ts'
import type { Span } from '../domain/outage.ts'
import { notBefore, openGap, outageTerms, reachOf } from '../domain/outage.ts'
import { after, later, ttl } from '../domain/time.ts'
import { actor } from './identities.ts'
import { as, read } from './items.ts'
import { heartbeatItem, identityItem, LIST, leaseItem, OUTAGES, outageItem } from './keys.ts'
import type { Table, Write } from './table.ts'

/** The pipeline's own outages, and the time that is given back for them. */

export const heartbeatOf = (table: Table): Promise<Heartbeat | undefined> => read(table, 'heartbeat', heartbeatItem())

/**
 * Says at its end that a sweep ran, with the moment at which it began: what became due later may not have been seen. It
 * never goes back, so that one which hung through an outage does not hide it.
 */
export async function beat(table: Table, began: string, by: Actor): Promise<void> {
  await table.write({
    update: heartbeatItem(),
    set: [
      ['kind', 'heartbeat'],
      ['at', began],
      ['by', actor(by)],
    ],
    if: [
      {
        or: [
          ['at', 'absent'],
          ['at', '<', began],
        ],
      },
    ],
  })
}

/** Outages stay this long after the last moment that they can matter, in days: for the list of them. */
const KEPT_DAYS = 90
const longestKept = (reach: string) => ttl(after(reach, KEPT_DAYS * 86400))

const newOutage = (outage: Span & Pick<Outage, 'source' | 'reason'>, graceSeconds: number, by: Actor): Write => {
  const { from, to, source, reason } = outage
  const reach = reachOf(outage, graceSeconds)
  return {
    put: {
      ...outageItem(reach, from, to),
      kind: 'outage',
      from,
      to,
      reach,
      source,
      reason,
      ttl: longestKept(reach),
      by: actor(by),
    },
    if: [['pk', 'absent']],
  }
}

/**
 * Records the pause since the sweeper was last seen, if it is one, together with its being seen now: of two sweeps that
 * return at once one records it. A repeated call finds nothing more to record.
 */
export async function recordGap(table: Table, settings: OutageSettings | undefined, by: Actor): Promise<Span | undefined> {
  const { gapSeconds, graceSeconds } = outageTerms(settings)
  const seen = await heartbeatOf(table)
  const gap = openGap(seen?.at, gapSeconds, by.at)
  if (gap === undefined) return undefined
  const done = await table.transact([
    {
      update: heartbeatItem(),
      set: [
        ['at', by.at],
        ['by', actor(by)],
      ],
      if: [['at', '=', gap.from]],
    },
    newOutage({ ...gap, source: 'gap', reason: 'the sweeper did not run' }, graceSeconds, by),
  ])
  return done.ok ? gap : undefined
}

/** Repeating a declaration changes nothing; who declared it first stays on record. */
export async function declareOutage(
  table: Table,
  span: Span,
  reason: string,
  settings: OutageSettings | undefined,
  by: Actor,
): Promise<Outage> {
  const { graceSeconds } = outageTerms(settings)
  await table.write(newOutage({ ...span, source: 'declared', reason }, graceSeconds, by))
  const outage = await read(table, 'outage', outageItem(reachOf(span, graceSeconds), span.from, span.to))
  if (outage === undefined) throw new Error('an outage vanished')
  return outage
}

export async function listOutages(
  table: Table,
  limit: number,
  before: string | undefined,
): Promise<{ readonly outages: Outage[]; readonly next?: string }> {
  const page = await table.query({
    pk: OUTAGES,
    limit,
    descending: true,
    // A sort key without its last letter lies before it, and behind all that lie before it.
    ...(before === undefined ? {} : { to: before.slice(0, -1) }),
  })
  return {
    outages: page.items.map((item) => as('outage', item)),
    ...(page.next === undefined ? {} : { next: page.next }),
  }
}

/** Outages are recorded with the pause that stood in the settings then; it has a longest. */
const SLACK_SECONDS = 86400

/**
 * The outages by which a deadline that is over now could still be put off: those that reach into now, and those that
 * reach into one of these. Strongly consistent.
 */
export async function outagesThatCount(table: Table, now: string): Promise<Span[]> {
  const found = new Map<string, Span>()
  let bound = after(now, -SLACK_SECONDS)
  for (;;) {
    let cursor: string | undefined
    do {
      const page = await table.query({ pk: OUTAGES, limit: 200, ...(cursor === undefined ? { from: bound } : { after: cursor }) })
      for (const item of page.items) found.set(item.sk, as('outage', item))
      cursor = page.next
    } while (cursor !== undefined)
    const earliest = [...found.values()].reduce((least, { from }) => (from < least ? from : least), bound)
    if (earliest >= bound) return [...found.values()]
    bound = earliest
  }
}

/** The outages that a moment of the past may lie in, with the pause that is going on. */
export async function knownOutagesAt(
  table: Table,
  settings: OutageSettings | undefined,
  moment: string,
  now: string,
): Promise<Span[]> {
  const found: Span[] = []
  let cursor: string | undefined
  do {
    // An outage reaches beyond its end, so those that held the moment sort behind it.
    const page = await table.query({ pk: OUTAGES, limit: 200, ...(cursor === undefined ? { from: moment } : { after: cursor }) })
    found.push(...page.items.map((item) => as('outage', item)))
    cursor = page.next
  } while (cursor !== undefined)
  const gap = openGap((await heartbeatOf(table))?.at, outageTerms(settings).gapSeconds, now)
  return gap === undefined ? found : [...found, gap]
}

/** The moment before which each of these deadlines is not enforced, by what is known of our outages now. */
export interface Grace {
  expiry(lease: Pick<Lease, 'expiresAt' | 'registeredAt' | 'spooledAt' | 'renewedAt' | 'graceUntil'>): string
  deadline(moment: string): string
}

/**
 * What counts as lost: the outages on record, and the pause that is going on where the sweeper has not returned yet. So
 * a worker that is back before the sweeper cuts nothing that the sweeper will give time to.
 */
export async function graceOf(table: Table, settings: OutageSettings | undefined, now: string): Promise<Grace> {
  const { gapSeconds, graceSeconds } = outageTerms(settings)
  const [seen, recorded] = [await heartbeatOf(table), await outagesThatCount(table, now)]
  const gap = openGap(seen?.at, gapSeconds, now)
  const lost = gap === undefined ? recorded : [...recorded, gap]
  return {
    expiry: (lease) =>
      // What a holder was told stays, also where another outage found later would put it a little otherwise.
      later(
        notBefore(lease.expiresAt, lost, graceSeconds, lease.renewedAt ?? lease.spooledAt ?? lease.registeredAt),
        lease.graceUntil ?? '',
      ),
    deadline: (moment) => notBefore(moment, lost, graceSeconds),
  }
}

/**
 * Writes down that a lease has got its time back. The grace itself does not hang on it: it is for people, and it takes
 * the lease from the head of what is due.
 */
export async function giveBack(table: Table, lease: Lease, until: string, by: Actor): Promise<boolean> {
  const done = await table.write({
    update: leaseItem(lease.id),
    set: [
      ['graceUntil', until],
      ['dueAt', until],
      ['by', actor(by)],
    ],
    if: [
      ['state', '=', 'live'],
      ['expiresAt', '=', lease.expiresAt],
      ['dueAt', '<', until],
      {
        or: [
          ['graceUntil', 'absent'],
          ['graceUntil', '<', until],
        ],
      },
    ],
  })
  return done.ok
}

/** A registration that nobody could finish, with its deadline put off. */
export async function putOffRegistration(table: Table, lease: Lease, until: string, by: Actor): Promise<boolean> {
  const done = await table.write({
    update: leaseItem(lease.id),
    set: [
      ['registerBy', until],
      ['dueAt', until],
      ['by', actor(by)],
    ],
    if: [
      ['state', '=', 'registering'],
      ['registerBy', '=', lease.registerBy],
    ],
  })
  return done.ok
}

/** An orphan that nobody could accept meanwhile, with its deadline put off. */
export async function putOffOrphan(table: Table, identity: Identity, until: string, by: Actor): Promise<boolean> {
  if (identity.orphan === undefined) return false
  const done = await table.write({
    update: identityItem(identity.key),
    set: [
      [['orphan', 'deadline'], until],
      ['dueAt', until],
      ['listAt', until],
      ['by', actor(by)],
    ],
    if: [
      ['owner', '=', identity.owner],
      [['orphan', 'deadline'], '=', identity.orphan.deadline],
    ],
  })
  return done.ok
}

/** Later than every moment that the sweeper looks at. */
const NEVER = '9999-12-31T23:59:59.999Z'

/**
 * The lease has run out and its class only tells: it stays live, and is listed. It stays in its issuer's partition of
 * what is due, where the lists of live leases look, behind all that ever becomes due.
 *
 * @param dueAt when it is looked at again, where that may change
 */
export async function markOverdue(table: Table, lease: Lease, by: Actor, dueAt = NEVER): Promise<boolean> {
  const done = await table.write({
    update: leaseItem(lease.id),
    set: [
      ['overdueSince', by.at],
      ['dueAt', dueAt],
      ['listPk', LIST.overdue],
      ['listAt', lease.expiresAt],
      ['by', actor(by)],
    ],
    if: [
      ['state', '=', 'live'],
      ['expiresAt', '=', lease.expiresAt],
      ['overdueSince', 'absent'],
    ],
  })
  return done.ok
}

/** The second half of a count; `false` where another sweep counted meanwhile. */
export async function setGeneration(table: Table, seen: Heartbeat | undefined, generation: number, by: Actor): Promise<boolean> {
  const done = await table.write({
    update: heartbeatItem(),
    set: [
      ['kind', 'heartbeat'],
      ['generation', generation],
      ['by', actor(by)],
    ],
    remove: ['behind'],
    if: [seen?.generation === undefined ? ['generation', 'absent'] : ['generation', '=', seen.generation]],
  })
  return done.ok
}

/** Remembers by which mark the table was found to be old: once it is released, it is counted on from there. */
export async function noteBehind(
  table: Table,
  seen: Heartbeat | undefined,
  outside: number | undefined,
  by: Actor,
): Promise<void> {
  if (outside === undefined || outside <= (seen?.generation ?? 0) + 1 || seen?.behind === outside) return
  await table.write({
    update: heartbeatItem(),
    set: [
      ['kind', 'heartbeat'],
      ['behind', outside],
      ['by', actor(by)],
    ],
  })
}
