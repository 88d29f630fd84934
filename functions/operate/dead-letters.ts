import * as z from 'zod/mini'
import type { DeadLetterQueueView, DeadLetterView, RedriveAnswer } from '../contracts/dead-letter.ts'
import { DeadLetterQueueName, Redrive } from '../contracts/dead-letter.ts'
import { PlanMessage, WorkMessage } from '../contracts/message.ts'
import { isOver } from '../domain/discovery.ts'
import type { Actor, Chunk } from '../domain/model.ts'
import { instant } from '../domain/time.ts'
import type { DeadLetter, DeadLetters } from '../runtime/dead-letters.ts'
import type { Route } from '../runtime/http.ts'
import { readBody, readQuery, readValue } from '../runtime/http.ts'
import type { Clock } from '../runtime/ports.ts'
import { ProblemError } from '../runtime/problem-error.ts'
import { campaignOf } from '../store/campaigns.ts'
import { caseOf } from '../store/cases.ts'
import { deathsOf, noteRedrive } from '../store/dead-letters.ts'
import { discoveryOf } from '../store/discoveries.ts'
import { ForeignItem } from '../store/items.ts'
import { leverOf } from '../store/levers.ts'
import { heartbeatOf } from '../store/outage.ts'
import { restorationOf } from '../store/restorations.ts'
import type { Table } from '../store/table.ts'
import { amendmentOf, chunkOf } from '../store/work.ts'
import type { AsOperator, Operator } from './caller.ts'
import { mustApprove } from './caller.ts'

export interface DeadLetterPorts {
  readonly table: Table
  readonly clock: Clock
  readonly deadLetters: DeadLetters
}

/** Letters shown at once. */
const MOST_SHOWN = 100
/** A look hides what it looks at no longer than this, in seconds; it is released as soon as the answer is made. */
const LOOK_SECONDS = 30
/** What is being driven back is hidden from a second redrive so long, in seconds: longer than a request may take. */
const DRIVE_SECONDS = 60
/** A request drives back for so long at most, in milliseconds: it has 25 seconds. */
const DRIVE_MILLISECONDS = 15_000
/** Queues asked at once. */
const AT_ONCE = 8

const Look = z.object({ limit: z._default(z.coerce.number().check(z.int(), z.minimum(1), z.maximum(MOST_SHOWN)), 20) })

/** Ticks of the sweeper that failed: there is nothing to drive back, only to see that later ones did their work. */
const TICKS = 'sweep-dead'

/** What Lambda notes of a batch of the stream that it gave up: where the records stand. */
const StreamBatch = z.object({
  requestContext: z.object({ condition: z.string() }),
  DDBStreamBatchInfo: z.object({ shardId: z.string(), startSequenceNumber: z.string(), batchSize: z.int() }),
})
/** An event that the bus could not deliver, and what Lambda notes of one whose function failed. */
const BusEvent = z.object({ id: z.string(), source: z.string(), 'detail-type': z.string() })
const Invocation = z.object({ requestPayload: BusEvent })

