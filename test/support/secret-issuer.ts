import * as z from 'zod/mini'
import type { Definition } from '../../functions/providers/contract.ts'
import { revokeWorker } from '../../functions/revoke/worker.ts'
import { declareIssuer } from '../../functions/store/issuers.ts'
import { fakeDefinition } from './fake-issuer.ts'
import { app, BROKER, Pipeline } from './pipeline.ts'

export const SECRET = 'tok_3f9a-not-to-be-seen-anywhere'

/** A pipeline whose issuer needs the secret itself to revoke it, as OAuth token revocation does. */
export async function secretPipeline(
  change: Partial<Definition> = { credential: () => 'hashed-elsewhere' },
): Promise<{ pipeline: Pipeline; opened: string[] }> {
  const opened: string[] = []
  const Secret = z.strictObject({ token: z.string() })
  const definition: Definition = { ...(fakeDefinition() as Definition), ...change, secret: Secret }
  const pipeline = new Pipeline({ definition })
  pipeline.replaceWorker((ports) =>
    revokeWorker(
      {
        definition,
        async connect() {
          return {
            async revoke(batch) {
              for (const { secret } of batch) opened.push(Secret.parse(secret).token)
              return batch.map(() => ({ status: 'revoked' as const, said: 'the token is revoked' }))
            },
            async verify(batch) {
              return batch.map(() => ({ status: 'dead' as const, said: 'inactive' }))
            },
            async close() {},
          }
        },
      },
      ports,
    ),
  )
  await declareIssuer(pipeline.table, 'db', { provider: 'fake', settings: {} }, { who: 'test', at: '2026-11-22T10:00:00.000Z' })
  await pipeline.register(
    {
      identity: app,
      issuer: 'db',
      kind: 'dynamic',
      registers: 'credential',
      target: { name: 'token' },
      secret: { token: SECRET },
      consumer: 'app',
      purpose: 'test',
      expiresAt: '2026-11-23T10:00:00.000Z',
      owner: 'alice',
    },
    'key-secret-1',
    BROKER,
  )
  return { pipeline, opened }
}
