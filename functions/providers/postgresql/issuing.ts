import { createHash, createHmac, pbkdf2Sync } from 'node:crypto'
import * as z from 'zod/mini'
import type { Issued, Order, Tools } from '../contract.ts'
import { IssuerUnavailable } from '../contract.ts'
import type { Grants, Lever, Settings, Target } from './definition.ts'
import type { Use } from './listing.ts'
import * as sql from './statements.ts'

/** Iterations and salt as the server itself takes them (PostgreSQL manual, `scram_iterations`). */
const ITERATIONS = 4096
const SALT_BYTES = 16
const PASSWORD_BYTES = 32
/** How long the making of a role waits for somebody else's lock. */
const LOCK = '2s'

/**
 * work: name, verifier, until, memberOf. The role and its memberships, or nothing of them. What would make it more than
 * its grants say is refused: an attribute of a role that it is made a member of is one SET ROLE away.
 */
const CREATE = `
  DO $rescind$
  DECLARE
    work jsonb := current_setting('rescind.work')::jsonb;
    answer text := 'done';
    granted text;
    made oid;
  BEGIN
    BEGIN
      EXECUTE format('CREATE ROLE %I LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS PASSWORD %L VALID UNTIL %L',
                     work->>'name', work->>'verifier', work->>'until');
      FOR granted IN SELECT jsonb_array_elements_text(work->'memberOf') LOOP
        IF EXISTS (SELECT FROM pg_roles r WHERE r.rolname::text = granted AND (r.rolsuper OR r.rolcreaterole OR r.rolreplication
                     OR r.rolbypassrls OR r.rolname IN (current_user, session_user, '${sql.CONTAINED}', '${sql.REVOKED}'))) THEN
          RAISE EXCEPTION 'a role of that power is not granted' USING ERRCODE = 'RS001';
        END IF;
        EXECUTE format('GRANT %I TO %I', granted, work->>'name');
      END LOOP;
      SELECT r.oid INTO made FROM pg_roles r WHERE r.rolname::text = work->>'name';
    EXCEPTION WHEN duplicate_object OR unique_violation THEN answer := 'taken';
              WHEN OTHERS THEN answer := SQLSTATE;
    END;
    PERFORM set_config('rescind.answer', jsonb_build_object('answer', answer, 'oid', made::text)::text, true);
  END $rescind$`

const AnswerRow = z.object({ answer: z.string() })
const Made = z.object({ answer: z.string(), oid: z.nullable(z.string()) })

/** Why nothing was made, by SQLSTATE: it will not heal by itself. */
const REFUSED: Readonly<Record<string, string>> = {
  taken: 'a role of that name is there already',
  RS001:
    'a role that it was to be a member of has attributes of its own (SUPERUSER, CREATEROLE, REPLICATION, BYPASSRLS), or is ours',
  '42704': 'a role that it was to be a member of does not exist',
  '42501': 'the admin may not grant a role that it was to be a member of (it needs ADMIN OPTION)',
  '42939': 'the name is reserved',
  '0LP01': 'a role that it was to be a member of cannot be granted',
}

/**
 * Makes a login role under a name that is free. Its password is made here and never leaves but with the answer: the server
 * is given the verifier of SCRAM-SHA-256 alone (RFC 5803), so nothing of it can stand in a log of the server.
 */
export async function createRole(
  use: Use,
  settings: Settings,
  tools: Pick<Tools, 'now' | 'random'>,
  { name, grants, expiresAt }: Order<Grants>,
): Promise<Issued<Target, never, Lever>> {
  const memberOf = [...new Set([...grants.memberOf, ...(grants.group === undefined ? [] : [grants.group])])]
  const allowed = new Set(settings.grantable ?? [])
  const foreign = memberOf.filter((role) => !allowed.has(role))
  if (foreign.length > 0)
    return refused(`not in \`grantable\` of the issuer: ${foreign.map((role) => JSON.stringify(role)).join(', ')}`)
  if (!(Date.parse(expiresAt) > tools.now())) return refused('it would be over already')
  if (tools.random === undefined) return refused('nothing here makes passwords')
  const password = Buffer.from(tools.random(PASSWORD_BYTES)).toString('base64url')
  const verifier = scramVerifier(password, tools.random(SALT_BYTES))
  const look: sql.Look = { name: 'roles', statement: sql.FIND_ROLES, values: [[name], [null]] }
  const made = await use(look, async (session, [known]: readonly sql.FoundRow[]): Promise<z.infer<typeof Made> | undefined> => {
    if (known?.oid != null) return { answer: 'taken', oid: null }
    const work = { oids: [], name, verifier, until: expiresAt, memberOf }
    try {
      return answerIn(await session.run(sql.performing(CREATE, work, LOCK)))
    } catch (error) {
      // It may have been committed before the connection broke.
      if (error instanceof IssuerUnavailable) return undefined
      throw error
    }
  })
  if (made === undefined) return { status: 'retry', said: 'PostgreSQL: the answer was lost', effect: 'unknown' }
  const { answer, oid } = made
  if (answer === 'done' && oid !== null)
    return {
      status: 'issued',
      said: `role ${name} (oid ${oid}), member of ${memberOf.map((role) => JSON.stringify(role)).join(', ')}`,
      target: { role: name, oid },
      ...(grants.group === undefined ? {} : { lever: { memberOf: grants.group } }),
      credential: { user: name, password, host: settings.host, port: String(settings.port), database: settings.database },
      expiresAt,
    }
  const why = REFUSED[answer]
  if (why !== undefined) return refused(why)
  if (/^(40|53|55|57|58|XX)/.test(answer))
    return { status: 'retry', said: `PostgreSQL: ${answer}`, effect: 'none', afterSeconds: 2 }
  return refused(`PostgreSQL refuses (${answer})`)
}

const refused = (said: string) => ({ status: 'refused' as const, said })

function answerIn(results: readonly (readonly object[])[]): z.infer<typeof Made> {
  for (const rows of results) {
    const row = z.safeParse(AnswerRow, rows[0])
    if (row.success) return Made.parse(JSON.parse(row.data.answer))
  }
  throw new IssuerUnavailable('PostgreSQL: no answer of what was done')
}

/** RFC 5803, as PostgreSQL keeps it. The password is ASCII, so SASLprep leaves it as it is. */
export function scramVerifier(password: string, salt: Uint8Array): string {
  const salted = pbkdf2Sync(password, salt, ITERATIONS, 32, 'sha256')
  const keyed = (name: string) => createHmac('sha256', salted).update(name).digest()
  const storedKey = createHash('sha256').update(keyed('Client Key')).digest('base64')
  return `SCRAM-SHA-256$${ITERATIONS}:${Buffer.from(salt).toString('base64')}$${storedKey}:${keyed('Server Key').toString('base64')}`
}
