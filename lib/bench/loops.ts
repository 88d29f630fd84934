import type pg from 'pg'
import type { Role, Server } from './server.ts'

/** Loops that do nothing but the SQL: what the pipeline is compared with, on the same server, in the same run. */

/** How a loop cuts: so many roles a transaction, on so many connections. */
export interface Manner {
  readonly batch: number
  readonly connections: number
}

export interface Looped extends Manner {
  /** NOLOGIN committed, then sessions ended. */
  readonly cutSeconds: number
  /** `DROP ROLE`. */
  readonly dropSeconds: number
  /** Of the server, in both. */
  readonly serverCpuSeconds: number
  /** Of this process. */
  readonly clientCpuSeconds: number
}

/** (a): one role a transaction on one connection. */
export const ONE_BY_ONE: Manner = { batch: 1, connections: 1 }

/**
 * The same effect as the pipeline's: NOLOGIN is committed, then sessions are ended, so that whoever is cut off cannot
 * come back; the roles are dropped in a second round, as they are after a soak time. It sets no mark by which a cut
 * could be undone, looks at nothing before or after, and writes down nothing. Each transaction is one message there and
 * back.
 */
const cutting = (roles: readonly Role[]): string => {
  const shut = roles.map(({ name }) => `ALTER ROLE ${name} NOLOGIN`).join('; ')
  const oids = roles.map(({ oid }) => oid).join(',')
  return `BEGIN; ${shut}; COMMIT; SELECT pg_terminate_backend(pid) FROM pg_stat_get_activity(NULL) WHERE usesysid IN (${oids})`
}
const dropping = (roles: readonly Role[]): string => `DROP ROLE ${roles.map(({ name }) => name).join(', ')}`

async function over(
  pool: pg.Pool,
  roles: readonly Role[],
  { batch, connections }: Manner,
  say: (batch: readonly Role[]) => string,
) {
  const starts = Array.from({ length: Math.ceil(roles.length / batch) }, (_, index) => index * batch).values()
  const runner = async () => {
    const client = await pool.connect()
    try {
      for (const first of starts) await client.query(say(roles.slice(first, first + batch)))
    } finally {
      client.release()
    }
  }
  const start = performance.now()
  await Promise.all(Array.from({ length: connections }, runner))
  return (performance.now() - start) / 1000
}

/** @param between what is looked at when all are cut and none is dropped yet */
export async function loop(
  server: Server,
  roles: readonly Role[],
  manner: Manner,
  between?: () => Promise<void>,
): Promise<Looped> {
  const pool = server.pool(manner.connections)
  try {
    // Connections are there before it begins, as a worker's are.
    await Promise.all(Array.from({ length: manner.connections }, () => pool.query('SELECT pg_sleep(0.05)')))
    const cpu = process.cpuUsage()
    const before = server.cpu()
    const cutSeconds = await over(pool, roles, manner, cutting)
    await between?.()
    const dropSeconds = await over(pool, roles, manner, dropping)
    const { user, system } = process.cpuUsage(cpu)
    return {
      ...manner,
      cutSeconds,
      dropSeconds,
      serverCpuSeconds: server.cpu() - before,
      clientCpuSeconds: (user + system) / 1e6,
    }
  } finally {
    await pool.end()
  }
}

const BATCHES = [10, 25, 100, 250]
const CONNECTIONS = [1, 2, 4]
/** Roles of one try of the search. */
const TRIED = 1000

/** (b): the best of a small search, cut and drop together. */
export async function findBest(server: Server, progress: (text: string) => void): Promise<{ best: Manner; tried: Looped[] }> {
  const tried: Looped[] = []
  for (const connections of CONNECTIONS)
    for (const batch of BATCHES) {
      progress(`the best loop: batches of ${batch} on ${connections} connections`)
      tried.push(await loop(server, await server.makeRoles('s', TRIED), { batch, connections }))
    }
  const seconds = (one: Looped) => one.cutSeconds + one.dropSeconds
  const [best] = tried.toSorted((one, other) => seconds(one) - seconds(other))
  return { best: { batch: best?.batch ?? 100, connections: best?.connections ?? 1 }, tried }
}
