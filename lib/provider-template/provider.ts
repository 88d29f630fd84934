import type { ProviderModule } from '../../functions/providers/contract.ts'
import type { Settings, Target } from './definition.ts'
import { definition } from './definition.ts'

function unfinished(what: string): never {
  throw new Error(`example-issuer: ${what} is not written yet`)
}

/** The calls. Each is safe to repeat, and checks that it speaks to the right issuer before it believes or does anything. */
export const provider: ProviderModule<Target, never, never, Settings> = {
  definition,
  async connect(_issuer, tools) {
    // What is no JSON of the right shape is IssuerRefused, and is not quoted.
    await tools.adminSecret()
    return {
      revoke: async () => unfinished('revoke'),
      verify: async () => unfinished('verify'),
      close: async () => undefined,
    }
  },
}
