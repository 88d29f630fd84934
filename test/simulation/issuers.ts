import * as z from 'zod/mini'
import { fingerprint } from '../../functions/domain/keys.ts'
import type {
  Answer,
  Definition,
  LeverAnswer,
  Liveness,
  Located,
  Provider,
  ProviderModule,
  Restored,
  Subject,
  Warrant,
} from '../../functions/providers/contract.ts'
import { IssuerRefused, IssuerThrottled, IssuerUnavailable } from '../../functions/providers/contract.ts'
import { macOf } from '../../functions/runtime/mac.ts'
import type { FaultKind } from './faults.ts'
import type { TrueCredential, TrueEvent } from './journal.ts'
import type { StepKind } from './scheduler.ts'
import type { ProviderKind, World, WorldLease, WorldProviders } from './world.ts'
import { credentialName, groupName, MARKER } from './world.ts'

/** `incarnation`: absent where the credential was named before it was made. */
const Named = z.strictObject({ name: z.string(), incarnation: z.optional(z.string()) })
const Nothing = z.strictObject({})
const Token = z.strictObject({ token: z.string() })
const Group = z.strictObject({ group: z.string() })
type Named = z.infer<typeof Named>
type Token = z.infer<typeof Token>
type Group = z.infer<typeof Group>

/** What the issuers need of the world's machinery. */
export interface IssuerTools {
  /** Parks the caller; nothing has happened before it resolves. */
  step(kind: StepKind, label: string): Promise<void>
  /** Whether a fault happens here. */
  decide(kind: FaultKind, label: string): boolean
  /** Virtual milliseconds since 1970. */
  now(): number
  /** Steps so far. */
  steps(): number
  sleep(milliseconds: number): Promise<void>
  /** Who calls: the running task, and the step at which it was begun. */
  caller(): { readonly task: string; readonly began: number } | undefined
}

interface Real {
  readonly name: string
  readonly lever: string | undefined
  readonly identity: string | undefined
  readonly nature: WorldLease['nature']
  mintedAt: number
  alive: boolean
  /** A cut that is still spreading: it works until then. */
  diesAt: number | undefined
  cutBy: 'us' | 'somebody' | undefined
  deleted: boolean
}

export type Outage = 'unavailable' | 'refused' | 'slow'

/** One simulated issuer: its credentials as they truly are, whatever anybody believes. */
export class SimulatedIssuer {
  readonly name: string
  readonly provider: ProviderKind
  readonly credentials = new Map<string, Real>()
  /** How often each name was made anew, by its first bearer's. */
  readonly renewed = new Map<string, number>()
  /** Levers that are pulled, and the moment up to which what was minted is held. */
  readonly levers = new Map<string, number>()
  outage: Outage | undefined
  /** Calls that had an effect or could have had one. */
  calls = 0

  constructor(name: string, provider: ProviderKind) {
    this.name = name
    this.provider = provider
  }
}

/** All issuers of a world, what happened at them in order, and the two providers that speak to them. */
export class SimulatedIssuers {
  readonly issuers = new Map<string, SimulatedIssuer>()
  readonly history: TrueEvent[] = []
  readonly catalog: Readonly<Record<string, Definition>>
  readonly modules: Readonly<Record<ProviderKind, ProviderModule>>
  /** How often the providers answered what. */
  readonly answered = new Map<string, number>()
  private readonly world: World
  private readonly tools: IssuerTools
  private readonly natures = new Map<string, WorldLease['nature']>()

  constructor(world: World, tools: IssuerTools) {
    this.world = world
    this.tools = tools
    for (const { name, provider } of world.issuers) this.issuers.set(name, new SimulatedIssuer(name, provider))
    for (const [index, lease] of world.leases.entries()) {
      const issuer = world.issuers[lease.issuer]
      if (lease.nature !== undefined && issuer !== undefined)
        this.natures.set(`${issuer.name} ${credentialName(world, index)}`, lease.nature)
    }
    // Behind the contract the providers' own types are `unknown`: callers parse by the definitions' schemas.
    const sure = sureDefinition(world.providers) as Definition
    const blunt = bluntDefinition(world.providers) as Definition
    this.catalog = { sure, blunt }
    this.modules = {
      sure: { definition: sure, connect: async (issuer, tools) => this.connect(issuer.name, 'sure', tools.adminSecret) },
      blunt: { definition: blunt, connect: async (issuer, tools) => this.connect(issuer.name, 'blunt', tools.adminSecret) },
    }
  }

