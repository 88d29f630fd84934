import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, expect, it } from 'vitest'
import type { LocalOAuth } from '../../lib/local/issuers/oauth.ts'
import { startOAuth } from '../../lib/local/issuers/oauth.ts'

let server: LocalOAuth | undefined
let folder: string | undefined

afterEach(async () => {
  await server?.stop()
  if (folder !== undefined) await rm(folder, { recursive: true, force: true })
})

it('keeps its name, its clients and its tokens over a second start', async () => {
  folder = await mkdtemp(join(tmpdir(), 'rescind-test-'))
  server = await startOAuth({ folder })
  const { issuer, admin } = server
  const issued = await server.issueToken('somebody')
  await server.stop()
  await server.stop()
  await expect(fetch(issuer)).rejects.toThrow()

  server = await startOAuth({ folder })
  expect([server.issuer, server.admin]).toEqual([issuer, admin])
  expect(await server.honours(issued.accessToken, 'access_token')).toBe(true)
  expect(await server.honours(issued.refreshToken, 'refresh_token')).toBe(true)
  expect(await server.honours('made-up', 'access_token')).toBe(false)
})
