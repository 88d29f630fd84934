import type { Server, Socket } from 'node:net'
import { createServer, connect as dial } from 'node:net'
import { inspect } from 'node:util'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import type {
  Answer,
  IssuerHandle,
  Provider,
  ProviderModule,
  Subject,
  Tools,
  Warrant,
} from '../../functions/providers/contract.ts'
import { IssuerRefused, IssuerUnavailable } from '../../functions/providers/contract.ts'
import { mac } from '../support/mac.ts'

/**
 * What every provider must show, against its real issuer or its fake. A provider's test file makes a `Harness`, calls
 * `conformance`, and adds what only that issuer knows. What a harness leaves out (no levers, no names) is not tested;
 * what a definition claims (`containment: 'identity'`, `restores`, `choosesName`, `tidies`) must be in the harness.
 */
export interface Harness<Target, Secret, Lever, Settings> {
  /** Reaches the issuer through `faults`. Time-outs of half a second, so that a hang is noticed soon. */
  readonly issuer: IssuerHandle<Settings>
  readonly adminSecret: string
  /** Well-formed, and refused by the issuer. */
  readonly wrongSecret: string
  readonly faults: Faults
  /** What a second cut of the same credential is answered with. */
  readonly repeated: Answer['status']
  mint(options?: MintOptions<Lever>): Promise<Credential<Target, Secret>>
  /** A credential that this issuer never had, and the answer to cutting it. */
  neverExisted(): { readonly subject: Subject<Target, Secret>; readonly status: Answer['status'] }
  /** A lease that cannot be cut, and the answer to trying. */
  poison?(): Promise<{ readonly subject: Subject<Target, Secret>; readonly status: Answer['status'] }>
  /** Deletes the credential at the issuer and makes another one of the same name. */
  replace?(credential: Credential<Target, Secret>): Promise<Credential<Target, Secret>>
  /** Names that this issuer allows and that are hard to quote. */
  readonly hostileNames?: readonly string[]
  /** Texts that a person may have of it, secrets included: each must be recognised. Where the definition recognises. */
  pasted?(credential: Credential<Target, Secret>): readonly string[]
  /** Makes the lever of a new identity. */
  lever?(): Promise<Lever>
  stop(): Promise<void>
}

export interface MintOptions<Lever> {
  readonly name?: string
  readonly lever?: Lever
}

export interface Credential<Target, Secret> {
  readonly subject: Subject<Target, Secret>
  /** What must not stand in any error. */
  readonly secrets: readonly string[]
  /** Does a new use of it succeed? */
  works(): Promise<boolean>
  /** A session that goes on, where the issuer has such a thing. */
  open?(): Promise<OpenSession>
}

export interface OpenSession {
  alive(): Promise<boolean>
  close(): Promise<void>
}

/** What can be wrong with an issuer; one at a time, `heal` ends it. */
export interface Faults {
  /** Connections are refused. */
  down(): Promise<void>
  /** Connections are taken, and nothing is answered; those that are open go silent. */
  hang(): Promise<void>
  /** Another server of the same kind answers at the same address. */
  other(): Promise<void>
  heal(): Promise<void>
}

export const WARRANT: Warrant = { case: 'a'.repeat(26), lane: 'p1', epoch: 1, fencedAt: '2026-01-01T00:00:00.000Z' }

export function tools(adminSecret: string): Tools {
  return { adminSecret: async () => adminSecret, now: () => Date.now(), environment: {} }
}

/** The error that something was rejected with. */
export async function rejection(promise: Promise<unknown>): Promise<unknown> {
  try {
    await promise
  } catch (error) {
    return error
  }
  throw new Error('it should have been rejected')
}

export function expectNoSecret(value: unknown, secrets: readonly string[]): void {
  const text = inspect(value, { depth: null, showHidden: true, maxArrayLength: null, maxStringLength: null })
  for (const secret of secrets) {
    expect(text.includes(secret)).toBe(false)
    expect(text.includes(encodeURIComponent(secret))).toBe(false)
    expect(text.includes(Buffer.from(secret).toString('base64'))).toBe(false)
  }
}

