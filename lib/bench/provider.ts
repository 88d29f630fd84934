import * as z from 'zod/mini'
import type { Definition, Provider, ProviderModule } from '../../functions/providers/contract.ts'

/**
 * A provider that costs nothing and remembers no lease: what is measured is the pipeline, and memory is its own.
 */

const Target = z.strictObject({ name: z.string() })
const LeverOf = z.strictObject({ group: z.string() })

export const FREE: Definition = {
  name: 'free',
  title: 'A provider that costs nothing',
  target: Target,
  lever: LeverOf,
  settings: z.object({}),
  credential: (target) => Target.parse(target).name,
  leverName: (lever) => LeverOf.parse(lever).group,
  capabilities: {
    tellsAbsent: true,
    verifies: true,
    containment: 'identity',
    restores: false,
    tidies: false,
    choosesName: true,
    locates: false,
  },
  limits: { batch: 100, propagationSeconds: 0, callSeconds: 5, concurrency: 10 },
  serial: false,
  network: 'public',
  permissions: [],
}

export interface FreeProvider extends ProviderModule {
  /** Leases that were cut, and asked after. */
  readonly counted: { revoked: number; verified: number }
}

/** @param onContained called when the lever is pulled */
export function freeProvider(onContained: () => void): FreeProvider {
  const counted = { revoked: 0, verified: 0 }
  const provider: Provider = {
    async revoke(batch) {
      counted.revoked += batch.length
      return batch.map(() => ({ status: 'revoked', said: 'cut' }))
    },
    async verify(batch) {
      counted.verified += batch.length
      return batch.map(() => ({ status: 'dead', said: 'it does not log in' }))
    },
    async contain() {
      onContained()
      return { status: 'done', said: 'contained' }
    },
    async close() {},
  }
  return { definition: FREE, connect: async () => provider, counted }
}
