import { randomBytes, randomUUID } from 'node:crypto'
import { chmodSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname, join, relative, resolve } from 'node:path'
import type { JWK, JWTPayload } from 'jose'
import { exportJWK, generateKeyPair, importJWK, SignJWT } from 'jose'

/** The trust that a machine has only in itself: who signs tokens, what seals handles, where secrets lie. */
export interface LocalTrust {
  /** `iss` of the tokens. */
  readonly issuer: string
  readonly algorithm: 'ES256'
  /** Path of the public keys (JWKS), for `keys: { file }` of a token issuer. */
  readonly jwksFile: string
  /** Path of the key that wraps data keys: 32 random bytes, for `SEALING=file:...`. */
  readonly sealingFile: string
  /** Folder of secrets by reference, for `SECRETS=dir:...`. */
  readonly secretsFolder: string
  /** What replaces the template's AWS values in the functions that have them. */
  readonly environment: Readonly<Record<string, string>>
  /** A signed token. Lives an hour unless `seconds` says otherwise. */
  mintToken(
    claims: JWTPayload & { readonly sub: string; readonly aud: string },
    options?: { readonly seconds?: number },
  ): Promise<string>
  /** Writes a secret that only its owner may read; returns its reference. */
  putSecret(reference: string, value: string): string
  /** The same for one that must not change: what is there stays. */
  keepSecret(reference: string, make: () => string): string
}

/** Makes the trust under `<folder>/trust` and `<folder>/secrets`, or takes up the one that is there. */
export async function makeTrust(folder: string, options: { readonly issuer?: string } = {}): Promise<LocalTrust> {
  const issuer = options.issuer ?? 'https://issuer.rescind.localhost'
  const trust = privateFolder(resolve(folder, 'trust'))
  const secretsFolder = privateFolder(resolve(folder, 'secrets'))
  const sealingFile = join(trust, 'sealing.key')
  if (!existsSync(sealingFile)) writePrivate(sealingFile, randomBytes(32))

  const privateFile = join(trust, 'token-issuer.private.jwk')
  if (!existsSync(privateFile)) {
    const pair = await generateKeyPair('ES256', { extractable: true })
    writePrivate(
      privateFile,
      JSON.stringify({ ...(await exportJWK(pair.privateKey)), kid: randomUUID(), alg: 'ES256', use: 'sig' }),
    )
  }
  const jwk = JSON.parse(readFileSync(privateFile, 'utf8')) as JWK
  const { kty, crv, x, y, kid, alg, use } = jwk
  const jwksFile = join(trust, 'jwks.json')
  writeFileSync(jwksFile, JSON.stringify({ keys: [{ kty, crv, x, y, kid, alg, use }] }))
  const key = await importJWK(jwk, 'ES256')

  const pathOf = (reference: string): string => {
    const path = resolve(secretsFolder, reference)
    if (relative(secretsFolder, path).startsWith('..'))
      throw new RangeError(`a reference must not leave its folder: ${reference}`)
    return path
  }
  const put = (reference: string, value: string): string => {
    const path = pathOf(reference)
    privateFolder(dirname(path))
    writePrivate(path, value)
    return reference
  }

  return {
    issuer,
    algorithm: 'ES256',
    jwksFile,
    sealingFile,
    secretsFolder,
    environment: { SEALING: `file:${sealingFile}`, SECRETS: `dir:${secretsFolder}` },
    mintToken: (claims, { seconds = 3600 } = {}) => {
      const now = Math.floor(Date.now() / 1000)
      return new SignJWT({ jti: randomUUID(), ...claims })
        .setProtectedHeader({ alg: 'ES256', typ: 'JWT', ...(kid !== undefined && { kid }) })
        .setIssuer(claims.iss ?? issuer)
        .setIssuedAt(claims.iat ?? now)
        .setExpirationTime(claims.exp ?? now + seconds)
        .sign(key)
    },
    putSecret: put,
    keepSecret: (reference, make) => (existsSync(pathOf(reference)) ? reference : put(reference, make())),
  }
}

function privateFolder(path: string): string {
  mkdirSync(path, { recursive: true, mode: 0o700 })
  return path
}

function writePrivate(path: string, content: string | Uint8Array): void {
  writeFileSync(path, content, { mode: 0o600 })
  // `mode` counts only for a new file.
  chmodSync(path, 0o600)
}
