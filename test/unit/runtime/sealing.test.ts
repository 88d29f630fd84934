import { describe, expect, it } from 'vitest'
import { fileKeys, KeyUnusable } from '../../../functions/runtime/keys.ts'
import type { KeyService } from '../../../functions/runtime/ports.ts'
import { opener, Sealed, sealer } from '../../../functions/runtime/sealing.ts'
import { testClock, testRandomness } from '../../support/tools.ts'

function counting(): KeyService & { generated: number; unwrapped: number; fails: boolean } {
  const random = testRandomness(7)
  const inner = fileKeys(random.bytes(32), random)
  const service = {
    generated: 0,
    unwrapped: 0,
    fails: false,
    async generate(context: Readonly<Record<string, string>>) {
      service.generated++
      if (service.fails) throw new Error('the key service is away')
      return inner.generate(context)
    },
    async unwrap(wrapped: string, context: Readonly<Record<string, string>>) {
      service.unwrapped++
      if (service.fails) throw new Error('the key service is away')
      return inner.unwrap(wrapped, context)
    },
  }
  return service
}
const place = (issuer: string, lease = 'l') => ({ provider: 'oauth', issuer, lease })

describe('data keys', () => {
  it('are made once for an issuer and an hour, also for many at once', async () => {
    const [keys, clock, random] = [counting(), testClock(), testRandomness()]
    const seal = sealer({ keys, clock, random })
    await Promise.all(Array.from({ length: 20 }, (_, n) => seal(place('a', `l${n}`), '{}')))
    expect(keys.generated).toBe(1)
    await seal(place('b'), '{}')
    expect(keys.generated).toBe(2)
    clock.advance(3_599_000)
    await seal(place('a'), '{}')
    expect(keys.generated).toBe(2)
    clock.advance(2_000)
    await Promise.all([seal(place('a'), '{}'), seal(place('a'), '{}')])
    expect(keys.generated).toBe(3)
  })

  it('that could not be made are asked for again', async () => {
    const [keys, clock, random] = [counting(), testClock(), testRandomness()]
    const seal = sealer({ keys, clock, random })
    keys.fails = true
    await expect(seal(place('a'), '{}')).rejects.toThrow()
    keys.fails = false
    expect(z(await seal(place('a'), '{}'))).toBe(true)
  })

  it('are unwrapped once, and again when they could not be', async () => {
    const [keys, clock, random] = [counting(), testClock(), testRandomness()]
    const sealed = await sealer({ keys, clock, random })(place('a'), '{"token":"t"}')
    const open = opener({ keys, clock })
    keys.fails = true
    await expect(open(place('a'), sealed)).rejects.toThrow()
    keys.fails = false
    const opened = await Promise.all([open(place('a'), sealed), open(place('a'), sealed)])
    expect(opened).toEqual(['{"token":"t"}', '{"token":"t"}'])
    expect(keys.unwrapped).toBe(2)
  })

  it('kept are bounded in number', async () => {
    const [keys, clock, random] = [counting(), testClock(), testRandomness()]
    const seal = sealer({ keys, clock, random })
    for (let n = 0; n < 150; n++) await seal(place(`i${n}`), '{}')
    await seal(place('i149'), '{}')
    expect(keys.generated).toBe(150)
    await seal(place('i0'), '{}')
    expect(keys.generated).toBe(151)
  })
})

const z = (value: unknown) => Sealed.safeParse(value).success

it('what is sealed has the shape that is stored', async () => {
  const [keys, clock, random] = [counting(), testClock(), testRandomness()]
  const sealed = await sealer({ keys, clock, random })(place('a'), '{}')
  expect(z(sealed)).toBe(true)
  expect(z({ ...sealed, v: 2 })).toBe(false)
  expect(z({ ...sealed, iv: 'AAAA' })).toBe(false)
  expect(z({ ...sealed, data: 'not base64!' })).toBe(false)
})

describe('a key file', () => {
  it('has 32 bytes', () => {
    expect(() => fileKeys(new Uint8Array(31), testRandomness())).toThrow(KeyUnusable)
  })

  it('unwraps only with the context and the key it wrapped with', async () => {
    const random = testRandomness()
    const key = random.bytes(32)
    const { plain, wrapped } = await fileKeys(key, random).generate({ provider: 'p', issuer: 'i' })
    expect(await fileKeys(key, random).unwrap(wrapped, { issuer: 'i', provider: 'p' })).toEqual(plain)
    await expect(fileKeys(key, random).unwrap(wrapped, { provider: 'p', issuer: 'j' })).rejects.toThrow(KeyUnusable)
    await expect(fileKeys(random.bytes(32), random).unwrap(wrapped, { provider: 'p', issuer: 'i' })).rejects.toThrow(KeyUnusable)
    await expect(fileKeys(key, random).unwrap('AAAA', { provider: 'p', issuer: 'i' })).rejects.toThrow(KeyUnusable)
  })
})
