import { createHash } from 'node:crypto'
import type { FaultKind } from '../aws.ts'
import { AwsFault } from '../aws.ts'
import type { ProviderModule } from '../contract.ts'
import { IssuerRefused } from '../contract.ts'
import type { DescribedSecret, SecretsClient } from './client.ts'
import type { Settings, Target } from './definition.ts'
import { definition } from './definition.ts'
import { openProvider } from './provider.ts'

interface Version {
  readonly value: string
  readonly madeAt: number
  readonly labels: Set<string>
}

interface Kept {
  readonly arn: string
  readonly name: string
  readonly strategy: 'single-user' | 'alternating-users'
  readonly versions: Map<string, Version>
  readonly tags: Map<string, string>
  rotates: boolean
  deleting: boolean
  primaryRegion: string | undefined
  /** What the database takes: user to password. */
  readonly database: Map<string, string>
}

/** What becomes of a rotation that is asked for: it is done before the answer, waits for `finish`, or fails in its first step. */
export type Rotation = 'at-once' | 'slow' | 'fails'

/**
 * Secrets Manager with rotation functions and their databases, in memory: labels and refusals as the AWS Secrets Manager
 * API Reference (RotateSecret, UpdateSecretVersionStage, DescribeSecret) and User Guide ("Rotation by Lambda function",
 * "Troubleshoot rotation") describe them. Deterministic; consistent at once.
 */
export class FakeSecretsManager {
  readonly account = '123456789012'
  readonly region = 'eu-central-1'
  readonly admin = { accessKeyId: 'AKIA0FAKE0FAKE0FAKE0', secretAccessKey: 'fake-secret-access-key' }
  readonly module: ProviderModule<Target, undefined, never, Settings> = {
    definition,
    connect: async ({ settings }, tools) => {
      const secret = await tools.adminSecret()
      if (secret !== JSON.stringify(this.admin)) throw new IssuerRefused('AWS refuses the admin credential: InvalidClientTokenId')
      return await openProvider(settings, this.client(), () => tools.now())
    },
  }
  fault: 'none' | 'other' | Extract<FaultKind, 'unavailable' | 'refused' | 'throttled'> = 'none'
  rotation: Rotation = 'at-once'
  /** Milliseconds since 1970, for the age of versions. */
  now: () => number = () => 0
  /** Every call that reached AWS, in order. */
  readonly calls: string[] = []
  readonly #secrets = new Map<string, Kept>()
  readonly #running = new Map<string, string>()
  #serial = 0

  settings(overrides: Partial<Settings> = {}): Settings {
    return { account: this.account, region: this.region, clearsStuck: false, strategy: 'single-user', ...overrides }
  }

