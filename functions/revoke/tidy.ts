import { deletionAllowed } from '../domain/approval.ts'
import { backoffSeconds } from '../domain/backoff.ts'
import type { Actor, Case, Chunk, Issuer, Lease } from '../domain/model.ts'
import { mayDelete } from '../domain/modes.ts'
import { after, later, ttl } from '../domain/time.ts'
import type { Answer, Provider, ProviderModule, Warrant } from '../providers/contract.ts'
import { campaignOf } from '../store/campaigns.ts'
import { unitName } from '../store/keys.ts'
import { keepLease, leaveBehind, markDeleted, markDeletion } from '../store/watch.ts'
import { covered, leasesCovered, writeGroups } from '../store/work.ts'
import { eachAnswered, subjectsOf, unclear } from './issuer.ts'
import type { WorkPorts } from './ports.ts'

/** After so many tries a person is shown what is left; it is tried again each day, and the access is cut all the same. */
const TRIES = 8
const DAY_SECONDS = 86400
const PAGE = 100
/** An approval that is not there yet is looked for again after this, in seconds. */
const APPROVAL_SECONDS = 3600
/** What waits for an approval stays in the table, whatever its retention: for so many days more, when so few are left. */
const KEPT_DAYS = 60
const FEW_DAYS = 30

/** What came of a deletion: when it is due again, if it is, and what there is to say. */
export interface Tidied {
  readonly tidyAt: string | undefined
  readonly said: string
  readonly spends: boolean
}

/**
 * Deletes what the cuts of a chunk left behind, once the soak time is over, the case may enforce all, and no approval
 * is missing. Each lease is marked before the issuer is called, so a restoration and a deletion never cross. The access
 * is cut already, so nothing here can change an outcome: what cannot be deleted is shown.
 *
 * @param connected absent: no worker can serve the issuer, for the reason in `said`
 */
export async function tidy(
  { module, ports }: { readonly module: ProviderModule; readonly ports: WorkPorts },
  chunk: Chunk,
  current: Case,
  connected: { readonly issuer: Issuer; readonly provider: Provider } | { readonly said: string },
  warrant: Warrant,
  by: Actor,
): Promise<Tidied> {
  const { table, limits } = ports
  const campaign = current.campaign === undefined ? undefined : await campaignOf(table, current.campaign)
  const verdict = deletionAllowed(current, campaign, by.at, chunk.soakEnds ?? by.at)
  if (verdict === 'refused')
    return { tidyAt: undefined, said: 'its deletion was refused: it stays, and stays cut', spends: false }
  if (verdict === 'waits')
    return (await keepOn())
      ? { tidyAt: after(by.at, APPROVAL_SECONDS), said: 'its deletion waits for an approval', spends: false }
      : { tidyAt: undefined, said: 'nothing to delete', spends: false }
  const issuer = 'issuer' in connected ? connected.issuer : undefined
  const call = 'provider' in connected ? connected.provider.tidy?.bind(connected.provider) : undefined
  if (call === undefined && issuer !== undefined) return { tidyAt: undefined, said: 'nothing to delete', spends: false }
  const keep = (lease: Lease) => ttl(after(later(lease.expiresAt, by.at), limits.retentionDays * DAY_SECONDS))
  let deleted = 0
  let kept = 0
  const left: string[] = []
  let retry: { said: string; seconds: number } | undefined
  let spends = false
  for await (const ids of covered(table, chunk, module.definition.limits.batch)) {
    const found = await leasesCovered(table, ids)
    const ours = [...found.values()].filter(isOurs)
    const due = ours.filter((lease) => lease.state === 'ended' && mayDelete(current, lease, issuer))
    // Somebody is giving it back, or the mode forbids it now: it is looked at again.
    kept += ours.length - due.length
    const unmarked = due.filter(({ deletion }) => deletion === undefined)
    if (call === undefined) {
      for (const lease of due)
        left.push(await leave(lease, 'said' in connected ? connected.said : '', lease.deletion !== undefined))
      continue
    }
    const marked = await writeGroups(
      table,
      unmarked.map((lease) => markDeletion(lease, by)),
    )
    // What was given back, or is being given back, is not deleted.
    const going = [
      ...due.filter(({ deletion }) => deletion !== undefined),
      ...unmarked.filter((_, index) => marked[index] === true),
    ]
    kept += due.length - going.length
    const { subjects, unusable } = await subjectsOf(module, going, ports.open)
    for (const { lease, said } of unusable) left.push(await leave(lease, said, false))
    if (subjects.length === 0) continue
    const answers: Answer[] = await eachAnswered(
      subjects.map(({ subject }) => subject),
      (batch) => call(batch, warrant),
      unclear,
    )
    const gone = subjects.filter((_, index) => answers[index]?.status === 'revoked' || answers[index]?.status === 'absent')
    await writeGroups(
      table,
      gone.map(({ lease }) => [markDeleted(lease, keep(lease), by)]),
    )
    deleted += gone.length
    for (const [index, { lease }] of subjects.entries()) {
      const answer = answers[index]
      if (answer === undefined || answer.status === 'revoked' || answer.status === 'absent') continue
      if (answer.status === 'retry' && (answer.throttled === true || chunk.attempts + 1 < TRIES)) {
        spends ||= answer.throttled !== true
        retry = { said: answer.said, seconds: answer.afterSeconds ?? 0 }
      } else left.push(await leave(lease, answer.said, answer.status === 'retry' && answer.effect === 'unknown'))
    }
  }
  if (retry !== undefined) {
    const seconds = backoffSeconds(chunk.attempts + 1, ports.random.fraction(), limits.backoffSeconds, retry.seconds)
    return { tidyAt: after(by.at, seconds), said: retry.said, spends }
  }
  return {
    tidyAt: left.length + kept > 0 ? after(by.at, DAY_SECONDS) : undefined,
    said: left.length === 0 ? `${deleted} deleted` : `${deleted} deleted; ${left.length} left: ${left[0]}`,
    spends: false,
  }

  /** Only what this very case cut: what another case copied is that one's to delete. */
  function isOurs(lease: Lease): boolean {
    const { claims, ended, deletion } = lease
    const cut = claims[current.id] === unitName(chunk) && ended?.case === current.id && ended.outcome === 'revoked'
    return cut && deletion?.done !== true
  }

  /** Whether anything is left to delete: it is, as long as nobody has decided, for retention would delete its traces alone. */
  async function keepOn(): Promise<boolean> {
    let any = false
    for await (const ids of covered(table, chunk, PAGE)) {
      const found = await leasesCovered(table, ids)
      const ours = [...found.values()].filter(isOurs)
      any ||= ours.length > 0
      const few = ttl(after(by.at, FEW_DAYS * DAY_SECONDS))
      const leaving = ours.filter((lease) => lease.ttl !== undefined && lease.ttl < few)
      await writeGroups(
        table,
        leaving.map((lease) => [keepLease(lease, ttl(after(by.at, KEPT_DAYS * DAY_SECONDS)))]),
      )
    }
    return any
  }

  async function leave(lease: Lease, said: string, keepsMark: boolean): Promise<string> {
    const [shown, ...more] = leaveBehind(lease, said, keepsMark, by)
    if (shown !== undefined) await (more.length === 0 ? table.write(shown) : table.transact([shown, ...more]))
    return said
  }
}
