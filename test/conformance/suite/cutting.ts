import { expect } from 'vitest'
import { mac } from '../../support/mac.ts'
import type { Credential } from './harness.ts'
import { expectNoSecret, WARRANT } from './harness.ts'
import type { Trial } from './trial.ts'
import { alive, dead, must, persistently, statuses } from './trial.ts'

/** Names that no issuer should be impressed by; some would be a command, a path or a pattern to whoever pastes them together. */
const WILD_NAMES: readonly string[] = [
  `'; DROP TABLE users; --`,
  `" OR ""="`,
  '`id`; $(id)',
  '*',
  '%',
  '_%',
  '?',
  '[a-z]*',
  '>',
  'a.>',
  '.*',
  '../../etc/passwd',
  '%2e%2e%2f',
  'one\r\nACL SETUSER two on nopass ~* +@all',
  'one\nserial: 0-',
  'nul\0byte',
  '<script>alert(1)</script>',
  '{"$ne": null}',
  '${jndi:ldap://x}',
  'Grüße 日本 🗝️ \u202e',
  'lone \ud800 surrogate',
  ' ',
  'x'.repeat(10_240),
  '日'.repeat(3500),
]

const shownOf = (subject: unknown) => JSON.stringify(subject)?.slice(0, 120)

const SPEAKS_OF_SESSIONS = /session|open|live|connection|until|expire/i

