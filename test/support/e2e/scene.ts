import { randomUUID } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import type { CaseView } from '../../../functions/contracts/case.ts'
import type { LeaseView } from '../../../functions/contracts/lease.ts'
import { TYPE_PREFIX } from '../../../functions/contracts/trigger.ts'
import type { Api } from '../../../lib/local/client.ts'
import type { Deployment } from './deployment.ts'

/** A real credential. */
export interface Held {
  readonly title: string
  /** What its holder is told now: `undefined` if it works. */
  refusal(): Promise<string | undefined>
}

/** One that is registered as a lease. */
export interface Leased extends Held {
  readonly lease: LeaseView
  /** What the holder of a dead one is told, and nothing else: no answer at all is no proof. */
  readonly dead: RegExp
}

export const PATIENCE = 60_000
export const inSeconds = (milliseconds: number) => `${(milliseconds / 1000).toFixed(1)} s`

export interface Scene {
  readonly deployment: Deployment
  readonly check: (what: string, fine: boolean, said?: string) => void
  readonly say: (line: string) => void
  readonly signal: AbortSignal
}

export const told = ({ status, body }: { readonly status: number; readonly body: unknown }) =>
  status < 300 ? String(status) : `${status} ${JSON.stringify(body)?.slice(0, 200)}`

export const trigger = (type: string, scope: Record<string, unknown>, reason: string) => ({
  specversion: '1.0' as const,
  id: `e2e-${randomUUID()}`,
  source: 'https://events.example',
  type: `${TYPE_PREFIX}${type}`,
  time: new Date().toISOString(),
  datacontenttype: 'application/json',
  data: { scope, reason, requestedBy: 'e2e@example' },
})

/** Looks again until there is something; a deadline instead of a guess. */
export async function until<Value>({ signal }: Scene, what: string, look: () => Promise<Value | undefined>): Promise<Value> {
  const deadline = performance.now() + PATIENCE
  for (;;) {
    const found = await look()
    if (found !== undefined) return found
    if (performance.now() > deadline) throw new Error(`${what} did not come within ${PATIENCE / 1000} s`)
    await sleep(200, undefined, { signal })
  }
}

/** Waits for the cases. What waits longer than a queue can hold it back is the sweeper's: it is woken each second. */
export async function closed(scene: Scene, api: Api, ids: readonly string[], sent: number): Promise<CaseView[]> {
  const { deployment, say } = scene
  const seen = new Map<string, string>()
  let swept = performance.now()
  let views: CaseView[] = []
  const done = until(scene, 'the close of the cases', async () => {
    views = await Promise.all(ids.map((id) => api.case(deployment.tokens.operator, id)))
    for (const view of views) {
      if (seen.get(view.id) === view.state) continue
      seen.set(view.id, view.state)
      say(`  ${inSeconds(performance.now() - sent).padStart(7)}  ${view.type} ${view.state}`)
    }
    if (views.every(({ closedAt }) => closedAt !== undefined)) return views
    if (performance.now() - swept > 1000) {
      swept = performance.now()
      await deployment.invoke('sweep')
    }
    return undefined
  })
  return done.catch((error: unknown) => {
    throw new Error(`${error instanceof Error ? error.message : error}: ${JSON.stringify(views, undefined, 1)}`, { cause: error })
  })
}

export const outcomes = ({ outcomes: counts }: CaseView) =>
  Object.entries(counts)
    .filter(([, count]) => count > 0)
    .map(([word, count]) => `${count} ${word}`)
    .join(', ') || 'none'
