import { randomBytes, randomUUID } from 'node:crypto'
import pg from 'pg'
import type { LeaseView } from '../../functions/contracts/lease.ts'
import type { Api } from './client.ts'
import type { Installation } from './installation.ts'
import { DOMAIN } from './installation.ts'

/** A real credential at a real server, with a session that was opened before anything happened. */
export interface Held {
  readonly title: string
  readonly identity: string
  readonly owner: string
  readonly issuer: 'orders' | 'login'
  readonly lease: LeaseView
  /** The lease that it was delegated from. */
  readonly parent?: string
  /** Tries to log in now: `undefined` if it works, else what the server said. */
  login(): Promise<string | undefined>
  /** The session that was open from the beginning: `undefined` if it still answers, else how it ended. */
  session(): Promise<string | undefined>
  close(): Promise<void>
}

const HOUR = 3_600_000

interface Wish {
  readonly name: string
  readonly path: string
  readonly owner: string
  readonly consumer: string
  readonly purpose: string
  readonly task?: string
  readonly deployment?: string
  readonly workload?: string
  readonly ownerLeaves?: 'revoke' | 'reassign'
  readonly delegable?: boolean
  readonly parent?: string
}

/**
 * What a secrets manager does: it registers the intent, mints the role under the registered name, confirms it with the
 * role's oid, and only then hands it to its consumer.
 */
async function mintRole(installation: Installation, api: Api, wish: Wish): Promise<Held> {
  const { postgres, tokens } = installation
  const role = `${wish.name}-${randomBytes(3).toString('hex')}`
  const group = `group-of-${wish.path.replaceAll('/', '-')}`
  const password = randomBytes(18).toString('base64url')
  const intent = await api.register(tokens.broker, {
    ...common(wish),
    issuer: 'orders',
    kind: 'dynamic',
    registers: 'intent',
    mintBy: new Date(Date.now() + 60_000).toISOString(),
    target: { role },
    lever: { memberOf: group },
  })
  const admin = new pg.Client({ ...connection(installation), ...postgres.admin })
  await admin.connect()
  let oid: string
  try {
    const name = pg.escapeIdentifier
    const exists = await admin.query('SELECT FROM pg_roles WHERE rolname = $1', [group])
    if (exists.rowCount === 0) await admin.query(`CREATE ROLE ${name(group)} NOLOGIN`)
    await admin.query(`CREATE ROLE ${name(role)} LOGIN PASSWORD ${pg.escapeLiteral(password)} IN ROLE ${name(group)}`)
    const made = await admin.query<{ oid: string }>('SELECT oid::text FROM pg_roles WHERE rolname = $1', [role])
    oid = made.rows[0]?.oid ?? ''
  } finally {
    await admin.end()
  }
  const lease = await api.confirm(tokens.broker, intent.id, { role, oid })
  const login = { ...connection(installation), user: role, password, connectionTimeoutMillis: 5000 }
  const session = new pg.Client(login)
  let ended: string | undefined
  session.on('error', (error: Error & { code?: string }) => {
    ended ??= `ended by the server (${error.code ?? error.message})`
  })
  session.on('end', () => {
    ended ??= 'ended by the server'
  })
  await session.connect()
  return {
    title: `PostgreSQL role ${role}`,
    identity: `${DOMAIN}/${wish.path}`,
    owner: wish.owner,
    issuer: 'orders',
    lease,
    async login() {
      const client = new pg.Client(login)
      try {
        await client.connect()
        await client.query('SELECT 1')
        return undefined
      } catch (error) {
        return told(error)
      } finally {
        await client.end().catch(() => {})
      }
    },
    async session() {
      if (ended !== undefined) return ended
      try {
        await session.query('SELECT 1')
        return undefined
      } catch (error) {
        return ended ?? told(error)
      }
    },
    async close() {
      await session.end().catch(() => {})
    },
  }
}

/** A token exists when it is minted: it is registered before its consumer sees it. */
async function mintToken(installation: Installation, api: Api, wish: Wish): Promise<Held> {
  const { oauth, tokens } = installation
  const issued = await oauth.issueToken(wish.path)
  const lease = await api.register(tokens.broker, {
    ...common(wish),
    issuer: 'login',
    kind: 'dynamic',
    registers: 'credential',
    target: { tokenType: 'access_token', clientId: issued.clientId, expiresAt: issued.expiresAt },
    secret: { token: issued.accessToken },
  })
  const use = async () =>
    (await oauth.honours(issued.accessToken, 'access_token')) ? undefined : '401 from the resource: the token is not honoured'
  return {
    title: `OAuth token of ${wish.name}`,
    identity: `${DOMAIN}/${wish.path}`,
    owner: wish.owner,
    issuer: 'login',
    lease,
    ...(wish.parent === undefined ? {} : { parent: wish.parent }),
    login: use,
    session: use,
    async close() {},
  }
}