/** What is cut is dead, whoever asks twice, and nobody else is. */
export function cutting<Target, Secret, Lever, Settings, Grants>(trial: Trial<Target, Secret, Lever, Settings, Grants>): void {
  const { module, property, connect, mint, open, extras } = trial
  const { definition } = module
  const { capabilities, limits } = definition
  const { propagationSeconds } = limits
  const verified = capabilities.verifies ? { before: 'alive', after: 'dead' } : { before: 'unknown', after: 'unknown' }

  property('schemas', true, async () => {
    const { harness } = trial
    expect(definition.settings.safeParse(harness.issuer.settings).success).toBe(true)
    const { subject } = await mint()
    expect(definition.target.safeParse(subject.target).success).toBe(true)
    if (definition.secret !== undefined) expect(definition.secret.safeParse(subject.secret).success).toBe(true)
    if (harness.grants !== undefined) expect(definition.grants?.safeParse(harness.grants).success).toBe(true)
    expectNoSecret(definition.credential(subject.target, subject.secret, mac), (await mint()).secrets)
    expect(definition.limits.batch).toBeLessThanOrEqual(100)
  })

  property('claims', true, async () => {
    const { harness } = trial
    const provider = await connect()
    expect({
      restore: provider.restore !== undefined,
      tidy: provider.tidy !== undefined,
      contain: provider.contain !== undefined,
      release: provider.release !== undefined,
      locate: provider.locate !== undefined,
      issue: provider.issue !== undefined,
      grants: definition.grants !== undefined,
      discover: provider.discover !== undefined,
    }).toEqual({
      restore: capabilities.restores,
      tidy: capabilities.tidies,
      contain: capabilities.containment === 'identity',
      release: capabilities.containment === 'identity',
      locate: capabilities.locates,
      issue: capabilities.issues,
      grants: capabilities.issues,
      discover: capabilities.discovers,
    })
    // A credential that is minted under a name chosen beforehand can be registered beforehand.
    if (capabilities.issues) expect(capabilities.choosesName).toBe(true)
    expect(harness.pasted !== undefined).toBe(definition.recognise !== undefined)
    expect(harness.lever !== undefined).toBe(capabilities.containment === 'identity')
    expect(harness.hostileNames !== undefined).toBe(capabilities.choosesName)
  })

  property('kills', true, async () => {
    const provider = await connect()
    const [credential, bystander] = [await mint(), await mint()]
    expect(await credential.works()).toBe(true)
    expect(statuses(await provider.verify([credential.subject], WARRANT))).toEqual([verified.before])

    const [answer] = await provider.revoke([credential.subject], WARRANT)

    expect(answer).toMatchObject({ status: 'revoked' })
    expect(answer?.said).not.toBe('')
    expect(await dead([credential], propagationSeconds)).toBe(true)
    expect(statuses(await provider.verify([credential.subject], WARRANT))).toEqual([verified.after])
    expect(await bystander.works()).toBe(true)
    expect(statuses(await provider.verify([bystander.subject], WARRANT))).toEqual([verified.before])
  })

  property('sessions', capabilities.sessions !== 'none', async () => {
    const provider = await connect()
    const [credential, bystander] = [await mint(), await mint()]
    const [session, other] = [must(await open(credential), 'sessions'), must(await open(bystander), 'sessions')]
    expect([await session.alive(), await other.alive()]).toEqual([true, true])

    const [answer] = await provider.revoke([credential.subject], WARRANT)

    if (answer?.status !== 'revoked') throw new Error(`not revoked: ${answer?.said}`)
    const lives = await session.alive()
    if (capabilities.sessions === 'ended') expect(lives).toBe(false)
    if (lives) {
      if (answer.sessionsUntil === undefined) expect(answer.said).toMatch(SPEAKS_OF_SESSIONS)
      else expect(Date.parse(answer.sessionsUntil)).toBeGreaterThan(0)
    }
    expect(await other.alive()).toBe(true)
  })

  property('full-batch', true, async () => {
    const { harness } = trial
    const provider = await connect()
    const credentials = await Promise.all(Array.from({ length: limits.batch - 1 }, () => mint()))
    const never = harness.neverExisted()
    const subjects = credentials.map(({ subject }) => subject)
    const place = Math.min(3, subjects.length)
    const answers = await provider.revoke([...subjects.slice(0, place), never.subject, ...subjects.slice(place)], WARRANT)
    expect(statuses(answers)).toEqual(answers.map((_, index) => (index === place ? never.status : 'revoked')))
    expect(answers).toHaveLength(limits.batch)
    expect(await dead(credentials, propagationSeconds)).toBe(true)
    expect(statuses(await provider.verify(subjects, WARRANT))).toEqual(subjects.map(() => verified.after))
  })

  property('empty-batch', true, async () => {
    const provider = await connect()
    expect(await provider.revoke([], WARRANT)).toEqual([])
    expect(await provider.verify([], WARRANT)).toEqual([])
    if (provider.tidy !== undefined) expect(await provider.tidy([], WARRANT)).toEqual([])
    if (provider.restore !== undefined) expect(await provider.restore([], WARRANT)).toEqual([])
  })

  property('again', true, async () => {
    const { repeated } = trial.harness
    const provider = await connect()
    const { subject } = await mint()
    await provider.revoke([subject], WARRANT)
    expect(await provider.revoke([subject], WARRANT)).toMatchObject([{ status: repeated }])
    expect(await provider.revoke([subject, subject], WARRANT)).toMatchObject([{ status: repeated }, { status: repeated }])
    if (capabilities.tellsAbsent && !capabilities.tidies) expect(repeated).toBe('absent')
  })

  property('never-existed', true, async () => {
    const provider = await connect()
    const { subject, status } = trial.harness.neverExisted()
    expect(await provider.revoke([subject], WARRANT)).toMatchObject([{ status }])
    expect(statuses(await provider.verify([subject], WARRANT))).not.toContain('alive')
    if (capabilities.tellsAbsent) expect(status).toBe('absent')
  })

  property('two-at-once', true, async () => {
    const [one, two] = [await connect(), await connect()]
    const credentials = await Promise.all(Array.from({ length: 5 }, () => mint()))
    const sessions = await Promise.all(credentials.map(open))
    const subjects = credentials.map(({ subject }) => subject)
    const answers = await Promise.all([
      one.revoke(subjects, WARRANT),
      two.revoke([...subjects].reverse(), WARRANT),
      one.revoke(subjects, WARRANT),
    ])
    for (const answer of answers.flat()) expect(['revoked', 'absent', 'retry']).toContain(answer.status)
    expect(await dead(credentials, propagationSeconds)).toBe(true)
    if (capabilities.sessions === 'ended') {
      for (const session of sessions) if (session !== undefined) expect(await session.alive()).toBe(false)
    }
    expect(statuses(await one.verify(subjects, WARRANT))).toEqual(subjects.map(() => verified.after))
  })

  property('shared-object', true, async () => {
    const { harness } = trial
    const [one, two, three] = [await connect(), await connect(), await connect()]
    const size = Math.max(1, Math.min(4, limits.batch))
    const shared = await (harness.siblings?.(3 * size + 1) ?? Promise.all(Array.from({ length: 3 * size + 1 }, () => mint())))
    for (const credential of shared) trial.hold(credential)
    const [kept, ...cut] = shared
    const part = (at: number) => cut.slice(at * size, (at + 1) * size).map(({ subject }) => subject)
    const answers = await Promise.all([persistently(one, part(0)), persistently(two, part(1)), persistently(three, part(2))])
    expect(statuses(answers.flat())).toEqual(cut.map(() => 'revoked'))
    expect(await dead(cut, propagationSeconds)).toBe(true)
    expect(await kept?.works()).toBe(true)
  })

  property('poison', extras.includes('poison'), async () => {
    const provider = await connect()
    const { subject, status } = await must(trial.harness.poison, 'poison').call(trial.harness)
    const [first, last] = [await mint(), await mint()]
    const answers = await provider.revoke([first.subject, subject, last.subject], WARRANT)
    expect(statuses(answers)).toEqual(['revoked', status, 'revoked'])
    expect(await dead([first, last], propagationSeconds)).toBe(true)
  })

  property('namesake', extras.includes('replace'), async () => {
    const provider = await connect()
    const old = await mint()
    const namesake = trial.hold(await must(trial.harness.replace, 'replace').call(trial.harness, old))
    const session = await open(namesake)
    expect(await provider.revoke([old.subject], WARRANT)).toMatchObject([{ status: 'absent' }])
    expect(statuses(await provider.verify([old.subject], WARRANT))).toEqual([verified.after])
    expect(await namesake.works()).toBe(true)
    if (session !== undefined) expect(await session.alive()).toBe(true)
  })

  property('hostile-names', capabilities.choosesName, async () => {
    const provider = await connect()
    const plain = await mint()
    const hostile: Credential<Target, Secret>[] = []
    for (const name of must(trial.harness.hostileNames, 'hostile names')) hostile.push(await mint({ name }))
    expect(await alive(hostile, propagationSeconds)).toBe(true)
    for (let from = 0; from < hostile.length; from += limits.batch) {
      const subjects = hostile.slice(from, from + limits.batch).map(({ subject }) => subject)
      expect(statuses(await provider.revoke(subjects, WARRANT))).toEqual(subjects.map(() => 'revoked'))
    }
    expect(await dead(hostile, propagationSeconds)).toBe(true)
    expect(await plain.works()).toBe(true)
  })

  property('wild-names', extras.includes('named'), async () => {
    const provider = await connect()
    const { harness } = trial
    const bystander = await mint()
    const session = await open(bystander)
    const allowed = ['absent', 'irrevocable', 'unsupported', harness.neverExisted().status]
    // What the schema refuses, no provider ever sees.
    const subjects = WILD_NAMES.map((name) => must(harness.named, 'named').call(harness, name)).filter(
      ({ target, secret }) =>
        definition.target.safeParse(target).success && definition.secret?.safeParse(secret).success !== false,
    )
    const restored = ['gone', 'refused', ...(capabilities.tellsAbsent ? [] : ['restored'])]
    for (let from = 0; from < subjects.length; from += limits.batch) {
      const batch = subjects.slice(from, from + limits.batch)
      // As the worker does: where a batch fails, its leases are tried one by one; a throw there would count against the issuer.
      const alone = async () => (await Promise.all(batch.map((subject) => provider.revoke([subject], WARRANT)))).flat()
      const cut = await provider.revoke(batch, WARRANT).catch(alone)
      for (const [place, { status }] of cut.entries()) expect(allowed, shownOf(batch[place])).toContain(status)
      expect(cut).toHaveLength(batch.length)
      expect(statuses(await provider.verify(batch, WARRANT))).not.toContain('alive')
      const answers = (await provider.restore?.(batch, WARRANT)) ?? []
      for (const [place, { status }] of answers.entries()) expect(restored, shownOf(batch[place])).toContain(status)
    }
    expect(await bystander.works()).toBe(true)
    if (session !== undefined) expect(await session.alive()).toBe(true)
  })
}
