import { describe, expect, it } from 'vitest'
import { FingerprintKeyUnusable, keyedHash, macOf } from '../../../functions/runtime/mac.ts'
import { MemoryTable } from '../../support/memory-table.ts'

const KEY = 'k'.repeat(64)
const clock = { now: () => Date.parse('2026-11-22T10:00:00.000Z'), sleep: async () => {} }
const hashOver = (table: MemoryTable, get: () => Promise<string>) =>
  keyedHash({ secrets: { get }, table, clock, reference: 'rescind/keys/fingerprint' })

describe('the keyed hash', () => {
  it('is HMAC-SHA-256 in hexadecimal', () => {
    // Made by Python's hmac module.
    expect(macOf(KEY)('text')).toBe('0414bb1d8c0c4556cdb2028727b16610ae377b1a194b6db1f853d4297f2329bc')
    expect(macOf(KEY)('text')).not.toBe(macOf('l'.repeat(64))('text'))
  })

  it('refuses a key that could be guessed', () => {
    expect(() => macOf('short')).toThrow(FingerprintKeyUnusable)
  })

  it('reads its key once, and again where it could not be read', async () => {
    let reads = 0
    const hash = hashOver(new MemoryTable(), async () => {
      reads += 1
      if (reads === 1) throw new Error('the secret store does not answer')
      return KEY
    })
    await expect(hash()).rejects.toThrow()
    const macs = await Promise.all([hash(), hash(), hash()])
    expect(macs.map((mac) => mac('text'))).toEqual([macOf(KEY)('text'), macOf(KEY)('text'), macOf(KEY)('text')])
    expect(reads).toBe(2)
  })

  it('refuses another key than the one that the table was begun with, which would find nothing and look like success', async () => {
    const table = new MemoryTable()
    await hashOver(table, async () => KEY)()
    await hashOver(table, async () => KEY)()
    await expect(hashOver(table, async () => 'l'.repeat(64))()).rejects.toThrow(FingerprintKeyUnusable)
    expect(JSON.stringify(table.all())).not.toContain(KEY)
  })

  it('has one first key, whoever comes first', async () => {
    const table = new MemoryTable()
    const tries = await Promise.allSettled([hashOver(table, async () => KEY)(), hashOver(table, async () => 'l'.repeat(64))()])
    expect(tries.map(({ status }) => status).sort()).toEqual(['fulfilled', 'rejected'])
  })
})
