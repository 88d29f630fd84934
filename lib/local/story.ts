import { once } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import type { AuditRecord } from '../../functions/contracts/audit.ts'
import type { CaseView } from '../../functions/contracts/case.ts'
import type { Api } from './client.ts'
import { apiClient } from './client.ts'
import type { Held } from './demo.ts'
import { declareIssuers, goesWith, offboarding, populate } from './demo.ts'
import type { Installation } from './installation.ts'
import { DOMAIN, startInstallation } from './installation.ts'
import { foresee, giveBack, outcomesOf, tellRestorations } from './safety.ts'
import type { Terminal } from './terminal.ts'

export interface StoryOptions {
  readonly folder: string
  readonly once: boolean
  readonly port?: number
  readonly terminal: Terminal
}

const PATIENCE = 60_000
const seconds = (milliseconds: number) => `${(milliseconds / 1000).toFixed(2)} s`

/** Brings the pipeline up, tells the story, then stays up. Answers the exit code. */
export async function runStory({ folder, once: onlyOnce, port, terminal: out }: StoryOptions): Promise<number> {
  const interrupted = new AbortController()
  const interrupt = () => interrupted.abort()
  process.on('SIGINT', interrupt)
  process.on('SIGTERM', interrupt)
  let installation: Installation | undefined
  const held: Held[] = []
  try {
    out.title('Rescind on this machine')
    out.progress('starting PostgreSQL, the OAuth server, the store, the queues, the functions …')
    installation = await startInstallation({ folder, ...(port === undefined ? {} : { port }) })
    const { runtime, milliseconds } = installation
    out.line(`  ready in ${seconds(milliseconds.ready ?? 0)}; API ${runtime.apiUrl}; state in ${folder}`)
    const api = apiClient(runtime.apiUrl)
    await declareIssuers(installation, api)

    interrupted.signal.throwIfAborted()
    out.title('1  Real credentials, each registered before its consumer may use it')
    held.push(...(await populate(installation, api)))
    for (const one of held) {
      const refused = (await one.login()) ?? (await one.session())
      if (refused !== undefined) throw new Error(`${one.title} does not work to begin with: ${refused}`)
      out.good(`${one.title.padEnd(41)} ${out.dim(`${one.identity.slice(DOMAIN.length + 1)}, owner ${one.owner}`)}  logs in`)
    }

    interrupted.signal.throwIfAborted()
    const fine = await offboard(installation, api, held, out)
    if (onlyOnce) return fine ? 0 : 1
    await stayUp(installation, api, held, out, interrupted.signal)
    return 0
  } catch (error) {
    if (interrupted.signal.aborted) return 130
    out.bad(error instanceof Error ? (error.stack ?? error.message) : String(error))
    out.line(`  logs: ${folder}/logs`)
    return 1
  } finally {
    out.progress('stopping …')
    await Promise.all(held.map((one) => one.close()))
    await installation?.stop()
    out.line(out.dim('stopped'))
    process.off('SIGINT', interrupt)
    process.off('SIGTERM', interrupt)
  }
}

