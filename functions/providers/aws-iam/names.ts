import type { Lane } from '../../contracts/primitives.ts'
import type { IamUser } from './client.ts'

/** Users and roles with this tag (value `true`) are never touched: Rescind's own, break-glass access. */
export const PROTECTED_TAG = 'rescind:protected'

/** Names of the inline policies and user tags that Rescind leaves in an account, all below one prefix. */
export interface Names {
  /** Denies of single sessions. Each lane has its own FIFO queue, hence its own writer: a policy per lane has one writer only. */
  sessionPolicy(lane: Lane): string
  /** The deny of the tokens that a user's keys got from STS. */
  tokenPolicy(lane: Lane): string
  containPolicy(epoch: number, lane: Lane): string
  isContainment(policyName: string): boolean
  /**
   * Marks a key whose lease was cut: no release reactivates it. Tags are written one by one, so lanes that mark
   * different keys or epochs do not overwrite each other.
   */
  revokedTag(accessKeyId: string): string
  /** Marks a key that the epoch's containment holds inactive. */
  containedTag(epoch: number, accessKeyId: string): string
  /** The tags of all containments that hold the key. */
  containedTags(user: IamUser, accessKeyId: string): string[]
  /** The tags of one epoch's containment, for whatever keys. */
  epochTags(user: IamUser, epoch: number): string[]
}

export function namesUnder(prefix: string): Names {
  const contained = `${prefix}:contained:`
  return {
    sessionPolicy: (lane) => `${prefix}-sessions-${lane}`,
    tokenPolicy: (lane) => `${prefix}-tokens-${lane}`,
    containPolicy: (epoch, lane) => `${prefix}-contain-${epoch}-${lane}`,
    isContainment: (policyName) => policyName.startsWith(`${prefix}-contain-`),
    revokedTag: (accessKeyId) => `${prefix}:revoked:${accessKeyId}`,
    containedTag: (epoch, accessKeyId) => `${contained}${epoch}:${accessKeyId}`,
    containedTags: (user, accessKeyId) =>
      [...user.tags.keys()].filter((tag) => tag.startsWith(contained) && tag.endsWith(`:${accessKeyId}`)),
    epochTags: (user, epoch) => [...user.tags.keys()].filter((tag) => tag.startsWith(`${contained}${epoch}:`)),
  }
}
