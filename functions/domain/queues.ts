import type { Lane } from '../contracts/primitives.ts'

/** Logical names of the queues: the stacks make them, messages are sent by them. */
export const planQueue = (lane: Lane) => `plan-${lane}`
/**
 * Times that a message is received before it goes to the dead-letter queue. Each short back-off spends one (visibility),
 * so it is above the five or six that a healthy retry needs below a minute; longer waits stand in the table instead.
 */
export const MOST_RECEIVES = 12
/** Days that SQS keeps a message, dead letters included, counted from its first sending. */
export const KEPT_DAYS = 14
export const workQueue = (provider: string, lane: Lane) => `work-${provider}-${lane}`
