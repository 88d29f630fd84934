import { describe, expect, it } from 'vitest'
import { signWebhook, verifyWebhook } from '../../../functions/runtime/webhook-signature.ts'

/** The example of the specification's reference libraries. */
const secret = 'whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw'
const known = {
  id: 'msg_p5jXN8AQM9LWM0D4loKWxJek',
  timestamp: 1614265330_000,
  body: '{"test": 2432232314}',
  signature: 'v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=',
}
const other = `whsec_${Buffer.alloc(32, 9).toString('base64')}`

const verify = (
  changed: {
    headers?: Record<string, string | undefined>
    body?: string
    now?: number
    secrets?: string[]
    tolerance?: number
  } = {},
) =>
  verifyWebhook(
    {
      headers: {
        'webhook-id': known.id,
        'webhook-timestamp': String(known.timestamp / 1000),
        'webhook-signature': known.signature,
        ...changed.headers,
      },
      body: Buffer.from(changed.body ?? known.body),
    },
    { secrets: changed.secrets ?? [secret], toleranceSeconds: changed.tolerance ?? 300, now: changed.now ?? known.timestamp },
  )
const refusal = (code: string) => expect.objectContaining({ code, status: 401 })

describe('signatures', () => {
  it('are those of the specification', () => {
    expect(signWebhook({ ...known, secret })).toEqual({
      'webhook-id': known.id,
      'webhook-timestamp': '1614265330',
      'webhook-signature': known.signature,
    })
    expect(verify()).toEqual({ id: known.id, signedAt: known.timestamp })
  })

  it('fit with either of two secrets, and among several signatures', () => {
    expect(verify({ secrets: [other, secret] }).id).toBe(known.id)
    expect(verify({ secrets: [secret, other] }).id).toBe(known.id)
    expect(verify({ headers: { 'webhook-signature': `v1a,AAAA v1,AAAA ${known.signature}` } }).id).toBe(known.id)
  })

  it.each([
    { body: '{"test": 2432232315}' },
    { body: `${known.body} ` },
    { secrets: [other] },
    { secrets: [] },
    { headers: { 'webhook-id': 'msg_other' } },
    { headers: { 'webhook-id': 'msg.dot' } },
    { headers: { 'webhook-timestamp': '1614265331' } },
    { headers: { 'webhook-timestamp': '01614265330' } },
    { headers: { 'webhook-timestamp': '1614265330.0' } },
    { headers: { 'webhook-timestamp': 'NaN' } },
    { headers: { 'webhook-signature': '' } },
    { headers: { 'webhook-signature': 'v1,' } },
    { headers: { 'webhook-signature': known.signature.replace('v1,', 'v2,') } },
    { headers: { 'webhook-signature': known.signature.replace('v1,', '') } },
    { headers: { 'webhook-signature': `${'v1,AAAA '.repeat(9)}${known.signature}` } },
  ])('that do not fit are refused: %j', (changed) => {
    expect(() => verify(changed)).toThrow(refusal('signature-invalid'))
  })

  it.each(['webhook-id', 'webhook-timestamp', 'webhook-signature'])('a request without %s is not signed', (header) => {
    expect(() => verify({ headers: { [header]: undefined } })).toThrow(refusal('unauthenticated'))
  })

  it('are good for the tolerated time, before and after', () => {
    expect(verify({ now: known.timestamp + 300_000 }).id).toBe(known.id)
    expect(verify({ now: known.timestamp - 300_000 }).id).toBe(known.id)
    expect(() => verify({ now: known.timestamp + 300_001 })).toThrow(refusal('signature-invalid'))
    expect(() => verify({ now: known.timestamp - 300_001 })).toThrow(refusal('signature-invalid'))
  })

  it.each(['', 'whsec_', 'whsec_AAAA', 'MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw', `whsec_${'A'.repeat(100)}`])(
    'a secret that is none lets nobody in: %j',
    (wrong) => {
      expect(() => verify({ secrets: [wrong] })).toThrow(RangeError)
      expect(() => signWebhook({ ...known, secret: wrong })).toThrow(RangeError)
    },
  )
})