  /** A secret whose current value a database takes. */
  create(name: string, change: Partial<Pick<Kept, 'strategy' | 'rotates' | 'deleting' | 'primaryRegion'>> = {}): Kept {
    const suffix = this.#chance().slice(0, 6)
    const kept: Kept = {
      arn: `arn:aws:secretsmanager:${this.region}:${this.account}:secret:${name}-${suffix}`,
      name,
      strategy: 'single-user',
      versions: new Map(),
      tags: new Map(),
      rotates: true,
      deleting: false,
      primaryRegion: undefined,
      database: new Map(),
      ...change,
    }
    this.#secrets.set(kept.arn, kept)
    this.put(kept.arn, JSON.stringify({ user: 'app', password: this.#chance() }))
    this.#apply(kept, kept.versions.get(this.current(kept.arn))?.value ?? '')
    return kept
  }

  /** PutSecretValue: a new value by hand; nobody tells the database. */
  put(arn: string, value: string): string {
    const kept = this.#kept(arn)
    const id = this.#chance().slice(0, 36)
    kept.versions.set(id, { value, madeAt: this.now(), labels: new Set() })
    this.#promote(kept, id)
    return id
  }

  current(arn: string): string {
    return this.#bearer(this.#kept(arn), 'AWSCURRENT') ?? ''
  }

  value(arn: string, versionId: string): string {
    return this.#kept(arn).versions.get(versionId)?.value ?? ''
  }

  delete(arn: string): void {
    this.#secrets.delete(arn)
  }

  /** Whether the database takes a value. */
  takes(arn: string, value: string): boolean {
    const { user, password }: { user: string; password: string } = JSON.parse(value)
    return this.#secrets.get(arn)?.database.get(user) === password
  }

  /** Lets the rotations that are under way come to their end. */
  finish(): void {
    for (const [arn, token] of this.#running) this.#run(this.#kept(arn), token)
    this.#running.clear()
  }

  client(): SecretsClient {
    return {
      whoAmI: async () => {
        this.#enter('GetCallerIdentity')
        return { account: this.fault === 'other' ? '999999999999' : this.account, userId: 'AIDA0FAKE0FAKE0FAKE0' }
      },
      describe: async (arn) => {
        this.#enter('DescribeSecret')
        const kept = this.#secrets.get(arn)
        return kept === undefined ? undefined : { arn, labels: labelsOf(kept), ...described(kept) }
      },
      versionMade: async (arn, versionId) => {
        this.#enter('ListSecretVersionIds')
        return this.#kept(arn).versions.get(versionId)?.madeAt
      },
      rotate: async (arn, token) => {
        this.#enter('RotateSecret')
        this.#rotate(this.#kept(arn), token)
      },
      removePending: async (arn, versionId) => {
        this.#enter('UpdateSecretVersionStage')
        this.#kept(arn).versions.get(versionId)?.labels.delete('AWSPENDING')
        this.#running.delete(arn)
      },
      list: async (from, most) => {
        this.#enter('ListSecrets')
        const behind = [...this.#secrets.values()]
          .filter(({ arn, deleting }) => !deleting && (from === undefined || arn > from))
          .sort((left, right) => (left.arn < right.arn ? -1 : 1))
        const page = behind.slice(0, most)
        const last = page.at(-1)
        return {
          secrets: page.map((kept) => ({ arn: kept.arn, tags: kept.tags, labels: labelsOf(kept), readAt: undefined })),
          ...(behind.length > most && last !== undefined ? { next: last.arn } : {}),
        }
      },
      close: () => undefined,
    }
  }

  #enter(method: string): void {
    if (this.fault === 'unavailable') throw new AwsFault('unavailable', 'ECONNREFUSED')
    if (this.fault === 'refused') throw new AwsFault('refused', 'AccessDenied')
    if (this.fault === 'throttled') throw new AwsFault('throttled', 'Throttling')
    this.calls.push(method)
  }

  #kept(arn: string): Kept {
    const kept = this.#secrets.get(arn)
    if (kept === undefined) throw new AwsFault('gone', 'ResourceNotFound')
    return kept
  }

  #bearer({ versions }: Kept, label: string): string | undefined {
    return [...versions].find(([, { labels }]) => labels.has(label))?.[0]
  }

  #rotate(kept: Kept, token: string): void {
    if (kept.deleting || kept.primaryRegion !== undefined || !kept.rotates) throw new AwsFault('invalid', 'InvalidRequest')
    const [pending, current] = [this.#bearer(kept, 'AWSPENDING'), this.#bearer(kept, 'AWSCURRENT')]
    if (token === pending || token === current) return
    if (pending !== undefined && pending !== current) throw new AwsFault('invalid', 'InvalidRequest')
    const { user } = JSON.parse(kept.versions.get(current ?? '')?.value ?? '{}')
    const next = kept.strategy === 'single-user' ? user : user === 'app' ? 'app_clone' : 'app'
    kept.versions.get(pending ?? '')?.labels.delete('AWSPENDING')
    const value = JSON.stringify({ user: next, password: this.#chance() })
    kept.versions.set(token, { value, madeAt: this.now(), labels: new Set(['AWSPENDING']) })
    if (this.rotation === 'at-once') this.#run(kept, token)
    else if (this.rotation === 'slow') this.#running.set(kept.arn, token)
  }

  #run(kept: Kept, token: string): void {
    this.#apply(kept, kept.versions.get(token)?.value ?? '')
    this.#promote(kept, token)
  }

  #apply(kept: Kept, value: string): void {
    const { user, password }: { user: string; password: string } = JSON.parse(value)
    kept.database.set(user, password)
  }

  #promote({ versions }: Kept, id: string): void {
    for (const { labels } of versions.values()) labels.delete('AWSPREVIOUS')
    for (const { labels } of versions.values()) if (labels.delete('AWSCURRENT')) labels.add('AWSPREVIOUS')
    versions.get(id)?.labels.add('AWSCURRENT')
  }

  #chance(): string {
    this.#serial += 1
    return createHash('sha256').update(`chance ${this.#serial}`).digest('hex')
  }
}

const labelsOf = ({ versions }: Kept) =>
  new Map([...versions].filter(([, { labels }]) => labels.size > 0).map(([id, { labels }]) => [id, [...labels]]))

const described = ({ rotates, deleting, primaryRegion, tags }: Kept): Omit<DescribedSecret, 'arn' | 'labels'> => ({
  rotates,
  deleting,
  primaryRegion,
  tags,
})
