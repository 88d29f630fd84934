import type { Lease } from './model.ts'
import { later } from './time.ts'

/**
 * When a lease ends by its time alone: at its expiry, or when the time that an outage of ours took is over. `undefined`:
 * never, for its class only tells.
 */
export const lapsesAt = ({ expiresAt, graceUntil, onExpiry }: Pick<Lease, 'expiresAt' | 'graceUntil' | 'onExpiry'>) =>
  onExpiry === 'notify' ? undefined : later(expiresAt, graceUntil ?? '')

/** Whether nothing of it would be left by now, had nobody cut it. */
export function hasLapsed(lease: Parameters<typeof lapsesAt>[0], now: string): boolean {
  const end = lapsesAt(lease)
  return end !== undefined && end <= now
}
