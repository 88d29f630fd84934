import type { Candidate } from '../contracts/scope.ts'
import { MOST_CANDIDATES } from '../contracts/scope.ts'
import type { Clue, Definition, Mac } from '../providers/contract.ts'
import { fingerprint } from './keys.ts'
import type { Issuer } from './model.ts'

export type Read =
  | {
      readonly kind: 'read'
      readonly candidates: readonly Candidate[]
      /** The text stands nowhere in what is kept: it may be a secret, and must not be kept by anybody else. */
      readonly secret: boolean
      /** Issuers where it could be a name as well, left out because the name would be the secret in clear. */
      readonly leftOut: readonly string[]
    }
  /** No provider of these issuers reads it as one of its credentials. */
  | { readonly kind: 'unrecognised' }
  /** It could be a credential at more issuers than a case takes: one must be named. */
  | { readonly kind: 'too-many'; readonly issuers: number }

/** An issuer that a text is read for. */
export type Looked = Pick<Issuer, 'name' | 'provider'> & Partial<Pick<Issuer, 'settings'>>

/** Candidates are stored and shown: what a provider makes of a text is cut to these, in characters. */
const LONGEST_SHOWN = 200

/**
 * Reads what a person has in hand as the credentials that it can be, one at each issuer whose provider recognises it.
 * Pure, and nothing of a secret leaves it but through `mac`: where one provider takes the text as a secret, what others
 * would keep of it in clear is left out, whatever they take it for.
 *
 * @param issuers those that are looked at: all that are configured, or those that the responder named
 */
export function readClue(
  text: string,
  issuers: readonly Looked[],
  catalog: Readonly<Record<string, Definition>>,
  mac: Mac,
): Read {
  const trimmed = text.trim()
  const clues = new Map<string, Clue>()
  for (const provider of new Set(issuers.map((issuer) => issuer.provider))) {
    const clue = recognised(catalog[provider], trimmed, mac)
    if (clue !== undefined) clues.set(provider, clue)
  }
  const hashed = [...clues.values()].some((clue) => !showsPart(trimmed, clue))
  const elsewhere = meantElsewhere(issuers, catalog, clues)
  const candidates: Candidate[] = []
  const leftOut: string[] = []
  let secret = true
  for (const issuer of [...issuers].sort((one, other) => (one.name < other.name ? -1 : 1))) {
    const clue = clues.get(issuer.provider)
    if (clue === undefined || elsewhere.has(issuer.name)) continue
    const whole = showsAll(trimmed, clue)
    if (hashed && whole) leftOut.push(issuer.name)
    else candidates.push(candidateAt(issuer.name, clue))
    if (whole && !hashed) secret = false
  }
  if (candidates.length === 0) return { kind: 'unrecognised' }
  if (candidates.length > MOST_CANDIDATES) return { kind: 'too-many', issuers: candidates.length }
  return { kind: 'read', candidates, secret, leftOut }
}

/** Issuers that are not meant, since the clue says itself that it is of another one of their provider. */
function meantElsewhere(
  issuers: readonly Looked[],
  catalog: Readonly<Record<string, Definition>>,
  clues: ReadonlyMap<string, Clue>,
): ReadonlySet<string> {
  const isMeant = ({ provider, settings }: Looked) => {
    const [definition, clue] = [catalog[provider], clues.get(provider)]
    const parsed = definition?.settings.safeParse(settings)
    return clue !== undefined && parsed?.success === true && definition?.meant?.(clue.query, parsed.data) === true
  }
  const meant = new Set(issuers.filter(isMeant).map(({ name }) => name))
  const providers = new Set(issuers.filter(({ name }) => meant.has(name)).map(({ provider }) => provider))
  return new Set(issuers.filter(({ name, provider }) => providers.has(provider) && !meant.has(name)).map(({ name }) => name))
}

/** A recogniser that fails recognises nothing: its error may quote the text, and goes nowhere. */
function recognised(definition: Definition | undefined, text: string, mac: Mac): Clue | undefined {
  try {
    return definition?.recognise?.(text, mac)
  } catch {
    return undefined
  }
}

const candidateAt = (issuer: string, clue: Clue): Candidate => ({
  issuer,
  fingerprint: fingerprint(issuer, clue.credential),
  shown: clue.shown.slice(0, LONGEST_SHOWN),
  query: { ...clue.query },
})

const kept = (clue: Clue): string[] => [clue.credential, clue.shown, ...Object.values(clue.query)]

/** The whole text would be kept. */
const showsAll = (text: string, clue: Clue): boolean => kept(clue).some((one) => one.includes(text))

/** The clue holds words of the text, not a hash of it alone. */
const showsPart = (text: string, clue: Clue): boolean =>
  showsAll(text, clue) || Object.values(clue.query).some((value) => value !== '' && text.includes(value))
