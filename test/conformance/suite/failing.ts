import { expect } from 'vitest'
import type { Provider } from '../../../functions/providers/contract.ts'
import { IssuerRefused, IssuerThrottled, IssuerUnavailable } from '../../../functions/providers/contract.ts'
import { mac } from '../../support/mac.ts'
import type { Credential } from './harness.ts'
import { expectNoSecret, rejection, secretParts, WARRANT } from './harness.ts'
import type { Trial } from './trial.ts'
import { dead, must } from './trial.ts'

/** Longest that a provider may wait for an issuer that says nothing; a harness configures half a second. */
const PATIENCE_MILLISECONDS = 10_000

/** What is wrong with the issuer as a whole, and that it is the right one. */
export function failing<Target, Secret, Lever, Settings, Grants>(trial: Trial<Target, Secret, Lever, Settings, Grants>): void {
  const { module, property, connect, mint, open, extras } = trial
  const { definition } = module
  const { capabilities, limits } = definition
  const secretsOf = (...credentials: Credential<Target, Secret>[]) => [
    ...credentials.flatMap(({ secrets }) => secrets),
    ...secretParts(trial.harness.adminSecret),
  ]

  /** Every call that the provider has, each with a credential of its own to call it for. */
  const calls = async (provider: Provider<Target, Secret, Lever>) => {
    const { harness } = trial
    const [one, text] = [await mint(), (credential: Credential<Target, Secret>) => harness.pasted?.(credential)[0] ?? '']
    const batch = [one.subject]
    const lever = provider.contain === undefined ? undefined : await must(harness.lever, 'a lever').call(harness)
    const query = definition.recognise?.(text(one), mac)?.query ?? {}
    const name = `fault-${process.pid}-${Date.now().toString(36)}`
    const order = { name, grants: harness.grants, expiresAt: new Date(Date.now() + 3_600_000).toISOString() }
    const all: Record<string, (() => Promise<unknown>) | undefined> = {
      connect: () => connect(),
      revoke: () => provider.revoke(batch, WARRANT),
      verify: () => provider.verify(batch, WARRANT),
      tidy: provider.tidy && (() => provider.tidy?.(batch, WARRANT) ?? Promise.resolve()),
      restore: provider.restore && (() => provider.restore?.(batch, WARRANT) ?? Promise.resolve()),
      contain: lever === undefined ? undefined : () => provider.contain?.(lever, WARRANT) ?? Promise.resolve(),
      release: lever === undefined ? undefined : () => provider.release?.(lever, WARRANT) ?? Promise.resolve(),
      locate: provider.locate && (() => provider.locate?.(query) ?? Promise.resolve()),
      discover: provider.discover && (() => provider.discover?.(undefined, 10) ?? Promise.resolve()),
      issue: provider.issue && (() => provider.issue?.(order) ?? Promise.resolve()),
    }
    return { one, all: Object.entries(all).flatMap(([method, call]) => (call === undefined ? [] : [{ method, call }])) }
  }

  /** What each call was rejected with; by its method, so that a failure says which. */
  const rejections = async (all: readonly { readonly method: string; readonly call: () => Promise<unknown> }[]) => {
    const errors: Record<string, unknown> = {}
    for (const { method, call } of all) {
      try {
        errors[method] = { answered: await call() }
      } catch (error) {
        errors[method] = error
      }
    }
    return errors
  }
  const expectEach = (errors: Readonly<Record<string, unknown>>, type: typeof IssuerUnavailable | typeof IssuerRefused) => {
    const others = Object.entries(errors).filter(([, error]) => !(error instanceof type))
    expect(Object.fromEntries(others)).toEqual({})
  }

  const goesOn = async (provider: Provider<Target, Secret, Lever>, credential: Credential<Target, Secret>) => {
    await trial.harness.faults.heal()
    expect(await credential.works()).toBe(true)
    expect(await provider.revoke([credential.subject], WARRANT)).toMatchObject([{ status: 'revoked' }])
    expect(await dead([credential], limits.propagationSeconds)).toBe(true)
  }

  property('down', true, async () => {
    const provider = await connect()
    const { one, all } = await calls(provider)
    await trial.harness.faults.down()
    const errors = await rejections(all)
    expectEach(errors, IssuerUnavailable)
    expectNoSecret(errors, secretsOf(one))
    await goesOn(provider, one)
  })

  property('hang', true, async () => {
    const provider = await connect()
    const credential = await mint()
    await trial.harness.faults.hang()
    const before = performance.now()
    const errors = await Promise.all([rejection(provider.revoke([credential.subject], WARRANT)), rejection(connect())])
    expect(performance.now() - before).toBeLessThan(PATIENCE_MILLISECONDS)
    for (const error of errors) expect(error).toBeInstanceOf(IssuerUnavailable)
    expectNoSecret(errors, secretsOf(credential))
    await goesOn(provider, credential)
  })

  property('nonsense', extras.includes('nonsense'), async () => {
    for (const kind of ['html', 'garbage'] as const) {
      const { faults } = trial.harness
      const provider = await connect()
      const credential = await mint()
      await must(faults.nonsense, 'nonsense').call(faults, kind)
      const before = performance.now()
      const errors = await Promise.all([rejection(provider.revoke([credential.subject], WARRANT)), rejection(connect())])
      expect(performance.now() - before).toBeLessThan(PATIENCE_MILLISECONDS)
      for (const error of errors) expect(error).toBeInstanceOf(IssuerUnavailable)
      expectNoSecret(errors, secretsOf(credential))
      await goesOn(provider, credential)
    }
  })

  property('throttled', extras.includes('throttled'), async () => {
    const { faults } = trial.harness
    const provider = await connect()
    const [one, two] = [await mint(), await mint()]
    const hint = await must(faults.throttled, 'throttled').call(faults)
    const batch = [one.subject, two.subject]
    try {
      const answers = await provider.revoke(batch, WARRANT)
      expect(answers).toMatchObject(batch.map(() => ({ status: 'retry', throttled: true })))
      if (hint !== undefined) expect(answers).toMatchObject(batch.map(() => ({ afterSeconds: hint })))
    } catch (error) {
      expect(error).toBeInstanceOf(IssuerThrottled)
      if (hint !== undefined) expect(error).toMatchObject({ afterSeconds: hint })
    }
    await faults.heal()
    expect(await provider.revoke(batch, WARRANT)).toMatchObject(batch.map(() => ({ status: 'revoked' })))
    expect(await dead([one, two], limits.propagationSeconds)).toBe(true)
  })

  property('admin-refused', true, async () => {
    const { wrongSecret } = trial.harness
    const errors = [
      await rejection(connect(wrongSecret)),
      await rejection(connect('not even JSON, secret-in-the-open')),
      await rejection(connect('{"secret-in-the-open":1}')),
    ]
    for (const error of errors) expect(error).toBeInstanceOf(IssuerRefused)
    expectNoSecret(errors, ['secret-in-the-open', ...secretParts(wrongSecret)])
  })

  property('other-server', true, async () => {
    const provider = await connect()
    const { one, all } = await calls(provider)
    const session = await open(one)
    await trial.harness.faults.other()
    const errors = await rejections(all)
    expectEach(errors, IssuerRefused)
    expectNoSecret(errors, secretsOf(one))
    await trial.harness.faults.heal()
    expect(await one.works()).toBe(true)
    if (session !== undefined && capabilities.sessions !== 'none') expect(await session.alive()).toBe(true)
  })
}
