import * as z from 'zod/mini'
import type {
  Answer,
  Definition,
  Discovered,
  Listed,
  Liveness,
  Located,
  Provider,
  ProviderModule,
  Restored,
  Subject,
  Warrant,
} from '../../functions/providers/contract.ts'
import { IssuerRefused, IssuerUnavailable } from '../../functions/providers/contract.ts'

/** `number` tells one incarnation of a name from another. */
const Target = z.strictObject({ name: z.string(), number: z.optional(z.int()) })
const LeverOf = z.strictObject({ group: z.string() })
type Target = z.infer<typeof Target>
type LeverOf = z.infer<typeof LeverOf>

/** A credential as it truly is at the fake issuer, whatever the pipeline believes. */
interface Real {
  alive: boolean
  group?: string
  /** Whose it is, as its issuer knows. */
  identity?: string
  killedBy?: 'rescind' | 'somebody'
}

/**
 * An issuer in memory for tests of the pipeline: it has credentials by name, groups that a lever cuts, and every fault
 * that a test switches on. It is nobody's real issuer.
 */
export class FakeIssuer {
  readonly credentials = new Map<string, Real>()
  readonly calls: string[] = []
  readonly contained = new Set<string>()
  readonly deleted = new Set<string>()
  /** Names whose cut throws, poisons its batch, or answers otherwise. */
  readonly poisoned = new Set<string>()
  readonly answers = new Map<string, Answer>()
  /** It answers success and does nothing. */
  readonly lies = new Set<string>()
  down = false
  refused = false
  /** The effect happens, then the answer is lost: once for each name. */
  readonly loseAnswer = new Set<string>()
  /** Called first of all by each call, and by each new connection: it may throw what an issuer as a whole may, or hang. */
  onCall: (method: string) => Promise<void> | void = () => {}
  onRevoke: (names: readonly string[]) => Promise<void> | void = () => {}
  /** The same for restorations: called before the effect, canned answers, answers that are lost after it. */
  onRestore: (names: readonly string[]) => Promise<void> | void = () => {}
  onRelease: (group: string) => Promise<void> | void = () => {}
  onTidy: (names: readonly string[]) => Promise<void> | void = () => {}
  /** What was asked after, call by call. */
  readonly verified: string[][] = []
  readonly restoreAnswers = new Map<string, Restored>()
  readonly loseRestored = new Set<string>()
  readonly loseTidied = new Set<string>()
  /** Roles that own something, with nobody to give it to. */
  readonly heirless = new Set<string>()

  onLocate: (name: string) => Promise<void> | void = () => {}
  /** It finds, then the answer is lost: once for each name. */
  readonly loseLocated = new Set<string>()
  readonly located = new Map<string, Located>()

  onDiscover: (from: string | undefined) => Promise<void> | void = () => {}
  /** Answers to the next pages. */
  readonly discovered: Discovered[] = []
  /** A page is never longer than this. */
  mostListed = Number.POSITIVE_INFINITY
  /** What the list says of some credentials beside their names. */
  readonly facts = new Map<string, Partial<Listed<Target>>>()

  /** Names of what lives here, in order; what was deleted is not listed. */
  names(): string[] {
    if (this.sorted?.length !== this.credentials.size) this.sorted = [...this.credentials.keys()].sort()
    return this.sorted.filter((name) => !this.deleted.has(name))
  }
  private sorted: string[] | undefined

  listedAs(name: string): Listed<Target> {
    const identity = this.credentials.get(name)?.identity
    return {
      target: { name },
      shown: `fake credential ${name}`,
      usable: this.works(name),
      ...(identity === undefined ? {} : { identity }),
      ...this.facts.get(name),
    }
  }

  /** Deletes a credential behind our back. */
  forget(name: string): void {
    this.credentials.delete(name)
    this.sorted = undefined
  }

  mint(name: string, group?: string, identity?: string): { name: string } {
    this.credentials.set(name, {
      alive: true,
      ...(group === undefined ? {} : { group }),
      ...(identity === undefined ? {} : { identity }),
    })
    return { name }
  }

