import { S3Client } from '@aws-sdk/client-s3'
import { describe, expect, it } from 'vitest'
import { MARK_KEY, MarkInvalid, s3Mark } from '../../../functions/runtime/mark.ts'
import type { ScriptedAnswer, SentRequest } from '../../support/scripted-service.ts'
import { scriptedService } from '../../support/scripted-service.ts'

function markWith(answer: (request: SentRequest) => ScriptedAnswer) {
  const service = scriptedService(answer)
  const client = new S3Client({ ...service.configuration, maxAttempts: 1, forcePathStyle: true })
  return { mark: s3Mark({ client, bucket: 'b' }), requests: service.requests }
}
const xml = (status: number, code: string): ScriptedAnswer => ({
  status,
  body: `<?xml version="1.0"?><Error><Code>${code}</Code><Message>x</Message></Error>`,
  headers: { 'content-type': 'application/xml' },
})
const object = (body: string): ScriptedAnswer => ({ body, headers: { etag: '"abc"', 'content-type': 'application/json' } })

describe('the generation mark in a bucket', () => {
  it('is read with the version that a write is conditional on', async () => {
    const { mark, requests } = markWith(() => object('{"v":1,"generation":7}'))
    expect(await mark.read()).toEqual({ generation: 7, version: '"abc"' })
    expect(requests[0]?.target).toBe(`GET /b/${MARK_KEY}`)
  })

  it('is absent only where S3 says so: a missing right is an error', async () => {
    expect(await markWith(() => xml(404, 'NoSuchKey')).mark.read()).toBeUndefined()
    await expect(markWith(() => xml(403, 'AccessDenied')).mark.read()).rejects.toThrow()
    await expect(markWith(() => new Error('no way')).mark.read()).rejects.toThrow()
  })

  it.each(['', 'x', '{}', '{"v":2,"generation":7}', '{"v":1,"generation":0}', '{"v":1,"generation":"7"}'])(
    'is not guessed at: %s',
    async (body) => {
      await expect(markWith(() => object(body)).mark.read()).rejects.toThrow(MarkInvalid)
    },
  )

  it('is written over what was read, or where nothing is', async () => {
    const { mark, requests } = markWith(() => ({ body: '' }))
    expect(await mark.write(8, '"abc"')).toBe(true)
    expect(await mark.write(1, undefined)).toBe(true)
    expect(requests.map(({ headers }) => [headers['if-match'], headers['if-none-match']])).toEqual([
      ['"abc"', undefined],
      [undefined, '*'],
    ])
    expect(requests[0]?.body).toContain('{"v":1,"generation":8}')
  })

  it('says that somebody else was first, and nothing else is taken for that', async () => {
    expect(await markWith(() => xml(412, 'PreconditionFailed')).mark.write(8, '"abc"')).toBe(false)
    expect(await markWith(() => xml(409, 'ConditionalRequestConflict')).mark.write(8, '"abc"')).toBe(false)
    await expect(markWith(() => xml(403, 'AccessDenied')).mark.write(8, '"abc"')).rejects.toThrow()
  })
})
