import * as z from 'zod/mini'

/**
 * A role's name: 1 to 63 bytes of UTF-8 (NAMEDATALEN - 1), any characters but NUL. Blanks at the ends and quotes are
 * legal in PostgreSQL, so they are legal here: statements are built by the server's own `format('%I')`.
 */
export const RoleName = z.string().check(
  z.minLength(1),
  z.refine((text) => Buffer.byteLength(text) <= 63, 'must not be longer than 63 bytes'),
  z.refine((text) => !text.includes('\0') && text.isWellFormed(), 'must be text that PostgreSQL can hold'),
)
