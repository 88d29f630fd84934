/**
 * Whether the whole text matches the pattern: `*` stands for any run of characters but `/`, `**` for any run at all (both
 * may be empty), everything else for itself. All states are followed at once, so the time is at most proportional to
 * the two lengths' product whatever they hold: no pattern and no name can make it explode, as backtracking would.
 */
export function matches(pattern: string, text: string): boolean {
  const steps = tokens(pattern)
  let here = reached(new Uint8Array(steps.length + 1), 0, steps)
  for (let place = 0; place < text.length; place++) {
    const letter = text.charAt(place)
    const next = new Uint8Array(steps.length + 1)
    let any = false
    for (let state = 0; state < steps.length; state++) {
      if (here[state] === 0) continue
      const step = steps[state]
      if (step === ANY || (step === SEGMENT && letter !== '/')) reached(next, state, steps)
      else if (step === letter) reached(next, state + 1, steps)
      else continue
      any = true
    }
    if (!any) return false
    here = next
  }
  return here[steps.length] === 1
}

export const matchesAny = (patterns: readonly string[], text: string): boolean =>
  patterns.some((pattern) => matches(pattern, text))

const ANY = Symbol('**')
const SEGMENT = Symbol('*')
type Token = string | typeof ANY | typeof SEGMENT

function tokens(pattern: string): Token[] {
  const found: Token[] = []
  for (let place = 0; place < pattern.length; place++) {
    const letter = pattern.charAt(place)
    if (letter !== '*') found.push(letter)
    else if (pattern.charAt(place + 1) === '*') {
      found.push(ANY)
      place++
    } else found.push(SEGMENT)
  }
  return found
}

/** Marks a state, and those behind it that an empty run leads to. */
function reached(states: Uint8Array, state: number, steps: readonly Token[]): Uint8Array {
  for (let at = state; states[at] === 0; at++) {
    states[at] = 1
    const step = steps[at]
    if (step !== ANY && step !== SEGMENT) break
  }
  return states
}
