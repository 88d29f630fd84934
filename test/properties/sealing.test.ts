import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { fileKeys } from '../../functions/runtime/keys.ts'
import type { Sealed } from '../../functions/runtime/sealing.ts'
import { opener, SealBroken, sealer } from '../../functions/runtime/sealing.ts'
import { testClock, testRandomness } from '../support/tools.ts'

const tools = (seed: number) => {
  const random = testRandomness(seed)
  const keys = fileKeys(random.bytes(32), random)
  const clock = testClock()
  return { keys, clock, random }
}
const name = fc.string({ minLength: 1, maxLength: 12 })
const places = fc.record({ provider: name, issuer: name, lease: name })
const plaintexts = fc.string({ minLength: 1, maxLength: 200, unit: 'grapheme' })

describe('sealing', () => {
  it('opens where it was sealed for', async () => {
    await fc.assert(
      fc.asyncProperty(fc.integer(), places, plaintexts, async (seed, place, plaintext) => {
        const made = tools(seed)
        const sealed = await sealer(made)(place, plaintext)
        expect(await opener(made)(place, sealed)).toBe(plaintext)
      }),
    )
  })

  it('opens nowhere else', async () => {
    await fc.assert(
      fc.asyncProperty(fc.integer(), places, places, plaintexts, async (seed, place, other, plaintext) => {
        fc.pre(place.provider !== other.provider || place.issuer !== other.issuer || place.lease !== other.lease)
        const made = tools(seed)
        const sealed = await sealer(made)(place, plaintext)
        await expect(opener(made)(other, sealed)).rejects.toThrow()
        // The lease alone differs: the data key unwraps, the seal does not open.
        const nextLease = { ...place, lease: `${place.lease}x` }
        await expect(opener(made)(nextLease, sealed)).rejects.toThrow(SealBroken)
      }),
    )
  })

  it('a name that moves across the border of two parts opens nothing', async () => {
    const made = tools(1)
    const sealed = await sealer(made)({ provider: 'ab', issuer: 'c', lease: 'l' }, '{}')
    for (const place of [
      { provider: 'a', issuer: 'bc', lease: 'l' },
      { provider: 'ab', issuer: 'l', lease: 'c' },
    ]) {
      await expect(opener(made)(place, sealed)).rejects.toThrow()
    }
  })

  it('does not open when a single bit was changed', async () => {
    const fields = ['wrapped', 'iv', 'tag', 'data'] as const
    await fc.assert(
      fc.asyncProperty(
        fc.integer(),
        places,
        plaintexts,
        fc.constantFrom(...fields),
        fc.nat(),
        async (seed, place, plaintext, field, at) => {
          const made = tools(seed)
          const sealed = await sealer(made)(place, plaintext)
          const bytes = Buffer.from(sealed[field], 'base64')
          const bit = at % (bytes.length * 8)
          bytes[bit >> 3] = (bytes[bit >> 3] ?? 0) ^ (1 << (bit & 7))
          const changed: Sealed = { ...sealed, [field]: bytes.toString('base64') }
          await expect(opener(made)(place, changed)).rejects.toThrow()
        },
      ),
    )
  })

  it('shows nothing of what is sealed, and never the same twice', async () => {
    await fc.assert(
      fc.asyncProperty(fc.integer(), places, fc.string({ minLength: 8 }), async (seed, place, plaintext) => {
        const seal = sealer(tools(seed))
        const [one, other] = [await seal(place, plaintext), await seal(place, plaintext)]
        expect(one.iv).not.toBe(other.iv)
        expect(one.data).not.toBe(other.data)
        expect(JSON.stringify(one)).not.toContain(plaintext)
        expect(JSON.stringify(one)).not.toContain(Buffer.from(plaintext).toString('base64'))
      }),
    )
  })
})
