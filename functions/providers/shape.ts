/** What a text looks like, told by its letters alone: for providers that recognise credentials in what a person pastes. */

const SHORTEST_SECRET = 20

/**
 * Whether a text looks drawn by chance, as tokens, keys and generated passwords do, and not chosen by a person: 20
 * characters or more that change between small letters, capitals and digits at every third step or so. Words, names with
 * a number at their end, host names, paths and dates do not; hexadecimal hashes and UUIDs do.
 */
export function looksRandom(text: string): boolean {
  if (text.length < SHORTEST_SECRET) return false
  const letters = text.replaceAll(/[^A-Za-z0-9]/g, '')
  if (letters.length < SHORTEST_SECRET * 0.8) return false
  return changes(letters) >= letters.length / 5
}

/** How often neighbours are of another class: small letter, capital, digit. */
export function changes(letters: string): number {
  let count = 0
  let last = ''
  for (const letter of letters) {
    const now = letter >= 'a' && letter <= 'z' ? 'small' : letter >= 'A' && letter <= 'Z' ? 'capital' : 'digit'
    if (last !== '' && now !== last) count += 1
    last = now
  }
  return count
}

/** A text without the white space, and the one pair of quotes, that copying leaves around it. */
export function bare(text: string): string {
  const trimmed = text.trim()
  const quote = trimmed.at(0)
  const quoted = trimmed.length >= 2 && (quote === '"' || quote === "'" || quote === '`') && trimmed.at(-1) === quote
  return quoted ? trimmed.slice(1, -1) : trimmed
}

/** https, or http on a loopback address, without user, password and fragment: secrets travel to these addresses. */
export function isEndpoint(text: string): boolean {
  if (!URL.canParse(text)) return false
  const { protocol, hostname, username, password, hash } = new URL(text)
  if (username !== '' || password !== '' || hash !== '') return false
  return protocol === 'https:' || (protocol === 'http:' && ['127.0.0.1', '[::1]', 'localhost'].includes(hostname))
}
