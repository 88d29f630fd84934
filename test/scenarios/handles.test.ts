import { describe, expect, it } from 'vitest'
import type { Definition } from '../../functions/providers/contract.ts'
import type { Principal } from '../../functions/runtime/authentication.ts'
import { app } from '../support/pipeline.ts'
import { SECRET, secretPipeline } from '../support/secret-issuer.ts'

/** Whoever shows the credential itself may register it; whoever shows what anybody could make up may not. */
describe('a workload that registers for itself what it has no right to name', () => {
  const workload: Principal = { uri: app, kind: 'svid', namespace: 'ci' }
  const attempt = async (change: Partial<Definition>) => {
    const { pipeline } = await secretPipeline({ credential: (target) => JSON.stringify(target), ...change })
    return await pipeline.register(
      {
        issuer: 'db',
        kind: 'dynamic',
        registers: 'credential',
        target: { name: 'somebody-else' },
        secret: { token: SECRET },
        consumer: 'app',
        purpose: 'test',
        expiresAt: '2026-11-23T10:00:00.000Z',
      },
      'key-of-the-workload',
      workload,
    )
  }

  it('is taken where the secret is the credential', async () => {
    expect(await attempt({})).toMatchObject({ repeated: false })
  })

  it('is refused where the secret is but a handle', async () => {
    await expect(attempt({ handleOnly: true })).rejects.toMatchObject({ code: 'forbidden' })
  })
})
