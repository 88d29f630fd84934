import { setTimeout as sleep } from 'node:timers/promises'
import type { CaseView } from '../../functions/contracts/case.ts'
import type { PlanView } from '../../functions/contracts/plan.ts'
import type { RestorationView } from '../../functions/contracts/restoration.ts'
import type { Api } from './client.ts'
import type { Held } from './demo.ts'
import { DOMAIN } from './installation.ts'
import type { Terminal } from './terminal.ts'

/** The two parts of the story that are about being safe: asked before anything happens, and undone afterwards. */

const PATIENCE = 30_000
const times = (count: number, one: string, more = `${one}s`) => `${count} ${count === 1 ? one : more}`
const clock = (at: string) => new Date(at).toTimeString().slice(0, 5)

/**
 * Asks what an owner's leaving would do, before it is reported, and says the answer in words.
 *
 * @returns whether it foresees exactly what `doomed` names
 */
export async function foresee(
  api: Api,
  token: string,
  owner: string,
  held: readonly Held[],
  doomed: readonly Held[],
  out: Terminal,
): Promise<boolean> {
  const plan = (await api.call('POST', '/v1/plans', {
    token,
    body: { type: 'offboarding', scope: { kind: 'owner', id: owner }, source: 'hr' },
  })) as PlanView
  const { leases, identities, descendants, bystanders } = plan
  const waits = plan.held?.held === true ? 'after an approval' : 'at once'
  out.line(`  POST /v1/plans writes nothing and says: ${leases.cut} of ${held.length} credentials would be cut, ${waits}`)
  const name = (id: string) => id.slice(DOMAIN.length + 1)
  out.line(`  fenced    ${identities.reached.sample.map(({ id }) => name(id)).join(', ')}`)
  for (const { identity, owner: whose } of [...descendants.sample, ...bystanders.sample])
    out.line(`  hit too   ${name(identity)}, owner ${whose}: what it holds was delegated from there`)
  for (const { issuer, leases: there, undo } of plan.byIssuer) {
    const until = undo.possible && undo.until !== undefined ? ` until ${clock(undo.until)}` : ''
    out.line(`  ${issuer.padEnd(8)}  ${there.cut} cut, ${undo.possible ? `can be given back${until}` : `for good: ${undo.said}`}`)
  }
  const said = new Set(plan.cut.sample.map(({ lease }) => lease))
  return plan.complete && leases.cut === doomed.length && doomed.every(({ lease }) => said.has(lease.id))
}

/**
 * Undoes one cut of a closed case and tries the very same credential again; the rest of the case stays as it is.
 *
 * @returns whether it works again, and `others` are as dead as before
 */
export async function giveBack(
  api: Api,
  token: string,
  one: Held,
  others: readonly Held[],
  reason: string,
  out: Terminal,
): Promise<boolean> {
  const began = performance.now()
  const opened = (await api.call('POST', `/v1/leases/${one.lease.id}/restore`, { token, body: { reason } })) as RestorationView
  const done = await until(api, token, opened.id)
  const took = ((performance.now() - began) / 1000).toFixed(2)
  const why = done.refused.map(({ said }) => `: ${said}`).join('')
  out.line(`  POST /v1/leases/{id}/restore: ${done.counts.restored} restored after ${took} s${why}`)
  const refused = await one.login()
  if (refused === undefined) out.good(`${one.title.padEnd(41)} logs in again, with its old password`)
  else out.bad(`${one.title.padEnd(41)} STILL DEAD: ${refused}`)
  let fine = refused === undefined
  for (const other of others) {
    const dead = (await other.login()) !== undefined
    fine &&= dead
    if (!dead) out.bad(`${other.title.padEnd(41)} CAME BACK TOO`)
  }
  if (fine) out.good(`the other ${times(others.length, 'credential')} of the case stay dead`)
  return fine
}

async function until(api: Api, token: string, id: string): Promise<RestorationView> {
  const deadline = performance.now() + PATIENCE
  for (;;) {
    const view = (await api.call('GET', `/v1/restorations/${id}`, { token })) as RestorationView
    if (view.state === 'done') return view
    if (performance.now() > deadline) throw new Error(`the restoration is still ${view.state}: ${JSON.stringify(view)}`)
    await sleep(50)
  }
}

/** Tells of each restoration that somebody asks for: which credentials work again, and why others do not. */
export async function tellRestorations(
  api: Api,
  token: string,
  held: readonly Held[],
  out: Terminal,
  signal: AbortSignal,
): Promise<void> {
  const list = async () =>
    ((await api.call('GET', '/v1/restorations?limit=20', { token })) as { entries: RestorationView[] }).entries
  const told = new Set((await list()).map(({ id }) => id))
  const back = new Set(await alive(api, token, held))
  while (!signal.aborted) {
    await sleep(1000, undefined, { signal }).catch(() => undefined)
    const fresh = (await list()).filter(({ id, state }) => state === 'done' && !told.has(id))
    if (fresh.length === 0) continue
    for (const { id, counts, refused } of fresh) {
      told.add(id)
      out.title(`restoration: ${counts.restored} given back, ${counts.refused} not`)
      for (const { lease, said } of refused) out.bad(`${titleOf(held, lease).padEnd(41)} ${said}`)
    }
    for (const one of await alive(api, token, held)) {
      if (!back.has(one)) out.good(`${one.title.padEnd(41)} works again, the very same credential`)
      back.add(one)
    }
  }
}

/** What was cut once, and works. */
async function alive(api: Api, token: string, held: readonly Held[]): Promise<Held[]> {
  const found: Held[] = []
  for (const one of held) {
    const { outcomes } = await api.lease(token, one.lease.id)
    const cut = Object.values(outcomes).some(({ outcome }) => outcome === 'revoked')
    if (cut && (await one.login()) === undefined) found.push(one)
  }
  return found
}

const titleOf = (held: readonly Held[], lease: string) => held.find((one) => one.lease.id === lease)?.title ?? lease

/** What a case did, in words: its leases, and those of its amendments. */
export function outcomesOf({ outcomes, amendments }: CaseView): string {
  const words = Object.entries(outcomes).map(
    ([word, count]) => [word, count + (amendments.outcomes[word as keyof typeof outcomes] ?? 0)] as const,
  )
  return words.flatMap(([word, count]) => (count > 0 ? [`${count} ${word}`] : [])).join(', ')
}