/** The dead letters: seen, explained by what the table says of their work, and driven back. */
export function deadLetterDesk(ports: DeadLetterPorts) {
  const { table, clock, deadLetters } = ports
  const now = () => instant(clock.now())

  function named(queue: string): string {
    if (!deadLetters.names.includes(queue)) throw new ProblemError('not-found', 'there is no such dead-letter queue')
    return queue
  }

  async function list(): Promise<{ entries: DeadLetterQueueView[] }> {
    const entries: DeadLetterQueueView[] = []
    for (let first = 0; first < deadLetters.names.length; first += AT_ONCE)
      entries.push(...(await Promise.all(deadLetters.names.slice(first, first + AT_ONCE).map(overview))))
    return { entries: entries.sort((one, other) => other.messages - one.messages || (one.queue < other.queue ? -1 : 1)) }
  }

  async function overview(queue: string): Promise<DeadLetterQueueView> {
    const messages = await deadLetters.depth(queue)
    const seen = messages === 0 ? [] : await look(queue, 10, async (letters) => letters)
    const oldest = Math.min(...seen.map(({ sentAt }) => sentAt))
    return { queue, messages, ...(seen.length === 0 ? {} : { oldest: instant(oldest) }), redrive: wayBack(queue) }
  }

  function wayBack(queue: string): string {
    if (deadLetters.canGoBack(queue)) return 'sends its messages back to the queue that they came from'
    if (queue === TICKS) return 'takes out the ticks that later sweeps have made up for'
    return 'not possible; takes them out with giveUp, once what docs/operations.md says is done'
  }

  /** Hides some letters, shows them to `use`, and lets them be seen again. A crash in between hides them for half a minute. */
  async function look<Result>(queue: string, most: number, use: (letters: DeadLetter[]) => Promise<Result>): Promise<Result> {
    const letters = new Map<string, DeadLetter>()
    try {
      while (letters.size < most) {
        const more = await deadLetters.receive(queue, LOOK_SECONDS)
        for (const letter of more) letters.set(letter.id, letter)
        if (more.length === 0) break
      }
      return await use([...letters.values()].slice(0, most))
    } finally {
      const all = [...letters.values()]
      for (let first = 0; first < all.length; first += 10) await deadLetters.release(queue, all.slice(first, first + 10))
    }
  }

  async function show(name: string, most: number): Promise<{ queue: string; entries: DeadLetterView[] }> {
    const queue = named(name)
    return look(queue, most, async (letters) => {
      const deaths = await deathsOf(
        table,
        letters.map(({ id }) => id),
      )
      const entries: DeadLetterView[] = []
      for (const letter of letters) {
        const { id, receives, sentAt, body } = letter
        const error = deaths.get(id)
        entries.push({
          id,
          receives,
          sentAt: instant(sentAt),
          ...(error === undefined ? {} : { error }),
          ...(await explain(queue, body, sentAt)),
        })
      }
      return { queue, entries: entries.sort((one, other) => (one.sentAt < other.sentAt ? -1 : 1)) }
    })
  }

  type Explained = Omit<DeadLetterView, 'id' | 'receives' | 'sentAt' | 'error'>

  async function explain(queue: string, body: string, sentAt: number): Promise<Explained> {
    if (queue === TICKS) return tick(sentAt)
    let content: unknown
    try {
      content = JSON.parse(body)
    } catch {
      return foreign()
    }
    try {
      const work = z.safeParse(WorkMessage, content)
      if (work.success) return await explainWork(work.data)
      const plan = z.safeParse(PlanMessage, content)
      if (plan.success) return await explainPlan(plan.data)
    } catch (error) {
      if (!(error instanceof ForeignItem)) throw error
      return { kind: 'foreign', says: `what it is about cannot be read: ${error.message}`, over: false }
    }
    const batch = z.safeParse(StreamBatch, content)
    if (batch.success) {
      const { requestContext, DDBStreamBatchInfo: info } = batch.data
      return {
        kind: 'stream-batch',
        says: `${info.batchSize} records of ${info.shardId} from ${info.startSequenceNumber}: ${requestContext.condition}`.slice(
          0,
          300,
        ),
        over: false,
      }
    }
    const invocation = z.safeParse(Invocation, content)
    const event = invocation.success ? invocation.data.requestPayload : z.safeParse(BusEvent, content).data
    if (event !== undefined)
      return { kind: 'event', says: `event ${event.id} of ${event.source} (${event['detail-type']})`.slice(0, 300), over: false }
    return foreign()
  }

  async function tick(sentAt: number): Promise<Explained> {
    const at = (await heartbeatOf(table))?.at
    const over = at !== undefined && Date.parse(at) > sentAt
    return { kind: 'tick', says: at === undefined ? 'no sweep has ended yet' : `the last whole sweep began at ${at}`, over }
  }

  async function explainWork(message: WorkMessage): Promise<Explained> {
    const { kind, issuer } = message
    if (message.kind === 'restore') {
      const { restoration } = message
      const current = await restorationOf(table, restoration)
      return { kind, issuer, restoration, ...standing('the restoration', current?.state, current?.state === 'done') }
    }
    if (message.kind === 'discover') {
      const current = await discoveryOf(table, issuer, message.discovery)
      return { kind, issuer, ...standing('the discovery', current?.state, current !== undefined && isOver(current)) }
    }
    const current = await caseOf(table, message.case)
    const about = { kind, issuer, case: message.case }
    if (current === undefined) return { ...about, ...standing('the case', undefined, false) }
    const state = `the case is ${current.state}`
    switch (message.kind) {
      case 'chunk': {
        const found = await chunkOf(table, message.case, message.progress, message.chunk)
        return { ...about, chunk: `${message.progress}/${message.chunk}`, ...work('the chunk', found, state) }
      }
      case 'amend': {
        const found = await amendmentOf(table, message.case, message.lease)
        return { ...about, lease: message.lease, ...work('the amendment', found, state) }
      }
      case 'contain': {
        const lever = await leverOf(table, message.case, message.identity, message.lever)
        const said = lever?.said === undefined ? '' : `: ${lever.said}`
        return { ...about, says: `the lever is ${lever?.state ?? 'gone'}${said}; ${state}`, over: lever?.state === 'done' }
      }
      case 'locate':
        return { ...about, says: current.asked?.[issuer]?.said ?? state, over: current.asked?.[issuer] !== undefined }
    }
  }

  async function explainPlan(message: PlanMessage): Promise<Explained> {
    const { kind } = message
    if (message.kind === 'campaign') {
      const campaign = await campaignOf(table, message.campaign)
      const carrying = campaign?.carrying === undefined ? 'carried out' : 'being carried out'
      return {
        kind,
        campaign: message.campaign,
        ...standing('its decision', campaign && carrying, campaign !== undefined && campaign.carrying === undefined),
      }
    }
    if (message.kind === 'restore') {
      const current = await restorationOf(table, message.restoration)
      return { kind, restoration: message.restoration, ...standing('the restoration', current?.state, current?.state === 'done') }
    }
    const current = await caseOf(table, message.case)
    const over = current !== undefined && (current.closedAt !== undefined || (message.kind === 'plan' && current.sealed))
    return { kind, case: message.case, ...standing('the case', current?.state, over) }
  }

  /** Sends back, then takes out; what says the same as one that is on its way already is only taken out. */
  async function redrive(name: string, { reason, most, giveUp }: Redrive, operator: Operator): Promise<RedriveAnswer> {
    mustApprove(operator)
    const queue = named(name)
    const goBack = deadLetters.canGoBack(queue)
    if (!goBack && queue !== TICKS && giveUp !== true)
      throw new ProblemError('redrive-refused', `what lies in ${queue} came from no queue, and is taken out with giveUp alone`)
    const by = (): Actor => ({ who: operator.uri, why: reason, at: now() })
    await noteRedrive(table, queue, { began: true }, by())
    const until = clock.now() + DRIVE_MILLISECONDS
    const sent = new Set<string>()
    let redriven = 0
    let settled = 0
    let kept = 0
    while (redriven + settled + kept < most && clock.now() < until) {
      const letters = await deadLetters.receive(queue, DRIVE_SECONDS)
      if (letters.length === 0) break
      if (!goBack) {
        const over: DeadLetter[] = []
        for (const letter of letters) if (queue !== TICKS || (await tick(letter.sentAt)).over) over.push(letter)
        settled += await deadLetters.remove(queue, over)
        kept += letters.length - over.length
        await deadLetters.release(
          queue,
          letters.filter((letter) => !over.includes(letter)),
        )
        if (over.length === 0) break
        continue
      }
      const fresh = letters.filter((letter, place) => !sent.has(letter.body) && firstOf(letters, letter.body) === place)
      const taken = await deadLetters.sendBack(queue, fresh)
      for (const { body } of taken) sent.add(body)
      const out = letters.filter(({ body }) => sent.has(body))
      await deadLetters.remove(queue, out)
      redriven += taken.length
      settled += out.length - taken.length
      kept += letters.length - out.length
      await deadLetters.release(
        queue,
        letters.filter((letter) => !out.includes(letter)),
      )
      if (taken.length < fresh.length) break
    }
    await noteRedrive(table, queue, { redriven, settled }, by())
    return { queue, redriven, settled, left: await deadLetters.depth(queue) }
  }

  return { list, show, redrive }
}

