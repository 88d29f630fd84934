import { expect, it } from 'vitest'
import { app, Pipeline } from '../support/pipeline.ts'
import { refusal } from '../support/refusal.ts'

it('late leases of one credential do not send work for each other for ever while their issuer fails', async () => {
  const pipeline = new Pipeline()
  const db = await pipeline.issuer()
  await pipeline.lease('first')
  await pipeline.trigger('compromise', { kind: 'identity', id: app })
  await pipeline.settle()
  db.mint('shared')
  db.answers.set('shared', { status: 'retry', effect: 'none', said: 'not now' })
  const before = pipeline.sent.length
  // Both come behind the fence: refused, and cut by amendments of the case that fenced.
  for (const key of ['holder-one-1', 'holder-two-2'])
    await refusal(pipeline.lease('shared', { kind: 'static', sharing: 'shared' }, key))
  await pipeline.settle()
  expect(pipeline.sent.length - before).toBeLessThan(6)

  db.answers.delete('shared')
  await pipeline.pass(3600)
  expect(db.alive()).toEqual([])
  const leases = pipeline.table.all().filter((item) => item.kind === 'lease')
  expect(leases.map(({ state }) => state)).toEqual(['ended', 'ended', 'ended'])
})