/** `extras`: what the harness offers beyond what the definition claims. */
export function conformance<Target, Secret, Lever, Settings>(
  module: ProviderModule<Target, Secret, Lever, Settings>,
  title: string,
  start: () => Promise<Harness<Target, Secret, Lever, Settings>>,
  extras: readonly ('poison' | 'replace')[] = [],
): void {
  const { capabilities, limits } = module.definition
  describe(title, () => {
    let harness: Harness<Target, Secret, Lever, Settings>
    const opened: { close(): Promise<void> }[] = []
    const connect = async (secret = harness.adminSecret): Promise<Provider<Target, Secret, Lever>> => {
      const provider = await module.connect(harness.issuer, tools(secret))
      opened.push(provider)
      return provider
    }
    const open = async (credential: Credential<Target, Secret>): Promise<OpenSession | undefined> => {
      const session = await credential.open?.()
      if (session !== undefined) opened.push(session)
      return session
    }

    /** A test that concerns only some providers; it is not listed as skipped for the others. */
    const when = (concerned: boolean, name: string, test: () => Promise<void>) => {
      if (concerned) it(name, test)
    }

    beforeAll(async () => {
      harness = await start()
    }, 60_000)
    afterEach(async () => {
      await harness.faults.heal()
      await Promise.all(opened.splice(0).map((thing) => thing.close()))
    })
    afterAll(async () => {
      await harness?.stop()
    })

    it('takes its own settings and targets', async () => {
      const { definition } = module
      expect(definition.settings.safeParse(harness.issuer.settings).success).toBe(true)
      const { subject } = await harness.mint()
      expect(definition.target.safeParse(subject.target).success).toBe(true)
      if (definition.secret !== undefined) expect(definition.secret.safeParse(subject.secret).success).toBe(true)
      expectNoSecret(definition.credential(subject.target, subject.secret, mac), (await harness.mint()).secrets)
      expect(definition.limits.batch).toBeLessThanOrEqual(100)
    })

    it('has what it claims', async () => {
      const provider = await connect()
      expect(provider.restore !== undefined).toBe(capabilities.restores)
      expect(provider.tidy !== undefined).toBe(capabilities.tidies)
      expect(provider.contain !== undefined).toBe(capabilities.containment === 'identity')
      expect(provider.release !== undefined).toBe(capabilities.containment === 'identity')
      expect(provider.locate !== undefined).toBe(capabilities.locates)
      expect(harness.pasted !== undefined).toBe(module.definition.recognise !== undefined)
      expect(harness.lever !== undefined).toBe(capabilities.containment === 'identity')
      expect(harness.hostileNames !== undefined).toBe(capabilities.choosesName)
    })

    it('kills a credential: it works before; afterwards it does not, and what was open is dead', async () => {
      const provider = await connect()
      const credential = await harness.mint()
      const bystander = await harness.mint()
      const session = await open(credential)
      expect(await credential.works()).toBe(true)
      if (session !== undefined) expect(await session.alive()).toBe(true)
      expect((await provider.verify([credential.subject], WARRANT)).map(({ status }) => status)).toEqual(['alive'])

      const [answer] = await provider.revoke([credential.subject], WARRANT)

      expect(answer).toMatchObject({ status: 'revoked' })
      expect(answer?.said).not.toBe('')
      expect(await credential.works()).toBe(false)
      if (session !== undefined) expect(await session.alive()).toBe(false)
      expect((await provider.verify([credential.subject], WARRANT)).map(({ status }) => status)).toEqual(['dead'])
      expect(await bystander.works()).toBe(true)
    })

    it('may be called again', async () => {
      const provider = await connect()
      const { subject } = await harness.mint()
      await provider.revoke([subject], WARRANT)
      expect(await provider.revoke([subject], WARRANT)).toMatchObject([{ status: harness.repeated }])
      expect(await provider.revoke([subject, subject], WARRANT)).toMatchObject([
        { status: harness.repeated },
        { status: harness.repeated },
      ])
    })

    it('tells what never existed', async () => {
      const provider = await connect()
      const { subject, status } = harness.neverExisted()
      expect(await provider.revoke([subject], WARRANT)).toMatchObject([{ status }])
      expect(await provider.verify([subject], WARRANT)).toMatchObject([{ status: 'dead' }])
    })

    it('cuts a full batch, and answers for each lease in order', async () => {
      const provider = await connect()
      const credentials = await Promise.all(Array.from({ length: limits.batch - 1 }, () => harness.mint()))
      const never = harness.neverExisted()
      const subjects = credentials.map(({ subject }) => subject)
      const answers = await provider.revoke([...subjects.slice(0, 3), never.subject, ...subjects.slice(3)], WARRANT)
      expect(answers.map(({ status }) => status)).toEqual(answers.map((_, index) => (index === 3 ? never.status : 'revoked')))
      expect(answers).toHaveLength(limits.batch)
      expect(await Promise.all(credentials.map((credential) => credential.works()))).not.toContain(true)
    })

    it('answers an empty batch with nothing', async () => {
      const provider = await connect()
      expect(await provider.revoke([], WARRANT)).toEqual([])
      expect(await provider.verify([], WARRANT)).toEqual([])
    })

    when(extras.includes('poison'), 'lets a poisoned lease harm no other', async () => {
      if (harness.poison === undefined) throw new Error('the harness lacks poison')
      const provider = await connect()
      const { subject, status } = await harness.poison()
      const [first, last] = [await harness.mint(), await harness.mint()]
      const answers = await provider.revoke([first.subject, subject, last.subject], WARRANT)
      expect(answers.map((answer) => answer.status)).toEqual(['revoked', status, 'revoked'])
      expect([await first.works(), await last.works()]).toEqual([false, false])
    })

    when(extras.includes('replace'), 'leaves a namesake alone', async () => {
      if (harness.replace === undefined) throw new Error('the harness lacks replace')
      const provider = await connect()
      const old = await harness.mint()
      const namesake = await harness.replace(old)
      const session = await open(namesake)
      expect(await provider.revoke([old.subject], WARRANT)).toMatchObject([{ status: 'absent' }])
      expect(await provider.verify([old.subject], WARRANT)).toMatchObject([{ status: 'dead' }])
      expect(await namesake.works()).toBe(true)
      if (session !== undefined) expect(await session.alive()).toBe(true)
    })

    when(capabilities.choosesName, 'cuts hostile names, and nothing else', async () => {
      if (harness.hostileNames === undefined) throw new Error('the harness lacks hostile names')
      const provider = await connect()
      const plain = await harness.mint()
      const hostile: Credential<Target, Secret>[] = []
      for (const name of harness.hostileNames) hostile.push(await harness.mint({ name }))
      expect(await Promise.all(hostile.map((credential) => credential.works()))).not.toContain(false)
      const answers = await provider.revoke(
        hostile.map(({ subject }) => subject),
        WARRANT,
      )
      expect(answers.map(({ status }) => status)).toEqual(hostile.map(() => 'revoked'))
      expect(await Promise.all(hostile.map((credential) => credential.works()))).not.toContain(true)
      expect(await plain.works()).toBe(true)
    })

    it('is cut by two at once', async () => {
      const [one, two] = [await connect(), await connect()]
      const credentials = await Promise.all(Array.from({ length: 5 }, () => harness.mint()))
      const sessions = await Promise.all(credentials.map(open))
      const subjects = credentials.map(({ subject }) => subject)
      const answers = await Promise.all([
        one.revoke(subjects, WARRANT),
        two.revoke([...subjects].reverse(), WARRANT),
        one.revoke(subjects, WARRANT),
      ])
      for (const answer of answers.flat()) expect(['revoked', 'absent', 'retry']).toContain(answer.status)
      expect(await Promise.all(credentials.map((credential) => credential.works()))).not.toContain(true)
      for (const session of sessions) if (session !== undefined) expect(await session.alive()).toBe(false)
      expect((await one.verify(subjects, WARRANT)).map(({ status }) => status)).toEqual(subjects.map(() => 'dead'))
    })

    when(
      capabilities.containment === 'identity',
      'contains all of an identity and nobody else, and releases what it contained',
      async () => {
        if (harness.lever === undefined) throw new Error('the harness lacks a lever')
        const provider = await connect()
        const [lever, otherLever] = [await harness.lever(), await harness.lever()]
        const own = await Promise.all([harness.mint({ lever }), harness.mint({ lever }), harness.mint({ lever })])
        const others = await Promise.all([harness.mint({ lever: otherLever }), harness.mint()])
        const sessions = await Promise.all(own.map(open))
        const revoked = own[0]
        await provider.revoke([revoked.subject], WARRANT)

        expect(await provider.contain?.(lever, WARRANT)).toMatchObject({ status: 'done' })
        expect(await provider.contain?.(lever, WARRANT)).toMatchObject({ status: 'done' })

        expect(await Promise.all(own.map((credential) => credential.works()))).toEqual([false, false, false])
        for (const session of sessions) if (session !== undefined) expect(await session.alive()).toBe(false)
        expect(await Promise.all(others.map((credential) => credential.works()))).toEqual([true, true])

        expect(await provider.release?.(lever, WARRANT)).toMatchObject({ status: 'done' })
        expect(await provider.release?.(lever, WARRANT)).toMatchObject({ status: 'done' })
        expect(await Promise.all(own.map((credential) => credential.works()))).toEqual([false, true, true])
      },
    )

    when(capabilities.containment === 'identity', 'revokes for good what was contained before', async () => {
      if (harness.lever === undefined) throw new Error('the harness lacks a lever')
      const provider = await connect()
      const lever = await harness.lever()
      const [cut, kept] = [await harness.mint({ lever }), await harness.mint({ lever })]
      await provider.contain?.(lever, WARRANT)
      expect(await provider.revoke([cut.subject], WARRANT)).toMatchObject([{ status: 'revoked' }])
      await provider.release?.(lever, WARRANT)
      expect([await cut.works(), await kept.works()]).toEqual([false, true])
    })

    when(capabilities.containment === 'identity', 'does not call it contained where there was nothing to pull', async () => {
      if (harness.lever === undefined) throw new Error('the harness lacks a lever')
      const provider = await connect()
      const lever = await harness.lever()
      expect(await provider.contain?.(lever, WARRANT)).toMatchObject({ status: 'done' })
      expect(await provider.release?.(lever, WARRANT)).toMatchObject({ status: 'done' })
    })

    when(capabilities.restores, 'restores what it revoked: the same credential works again', async () => {
      const provider = await connect()
      const [wanted, other] = [await harness.mint(), await harness.mint()]
      await provider.revoke([wanted.subject, other.subject], WARRANT)
      expect(await provider.restore?.([wanted.subject], WARRANT)).toMatchObject([{ status: 'restored' }])
      expect([await wanted.works(), await other.works()]).toEqual([true, false])
      expect(await provider.verify([wanted.subject, other.subject], WARRANT)).toMatchObject([
        { status: 'alive' },
        { status: 'dead' },
      ])
      expect(await provider.restore?.([wanted.subject], WARRANT)).toMatchObject([{ status: 'restored' }])
      expect(await wanted.works()).toBe(true)
      expect(await provider.revoke([wanted.subject], WARRANT)).toMatchObject([{ status: 'revoked' }])
      expect(await wanted.works()).toBe(false)
    })

    when(capabilities.restores, 'leaves as it is what was never cut, and answers for each of a batch', async () => {
      const provider = await connect()
      const [live, cut] = [await harness.mint(), await harness.mint()]
      const session = await open(live)
      const never = harness.neverExisted()
      await provider.revoke([cut.subject], WARRANT)
      const answers = await provider.restore?.([live.subject, never.subject, cut.subject], WARRANT)
      expect(answers?.map(({ status }) => status)).toEqual(['restored', 'gone', 'restored'])
      expect(answers?.every(({ said }) => said !== '')).toBe(true)
      expect([await live.works(), await cut.works()]).toEqual([true, true])
      if (session !== undefined) expect(await session.alive()).toBe(true)
      expect(await provider.restore?.([], WARRANT)).toEqual([])
    })

    when(capabilities.restores && capabilities.tidies, 'cannot restore what was deleted', async () => {
      const provider = await connect()
      const credential = await harness.mint()
      await provider.revoke([credential.subject], WARRANT)
      await provider.tidy?.([credential.subject], WARRANT)
      expect(await provider.restore?.([credential.subject], WARRANT)).toMatchObject([{ status: 'gone' }])
      expect(await credential.works()).toBe(false)
    })

    when(capabilities.restores && extras.includes('replace'), 'does not take a namesake for what it is to restore', async () => {
      if (harness.replace === undefined) throw new Error('the harness lacks replace')
      const provider = await connect()
      const old = await harness.mint()
      const namesake = await harness.replace(old)
      await provider.revoke([namesake.subject], WARRANT)
      expect(await provider.restore?.([old.subject], WARRANT)).toMatchObject([{ status: 'gone' }])
      expect(await namesake.works()).toBe(false)
    })

    when(
      capabilities.restores && capabilities.containment === 'identity',
      'restores under a containment, and only its release lets the credential work again, in either order',
      async () => {
        if (harness.lever === undefined) throw new Error('the harness lacks a lever')
        const provider = await connect()
        const lever = await harness.lever()
        const [first, second] = [await harness.mint({ lever }), await harness.mint({ lever })]
        await provider.revoke([second.subject], WARRANT)
        await provider.contain?.(lever, WARRANT)
        await provider.revoke([first.subject], WARRANT)

        expect(await provider.restore?.([first.subject], WARRANT)).toMatchObject([{ status: 'restored' }])
        expect(await provider.restore?.([first.subject], WARRANT)).toMatchObject([{ status: 'restored' }])
        expect([await first.works(), await second.works()]).toEqual([false, false])
        if (capabilities.tidies) {
          expect(await provider.tidy?.([first.subject], WARRANT)).toMatchObject([{ status: 'irrevocable' }])
        }
        await provider.release?.(lever, WARRANT)
        expect([await first.works(), await second.works()]).toEqual([true, false])
        expect(await provider.restore?.([second.subject], WARRANT)).toMatchObject([{ status: 'restored' }])
        expect(await second.works()).toBe(true)
      },
    )

    when(
      module.definition.recognise !== undefined,
      'recognises what a person pastes, and shows nothing secret of it',
      async () => {
        const { definition } = module
        const credential = await harness.mint()
        const { target, secret } = credential.subject
        const texts = harness.pasted?.(credential) ?? []
        expect(texts).not.toEqual([])
        for (const text of texts) {
          const clue = definition.recognise?.(text, mac)
          expect(clue?.credential).toBe(definition.credential(target, secret, mac))
          expect(clue?.shown).not.toBe('')
          expectNoSecret(clue, credential.secrets)
        }
        for (const text of ['', ' ', '\n', '{}', '-----BEGIN CERTIFICATE-----', '\0\ud800', 'two words']) {
          expect(definition.recognise?.(text, mac), JSON.stringify(text)).toBeUndefined()
        }
      },
    )

    when(capabilities.locates, 'finds a credential that nobody registered, and cuts what it found', async () => {
      const provider = await connect()
      const [credential, other] = [await harness.mint(), await harness.mint()]
      const { definition } = module
      for (const text of harness.pasted?.(credential) ?? []) {
        const clue = definition.recognise?.(text, mac)
        const located = await provider.locate?.(clue?.query ?? {})
        if (located?.status !== 'found') throw new Error(`not found: ${located?.said}`)
        const target = definition.target.parse(located.target)
        expect(definition.credential(target, credential.subject.secret, mac)).toBe(clue?.credential)
        expect(target).toEqual(credential.subject.target)
        if (located.lever !== undefined) expect(definition.lever?.safeParse(located.lever).success).toBe(true)
        expectNoSecret(located, credential.secrets)
        const subject = { ...credential.subject, target }
        expect((await provider.revoke([subject], WARRANT)).map(({ status }) => status)).not.toContain('irrevocable')
      }
      expect([await credential.works(), await other.works()]).toEqual([false, true])
    })

    when(capabilities.locates, 'does not find what does not exist, and is unavailable when the issuer is down', async () => {
      const provider = await connect()
      const gone = { ...(await harness.mint()), subject: harness.neverExisted().subject }
      const [text = ''] = harness.pasted?.(gone) ?? []
      const query = module.definition.recognise?.(text, mac)?.query ?? {}
      expect(await provider.locate?.(query)).toMatchObject({ status: 'unknown' })
      await harness.faults.down()
      expect(await rejection(provider.locate?.(query) ?? Promise.resolve())).toBeInstanceOf(IssuerUnavailable)
    })

    when(capabilities.tidies, 'tidies what is cut, and nothing that is not', async () => {
      const provider = await connect()
      const [cut, live] = [await harness.mint(), await harness.mint()]
      await provider.revoke([cut.subject], WARRANT)
      const answers = await provider.tidy?.([cut.subject, live.subject], WARRANT)
      expect(answers?.map(({ status }) => status)).toEqual(['revoked', 'irrevocable'])
      expect(await live.works()).toBe(true)
      expect(await provider.tidy?.([cut.subject], WARRANT)).toMatchObject([{ status: 'absent' }])
      expect(await provider.revoke([cut.subject], WARRANT)).toMatchObject([{ status: 'absent' }])
      expect(await provider.verify([cut.subject], WARRANT)).toMatchObject([{ status: 'dead' }])
    })

    it('says that the issuer is unavailable when it is down', async () => {
      const provider = await connect()
      const credential = await harness.mint()
      await harness.faults.down()
      const errors = [
        await rejection(connect()),
        await rejection(provider.revoke([credential.subject], WARRANT)),
        await rejection(provider.verify([credential.subject], WARRANT)),
      ]
      for (const error of errors) expect(error).toBeInstanceOf(IssuerUnavailable)
      expectNoSecret(errors, [...credential.secrets, harness.adminSecret, ...Object.values(secretParts(harness.adminSecret))])
      await harness.faults.heal()
      expect(await provider.revoke([credential.subject], WARRANT)).toMatchObject([{ status: 'revoked' }])
    })

    it('gives up when the issuer hangs', async () => {
      const provider = await connect()
      const credential = await harness.mint()
      await harness.faults.hang()
      const before = performance.now()
      const errors = [await rejection(provider.revoke([credential.subject], WARRANT)), await rejection(connect())]
      expect(performance.now() - before).toBeLessThan(10_000)
      for (const error of errors) expect(error).toBeInstanceOf(IssuerUnavailable)
      expectNoSecret(errors, [...credential.secrets, ...Object.values(secretParts(harness.adminSecret))])
      await harness.faults.heal()
      expect(await provider.revoke([credential.subject], WARRANT)).toMatchObject([{ status: 'revoked' }])
    })

    it('says that the admin is refused', async () => {
      const errors = [
        await rejection(connect(harness.wrongSecret)),
        await rejection(connect('not even JSON, secret-in-the-open')),
        await rejection(connect('{"secret-in-the-open":1}')),
      ]
      for (const error of errors) expect(error).toBeInstanceOf(IssuerRefused)
      expectNoSecret(errors, ['secret-in-the-open', ...Object.values(secretParts(harness.wrongSecret))])
    })

    it('notices another server at the same address before it believes or does anything', async () => {
      const provider = await connect()
      const credential = await harness.mint()
      const session = await open(credential)
      await harness.faults.other()
      const errors = [
        await rejection(connect()),
        await rejection(provider.revoke([credential.subject], WARRANT)),
        await rejection(provider.verify([credential.subject], WARRANT)),
      ]
      for (const error of errors) expect(error).toBeInstanceOf(IssuerRefused)
      expectNoSecret(errors, [...credential.secrets, ...Object.values(secretParts(harness.adminSecret))])
      await harness.faults.heal()
      expect(await credential.works()).toBe(true)
      if (session !== undefined) expect(await session.alive()).toBe(credential.open !== undefined)
    })
  })
}

