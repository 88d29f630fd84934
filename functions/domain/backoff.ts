/**
 * Exponential back-off with full jitter: uniform between one second and the exponential bound, so that many chunks
 * that failed together do not come back together (AWS Architecture Blog, "Exponential Backoff And Jitter").
 *
 * @param attempt tries made so far, from 1
 * @param fraction uniform in [0, 1)
 * @param longest upper bound, in seconds
 * @param hint seconds that the issuer asked for; never undercut, but bounded as well
 * @returns whole seconds, at least 1
 */
export function backoffSeconds(attempt: number, fraction: number, longest: number, hint = 0): number {
  const bound = Math.min(longest, 2 ** Math.min(attempt, 20))
  return Math.max(1, Math.ceil(fraction * bound), Math.min(Math.ceil(hint), longest))
}
