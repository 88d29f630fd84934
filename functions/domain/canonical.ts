/**
 * Canonical JSON (RFC 8785): members sorted by the UTF-16 code units of their names, no white space, numbers and strings as
 * ECMAScript writes them. Two parties that sign the same value sign the same bytes.
 *
 * @throws TypeError for what is no JSON
 */
export function canonicalJson(value: unknown): string {
  if (value === null || typeof value === 'boolean' || typeof value === 'string') return JSON.stringify(value)
  if (typeof value === 'number' && Number.isFinite(value)) return JSON.stringify(value)
  if (Array.isArray(value)) return `[${value.map(canonicalJson).join(',')}]`
  if (typeof value === 'object') {
    const members = Object.entries(value)
      .filter(([, member]) => member !== undefined)
      .sort(([one], [other]) => (one < other ? -1 : 1))
    return `{${members.map(([name, member]) => `${JSON.stringify(name)}:${canonicalJson(member)}`).join(',')}}`
  }
  throw new TypeError('only JSON has a canonical form')
}