/** The main job: one event of the HR system, and every real credential of its owner's identities is dead. */
async function offboard(installation: Installation, api: Api, held: readonly Held[], out: Terminal): Promise<boolean> {
  const { tokens, hrSecret } = installation
  const { goes: dead, stays: living } = goesWith('ana', held)
  out.title('2  Before anything happens: what would it do if ana left?')
  const foreseen = await foresee(api, tokens.operator, 'ana', held, dead, out)
  if (!foreseen) out.bad('the preview does not name exactly what is to be cut')

  out.title('3  The HR system reports: ana has left the company')
  const sent = performance.now()
  const receipt = await api.sendSigned('hr', hrSecret, offboarding('ana'))
  out.line(
    `  POST /v1/events, signed as Standard Webhooks says: case ${receipt.case} ${receipt.status} after ${seconds(performance.now() - sent)}`,
  )
  const closed = await follow(api, tokens.operator, receipt.case, sent, out)

  const trail = await wholeTrail(api, tokens.operator, receipt.case, closed)
  out.title('4  Each lease of the case, with its evidence')
  const of = (lease: string) => held.find((one) => one.lease.id === lease)
  for (const record of trail.filter(({ what }) => what.startsWith('outcome.'))) {
    const took = Date.parse(record.at) - Date.parse(closed.openedAt)
    out.line(
      `  ${(of(record.lease ?? '')?.title ?? record.lease ?? '').padEnd(41)} ${out.bold(record.outcome ?? '')} after ${seconds(took)}`,
    )
    out.line(
      out.dim(`      the issuer said: ${record.evidence?.said ?? ''}; asked again: ${record.evidence?.verified ?? 'not asked'}`),
    )
  }

  out.title('5  What an attacker or a forgetful script would see now')
  let fine = foreseen && closed.outcomes.revoked === dead.length
  for (const one of dead) {
    const [login, session] = [await one.login(), await one.session()]
    const isDead = login !== undefined && session !== undefined
    fine &&= isDead
    if (isDead) out.good(`${one.title.padEnd(41)} dead: ${login}; open session: ${session}`)
    else out.bad(`${one.title.padEnd(41)} STILL ALIVE`)
  }
  out.title('6  Everybody else')
  for (const one of living) {
    const [login, session] = [await one.login(), await one.session()]
    const works = login === undefined && session === undefined
    fine &&= works
    if (works) out.good(`${one.title.padEnd(41)} still works, its open session too`)
    else out.bad(`${one.title.padEnd(41)} WAS HIT: ${login ?? session}`)
  }

  const exporter = dead.find(({ lease }) => lease.purpose === 'export invoices')
  if (exporter === undefined) throw new Error('nobody holds a lease to export invoices')
  out.title('7  One cut was wrong: accounting needs that export, whoever owned it')
  const rest = dead.filter((one) => one !== exporter)
  fine = (await giveBack(api, tokens.operator, exporter, rest, 'accounting needs the export', out)) && fine

  out.title('8  The audit trail of the case')
  const told = trail.filter(({ what }) => !/^(chunk|scope)\.|^lease\.ended$/.test(what))
  for (const record of told) out.line(trailLine(record))
  out.line(
    out.dim(`  and ${trail.length - told.length} more, about how the work was divided: GET /v1/audit?case=${receipt.case}`),
  )
  out.line()
  out.line(
    fine
      ? out.bold('  Everything that should be dead is dead, and everything else is alive.')
      : out.bold('  NOT as it should be: see above.'),
  )
  return fine
}

function trailLine(record: AuditRecord): string {
  const about =
    record.lease === undefined
      ? (record.identity?.slice(DOMAIN.length + 1) ?? record.issuer ?? '')
      : `lease …${record.lease.slice(-8)}`
  const change = record.previous === undefined ? (record.state ?? '') : `${record.previous} → ${record.state ?? ''}`
  return `  ${record.at.slice(11, 23)}  ${record.what.padEnd(18)} ${about.padEnd(22)} ${change.padEnd(20)} ${record.who}`
}

/** Prints the moments of a case as they come. */
async function follow(api: Api, token: string, id: string, sent: number, out: Terminal): Promise<CaseView> {
  const told = new Set<string>()
  const tell = (moment: string, at: string | undefined, current: CaseView, more = '') => {
    if (at === undefined || told.has(moment)) return
    told.add(moment)
    out.good(`${moment.padEnd(10)} after ${seconds(Date.parse(at) - Date.parse(current.openedAt))}${more}`)
  }
  for (;;) {
    const current = await api.case(token, id)
    const fenced = current.identities === 1 ? '1 identity takes' : `${current.identities} identities take`
    tell('fenced', current.fencedAt, current, `: ${fenced} no new lease`)
    tell('contained', current.containedAt, current, `: ${current.levers.done} of ${current.levers.expected} levers pulled`)
    tell('closed', current.closedAt, current, `: ${outcomesOf(current)}`)
    if (current.closedAt !== undefined) return current
    if (performance.now() - sent > PATIENCE)
      throw new Error(`the case is still ${current.state} after ${PATIENCE / 1000} s: ${JSON.stringify(current)}`)
    const done = Object.values(current.outcomes).reduce((sum, count) => sum + count, 0)
    out.progress(`  … ${current.state}: ${done} leases final, ${current.scans.done} of ${current.scans.expected} shards done`)
    await sleep(50)
  }
}

