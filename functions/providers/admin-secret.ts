import * as z from 'zod/mini'
import { IssuerRefused } from './contract.ts'

/** What most servers are administered with. */
const Login = z.strictObject({ user: z.string().check(z.minLength(1)), password: z.string().check(z.minLength(1)) })
export type AdminLogin = z.infer<typeof Login>

/** @throws IssuerRefused, and nothing of the secret is in it */
export const readAdminLogin = (secret: string): AdminLogin => readAdminSecret(Login, secret, '{"user": ..., "password": ...}')

/**
 * An admin secret, which is JSON.
 *
 * @param shape what it must be, for whoever has to mend it
 * @param of names the issuer in errors: `OAuth`
 * @throws IssuerRefused, and nothing of the secret is in it
 */
export function readAdminSecret<Secret>(schema: z.ZodMiniType<Secret>, secret: string, shape: string, of?: string): Secret {
  const whose = of === undefined ? '' : `${of}: `
  let json: unknown
  try {
    json = JSON.parse(secret)
  } catch {
    // No cause: the parser quotes what it could not read.
    throw new IssuerRefused(`${whose}the admin secret is not JSON`)
  }
  const parsed = schema.safeParse(json)
  if (!parsed.success) throw new IssuerRefused(`${whose}the admin secret must be ${shape}`)
  return parsed.data
}
