import * as z from 'zod/mini'
import type {
  Answer,
  Definition,
  Liveness,
  Provider,
  ProviderModule,
  Subject,
  Warrant,
} from '../../functions/providers/contract.ts'
import { IssuerRefused, IssuerUnavailable } from '../../functions/providers/contract.ts'

const Target = z.strictObject({ name: z.string() })
const LeverOf = z.strictObject({ group: z.string() })
type Target = z.infer<typeof Target>
type LeverOf = z.infer<typeof LeverOf>

/** A credential as it truly is at the fake issuer, whatever the pipeline believes. */
interface Real {
  alive: boolean
  group?: string
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
  onRevoke: (names: readonly string[]) => Promise<void> | void = () => {}

  mint(name: string, group?: string): { name: string } {
    this.credentials.set(name, { alive: true, ...(group === undefined ? {} : { group }) })
    return { name }
  }

  works(name: string): boolean {
    const real = this.credentials.get(name)
    return real?.alive === true && !(real.group !== undefined && this.contained.has(real.group))
  }

  alive(): string[] {
    return [...this.credentials].filter(([name]) => this.works(name)).map(([name]) => name)
  }
}

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
  capabilities: {
    tellsAbsent: true,
    verifies: true,
    containment: 'identity',
    restores: true,
    tidies: true,
    choosesName: true,
    ...options,
  },
  limits: { batch: options.batch ?? 100, propagationSeconds: options.propagationSeconds ?? 0, callSeconds: 5, concurrency: 4 },
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
      return batch.map(({ target }) =>
        real.credentials.get(target.name)?.alive === true
          ? { status: 'alive', said: 'it logs in' }
          : { status: 'dead', said: 'it does not log in' },
      )
    },
    async tidy(batch): Promise<Answer[]> {
      reachable()
      for (const { target } of batch) real.deleted.add(target.name)
      return batch.map(() => ({ status: 'revoked', said: 'deleted' }))
    },
    async contain({ group }, warrant) {
      reachable()
      real.calls.push(`contain ${group} ${warrant.epoch}`)
      real.contained.add(group)
      return { status: 'done', said: `${group} contained` }
    },
    async close() {},
  }
}
