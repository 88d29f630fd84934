import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { canonicalIdentity, IdentityInvalid, oidcIdentity } from '../../functions/domain/identity.ts'

const segment = fc.stringMatching(/^[A-Za-z0-9_-][A-Za-z0-9._-]{0,11}$/)
const spiffe = fc
  .tuple(fc.stringMatching(/^[A-Za-z0-9._-]{1,20}$/), fc.array(segment, { minLength: 1, maxLength: 4 }))
  .map(([domain, path]) => `spiffe://${domain}/${path.join('/')}`)
const role = fc
  .tuple(fc.stringMatching(/^\d{12}$/), fc.array(segment, { maxLength: 2 }), segment)
  .map(([account, path, name]) => `arn:aws:iam::${account}:role/${[...path, name].join('/')}`)
const oidc = fc
  .string({ minLength: 1, unit: 'binary' })
  .map((subject) => `https://issuer.example.com/a#${encodeURIComponent(subject)}`)
const identities = fc.oneof(spiffe, role, oidc)

const attempt = (text: string) => {
  try {
    return canonicalIdentity(text)
  } catch (error) {
    expect(error).toBeInstanceOf(IdentityInvalid)
    return undefined
  }
}

describe('canonicalIdentity', () => {
  it('leaves canonical names as they are', () => {
    fc.assert(
      fc.property(identities, (text) => {
        const canonical = attempt(text)
        expect(canonical).toBeDefined()
        expect(canonicalIdentity(canonical ?? '')).toBe(canonical)
      }),
    )
  })

  it('answers any text with a canonical name or a refusal that does not repeat it', () => {
    fc.assert(
      fc.property(
        fc.oneof(
          fc.string(),
          identities.chain((text) => fc.string({ minLength: 1 }).map((more) => text + more)),
        ),
        (text) => {
          const canonical = attempt(text)
          if (canonical === undefined) return
          expect(canonicalIdentity(canonical)).toBe(canonical)
          expect(canonical).toMatch(/^(spiffe:\/\/|arn:|https?:\/\/)[\x21-\x7e]+$/)
        },
      ),
    )
  })

  it('two subjects of one issuer are two identities', () => {
    fc.assert(
      fc.property(fc.string({ minLength: 1, unit: 'binary' }), fc.string({ minLength: 1, unit: 'binary' }), (one, other) => {
        const same = oidcIdentity('https://i.example', one) === oidcIdentity('https://i.example', other)
        return same === (one === other)
      }),
    )
  })
})