/** The values of a secret that is JSON, without the short ones: `postgres` may well stand in a message. */
function secretParts(secret: string): string[] {
  const parsed: unknown = JSON.parse(secret)
  return Object.entries(parsed as Record<string, string>).flatMap(([name, value]) =>
    /password|secret|key/i.test(name) ? [value] : [],
  )
}

/** A TCP gate before a real issuer: its address stays while what is behind it changes. */
export interface Gate extends Faults {
  readonly port: number
  close(): Promise<void>
}

/** `otherPort`: the server that answers instead under `other()`. */
export async function startGate(port: number, otherPort: number): Promise<Gate> {
  const sockets = new Set<Socket>()
  let target: number | undefined = port
  let frozen = false
  const keep = (socket: Socket) => {
    sockets.add(socket)
    socket.on('error', () => socket.destroy())
    socket.on('close', () => sockets.delete(socket))
  }
  const server: Server = createServer((near) => {
    keep(near)
    if (frozen || target === undefined) return
    const far = dial(target, '127.0.0.1')
    keep(far)
    const pass = (from: Socket, to: Socket) => {
      from.on('data', (bytes) => {
        if (!frozen) to.write(bytes)
      })
      from.on('close', () => to.destroy())
    }
    pass(near, far)
    pass(far, near)
  })
  const listen = (at: number) => new Promise<void>((done, fail) => server.once('error', fail).listen(at, '127.0.0.1', done))
  const shut = async () => {
    for (const socket of sockets) socket.destroy()
    if (server.listening) await new Promise((done) => server.close(done))
  }
  await listen(0)
  const address = server.address()
  if (address === null || typeof address === 'string') throw new Error('the gate has no port')
  const own = address.port
  let faulty = false
  return {
    port: own,
    async down() {
      faulty = true
      await shut()
    },
    async hang() {
      faulty = true
      frozen = true
    },
    async other() {
      faulty = true
      await shut()
      target = otherPort
      await listen(own)
    },
    async heal() {
      if (!faulty) return
      faulty = false
      frozen = false
      target = port
      await shut()
      await listen(own)
    },
    close: shut,
  }
}