  /** A credential comes into being; what has the name already is as it was. */
  mint(lease: number): void {
    const planned = this.world.leases[lease]
    const issuer = planned === undefined ? undefined : this.issuers.get(this.world.issuers[planned.issuer]?.name ?? '')
    if (planned === undefined || issuer === undefined) return
    const name = credentialName(this.world, lease)
    if (issuer.credentials.has(name)) return
    const group = this.world.identities[planned.identity]?.group
    const real: Real = {
      name,
      lever: issuer.provider === 'sure' && group !== undefined && planned.shares === undefined ? groupName(group) : undefined,
      identity: undefined,
      nature: this.natures.get(`${issuer.name} ${name}`),
      mintedAt: this.tools.now(),
      alive: true,
      diesAt: undefined,
      cutBy: undefined,
      deleted: false,
    }
    issuer.credentials.set(name, real)
    this.tell({
      issuer: issuer.name,
      what: 'minted',
      credential: name,
      ...(real.lever === undefined ? {} : { lever: real.lever }),
    })
  }

  /** A refresh at the issuer brings it to life again, or somebody does behind our back. */
  revive(issuerName: string, name: string): void {
    const real = this.issuers.get(issuerName)?.credentials.get(name)
    if (real === undefined || real.deleted || this.lives(real)) return
    real.alive = true
    real.diesAt = undefined
    real.cutBy = undefined
    this.tell({ issuer: issuerName, what: 'lives', credential: name })
  }

  /** Somebody else ends it behind our back. */
  kill(issuerName: string, name: string): void {
    const real = this.issuers.get(issuerName)?.credentials.get(name)
    if (real === undefined || !this.lives(real)) return
    real.alive = false
    real.diesAt = undefined
    real.cutBy = 'somebody'
    this.tell({ issuer: issuerName, what: 'died', credential: name })
  }

  /** Somebody deletes it and makes another one of its name, which no lease means. */
  replace(issuerName: string, name: string): void {
    const issuer = this.issuers.get(issuerName)
    const last = issuer === undefined ? undefined : incarnationName(name, issuer.renewed.get(name))
    const real = last === undefined ? undefined : issuer?.credentials.get(last)
    if (issuer === undefined || real === undefined) return
    this.kill(issuerName, real.name)
    real.alive = false
    real.deleted = true
    const next = (issuer.renewed.get(name) ?? FIRST) + 1
    issuer.renewed.set(name, next)
    const made = incarnationName(name, next)
    issuer.credentials.set(made, {
      ...real,
      name: made,
      lever: undefined,
      nature: undefined,
      mintedAt: this.tools.now(),
      alive: true,
      diesAt: undefined,
      cutBy: undefined,
      deleted: false,
    })
    this.tell({ issuer: issuerName, what: 'minted', credential: made })
  }

  /** Whether it works for whoever has it, but for a lever that may hold it. */
  isAlive(issuerName: string, name: string): boolean {
    const real = this.issuers.get(issuerName)?.credentials.get(name)
    return real !== undefined && this.lives(real)
  }

  /** Whether it works, levers included. */
  works(issuerName: string, name: string): boolean {
    const issuer = this.issuers.get(issuerName)
    const real = issuer?.credentials.get(name)
    if (issuer === undefined || real === undefined || !this.lives(real)) return false
    const held = real.lever === undefined ? undefined : issuer.levers.get(real.lever)
    return held === undefined || real.mintedAt > held
  }

  credentials(): TrueCredential[] {
    const found: TrueCredential[] = []
    for (const issuer of this.issuers.values())
      for (const real of issuer.credentials.values())
        found.push({
          issuer: issuer.name,
          name: real.name,
          alive: this.lives(real),
          ...(real.lever === undefined ? {} : { lever: real.lever }),
        })
    return found
  }

  /** No more outages. */
  heal(): void {
    for (const issuer of this.issuers.values()) issuer.outage = undefined
  }

  private lives(real: Real): boolean {
    return real.alive && (real.diesAt === undefined || real.diesAt > this.tools.now())
  }

