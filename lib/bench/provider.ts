import * as z from 'zod/mini'
import type { Definition, Provider, ProviderModule } from '../../functions/providers/contract.ts'
import { IssuerUnavailable } from '../../functions/providers/contract.ts'

/**
 * A provider that costs nothing and remembers no lease: what is measured is the pipeline, and memory is its own. The
 * benchmark copies this file among the providers of the functions that it bundles, so it imports the contract alone.
 */

const Target = z.strictObject({ name: z.string() })
const LeverOf = z.strictObject({ group: z.string() })
/** `silent`: an issuer that takes every call and answers none, until the call's time is over. */
const Settings = z.object({ silent: z.optional(z.boolean()) })

export const definition: Definition = {
  name: 'free',
  title: 'A provider that costs nothing',
  target: Target,
  lever: LeverOf,
  settings: Settings,
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
    issues: false,
    discovers: false,
    sessions: 'ended',
  },
  limits: { batch: 100, propagationSeconds: 0, callSeconds: 5, concurrency: 10 },
  serial: false,
  network: 'public',
  permissions: [],
}

/** Hears of what the issuer is asked for, in the process that runs the bundles. */
type Listener = (what: 'contained' | 'revoked' | 'verified', count: number) => void
const tell: Listener = (what, count) => {
  const listener: unknown = Reflect.get(globalThis, 'rescindBench')
  if (typeof listener === 'function') listener(what, count)
}

const free: Provider = {
  async revoke(batch) {
    tell('revoked', batch.length)
    return batch.map(() => ({ status: 'revoked', said: 'cut' }))
  },
  async verify(batch) {
    tell('verified', batch.length)
    return batch.map(() => ({ status: 'dead', said: 'it does not log in' }))
  },
  async contain() {
    tell('contained', 1)
    return { status: 'done', said: 'contained' }
  },
  async close() {},
}

async function never(): Promise<never> {
  await new Promise((resolve) => setTimeout(resolve, definition.limits.callSeconds * 1000))
  throw new IssuerUnavailable('no answer in time')
}
const silent: Provider = { revoke: never, verify: never, contain: never, async close() {} }

export const provider: ProviderModule = {
  definition,
  connect: async ({ settings }) => (Settings.parse(settings).silent === true ? silent : free),
}
