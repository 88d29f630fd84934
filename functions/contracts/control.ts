import * as z from 'zod/mini'
import { Instant } from './primitives.ts'

const Reason = z.string().check(z.minLength(1), z.maxLength(1024))

/** `PUT /v1/control/kill-switch`: engaged, no issuer is called; fences go on. */
export const KillSwitch = z.strictObject({ engaged: z.boolean(), reason: Reason })
export type KillSwitch = z.infer<typeof KillSwitch>

const work = {
  /** Chunks and amendments with leases to cut. */
  chunks: z.int(),
  /** Calls that contain an identity. */
  levers: z.int(),
  /** Parts of cuts that are being undone. */
  restorations: z.int(),
  /** Issuers asked for a credential that no lease names. */
  searches: z.int(),
}

/** `GET /v1/control`. */
export const ControlView = z.strictObject({
  killSwitch: z.optional(z.strictObject({ by: z.string(), reason: z.string(), since: Instant })),
  /** The table was restored from a backup: no issuer is called until an operator releases it. */
  restored: z.optional(z.strictObject({ reason: z.string(), since: Instant })),
  /** Work that is open: while issuers are not called, it waits. */
  waits: z.strictObject({
    /** There is more than was counted: each number means "at least". */
    more: z.boolean(),
    ...work,
    issuers: z.array(z.strictObject({ issuer: z.string(), ...work })),
  }),
})
export type ControlView = z.infer<typeof ControlView>