  private tell(event: Omit<TrueEvent, 'step' | 'at'>): void {
    this.history.push({ ...event, ...this.tools.caller(), step: this.tools.steps(), at: this.tools.now() })
  }

  private note(what: string): void {
    this.answered.set(what, (this.answered.get(what) ?? 0) + 1)
  }

  private async connect(name: string, kind: ProviderKind, adminSecret: () => Promise<string>): Promise<Provider> {
    const issuer = this.issuers.get(name)
    if (issuer === undefined || issuer.provider !== kind) throw new IssuerRefused('another server answers here')
    if ((await adminSecret()) !== adminSecretOf(name))
      throw new IssuerRefused('the admin credential is not the one of this server')
    await this.reach(issuer, 'connect')
    return (kind === 'sure' ? this.sure(issuer) : this.blunt(issuer)) as Provider
  }

  /** Before each call: the way there, and all that can go wrong on it. */
  private async reach(issuer: SimulatedIssuer, what: string): Promise<void> {
    const label = `${what} ${issuer.name}`
    await this.tools.step('provider', label)
    if (issuer.outage === 'slow' || this.tools.decide('issuer-slow', label)) await this.tools.sleep(4000)
    if (issuer.outage === 'refused' || this.tools.decide('issuer-refused', label)) {
      this.note('refused')
      throw new IssuerRefused('the admin credential is refused')
    }
    if (issuer.outage === 'unavailable' || this.tools.decide('issuer-unavailable', label)) {
      this.note('unavailable')
      throw new IssuerUnavailable('the issuer cannot be reached')
    }
    if (this.tools.decide('issuer-throttled', label)) {
      this.note('throttled')
      throw new IssuerThrottled('the issuer throttles', { afterSeconds: 7 })
    }
    if (this.tools.decide('issuer-throws', label)) {
      this.note('threw')
      throw new Error(`the client library broke: password=${MARKER}-in-an-error`)
    }
  }

  /** The answer's way back. */
  private async back(issuer: SimulatedIssuer, what: string): Promise<void> {
    const label = `${what} answered ${issuer.name}`
    await this.tools.step('provider', label)
    if (!this.tools.decide('issuer-answer-lost', label)) return
    this.note('answer lost')
    throw new IssuerUnavailable('the answer was lost')
  }

  private cut(issuer: SimulatedIssuer, name: string, lease: string, warrant: Warrant, propagation: number): Answer {
    const real = issuer.credentials.get(name)
    const label = `${issuer.name} ${shown(name)}`
    if (this.tools.decide('issuer-retry', label)) return { status: 'retry', said: 'locked by somebody', effect: 'none' }
    if (real?.nature === 'unsupported') return { status: 'unsupported', said: 'this kind cannot be cut' }
    if (real?.nature === 'irrevocable') return { status: 'irrevocable', said: 'it belongs to the system' }
    const unknown = this.tools.decide('issuer-retry-unknown', label)
    const works = real?.alive === true && real.diesAt === undefined && !real.deleted
    if (works && this.tools.decide('issuer-lies', label)) {
      this.tell({ issuer: issuer.name, what: 'lied', credential: name, lease, case: warrant.case })
      return { status: 'revoked', said: 'cut, it says' }
    }
    if (works) {
      if (propagation > 0) real.diesAt = this.tools.now() + propagation * 1000
      else real.alive = false
      real.cutBy = 'us'
      this.tell({ issuer: issuer.name, what: 'cut', credential: name, lease, case: warrant.case })
    }
    if (unknown) return { status: 'retry', said: 'timed out', effect: 'unknown' }
    if (works) return { status: 'revoked', said: 'cut' }
    return issuer.provider === 'sure'
      ? { status: 'absent', said: 'no such credential' }
      : { status: 'revoked', said: 'taken note of' }
  }

