import { backoffSeconds } from '../domain/backoff.ts'
import type { Actor, Case, Chunk } from '../domain/model.ts'
import { after, secondsUntil, ttl } from '../domain/time.ts'
import type { ProviderModule, Warrant } from '../providers/contract.ts'
import { IssuerError } from '../providers/contract.ts'
import { unitName } from '../store/keys.ts'
import { leasesOf } from '../store/leases.ts'
import { covered, finishTidy, postponeChunk } from '../store/work.ts'
import type { issuerConnections, Reached } from './issuer.ts'
import { eachAnswered, subjectsOf, unclear } from './issuer.ts'
import type { Again, WorkPorts } from './ports.ts'

/** After this many tries a person is shown what is left; the access is cut all the same. */
const TRIES = 8

/**
 * Deletes what the cuts of a chunk left behind, after the soak time. The access is cut already, so nothing here can
 * change an outcome: what cannot be deleted is shown.
 */
export async function tidy(
  { module, ports, issuers }: { module: ProviderModule; ports: WorkPorts; issuers: ReturnType<typeof issuerConnections> },
  chunk: Chunk,
  current: Case,
  reached: Reached,
  by: Actor,
): Promise<Again> {
  const { table, limits } = ports
  const keep = ttl(after(by.at, limits.retentionDays * 86400))
  const due = chunk.tidyAt ?? by.at
  if (due > by.at) return secondsUntil(due, by.at)
  const later = async (seconds: number, said: string, spends: boolean): Promise<Again> => {
    await postponeChunk(table, chunk, { step: 'tidy', applied: {}, dueAt: after(by.at, seconds), spends, said }, by)
    return seconds
  }
  if (reached.kind === 'unknown') {
    await finishTidy(table, chunk, reached.said, true, keep, by)
    return undefined
  }
  if (reached.kind === 'not-now') return later(Math.max(1, secondsUntil(reached.until, by.at)), reached.said, false)
  const { provider } = reached
  const call = provider.tidy?.bind(provider)
  if (call === undefined) {
    await finishTidy(table, chunk, 'nothing to delete', false, keep, by)
    return undefined
  }
  const warrant: Warrant = {
    case: current.id,
    lane: current.lane,
    epoch: chunk.epoch ?? 0,
    fencedAt: current.fencedAt ?? current.openedAt,
  }
  const left: string[] = []
  let retry: { said: string; seconds: number } | undefined
  let deleted = 0
  try {
    for await (const ids of covered(table, chunk, module.definition.limits.batch)) {
      const leases = [
        ...(
          await leasesOf(
            table,
            ids.map(({ id }) => id),
          )
        ).values(),
      ].filter(
        // Only what this very case cut: what another case copied is that one's to delete.
        (lease) =>
          lease.claims[current.id] === unitName(chunk) && lease.ended?.case === current.id && lease.ended.outcome === 'revoked',
      )
      const { subjects } = await subjectsOf(module, leases, ports.open)
      if (subjects.length === 0) continue
      const answers = await eachAnswered(
        subjects.map(({ subject }) => subject),
        (batch) => call(batch, warrant),
        unclear,
      )
      for (const answer of answers) {
        if (answer.status === 'revoked' || answer.status === 'absent') deleted += 1
        else if (answer.status === 'retry') retry = { said: answer.said, seconds: answer.afterSeconds ?? 0 }
        else left.push(answer.said)
      }
    }
  } catch (error) {
    if (!(error instanceof IssuerError)) throw error
    const { until, said } = await issuers.failed(chunk.issuer, error, by)
    return later(Math.max(1, secondsUntil(until, by.at)), said, false)
  }
  if (retry !== undefined && chunk.attempts + 1 < TRIES)
    return later(
      backoffSeconds(chunk.attempts + 1, ports.random.fraction(), limits.backoffSeconds, retry.seconds),
      retry.said,
      true,
    )
  if (retry !== undefined) left.push(retry.said)
  await finishTidy(
    table,
    chunk,
    left.length === 0 ? `${deleted} deleted` : `${deleted} deleted; ${left.length} left: ${left[0]}`,
    left.length > 0,
    keep,
    by,
  )
  return undefined
}
