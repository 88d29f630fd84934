import fc from 'fast-check'
import { expect, it } from 'vitest'
import type { FindingKind } from '../../functions/contracts/discovery.ts'
import { instant } from '../../functions/domain/time.ts'
import { discoveryDesk } from '../../functions/operate/discoveries.ts'
import type { Definition } from '../../functions/providers/contract.ts'
import { fakeDefinition } from '../support/fake-issuer.ts'
import { app, Pipeline, START } from '../support/pipeline.ts'

/**
 * Random issuers beside random tables, listed in pages of any length, with visits that die at any write and messages that
 * come twice: every finding is right, none is missed, and what was not asked about stays as it was.
 */

const OPERATOR = { uri: 'spiffe://example.org/operator/one', approve: true }

const credential = fc.record({
  /** What the table has of it. */
  lease: fc.constantFrom('none', 'live', 'shared', 'cut', 'released'),
  /** What the issuer has of it. */
  there: fc.constantFrom('honoured', 'shut', 'gone'),
  own: fc.boolean(),
  /** Another incarnation than the lease's. */
  other: fc.boolean(),
  /** Days after which its issuer ends it; leases end after one. */
  days: fc.constantFrom(undefined, 1, 30),
})
type Made = typeof credential extends fc.Arbitrary<infer Of> ? Of : never

/** Written without the code under test: what a person would say of it. */
function expected({ lease, there, own, other, days }: Made): FindingKind[] {
  const held = lease === 'live' || lease === 'shared'
  if (there === 'gone') return held ? ['gone'] : []
  if (held) {
    if (other) return ['replaced']
    const found: FindingKind[] = there === 'shut' ? ['disabled'] : []
    if (lease === 'live' && days === 30) found.push('outlives')
    return found
  }
  if (there === 'shut') return []
  if (own) return ['own']
  return lease === 'cut' && !other ? ['revived'] : ['unregistered']
}

it('every finding is right, and none is missed', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(credential, { maxLength: 24 }),
      fc.integer({ min: 1, max: 9 }),
      fc.array(fc.nat({ max: 12 }), { maxLength: 4 }),
      fc.integer({ min: 1, max: 2 }),
      async (credentials, mostListed, kills, deliveries) => {
        // Without proof of death nobody looks after what was cut: else what lives again would be cut before it is found.
        const definition = fakeDefinition({ discovers: true, verifies: false }) as Definition
        const pipeline = new Pipeline({ definition })
        const desk = discoveryDesk({ table: pipeline.table, clock: pipeline.clock, catalog: { fake: pipeline.definition } })
        const db = await pipeline.issuer('db', 86_400)
        const name = (index: number) => `credential-${String(index).padStart(2, '0')}`
        for (const [index, { lease }] of credentials.entries()) {
          if (lease === 'none') {
            db.mint(name(index))
            continue
          }
          const identity = `${app}/${index}`
          const target = { name: name(index), number: 1 }
          if (lease === 'shared' || lease === 'released')
            await pipeline.lease(name(index), { identity, target, kind: 'static', sharing: 'shared' })
          else await pipeline.lease(name(index), { identity, target })
          if (lease === 'shared')
            await pipeline.lease(
              name(index),
              { identity: `${app}/again`, target, kind: 'static', sharing: 'shared' },
              `again-${index}-1`,
            )
          if (lease === 'cut') await pipeline.trigger('compromise', { kind: 'identity', id: identity }, { id: `cut-${index}` })
        }
        await pipeline.settle()
        await pipeline.pass(240)
        // A grant that was given back while others held it, whose last holder ended without a cut.
        for (const [index, { lease }] of credentials.entries()) {
          if (lease !== 'released') continue
          const item = pipeline.table
            .all()
            .find((one) => one.kind === 'lease' && (one.target as { name?: string } | undefined)?.name === name(index))
          if (item !== undefined)
            await pipeline.table.write({
              update: { pk: item.pk, sk: item.sk },
              set: [['state', 'released']],
              remove: ['duePk', 'dueAt'],
            })
        }
        for (const [index, { there, own, other, days }] of credentials.entries()) {
          const real = db.credentials.get(name(index))
          if (real !== undefined) real.alive = there === 'honoured'
          if (there === 'gone') db.forget(name(index))
          db.facts.set(name(index), {
            target: { name: name(index), number: other ? 2 : 1 },
            ...(own ? { own: 'it is its server own' } : {}),
            ...(days === undefined ? {} : { expiresAt: instant(START + days * 86_400_000) }),
          })
        }
        db.mostListed = mostListed
        pipeline.deliveries = deliveries
        const untouched = () =>
          JSON.stringify(
            pipeline.table.all().filter(({ pk, kind }) => kind === 'lease' || kind === 'case' || pk.startsWith('CRED#')),
          )
        const before = untouched()
        let writes = 0
        pipeline.table.before = (operation) => {
          if (operation !== 'transact') return
          writes += 1
          if (kills.includes(writes)) throw new Error('killed')
        }
        const start = async (): Promise<{ id: string }> => desk.start('db', {}, OPERATOR).catch(start)
        const { id } = await start()
        await pipeline.pass(1200)
        const view = await desk.show('db', id)
        expect(view.state).toBe('done')
        const { entries } = await desk.findings('db', id, { limit: 200 })
        const found = entries.map(({ kind, fingerprint, lease }) => [kind, fingerprint, lease !== undefined] as const)
        const wanted = credentials.flatMap((one) => expected(one))
        expect(found.map(([kind]) => kind).sort()).toEqual(wanted.sort())
        for (const [kind, sum] of Object.entries(view.findings))
          expect([kind, sum.found, sum.kept, sum.new]).toEqual([
            kind,
            ...Array(3).fill(wanted.filter((one) => one === kind).length),
          ])
        // Each names the credential that it is about.
        for (const [index, one] of credentials.entries())
          for (const kind of expected(one))
            if (kind !== 'gone')
              expect(entries.some((entry) => entry.kind === kind && entry.shown === `fake credential ${name(index)}`)).toBe(true)
        expect(view.counts.listed).toBe(credentials.filter(({ there }) => there !== 'gone').length)
        expect(untouched()).toBe(before)
      },
    ),
    { numRuns: Number(process.env['DISCOVERY_RUNS'] ?? 60) },
  )
})