  private async revoke(
    issuer: SimulatedIssuer,
    batch: readonly { readonly lease: string; readonly name: string }[],
    warrant: Warrant,
    propagation: number,
  ): Promise<Answer[]> {
    await this.reach(issuer, `revoke ${batch.length} at`)
    issuer.calls += 1
    if (batch.some(({ name }) => issuer.credentials.get(name)?.nature === 'poisoned')) {
      this.note('poisoned')
      throw new Error(`poisoned: password=${MARKER}-in-an-error`)
    }
    const answers = batch.map(({ lease, name }) => this.cut(issuer, name, lease, warrant, propagation))
    for (const answer of answers) this.note(answer.status === 'retry' ? `retry ${answer.effect}` : answer.status)
    await this.back(issuer, 'revoke')
    return answers
  }

  private sure(issuer: SimulatedIssuer): Provider<Named, never, Group> {
    const { propagationSeconds } = this.world.providers.sure
    const bearer = ({ name, incarnation }: Named) =>
      incarnationName(name, incarnation === undefined ? issuer.renewed.get(name) : Number(incarnation))
    const named = (batch: readonly Subject<Named>[]) => batch.map(({ lease, target }) => ({ lease, name: bearer(target) }))
    return {
      revoke: (batch, warrant) => this.revoke(issuer, named(batch), warrant, propagationSeconds),
      verify: async (batch) => {
        await this.reach(issuer, `verify ${batch.length} at`)
        const answers = named(batch).map(({ name }): Liveness => {
          if (this.tools.decide('issuer-unsure', `${issuer.name} ${name}`))
            return { status: 'unknown', said: 'nobody can say now' }
          return this.isAlive(issuer.name, name)
            ? { status: 'alive', said: 'it logs in' }
            : { status: 'dead', said: 'it does not log in' }
        })
        for (const { status } of answers) this.note(`verified ${status}`)
        await this.back(issuer, 'verify')
        return answers
      },
      tidy: async (batch, warrant) => {
        await this.reach(issuer, `tidy ${batch.length} at`)
        issuer.calls += 1
        const answers = named(batch).map(({ lease, name }): Answer => {
          const real = issuer.credentials.get(name)
          if (real === undefined || real.deleted) return { status: 'absent', said: 'it is gone' }
          if (this.lives(real)) return { status: 'irrevocable', said: 'it is not cut' }
          real.deleted = true
          this.tell({ issuer: issuer.name, what: 'tidied', credential: name, lease, case: warrant.case })
          return { status: 'revoked', said: 'deleted' }
        })
        for (const { status } of answers) this.note(`tidied ${status}`)
        await this.back(issuer, 'tidy')
        return answers
      },
      restore: async (batch, warrant) => {
        await this.reach(issuer, `restore ${batch.length} at`)
        issuer.calls += 1
        const answers = named(batch).map(({ lease, name }): Restored => {
          const real = issuer.credentials.get(name)
          if (real === undefined || real.deleted) return { status: 'gone', said: 'it was deleted' }
          if (real.alive && real.diesAt === undefined) return { status: 'restored', said: 'it works already' }
          if (real.cutBy !== 'us') return { status: 'refused', said: 'somebody else cut it' }
          real.alive = true
          real.diesAt = undefined
          real.cutBy = undefined
          this.tell({ issuer: issuer.name, what: 'restored', credential: name, lease, case: warrant.case })
          return { status: 'restored', said: 'it works again' }
        })
        for (const { status } of answers) this.note(`restored ${status}`)
        await this.back(issuer, 'restore')
        return answers
      },
      contain: async ({ group }, warrant): Promise<LeverAnswer> => {
        await this.reach(issuer, `contain ${group} at`)
        issuer.calls += 1
        const until = Math.max(Date.parse(warrant.fencedAt), issuer.levers.get(group) ?? 0)
        issuer.levers.set(group, until)
        this.tell({ issuer: issuer.name, what: 'contained', lever: group, case: warrant.case })
        this.note('contained')
        await this.back(issuer, 'contain')
        return { status: 'done', said: `${group} contained` }
      },
      release: async ({ group }, warrant): Promise<LeverAnswer> => {
        await this.reach(issuer, `release ${group} at`)
        issuer.calls += 1
        issuer.levers.delete(group)
        this.tell({ issuer: issuer.name, what: 'released', lever: group, case: warrant.case })
        this.note('released')
        await this.back(issuer, 'release')
        return { status: 'done', said: `${group} released` }
      },
      locate: async ({ name = '' }): Promise<Located<Named, Group>> => {
        await this.reach(issuer, `locate ${name} at`)
        const times = issuer.renewed.get(name) ?? FIRST
        const real = issuer.credentials.get(incarnationName(name, times))
        await this.back(issuer, 'locate')
        this.note(real === undefined ? 'located unknown' : 'located found')
        if (real === undefined || real.deleted) return { status: 'unknown', said: 'no such credential' }
        return {
          status: 'found',
          said: 'it is there',
          target: { name, incarnation: String(times) },
          ...(real.lever === undefined ? {} : { lever: { group: real.lever } }),
        }
      },
      close: async () => {},
    }
  }