/** The archive follows the stream: asked again until the close itself is in it. */
async function wholeTrail(api: Api, token: string, id: string, closed: CaseView): Promise<AuditRecord[]> {
  const until = performance.now() + PATIENCE
  for (;;) {
    const trail = await api.audit(token, { case: id })
    const outcomes = Object.values(closed.outcomes).reduce((sum, count) => sum + count, 0)
    if (
      trail.some(({ what }) => what === 'case.closed') &&
      trail.filter(({ what }) => what.startsWith('outcome.')).length >= outcomes
    )
      return trail
    if (performance.now() > until) throw new Error('the audit trail did not come to its end')
    await sleep(100)
  }
}

/** Your turn: commands to copy, and what they do to the credentials. */
async function stayUp(
  installation: Installation,
  api: Api,
  held: readonly Held[],
  out: Terminal,
  signal: AbortSignal,
): Promise<void> {
  const { runtime, tokenFiles, tokens } = installation
  const post = (file: string, path: string, body: unknown) =>
    [
      `curl -sS ${runtime.apiUrl}${path} -H "authorization: Bearer $(cat ${file})" -H 'content-type: application/json' \\`,
      `  -d '${JSON.stringify(body)}'`,
    ].join('\n')
  const send = (file: string, type: string, scope: unknown, reason: string) =>
    [
      `curl -sS ${runtime.apiUrl}/v1/events -H "authorization: Bearer $(cat ${file})" -H 'content-type: application/cloudevents+json' \\`,
      `  -d '{"specversion":"1.0","id":"'$(date +%s%N)'","source":"urn:me","type":"io.rescind.${type}","data":{"scope":${JSON.stringify(scope)},"reason":"${reason}"}}'`,
    ].join('\n')
  out.title('Your turn')
  out.line(`The API is at ${runtime.apiUrl}. Copy one of these into another terminal and watch what dies here:`)
  out.line()
  const crm = { kind: 'identity', id: `${DOMAIN}/workload/crm` }
  out.line('# what would it do if the CRM were compromised? Nothing happens')
  out.line(post(tokenFiles.security, '/v1/plans', { type: 'compromise', scope: crm }))
  out.line()
  out.line('# a compromise: the CRM’s token was seen in a public log')
  out.line(send(tokenFiles.security, 'compromise', crm, 'token seen in a public log'))
  out.line()
  out.line('# it was a false alarm: somebody who may approve gives back what can be given back')
  out.line(post(tokenFiles.approver, '/v1/identities/restore', { id: crm.id, reason: 'a test token', undoesCompromise: true }))
  out.line()
  out.line('# a deployment is gone')
  out.line(send(tokenFiles.deploy, 'decommission', { kind: 'deployment', id: 'ledger-v41' }, 'replaced by v42'))
  out.line()
  out.line('# a CI job has finished')
  out.line(send(tokenFiles.ci, 'task-complete', { kind: 'task', id: 'build-4711' }, 'the job is done'))
  out.line()
  out.line(
    out.dim(
      `more: curl -sS ${runtime.apiUrl}/v1/cases -H "authorization: Bearer $(cat ${tokenFiles.operator})"      Ctrl-C stops everything`,
    ),
  )

  const check = async (id: string) => {
    const current = await api.case(tokens.operator, id)
    const took = Date.parse(current.closedAt ?? current.openedAt) - Date.parse(current.openedAt)
    out.title(`${current.type}: case ${id} closed after ${seconds(took)}: ${outcomesOf(current) || 'it matched nothing'}`)
    let others = 0
    for (const one of held) {
      const lease = await api.lease(tokens.operator, one.lease.id)
      const refused = await one.login()
      if (refused === undefined) others += 1
      else if (lease.outcomes[id] !== undefined)
        out.bad(`${one.title.padEnd(41)} dead: ${refused}; open session: ${(await one.session()) ?? 'STILL OPEN'}`)
    }
    out.good(`${others} other credentials still work`)
  }
  runtime.onOutcomeEvent((event) => {
    const subject = (event.detail as { subject?: unknown } | undefined)?.subject
    if (typeof subject !== 'string') return
    check(subject).catch((error: unknown) => out.bad(`could not look: ${String(error)}`))
  })
  tellRestorations(api, tokens.operator, held, out, signal).catch((error: unknown) => {
    if (!signal.aborted) out.bad(`could not look for restorations: ${String(error)}`)
  })
  if (!signal.aborted) await once(signal, 'abort')
}
