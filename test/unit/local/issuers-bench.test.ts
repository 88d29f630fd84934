import { mkdtempSync, rmSync } from 'node:fs'
import { createServer, connect as dial } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { catalog } from '../../../functions/providers/catalog.ts'
import { benched, issuersText, measureIssuers } from '../../../lib/bench/issuers.ts'
import { startRelay } from '../../../lib/bench/relay.ts'

describe('the benchmark of issuers', () => {
  const folder = mkdtempSync(join(tmpdir(), 'rescind-issuers-'))
  afterAll(() => rmSync(folder, { recursive: true, force: true }))

  it('counts how often a client speaks after it was answered, and what is sent at once as one', async () => {
    const server = createServer((socket) => {
      let due = 0
      socket.on('data', (bytes) => {
        due += bytes.length
        for (; due >= 3; due -= 3) socket.write('.')
      })
    })
    await new Promise<void>((done) => server.listen(0, '127.0.0.1', done))
    const address = server.address()
    const relay = await startRelay(typeof address === 'object' && address !== null ? address.port : 0)
    const client = dial(relay.port, '127.0.0.1')
    const answers = (count: number) =>
      new Promise<void>((done) => {
        let heard = 0
        const hear = (bytes: Buffer) => {
          heard += bytes.length
          if (heard < count) return
          client.off('data', hear)
          done()
        }
        client.on('data', hear)
      })
    const first = answers(1)
    client.write('a')
    client.write('bc')
    await first
    expect(relay.trips()).toBe(1)
    const more = answers(2)
    client.write('defghi')
    await more
    expect(relay.trips()).toBe(2)
    client.destroy()
    await relay.close()
    await new Promise((done) => server.close(done))
  })

  it('cuts as many through the provider as in the loop, and says of each what it cost', async () => {
    const { runs, missing } = await measureIssuers({ leases: 3, rounds: 2, only: ['oauth'], folder, progress: () => undefined })
    expect(missing).toEqual({})
    const [run] = runs
    expect(run).toMatchObject({ provider: 'oauth', leases: 3, unknown: 0 })
    expect([run?.throughProvider.length, run?.loop.length]).toEqual([2, 2])
    // Introspected, revoked and introspected again, each.
    expect(run?.calls).toBeGreaterThanOrEqual(9)
    expect(issuersText({ runs, missing: { other: 'no server' } })).toContain('Not measured: other (no server)')
  })

  it('has files of providers alone', () => {
    expect(benched().filter((name) => !(name in catalog))).toEqual([])
  })
})
