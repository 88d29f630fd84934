import type { Provider, ProviderModule } from '../../functions/providers/contract.ts'
import type { Settings, Target } from './definition.ts'
import { definition } from './definition.ts'

function unfinished(what: string): never {
  throw new Error(`the fake example-issuer: ${what} is not written yet`)
}

/** The issuer in memory, made from its published description: say here which one, and of which version. Deterministic. */
export class FakeExampleIssuer {
  readonly admin = { user: 'rescind', password: 'fake-admin-password' }
  readonly module: ProviderModule<Target, never, never, Settings> = {
    definition,
    connect: async (issuer) => this.#connect(issuer.settings),
  }
  fault: 'none' | 'down' | 'refused' | 'other' | 'throttled' = 'none'

  settings(): Settings {
    return { host: 'example.fake', port: 1, server: 'fake', timeoutMilliseconds: 500 }
  }

  #connect(_settings: Settings): Provider<Target, never, never> {
    return {
      revoke: async () => unfinished('revoke'),
      verify: async () => unfinished('verify'),
      close: async () => undefined,
    }
  }
}
