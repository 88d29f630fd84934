import type { Lane } from '../contracts/primitives.ts'

/** Logical names of the queues: the stacks make them, messages are sent by them. */
export const planQueue = (lane: Lane) => `plan-${lane}`
export const workQueue = (provider: string, lane: Lane) => `work-${provider}-${lane}`
