/** What may be used up at once before waiting begins, in seconds of the rate. */
const BURST_SECONDS = 1

/**
 * Paces a reader by what its reads consumed: afterwards it waits as long as the rate says, so that it never reads more
 * than the rate and one burst in any span of time. Pure: the clock's time comes in, the pause goes out.
 *
 * @param perSecond read units a second
 */
export function pacer(perSecond: number) {
  /** When all that was used is paid off at the rate, in milliseconds since 1970. */
  let paidAt = 0
  return {
    /**
     * @param units consumed by a read that has just ended
     * @returns milliseconds to wait before the next one
     */
    used(units: number, now: number): number {
      paidAt = Math.max(paidAt, now) + (units / perSecond) * 1000
      return Math.max(0, paidAt - now - BURST_SECONDS * 1000)
    },
  }
}
