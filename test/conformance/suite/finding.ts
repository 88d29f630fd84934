import { expect } from 'vitest'
import type { Listed, Order, Provider } from '../../../functions/providers/contract.ts'
import { mac } from '../../support/mac.ts'
import type { Credential } from './harness.ts'
import { expectNoSecret, WARRANT } from './harness.ts'
import type { Trial } from './trial.ts'
import { alive, dead, must, statuses } from './trial.ts'

/** What nobody registered: recognised, located, listed; and what is minted here. */
export function finding<Target, Secret, Lever, Settings, Grants>(trial: Trial<Target, Secret, Lever, Settings, Grants>): void {
  const { module, property, connect, mint, open } = trial
  const { definition } = module
  const { capabilities, limits } = definition
  const { propagationSeconds } = limits
  const nameOf = (target: Target, secret?: Secret) => definition.credential(target, secret, mac)

  property('recognises', definition.recognise !== undefined, async () => {
    const credential = await mint()
    const { target, secret } = credential.subject
    const texts = trial.harness.pasted?.(credential) ?? []
    expect(texts).not.toEqual([])
    for (const text of texts) {
      const clue = definition.recognise?.(text, mac)
      expect(clue?.credential).toBe(nameOf(target, secret))
      expect(clue?.shown).not.toBe('')
      expectNoSecret(clue, credential.secrets)
    }
    for (const text of ['', ' ', '\n', '{}', '-----BEGIN CERTIFICATE-----', '\0\ud800', 'two words', '😀'.repeat(5000)]) {
      expect(definition.recognise?.(text, mac), JSON.stringify(text.slice(0, 40))).toBeUndefined()
    }
  })

  property('locates', capabilities.locates, async () => {
    const provider = await connect()
    const [credential, other] = [await mint(), await mint()]
    for (const text of trial.harness.pasted?.(credential) ?? []) {
      const clue = definition.recognise?.(text, mac)
      const located = await provider.locate?.(clue?.query ?? {})
      if (located?.status !== 'found') throw new Error(`not found: ${located?.said}`)
      const target = definition.target.parse(located.target)
      expect(nameOf(target, credential.subject.secret)).toBe(clue?.credential)
      expect(target).toEqual(credential.subject.target)
      if (located.lever !== undefined) expect(definition.lever?.safeParse(located.lever).success).toBe(true)
      expectNoSecret(located, credential.secrets)
      const subject = { ...credential.subject, target }
      expect(statuses(await provider.revoke([subject], WARRANT))).not.toContain('irrevocable')
    }
    expect(await dead([credential], propagationSeconds)).toBe(true)
    expect(await other.works()).toBe(true)
  })

  property('locates-nothing', capabilities.locates, async () => {
    const provider = await connect()
    const gone = { ...(await mint()), subject: trial.harness.neverExisted().subject }
    const [text = ''] = trial.harness.pasted?.(gone) ?? []
    const query = definition.recognise?.(text, mac)?.query ?? {}
    expect(await provider.locate?.(query)).toMatchObject({ status: 'unknown' })
  })

  /** All pages, and that no page is larger than asked for. `between` is called after each that has another. */
  const list = async (provider: Provider<Target, Secret, Lever>, most: number, between?: (page: Listed<Target>[]) => unknown) => {
    const all: Listed<Target>[] = []
    let from: string | undefined
    for (let page = 0; page < PAGES; page += 1) {
      const answer = await must(provider.discover, 'discover').call(provider, from, most)
      if (answer.status !== 'page') throw new Error(`no page: ${answer.said}`)
      expect(answer.listed.length).toBeLessThanOrEqual(most)
      all.push(...answer.listed)
      if (answer.next === undefined) return all
      await between?.([...answer.listed])
      from = answer.next
    }
    throw new Error('the list does not end')
  }

  property('discovers', capabilities.discovers, async () => {
    const { harness } = trial
    const provider = await connect()
    const minted: Credential<Target, Secret>[] = []
    for (let count = 0; count < 4; count += 1) minted.push(await mint())
    const [cut, ...live] = minted
    await provider.revoke(cut === undefined ? [] : [cut.subject], WARRANT)
    const sessions = await Promise.all(live.map(open))
    for (const most of [2, 1000]) {
      const all = await list(provider, most)
      // Whoever compares has no secret, and hashes nothing.
      const names = all.map(({ target }) => definition.credential(definition.target.parse(target), undefined, noMac))
      expect(new Set(names).size).toBe(names.length)
      for (const { subject } of live) {
        const found = all.find(({ target }) => nameOf(target) === nameOf(subject.target))
        expect(found).toMatchObject({ usable: true, target: subject.target })
        expect(found?.own).toBeUndefined()
        expect(found?.shown).not.toBe('')
      }
      const gone = all.find(({ target }) => cut !== undefined && nameOf(target) === nameOf(cut.subject.target))
      expect(gone?.usable ?? false).toBe(false)
      if (harness.own !== undefined) {
        expect(all.find(({ target }) => nameOf(target) === harness.own)?.own ?? '').not.toBe('')
      }
      expectNoSecret(
        all,
        minted.flatMap(({ secrets }) => secrets),
      )
    }
    expect(await alive(live, 0)).toBe(true)
    expect(cut === undefined ? false : await cut.works()).toBe(false)
    for (const session of sessions) if (session !== undefined) expect(await session.alive()).toBe(true)
  })

  property('discovers-under-change', capabilities.discovers, async () => {
    const provider = await connect()
    const minted: Credential<Target, Secret>[] = []
    for (let count = 0; count < 5; count += 1) minted.push(await mint())
    const at = (listed: readonly Listed<Target>[], { subject }: Credential<Target, Secret>) =>
      listed.some(({ target }) => nameOf(target) === nameOf(subject.target))
    const gone: Credential<Target, Secret>[] = []
    const all = await list(provider, 3, async (page) => {
      if (gone.length > 0) return
      // One of a page goes that was read: a page that is counted from the front would now skip one of the others.
      gone.push(...minted.filter((one) => at(page, one)).slice(0, 1))
      const subjects = gone.map(({ subject }) => subject)
      await provider.revoke(subjects, WARRANT)
      await provider.tidy?.(subjects, WARRANT)
    })
    expect(gone).toHaveLength(1)
    const rest = minted.filter((one) => !gone.includes(one))
    expect(rest.map((one) => at(all, one))).toEqual(rest.map(() => true))
  })

  let ordered = 0
  const order = (): Order => {
    ordered += 1
    const name = `suite-${process.pid}-${Date.now().toString(36)}-${ordered}`
    return { name, grants: trial.harness.grants, expiresAt: new Date(Date.now() + 3_600_000).toISOString() }
  }
  const issue = async (provider: Provider<Target, Secret, Lever>, what = order()) => {
    const issued = await must(provider.issue, 'issue').call(provider, what)
    if (issued.status !== 'issued') throw new Error(`not issued: ${issued.said}`)
    const { target, secret } = issued
    expect(definition.target.parse(target)).toEqual(target)
    if (definition.secret !== undefined) expect(definition.secret.parse(secret)).toEqual(secret)
    if (issued.lever !== undefined) expect(definition.lever?.safeParse(issued.lever).success).toBe(true)
    const credential = trial.hold(must(trial.harness.use, 'use').call(trial.harness, issued))
    expect(credential.secrets).not.toEqual([])
    return { issued, subject: credential.subject, credential }
  }

  property('issues', capabilities.issues, async () => {
    const provider = await connect()
    const [{ issued, subject, credential }, other] = [await issue(provider), await issue(provider)]
    expect(issued.said).not.toBe('')
    if (issued.expiresAt !== undefined) expect(Date.parse(issued.expiresAt)).toBeGreaterThan(Date.now())
    expect(await alive([credential, other.credential], propagationSeconds)).toBe(true)
    const session = await open(credential)
    expect(await provider.revoke([subject], WARRANT)).toMatchObject([{ status: 'revoked' }])
    expect(await dead([credential], propagationSeconds)).toBe(true)
    if (capabilities.sessions === 'ended' && session !== undefined) expect(await session.alive()).toBe(false)
    expect(await other.credential.works()).toBe(true)
  })

  property('issues-once', capabilities.issues, async () => {
    const [one, two] = [await connect(), await connect()]
    const wanted = order()
    const { credential } = await issue(one, wanted)
    expect(await one.issue?.(wanted)).toMatchObject({ status: 'refused' })
    expect(await two.issue?.(wanted)).toMatchObject({ status: 'refused' })
    expect(await alive([credential], propagationSeconds)).toBe(true)
    const race = order()
    const answers = await Promise.all([one.issue?.(race), two.issue?.(race)])
    for (const answer of answers)
      if (answer?.status === 'issued') trial.hold(must(trial.harness.use, 'use').call(trial.harness, answer))
    expect(answers.filter((answer) => answer?.status === 'issued')).toHaveLength(1)
  })

  property('issue-cut-by-name', capabilities.issues, async () => {
    const provider = await connect()
    const wanted = order()
    const subject = must(trial.harness.named, 'named').call(trial.harness, wanted.name)
    expect(definition.target.safeParse(subject.target).success).toBe(true)
    // Registered before it is minted; nothing is there yet.
    const before = await provider.revoke([subject], WARRANT)
    expect(statuses(before)).toEqual([trial.harness.neverExisted().status])
    const { credential } = await issue(provider, wanted)
    expect(await alive([credential], propagationSeconds)).toBe(true)
    expect(await provider.revoke([subject], WARRANT)).toMatchObject([{ status: 'revoked' }])
    expect(await dead([credential], propagationSeconds)).toBe(true)
  })
}

const PAGES = 2000
const noMac = (): never => {
  throw new Error('a listed credential is named without a secret')
}
