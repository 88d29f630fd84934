import * as z from 'zod/mini'

/** Longest name that is taken, in bytes; Redis itself knows no bound. */
const LONGEST_NAME = 1024

/**
 * An ACL user's name: any text without blanks (as C's `isspace` knows them) and NUL, which is what the server itself
 * forbids. Names travel as arguments of their own, so nothing in them needs quoting.
 */
export const UserName = z.string().check(
  z.minLength(1),
  z.refine((text) => Buffer.byteLength(text) <= LONGEST_NAME, `must not be longer than ${LONGEST_NAME} bytes`),
  // biome-ignore lint/suspicious/noControlCharactersInRegex: these are the very characters that the server forbids
  z.refine((text) => !/[\x00 \t\n\v\f\r]/.test(text) && text.isWellFormed(), 'must be a name that Redis can hold'),
)

const hex = (text: string) => Buffer.from(text).toString('hex')
const PREFIX = hex('rescind:')

/**
 * Redis keeps passwords as SHA-256 in hexadecimal and takes such hashes as they are (`#...`), finds them again (`ACL
 * GETUSER`) and removes just one (`!...`, an error where it is not there). A value that nobody hashed opens nothing:
 * nobody knows a password for it. So it serves as a note on the user itself, written in one step with what it tells of,
 * kept by the same file, and gone with the user.
 */
export const REVOKED = hex('rescind:revoked, had a password!')
/** Of a user that was `nopass`: to be given any password, notes included, ends that. */
export const REVOKED_NOPASS = hex('rescind:revoked, had no password')

/** A note that names an incarnation of a user, or a server: `rescind:` and 24 bytes by chance, in hexadecimal. */
export const Tag = z.string().check(
  z.regex(new RegExp(`^${PREFIX}[0-9a-f]{48}$`), 'must be a tag: "rescind:" and 24 bytes by chance, in small hexadecimal digits'),
  z.refine((text) => text !== REVOKED && text !== REVOKED_NOPASS, 'must be a tag, and no mark of a revocation'),
)

/** @param chance 48 hexadecimal digits or more */
export const tagOf = (chance: string): string => `${PREFIX}${chance.slice(0, 48)}`

/** The tag among a user's hashes, if it has one. */
export const tagAmong = (hashes: readonly string[]): string | undefined => hashes.find((hash) => Tag.safeParse(hash).success)