const firstOf = (letters: readonly DeadLetter[], body: string) => letters.findIndex((letter) => letter.body === body)

const foreign = () => ({ kind: 'foreign', says: 'it is no message of ours: driven back, it is put in quarantine', over: false })

const standing = (what: string, state: string | undefined, over: boolean) => ({
  says: state === undefined ? `${what} is not in the table: driven back, it is put in quarantine` : `${what} is ${state}`,
  over,
})

function work(what: string, chunk: Chunk | undefined, state: string): { says: string; over: boolean } {
  if (chunk === undefined) return standing(what, undefined, false)
  const said = chunk.said === undefined ? 'no worker has finished a visit' : chunk.said
  const due = chunk.dueAt === undefined ? '' : `, due at ${chunk.dueAt}`
  return {
    says: chunk.state === 'done' ? `${what} is done; ${state}` : `${what}: ${said}; ${chunk.attempts} attempts${due}; ${state}`,
    over: chunk.state === 'done',
  }
}

export function deadLetterRoutes(ports: DeadLetterPorts, as: AsOperator): Route[] {
  const desk = deadLetterDesk(ports)
  const queueOf = (text: string | undefined) => readValue(text, DeadLetterQueueName)
  return [
    { method: 'GET', path: '/v1/dead-letters', handle: as(() => desk.list()) },
    {
      method: 'GET',
      path: '/v1/dead-letters/{queue}',
      handle: as((request) => desk.show(queueOf(request.params['queue']), readQuery(request, Look).limit)),
    },
    {
      method: 'POST',
      path: '/v1/dead-letters/{queue}/redrive',
      handle: as((request, operator) => desk.redrive(queueOf(request.params['queue']), readBody(request, Redrive), operator)),
    },
  ]
}
