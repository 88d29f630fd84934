import * as z from 'zod/mini'
import type { Definition } from '../../functions/providers/contract.ts'

/**
 * What a cut of one credential needs to know, in clear. If the issuer tells two credentials of one name apart (an oid, a
 * unique id), name the incarnation here: an old retry must never hit a new namesake.
 */
export const Target = z.strictObject({ name: z.string().check(z.minLength(1), z.maxLength(200)) })
export type Target = z.infer<typeof Target>

/** Where the issuer is, and how it is recognised: checked on every connection, before any effect. No secret in it. */
export const Settings = z.strictObject({
  host: z.string().check(z.minLength(1), z.maxLength(255)),
  port: z.int().check(z.minimum(1), z.maximum(65535)),
  /** What only this server answers (its id, its cluster's name, its account). */
  server: z.string().check(z.minLength(1), z.maxLength(200)),
  timeoutMilliseconds: z._default(z.int().check(z.minimum(100), z.maximum(10_000)), 5000),
})
export type Settings = z.infer<typeof Settings>

/**
 * Claim only what is so: each capability switches properties of the conformance suite on. `secret`, `lever`, `grants`,
 * `recognise`, `namesMany` and the rest are described in functions/providers/contract.ts.
 */
export const definition: Definition<Target, never, never, Settings> = {
  name: 'example-issuer',
  title: 'Credentials of example-issuer',
  target: Target,
  settings: Settings,
  credential: ({ name }) => name,
  capabilities: {
    tellsAbsent: true,
    verifies: true,
    containment: 'none',
    restores: false,
    tidies: false,
    choosesName: false,
    locates: false,
    issues: false,
    discovers: false,
    sessions: 'ended',
  },
  limits: { batch: 25, propagationSeconds: 0, callSeconds: 15, concurrency: 10, callsPerLease: 1 },
  serial: false,
  network: 'public',
  permissions: [],
}