  /** Brings a cut credential back to life behind our back: a Terraform run, a colleague. */
  resurrect(name: string): void {
    const real = this.credentials.get(name)
    if (real === undefined) throw new Error(`no credential ${name}`)
    real.alive = true
    delete real.killedBy
  }

  works(name: string): boolean {
    const real = this.credentials.get(name)
    return real?.alive === true && !(real.group !== undefined && this.contained.has(real.group))
  }

  alive(): string[] {
    return [...this.credentials].filter(([name]) => this.works(name)).map(([name]) => name)
  }
}

export const FAKE_CEILING = 100_000

export const fakeDefinition = (
  options: Partial<Definition['capabilities']> & { propagationSeconds?: number; batch?: number } = {},
): Definition<Target, never, LeverOf, unknown> => ({
  name: 'fake',
  title: 'An issuer in memory',
  target: Target,
  lever: LeverOf,
  settings: z.object({}),
  credential: ({ name }) => name,
  leverName: ({ group }) => group,
  // `many/...` is a name that several credentials have, as all sessions of one name.
  namesMany: ({ name }) => name.startsWith('many/'),
  // `fake:<name>`, or `fake:<name>:<password>`: the password is a secret, and nothing of it is needed.
  recognise(text) {
    const [, name] = /^fake:([^:]+)(?::.+)?$/s.exec(text) ?? []
    return name === undefined ? undefined : { credential: name, shown: `fake credential ${name}`, query: { name } }
  },
  capabilities: {
    tellsAbsent: true,
    verifies: true,
    containment: 'identity',
    restores: true,
    tidies: true,
    choosesName: true,
    locates: true,
    issues: false,
    discovers: false,
    sessions: 'ended',
    ...options,
  },
  limits: {
    batch: options.batch ?? 100,
    propagationSeconds: options.propagationSeconds ?? 0,
    callSeconds: 5,
    concurrency: 4,
    // The clock of a test stands still while it settles, and no token comes meanwhile.
    callsPerSecond: FAKE_CEILING,
  },
  serial: false,
  network: 'public',
  permissions: [],
})

export function fakeModule(
  issuers: ReadonlyMap<string, FakeIssuer>,
  definition = fakeDefinition(),
): ProviderModule<Target, never, LeverOf, unknown> {
  return {
    definition,
    async connect(issuer) {
      const real = issuers.get(issuer.name)
      if (real === undefined) throw new IssuerUnavailable('no such fake issuer')
      if (real.refused) throw new IssuerRefused('the admin credential is refused')
      if (real.down) throw new IssuerUnavailable('the issuer is down')
      await real.onCall('connect')
      return connected(real)
    },
  }
}

