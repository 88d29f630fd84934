import * as z from 'zod/mini'

/** As `ssh-keygen -l` shows a key. */
export const Fingerprint = z
  .string()
  .check(z.regex(/^SHA256:[A-Za-z0-9+/]{43}$/, 'must be a fingerprint as ssh-keygen -l shows it'))

/** 0 is what an authority writes that gives no serials: it names no certificate, and a list cannot refuse it. */
const Serial = z.string().check(
  z.regex(/^[1-9]\d{0,19}$/, 'must be a serial as decimal text, not 0'),
  // Of 20 digits; a check before this one may have failed, so no number is made of it.
  z.refine((text) => text.length < 20 || text <= '18446744073709551615', 'must be a serial of 64 bits'),
)

/** sshd cuts what it logs at 500 bytes; a longer key id hides the serial behind it. */
const KeyId = z.string().check(
  z.minLength(1),
  z.maxLength(1024),
  z.refine((text) => !text.includes('\0') && text.isWellFormed(), 'must be text without NUL'),
)

export const Target = z.discriminatedUnion('kind', [
  /** One certificate: its authority's fingerprint and the serial that the authority gave it, never twice. */
  z.strictObject({ kind: z.literal('certificate'), ca: Fingerprint, serial: Serial }),
  /** Every certificate that the authority issued, or will issue, under this key id. */
  z.strictObject({ kind: z.literal('key-id'), ca: Fingerprint, keyId: KeyId }),
  /** A key pair: as a plain key, and with any certificate. */
  z.strictObject({ kind: z.literal('key'), fingerprint: Fingerprint }),
])
export type Target = z.infer<typeof Target>

/** The key id under which an authority issues certificates to the identity, and to nobody else. */
export const Lever = z.strictObject({ ca: Fingerprint, keyId: KeyId })
export type Lever = z.infer<typeof Lever>

/** The credential's name: of a certificate by its authority and serial, so that a lease can name it before it is signed. */
export function credentialOf(target: Target): string {
  if (target.kind === 'certificate') return `certificate:${target.ca}:${target.serial}`
  if (target.kind === 'key-id') return `key-id:${target.ca}:${target.keyId}`
  return `key:${target.fingerprint}`
}
