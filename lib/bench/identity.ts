import type { Source } from '../../functions/contracts/settings.ts'
import { DEFAULT_LIMITS, Settings } from '../../functions/contracts/settings.ts'
import type { Principal } from '../../functions/runtime/authentication.ts'

/** The one identity of the benchmark, who registers its leases, and who reports it. */

export const IDENTITY = 'spiffe://example.org/workload/bench'
export const ISSUER = 'bench'
export const BROKER: Principal = { uri: 'spiffe://example.org/broker', kind: 'svid', namespace: 'ci' }
export const SOURCE: Source = { name: 'soc', triggers: ['compromise'], namespaces: [] }

export const settings: Settings = Settings.parse({
  tokenIssuers: [],
  grants: [{ right: 'broker', caller: BROKER.uri, identities: ['**'], namespaces: ['ci'] }],
  sources: [SOURCE],
  protected: [],
  ownerLeavesDefault: 'revoke',
  limits: DEFAULT_LIMITS,
})