function connected(real: FakeIssuer): Provider<Target, never, LeverOf> {
  const reachable = () => {
    if (real.refused) throw new IssuerRefused('the admin credential is refused')
    if (real.down) throw new IssuerUnavailable('the issuer is down')
  }
  return {
    async revoke(batch: readonly Subject<Target>[], _warrant: Warrant): Promise<Answer[]> {
      reachable()
      await real.onCall('revoke')
      real.calls.push(`revoke ${batch.map(({ target }) => target.name).join(',')}`)
      await real.onRevoke(batch.map(({ target }) => target.name))
      if (batch.some(({ target }) => real.poisoned.has(target.name))) throw new Error('poisoned')
      const answers = batch.map(({ target: { name } }): Answer => {
        const canned = real.answers.get(name)
        if (canned !== undefined) return canned
        if (real.lies.has(name)) return { status: 'revoked', said: 'cut, it says' }
        const credential = real.credentials.get(name)
        if (credential?.alive !== true) return { status: 'absent', said: 'no such credential' }
        credential.alive = false
        credential.killedBy = 'rescind'
        return { status: 'revoked', said: 'cut' }
      })
      const lost = batch.find(({ target }) => real.loseAnswer.has(target.name))
      if (lost !== undefined) {
        real.loseAnswer.delete(lost.target.name)
        throw new IssuerUnavailable('the answer was lost')
      }
      return answers
    },
    async verify(batch): Promise<Liveness[]> {
      reachable()
      await real.onCall('verify')
      real.verified.push(batch.map(({ target }) => target.name))
      return batch.map(({ target }) =>
        real.credentials.get(target.name)?.alive === true
          ? { status: 'alive', said: 'it logs in' }
          : { status: 'dead', said: 'it does not log in' },
      )
    },
    async tidy(batch): Promise<Answer[]> {
      reachable()
      await real.onCall('tidy')
      const names = batch.map(({ target }) => target.name)
      real.calls.push(`tidy ${names.join(',')}`)
      await real.onTidy(names)
      const answers = names.map((name): Answer => {
        if (real.heirless.has(name)) return { status: 'irrevocable', said: 'it owns tables, and there is no heir' }
        if (real.credentials.get(name)?.alive === true) return { status: 'irrevocable', said: 'it is not cut' }
        if (real.deleted.has(name)) return { status: 'absent', said: 'it is gone' }
        real.deleted.add(name)
        return { status: 'revoked', said: 'deleted' }
      })
      const lost = names.find((name) => real.loseTidied.delete(name))
      if (lost !== undefined) throw new IssuerUnavailable('the answer was lost')
      return answers
    },
    async restore(batch): Promise<Restored[]> {
      reachable()
      await real.onCall('restore')
      const names = batch.map(({ target }) => target.name)
      real.calls.push(`restore ${names.join(',')}`)
      await real.onRestore(names)
      const answers = names.map((name): Restored => {
        const canned = real.restoreAnswers.get(name)
        if (canned !== undefined) return canned
        const credential = real.credentials.get(name)
        if (credential === undefined || real.deleted.has(name)) return { status: 'gone', said: 'it was deleted' }
        if (credential.alive) return { status: 'restored', said: 'it works already' }
        if (credential.killedBy !== 'rescind') return { status: 'refused', said: 'somebody else cut it' }
        credential.alive = true
        delete credential.killedBy
        return { status: 'restored', said: 'it works again' }
      })
      const lost = names.find((name) => real.loseRestored.delete(name))
      if (lost !== undefined) throw new IssuerUnavailable('the answer was lost')
      return answers
    },
    async release({ group }) {
      reachable()
      await real.onCall('release')
      real.calls.push(`release ${group}`)
      await real.onRelease(group)
      real.contained.delete(group)
      return { status: 'done', said: `${group} released` }
    },
    async contain({ group }, warrant) {
      reachable()
      await real.onCall('contain')
      real.calls.push(`contain ${group} ${warrant.epoch}`)
      real.contained.add(group)
      return { status: 'done', said: `${group} contained` }
    },
    async locate({ name = '' }): Promise<Located<Target, LeverOf>> {
      reachable()
      await real.onCall('locate')
      real.calls.push(`locate ${name}`)
      await real.onLocate(name)
      if (real.loseLocated.delete(name)) throw new IssuerUnavailable('the answer was lost')
      const canned = real.located.get(name)
      if (canned !== undefined) return canned as Located<Target, LeverOf>
      const credential = real.credentials.get(name)
      if (credential === undefined) return { status: 'unknown', said: 'no such credential' }
      const { group, identity } = credential
      return {
        status: 'found',
        said: `it is ${credential.alive ? 'alive' : 'dead'}`,
        target: { name },
        ...(group === undefined ? {} : { lever: { group } }),
        ...(identity === undefined ? {} : { identity }),
      }
    },
    async discover(from, most): Promise<Discovered<Target>> {
      reachable()
      await real.onCall('discover')
      real.calls.push(`discover ${from ?? ''}`)
      await real.onDiscover(from)
      const canned = real.discovered.shift()
      if (canned !== undefined) return canned as Discovered<Target>
      const rest = real.names().filter((name) => from === undefined || name > from)
      const names = rest.slice(0, Math.min(most, real.mostListed))
      return {
        status: 'page',
        listed: names.map((name) => real.listedAs(name)),
        ...(names.length < rest.length ? { next: names.at(-1) ?? '' } : {}),
      }
    },
    async close() {},
  }
}
