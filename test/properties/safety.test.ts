import { expect, it } from 'vitest'
import type { Mode } from '../../functions/contracts/mode.ts'
import type { TriggerType } from '../../functions/contracts/primitives.ts'
import type { TriggerScope } from '../../functions/contracts/scope.ts'
import type { Lease } from '../../functions/domain/model.ts'
import { instant } from '../../functions/domain/time.ts'
import { controlOf, engageKillSwitch, releaseKillSwitch } from '../../functions/store/control.ts'
import { declareIssuer } from '../../functions/store/issuers.ts'
import { as } from '../../functions/store/items.ts'
import { ONE, operatorsApi, TWO } from '../support/api.ts'
import { Pipeline } from '../support/pipeline.ts'

/**
 * All that can be done, undone, held, watched and stopped, in random order: when everything may go on again, everything
 * comes to its end, nothing is believed that is not so, and nothing is sent for ever.
 */

const MONTH_SECONDS = 2_592_000
const IDENTITIES = ['a', 'b', 'c'].map((name) => `spiffe://example.org/${name}`)
const by = { who: 'test', at: '2026-11-22T10:00:00.000Z' }
const asked = { reason: 'a probe' }
const approver = { uri: TWO, approve: true }
const undone = { ...asked, undoesCompromise: true as const }

class World {
  readonly pipeline = new Pipeline()
  readonly call = operatorsApi(this.pipeline)
  readonly steps: string[] = []
  readonly cases: string[] = []
  #state: number
  #count = 0

  constructor(seed: number) {
    this.#state = seed * 7919 + 13
  }

  pick(most: number): number {
    this.#state = (this.#state * 1103515245 + 12345) % 2147483648
    return Math.floor((this.#state / 2147483648) * most)
  }

  one<Some>(of: readonly Some[]): Some | undefined {
    return of[this.pick(of.length)]
  }

  get leases(): Lease[] {
    return this.pipeline.table.all().flatMap((item) => (item.kind === 'lease' ? [as('lease', item)] : []))
  }

  get #db() {
    const db = this.pipeline.issuers.get('db')
    if (db === undefined) throw new Error('no issuer')
    return db
  }

  mode(mode: Mode) {
    return declareIssuer(this.pipeline.table, 'db', { provider: 'fake', settings: {}, soakSeconds: 864_000, mode }, by)
  }

  async stop(engaged: boolean): Promise<void> {
    const { table } = this.pipeline
    if (engaged) await engageKillSwitch(table, 'a probe', by)
    else await releaseKillSwitch(table, await controlOf(table), by)
  }

  async begin(): Promise<void> {
    await this.pipeline.issuer('db', 864_000)
    for (const identity of IDENTITIES) await this.#lease(`first-${identity.slice(-1)}`, identity)
    if (this.pick(3) > 0) return
    const { body } = await this.call('POST', '/v1/aliases', ONE, { names: IDENTITIES.slice(0, 2), ...asked })
    await this.call('POST', `/v1/aliases/${body.id}/approve`, TWO, asked)
    this.steps.push('a and b are one workload')
  }

  #lease(name: string, identity: string, more: Parameters<Pipeline['lease']>[1] = {}, key?: string) {
    const expiresAt = instant(this.pipeline.now + MONTH_SECONDS * 1000)
    return this.pipeline.lease(name, { identity, group: `group-${identity.slice(-1)}`, expiresAt, ...more }, key)
  }