  private blunt(issuer: SimulatedIssuer): Provider<object, Token, never> {
    return {
      revoke: (batch, warrant) =>
        this.revoke(
          issuer,
          batch.map(({ lease, secret }) => ({ lease, name: secret?.token ?? '' })),
          warrant,
          0,
        ),
      verify: async (batch) => batch.map((): Liveness => ({ status: 'unknown', said: 'it cannot be asked' })),
      close: async () => {},
    }
  }
}

const FIRST = 1
/** What a world and its lease make first; each later bearer of the name is another credential. */
export const FIRST_INCARNATION = String(FIRST)
const incarnationName = (name: string, times = FIRST): string => (times === FIRST ? name : `${name}@${times}`)
/** The credential that a target of either provider means, as its issuer has it here. */
export const credentialMeant = ({ name, incarnation }: Readonly<Record<string, unknown>>): string =>
  incarnationName(String(name), Number(incarnation ?? FIRST))
/** The name that a credential bears at its issuer, whichever incarnation it is. */
export const bareName = (credential: string): string => credential.replace(/@\d+$/, '')

/** Labels stand in traces, which show everywhere: a token never does. */
const shown = (name: string) => name.replace(MARKER, 'token')

/** Of the installation: secrets enter fingerprints through the hash under it alone. */
export const FINGERPRINT_KEY = `${MARKER}-fingerprint-key-of-the-simulated-installation`
const mac = macOf(FINGERPRINT_KEY)

/** The fingerprint of a lease's credential, as every registration of it must give. */
export function fingerprintOf(world: World, lease: number): string {
  const issuer = world.issuers[world.leases[lease]?.issuer ?? 0]
  const name = credentialName(world, lease)
  return fingerprint(issuer?.name ?? '', issuer?.provider === 'blunt' ? mac(name) : name)
}

export const adminSecretOf = (issuer: string) => `${MARKER}-admin-${issuer}`

const limits = (batch: number, propagationSeconds: number): Definition['limits'] => ({
  batch,
  propagationSeconds,
  callSeconds: 5,
  concurrency: 4,
})

function sureDefinition({ sure: { batch, propagationSeconds, serial } }: WorldProviders): Definition<Named, never, Group> {
  return {
    name: 'sure',
    title: 'A simulated issuer that can be asked',
    target: Named,
    lever: Group,
    settings: z.object({}),
    credential: ({ name }) => name,
    leverName: ({ group }) => group,
    recognise(text) {
      const [, name] = /^sure:([^:]+)$/.exec(text) ?? []
      return name === undefined ? undefined : { credential: name, shown: `credential ${name}`, query: { name } }
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
    },
    limits: limits(batch, propagationSeconds),
    serial: serial === true,
    network: 'public',
    permissions: [],
  }
}

function bluntDefinition({ blunt: { batch, serial } }: WorldProviders): Definition<object, Token> {
  return {
    name: 'blunt',
    title: 'A simulated issuer that takes note of cuts and says nothing else',
    target: Nothing,
    secret: Token,
    settings: z.object({}),
    // The token is the credential: it enters its fingerprint through the keyed hash alone.
    credential: (_, secret, mac) => mac(secret?.token ?? ''),
    recognise(text, mac) {
      return text.startsWith(`${MARKER}-`) ? { credential: mac(text), shown: 'a token', query: {} } : undefined
    },
    capabilities: {
      tellsAbsent: false,
      verifies: false,
      containment: 'none',
      restores: false,
      tidies: false,
      choosesName: false,
      locates: false,
      issues: false,
      discovers: false,
      sessions: 'ended',
    },
    limits: limits(batch, 0),
    serial,
    network: 'public',
    permissions: [],
  }
}
