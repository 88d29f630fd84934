import * as z from 'zod/mini'
import { IssuerName, name, TriggerType } from './primitives.ts'

/**
 * How far the pipeline may go. `observe`: plan and report what would have been cut, fence nothing, touch no issuer.
 * `contain`: only what can be undone. `enforce`: all of it. From the most cautious to the least.
 */
export const MODES = ['observe', 'contain', 'enforce'] as const
export const Mode = z.enum(MODES)
export type Mode = z.infer<typeof Mode>

/** The first rule whose named parts all fit decides; a part that is absent fits everything. */
export const ModeRule = z.strictObject({
  trigger: z.optional(z.union([TriggerType, z.literal('expired')])),
  environment: z.optional(name(64)),
  issuer: z.optional(IssuerName),
  mode: Mode,
})
export type ModeRule = z.infer<typeof ModeRule>

/** Modes by issuer, environment and kind of trigger, with a default. Each case keeps those that stood when it was opened. */
export const Modes = z.strictObject({ default: Mode, rules: z.array(ModeRule).check(z.maxLength(100)) })
export type Modes = z.infer<typeof Modes>