  async #trigger(type: TriggerType, scope: TriggerScope): Promise<void> {
    const { case: id } = await this.pipeline.trigger(type, scope, { id: `event-${this.#count}` })
    this.cases.push(id)
  }

  /** One thing that somebody does; that it is refused is an answer as well. */
  async act(): Promise<void> {
    this.#count += 1
    const id = this.one(IDENTITIES) ?? ''
    const lease = this.one(this.leases)
    const current = this.one(this.cases)
    const dead = [...this.#db.credentials].filter(([, { alive }]) => !alive).map(([name]) => name)
    const { restore } = this.pipeline
    const acts: readonly (readonly [string, () => unknown])[] = [
      [`lease of ${id}`, () => this.#lease(`x${this.#count}`, id, { delegable: true, task: { id: `t${this.pick(2)}` } })],
      [`task lease of ${id}`, () => this.#lease(`x${this.#count}`, id, { task: { id: `t${this.pick(2)}` } })],
      [`shared lease of ${id}`, () => this.#lease('shared', id, { kind: 'static' }, `shared-key-${this.#count}-long`)],
      [`child for ${id}`, () => lease?.delegable === true && this.#lease(`y${this.#count}`, id, { parent: lease.id })],
      [`offboarding of ${id}`, () => this.#trigger('offboarding', { kind: 'identity', id })],
      [`compromise of ${id}`, () => this.#trigger('compromise', { kind: 'identity', id })],
      ['end of a task', () => this.#trigger('task-complete', { kind: 'task', id: `t${this.pick(2)}` })],
      [`restore lease ${lease?.id}`, () => lease && restore.restoreLease(lease.id, undone, approver)],
      [`restore ${id}`, () => restore.restoreIdentity({ id, ...(this.pick(2) === 0 ? asked : undone) }, approver)],
      [`restore case ${current}`, () => current && restore.restoreCase(current, undone, approver)],
      [`reinstate ${id}`, () => this.call('POST', '/v1/identities/reinstate', TWO, { id, ...asked })],
      ['somebody enables a credential', () => dead.length > 0 && this.#db.resurrect(this.one(dead) ?? '')],
      ['mode', () => this.mode(this.one(['observe', 'contain', 'enforce', 'enforce'] as const) ?? 'enforce')],
      ['kill switch', () => this.stop(this.pick(2) > 0)],
      [`hold ${current}`, () => current && this.call('POST', `/v1/cases/${current}/hold`, ONE, asked)],
      [`approve ${current}`, () => current && this.call('POST', `/v1/cases/${current}/approve`, ONE, asked)],
      [
        'the issuer goes or comes',
        () => {
          this.#db.down = this.pick(2) === 0
        },
      ],
    ]
    const [what, act] = this.one(acts) ?? ['', () => {}]
    this.steps.push(what)
    try {
      await act()
    } catch (error) {
      this.steps.push(`  ${error instanceof Error ? error.message : ''}`)
    }
  }

  /** Messages in any order, or all of them, or some minutes. */
  async move(): Promise<void> {
    const { pipeline } = this
    const how = this.pick(4)
    if (how === 0)
      for (let steps = this.pick(6); steps > 0; steps -= 1) {
        await pipeline.step((messages) => this.pick(messages.length))
        await pipeline.stream()
      }
    else if (how === 1) await pipeline.settle()
    else if (how === 2) await pipeline.pass(60 * (1 + this.pick(10)))
    pipeline.now += 1000
  }

  async end(): Promise<void> {
    this.#db.down = false
    await this.stop(false)
    await this.mode('enforce')
    for (const id of this.cases) await this.call('POST', `/v1/cases/${id}/approve`, ONE, asked)
    // What was only watched is looked at each day, what is parked every six hours.
    await this.pipeline.pass(36 * 3600)
  }

  /** All that should not be so. */
  async wrong(): Promise<string[]> {
    const { pipeline } = this
    const found: string[] = []
    for (const item of pipeline.table.all()) {
      if (item.kind === 'case' && item.state !== 'closed' && item.state !== 'cancelled') found.push(`a case is ${item.state}`)
      if (item.kind === 'restoration' && item.state !== 'done') found.push(`a restoration is ${item.state}`)
      if (item.kind === 'amendment' && item.state !== 'done') found.push(`an amendment is ${item.state}`)
    }
    const all = this.leases
    for (const lease of all) found.push(...this.#wrongWith(lease, all))
    const [cases, sent] = [pipeline.table.all().filter(({ kind }) => kind === 'case').length, pipeline.sent.length]
    await pipeline.pass(6 * 3600)
    if (pipeline.sent.length - sent > 120) found.push(`${pipeline.sent.length - sent} messages are sent when all is over`)
    if (pipeline.table.all().filter(({ kind }) => kind === 'case').length > cases) found.push('new cases when all is over')
    return [...found, ...pipeline.logged.filter((line) => line.startsWith('failed'))]
  }

  *#wrongWith(lease: Lease, all: readonly Lease[]): Generator<string> {
    const { state, ended, fingerprint, sharing } = lease
    const about = `${JSON.stringify(lease.target)} of ${lease.identity}`
    const lives = this.#db.credentials.get(String(lease.target['name']))?.alive === true
    const mates = all.filter((other) => other.fingerprint === fingerprint && other.state === 'live').length
    if (!['live', 'ended', 'released'].includes(state)) yield `${about} is ${state}`
    if (state === 'ended' && ended?.outcome === 'revoked' && lives && mates === 0) yield `${about} is ended, and lives`
    if (state === 'live' && !lives) yield `${about} is live, and dead`
    if (sharing === 'exclusive') return
    const credential = this.pipeline.table.items.get(`CRED#${fingerprint}`)?.get('CRED')
    if (credential?.holders !== mates) yield `${about} has ${credential?.holders} places, and ${mates} leases`
    if (mates > 0 && credential?.cutting === true) yield `${about} is being cut, and has holders`
    if (credential?.restoring !== undefined) yield `${about} is being restored for ever`
  }
}

it('whatever is done, undone, held, watched and stopped comes to a true end', async () => {
  const first = Number(process.env.SAFETY_SEED ?? 1)
  const worlds = Number(process.env.SAFETY_WORLDS ?? 15)
  for (let seed = first; seed < first + worlds; seed += 1) {
    const world = new World(seed)
    await world.begin()
    for (let act = 0; act < 25; act += 1) {
      await world.act()
      await world.move()
    }
    await world.end()
    expect(await world.wrong(), `SAFETY_SEED=${seed} SAFETY_WORLDS=1\n${world.steps.join('\n')}`).toEqual([])
  }
}, 600_000)
