import { expect, it } from 'vitest'
import { instant } from '../../functions/domain/time.ts'
import { app, Pipeline } from '../support/pipeline.ts'

/** What random worlds with operators (test/properties/operators.test.ts) have found, each as the shortest story of it. */

const OPERATOR = { uri: 'spiffe://example.org/operator/one', approve: true }
const other = 'spiffe://example.org/other'
const asked = { reason: 'test' }

/** Plans what is to be planned; work messages stay where they are. */
async function plan(pipeline: Pipeline): Promise<void> {
  while (pipeline.messages.some(({ queue }) => queue.startsWith('plan-')))
    await pipeline.step((messages) => messages.findIndex(({ queue }) => queue.startsWith('plan-')))
}

it('a service whose owner left and that is accepted while its planner is dead is not cut with the owner', async () => {
  const pipeline = new Pipeline()
  const db = await pipeline.issuer()
  const lease = await pipeline.lease('service', { ownerLeaves: 'reassign' })
  const { case: id } = await pipeline.trigger('offboarding', { kind: 'owner', id: 'alice' })
  // Killed behind the write that makes it an orphan, before its unit is set aside.
  pipeline.table.before = () => {
    if (pipeline.table.all().some(({ kind, orphan }) => kind === 'identity' && orphan !== undefined)) throw new Error('killed')
  }
  await pipeline.step()
  pipeline.table.before = () => {}
  await pipeline.operate.putIdentity({ id: app, owner: 'carol' }, OPERATOR)
  await pipeline.pass(600)
  expect(pipeline.case(id)).toMatchObject({ state: 'closed', identities: 0 })
  expect(pipeline.stored(lease.id).state).toBe('live')
  expect(db.alive()).toEqual(['service'])
})

it('an identity that leaves between two offboardings of its old owner is no orphan of its new one', async () => {
  const pipeline = new Pipeline()
  await pipeline.issuer()
  await pipeline.lease('service', { ownerLeaves: 'reassign' })
  await pipeline.trigger('offboarding', { kind: 'owner', id: 'alice' }, { id: 'first' })
  await pipeline.settle()
  await pipeline.trigger('offboarding', { kind: 'owner', id: 'alice' }, { id: 'second' })
  // Behind the list of members, before the identity is read.
  let reads = 0
  pipeline.table.before = async (operation) => {
    if (operation !== 'query' || pipeline.table.all().filter(({ kind }) => kind === 'unit').length !== 1) return
    reads += 1
    if (reads !== 1) return
    pipeline.table.before = async (next) => {
      if (next !== 'get') return
      pipeline.table.before = () => {}
      await pipeline.operate.putIdentity({ id: app, owner: 'carol' }, OPERATOR)
    }
  }
  await pipeline.settle()
  expect(await pipeline.operate.getIdentity(app)).toMatchObject({ owner: 'carol' })
  expect((await pipeline.operate.getIdentity(app)).orphan).toBeUndefined()
})

it('a shared credential that was delegated from what stays cut is refused, not asked after for ever', async () => {
  const pipeline = new Pipeline()
  await pipeline.issuer()
  const parent = await pipeline.lease('parent', { delegable: true })
  const child = await pipeline.lease('child', { identity: other, kind: 'static', parent: parent.id })
  await pipeline.trigger('offboarding', { kind: 'identity', id: app })
  await pipeline.settle()
  pipeline.now += 1000
  const { id } = await pipeline.restore.restoreIdentity({ id: other, ...asked }, OPERATOR)
  await pipeline.pass(7200)
  expect(await pipeline.restore.show(id)).toMatchObject({
    state: 'done',
    refused: [{ lease: child.id, said: 'the lease that it was delegated from is not live' }],
  })
})

it('what a second worker of the same message cut, its answer lost, is not called somebody else’s doing', async () => {
  const pipeline = new Pipeline()
  const db = await pipeline.issuer()
  const lease = await pipeline.lease('leaver', { expiresAt: instant(pipeline.now + 86_400_000) })
  pipeline.deliveries = 2
  const { case: id } = await pipeline.trigger('offboarding', { kind: 'identity', id: app })
  await plan(pipeline)
  db.loseAnswer.add('leaver')
  // Both have claimed it; the second one's call goes first.
  db.onRevoke = async () => {
    db.onRevoke = () => {}
    await pipeline.step()
  }
  await pipeline.pass(600)
  expect(db.calls.filter((call) => call === 'revoke leaver').length).toBeGreaterThan(1)
  expect(pipeline.stored(lease.id).outcomes[id]).toMatchObject({ outcome: 'revoked' })
  expect(pipeline.case(id)).toMatchObject({ state: 'closed', counts: { revoked: 1, absent: 0 } })
})

it('a bystander is not called absent while the answer to the cut of its credential is lost', async () => {
  const pipeline = new Pipeline()
  const db = await pipeline.issuer()
  await pipeline.lease('both', { kind: 'static' }, 'key-of-the-app')
  const bystander = await pipeline.lease('both', { kind: 'static', identity: other, owner: 'bob' }, 'key-of-the-other')
  db.loseAnswer.add('both')
  const { case: id } = await pipeline.trigger('compromise', { kind: 'identity', id: app })
  await plan(pipeline)
  await pipeline.step()
  expect(db.alive()).toEqual([])
  pipeline.now += 120_000
  // The bystander's chunk comes first.
  await pipeline.step((messages) => messages.findIndex(({ body }) => JSON.stringify(body).includes('bystander')))
  await pipeline.pass(600)
  expect(pipeline.stored(bystander.id).outcomes[id]).toMatchObject({ outcome: 'revoked' })
  expect(pipeline.case(id)).toMatchObject({ state: 'closed', bystanders: 1, counts: { revoked: 2, absent: 0 } })
})