const told = (error: unknown): string => {
  if (!(error instanceof Error)) return String(error)
  const code = 'code' in error ? ` (${String(error.code)})` : ''
  return `${error.message}${code}`
}

const connection = ({ postgres }: Installation) => ({ host: postgres.host, port: postgres.port, database: postgres.database })

const common = (wish: Wish) => ({
  identity: `${DOMAIN}/${wish.path}`,
  owner: wish.owner,
  consumer: wish.consumer,
  purpose: wish.purpose,
  environment: 'demo',
  expiresAt: new Date(Date.now() + 8 * HOUR).toISOString(),
  ...(wish.workload === undefined ? {} : { workload: wish.workload }),
  ...(wish.ownerLeaves === undefined ? {} : { ownerLeaves: wish.ownerLeaves }),
  ...(wish.task === undefined ? {} : { task: { id: wish.task, namespace: 'ci' } }),
  ...(wish.deployment === undefined ? {} : { deployment: { id: wish.deployment, namespace: 'deploy' } }),
  ...(wish.delegable === undefined ? {} : { delegable: wish.delegable }),
  ...(wish.parent === undefined ? {} : { parent: wish.parent }),
})

/** Declares the two issuers that this machine runs. */
export async function declareIssuers(installation: Installation, api: Api): Promise<void> {
  const { postgres, oauth, tokens } = installation
  await api.declareIssuer(tokens.operator, 'orders', {
    provider: 'postgresql',
    settings: {
      host: postgres.host,
      port: postgres.port,
      database: postgres.database,
      tls: { mode: 'disable' },
      system: postgres.system,
    },
    adminSecret: 'rescind/issuers/postgresql/orders',
    soakSeconds: 3600,
  })
  await api.declareIssuer(tokens.operator, 'login', {
    provider: 'oauth',
    settings: { issuer: oauth.issuer, introspects: 'all' },
    adminSecret: 'rescind/issuers/oauth/login',
    soakSeconds: 0,
  })
}

/** What goes when an owner leaves: what is held in its name, and what was delegated from that. */
export function goesWith(owner: string, held: readonly Held[]): { readonly goes: Held[]; readonly stays: Held[] } {
  const own = held.filter((one) => one.owner === owner)
  const goes = held.filter((one) => own.includes(one) || own.some(({ lease }) => lease.id === one.parent))
  return { goes, stays: held.filter((one) => !goes.includes(one)) }
}

/** The small world of the demonstration: five owners, what they answer for, and what that holds. */
export async function populate(installation: Installation, api: Api): Promise<Held[]> {
  const bot: Omit<Wish, 'name' | 'purpose'> = {
    path: 'agent/invoice-bot',
    owner: 'ana',
    consumer: 'invoice-bot',
    ownerLeaves: 'revoke',
  }
  const first = await mintRole(installation, api, { ...bot, name: 'invoice-bot', purpose: 'read invoices', delegable: true })
  const rest = await Promise.all([
    mintRole(installation, api, { ...bot, name: 'invoice-bot-export', purpose: 'export invoices' }),
    mintToken(installation, api, { ...bot, name: 'invoice-bot', purpose: 'call the mail API' }),
    mintToken(installation, api, {
      name: 'ocr-helper',
      path: 'agent/ocr-helper',
      owner: 'eve',
      consumer: 'ocr-helper',
      purpose: 'read scans for invoice-bot',
      parent: first.lease.id,
    }),
  ])
  const ledger: Omit<Wish, 'name' | 'purpose'> = {
    path: 'workload/ledger',
    owner: 'ben',
    consumer: 'ledger',
    workload: 'ledger',
    deployment: 'ledger-v41',
  }
  const others = await Promise.all([
    mintRole(installation, api, { ...ledger, name: 'ledger', purpose: 'post bookings' }),
    mintToken(installation, api, { ...ledger, name: 'ledger', purpose: 'call the bank API' }),
    mintRole(installation, api, {
      name: 'build',
      path: 'ci/build',
      owner: 'cleo',
      consumer: 'build',
      purpose: 'run migrations',
      task: 'build-4711',
    }),
    mintRole(installation, api, { name: 'crm', path: 'workload/crm', owner: 'dora', consumer: 'crm', purpose: 'read customers' }),
    mintToken(installation, api, {
      name: 'crm',
      path: 'workload/crm',
      owner: 'dora',
      consumer: 'crm',
      purpose: 'send newsletters',
    }),
  ])
  return [first, ...rest, ...others]
}

/** An HR system's word that somebody has left. */
export const offboarding = (owner: string) => ({
  specversion: '1.0' as const,
  id: `hr-${randomUUID()}`,
  source: 'https://hr.example',
  type: 'io.rescind.offboarding',
  time: new Date().toISOString(),
  datacontenttype: 'application/json',
  data: { scope: { kind: 'owner', id: owner }, reason: `${owner} has left the company`, requestedBy: 'hr@example' },
})
