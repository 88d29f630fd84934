import { expect } from 'vitest'
import { WARRANT } from './harness.ts'
import type { Trial } from './trial.ts'
import { alive, dead, must, statuses } from './trial.ts'

/** Containment and its release, restoration, and the end of the soak time. */
export function undoing<Target, Secret, Lever, Settings, Grants>(trial: Trial<Target, Secret, Lever, Settings, Grants>): void {
  const { module, property, connect, mint, open, extras } = trial
  const { capabilities, limits } = module.definition
  const { propagationSeconds } = limits
  const contains = capabilities.containment === 'identity'
  const { restores, tidies } = capabilities
  const verified = capabilities.verifies ? { before: 'alive', after: 'dead' } : { before: 'unknown', after: 'unknown' }
  const newLever = () => must(trial.harness.lever, 'a lever').call(trial.harness)

  property('contain', contains, async () => {
    const provider = await connect()
    const [lever, otherLever] = [await newLever(), await newLever()]
    const own = await Promise.all([mint({ lever }), mint({ lever }), mint({ lever })])
    const others = await Promise.all([mint({ lever: otherLever }), mint()])
    const sessions = await Promise.all(own.map(open))
    const [revoked, ...rest] = own
    await provider.revoke([revoked.subject], WARRANT)

    expect(await provider.contain?.(lever, WARRANT)).toMatchObject({ status: 'done' })
    expect(await provider.contain?.(lever, WARRANT)).toMatchObject({ status: 'done' })

    expect(await dead(own, propagationSeconds)).toBe(true)
    if (capabilities.sessions === 'ended') {
      for (const session of sessions) if (session !== undefined) expect(await session.alive()).toBe(false)
    }
    expect(await Promise.all(others.map((credential) => credential.works()))).toEqual([true, true])

    expect(await provider.release?.(lever, WARRANT)).toMatchObject({ status: 'done' })
    expect(await provider.release?.(lever, WARRANT)).toMatchObject({ status: 'done' })
    expect(await alive(rest, propagationSeconds)).toBe(true)
    expect(await revoked.works()).toBe(false)
  })

  property('contained-revoked', contains, async () => {
    const provider = await connect()
    const lever = await newLever()
    const [cut, kept] = [await mint({ lever }), await mint({ lever })]
    await provider.contain?.(lever, WARRANT)
    expect(await provider.revoke([cut.subject], WARRANT)).toMatchObject([{ status: 'revoked' }])
    await provider.release?.(lever, WARRANT)
    expect(await alive([kept], propagationSeconds)).toBe(true)
    expect(await cut.works()).toBe(false)
  })

  property('nothing-to-contain', contains, async () => {
    const provider = await connect()
    const lever = await newLever()
    expect(await provider.contain?.(lever, WARRANT)).toMatchObject({ status: 'done' })
    expect(await provider.release?.(lever, WARRANT)).toMatchObject({ status: 'done' })
  })

  property('restore', restores, async () => {
    const provider = await connect()
    const [wanted, other] = [await mint(), await mint()]
    await provider.revoke([wanted.subject, other.subject], WARRANT)
    expect(await provider.restore?.([wanted.subject], WARRANT)).toMatchObject([{ status: 'restored' }])
    expect(await alive([wanted], propagationSeconds)).toBe(true)
    expect(await dead([other], propagationSeconds)).toBe(true)
    expect(statuses(await provider.verify([wanted.subject, other.subject], WARRANT))).toEqual([verified.before, verified.after])
    expect(await provider.restore?.([wanted.subject], WARRANT)).toMatchObject([{ status: 'restored' }])
    expect(await wanted.works()).toBe(true)
    expect(await provider.revoke([wanted.subject], WARRANT)).toMatchObject([{ status: 'revoked' }])
    expect(await dead([wanted], propagationSeconds)).toBe(true)
  })

  property('restore-untouched', restores, async () => {
    const provider = await connect()
    const [live, cut] = [await mint(), await mint()]
    const session = await open(live)
    const never = trial.harness.neverExisted()
    await provider.revoke([cut.subject], WARRANT)
    const answers = await provider.restore?.([live.subject, never.subject, cut.subject], WARRANT)
    // Where nothing tells what never existed, there is nothing to undo for it either.
    const untold = !capabilities.tellsAbsent && answers?.[1]?.status === 'restored'
    expect(statuses(answers)).toEqual(['restored', untold ? 'restored' : 'gone', 'restored'])
    expect(answers?.every(({ said }) => said !== '')).toBe(true)
    expect(await alive([live, cut], propagationSeconds)).toBe(true)
    if (session !== undefined) expect(await session.alive()).toBe(true)
  })

  property('restore-deleted', restores && tidies, async () => {
    const provider = await connect()
    const credential = await mint()
    await provider.revoke([credential.subject], WARRANT)
    await provider.tidy?.([credential.subject], WARRANT)
    expect(await provider.restore?.([credential.subject], WARRANT)).toMatchObject([{ status: 'gone' }])
    expect(await credential.works()).toBe(false)
  })

  property('restore-namesake', restores && extras.includes('replace'), async () => {
    const provider = await connect()
    const old = await mint()
    const namesake = trial.hold(await must(trial.harness.replace, 'replace').call(trial.harness, old))
    await provider.revoke([namesake.subject], WARRANT)
    expect(await provider.restore?.([old.subject], WARRANT)).toMatchObject([{ status: 'gone' }])
    expect(await dead([namesake], propagationSeconds)).toBe(true)
  })

  property('restore-contained', restores && contains, async () => {
    const provider = await connect()
    const lever = await newLever()
    const [first, second] = [await mint({ lever }), await mint({ lever })]
    await provider.revoke([second.subject], WARRANT)
    await provider.contain?.(lever, WARRANT)
    await provider.revoke([first.subject], WARRANT)

    expect(await provider.restore?.([first.subject], WARRANT)).toMatchObject([{ status: 'restored' }])
    expect(await provider.restore?.([first.subject], WARRANT)).toMatchObject([{ status: 'restored' }])
    expect(await dead([first, second], propagationSeconds)).toBe(true)
    if (tidies) expect(await provider.tidy?.([first.subject], WARRANT)).toMatchObject([{ status: 'irrevocable' }])
    await provider.release?.(lever, WARRANT)
    expect(await alive([first], propagationSeconds)).toBe(true)
    expect(await second.works()).toBe(false)
    expect(await provider.restore?.([second.subject], WARRANT)).toMatchObject([{ status: 'restored' }])
    expect(await alive([second], propagationSeconds)).toBe(true)
  })

  property('tidies', tidies, async () => {
    const provider = await connect()
    const [cut, live] = [await mint(), await mint()]
    await provider.revoke([cut.subject], WARRANT)
    const answers = await provider.tidy?.([cut.subject, live.subject], WARRANT)
    expect(statuses(answers)).toEqual(['revoked', 'irrevocable'])
    expect(await live.works()).toBe(true)
    expect(await provider.tidy?.([cut.subject], WARRANT)).toMatchObject([{ status: 'absent' }])
    expect(await provider.revoke([cut.subject], WARRANT)).toMatchObject([{ status: 'absent' }])
    expect(statuses(await provider.verify([cut.subject], WARRANT))).toEqual([verified.after])
  })
}
