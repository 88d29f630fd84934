/**
 * The statements, each for a whole batch. Values travel as parameters, or as hexadecimal digits where several statements
 * go in one message, which takes none; names are quoted by the server's `format('%I')`. `DO` takes no parameters, so its
 * work is handed over in a setting of the transaction, as JSON.
 *
 * A server may have ten thousand roles, and nearly all of them may be marked: what is looked up is looked up by an index,
 * and a subquery that stands where a truth is asked for is written as a scalar one, which PostgreSQL never answers by
 * hashing all there is. `test/conformance/postgresql-many.test.ts` counts the rows that are read.
 *
 * In a `DO` each role has a block of its own: what one role raises is noted as its SQLSTATE, and harms no other.
 * Roles are altered by name, since PostgreSQL knows no other way, and checked by oid afterwards in the same block:
 * a role that was renamed or replaced in between raises, and the block leaves no trace.
 */

/**
 * Marker roles: members of the first are held shut by `contain`, of the second by `revoke`, and were open before. A role
 * may carry both, and opens when the last of them goes.
 */
export const CONTAINED = 'rescind_contained'
export const REVOKED = 'rescind_revoked'

/** What pg_stat_activity shows of sessions, without the 20 columns and the joins of that view: half its cost to plan. */
const SESSIONS = 'pg_stat_get_activity(NULL)'

/**
 * Each statement is planned once for a connection, whatever its parameters: planning costs several times what it takes
 * to look up a role.
 */
export const PLAN_ONCE = `SELECT set_config('plan_cache_mode', 'force_generic_plan', false)`

/** A statement that only reads, with its parameters. */
export interface Look {
  /** Under which a connection keeps its plan. */
  readonly name: string
  readonly statement: string
  readonly values: readonly unknown[]
}

/**
 * PostgreSQL gathers all roles that a role has, one by one, to tell whether it has one, and forgets them with each change
 * of any role: an admin that created ten thousand has as many. A membership of its own is asked for first.
 */
const has = (role: string, member: string, direct: string, privilege: string) => `
         CASE WHEN coalesce((SELECT bool_or(${direct}) FROM pg_auth_members m WHERE m.roleid = ${role} AND m.member = ${member}.oid), false)
              THEN true ELSE pg_has_role(${member}.oid, ${role}, '${privilege}') END`
const inherits = (member: string) => `coalesce((to_jsonb(m)->>'inherit_option')::boolean, ${member}.rolinherit)`

/** Who answers, and as whom we stand there. */
export const PREFLIGHT = `
  SELECT (SELECT system_identifier::text FROM pg_control_system()) AS system,
         pg_is_in_recovery() AS standby,
         me.rolsuper OR me.rolcreaterole AS alters,
         me.rolsuper OR ${has(`'pg_signal_backend'::regrole::oid`, 'me', inherits('me'), 'USAGE')} AS signals,
         (SELECT count(*)::int FROM pg_roles WHERE rolname IN ('${CONTAINED}', '${REVOKED}')) AS markers
    FROM pg_roles me WHERE me.rolname = current_user`
export interface PreflightRow {
  readonly system: string
  readonly standby: boolean
  readonly alters: boolean
  readonly signals: boolean
  readonly markers: number
}

/** A look together with who answers it, in one question: a row of `server` and the look's rows, in its order. */
export const withPreflight = (look: string) => `
  WITH server AS (${PREFLIGHT}), found AS (${look})
  SELECT (SELECT to_jsonb(server) FROM server) AS server, coalesce((SELECT jsonb_agg(to_jsonb(found)) FROM found), '[]') AS found`
export interface LookedRow<Row> {
  readonly server: PreflightRow | null
  readonly found: readonly Row[]
}

/** Two sessions may come here at once: whoever is second finds the roles there. */
export const CREATE_MARKERS = `
  DO $rescind$
  DECLARE marker text;
  BEGIN
    FOREACH marker IN ARRAY ARRAY['${CONTAINED}', '${REVOKED}'] LOOP
      BEGIN
        IF to_regrole(marker) IS NULL THEN EXECUTE format('CREATE ROLE %I NOLOGIN', marker); END IF;
      EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL;
      END;
    END LOOP;
  END $rescind$`

/** What forbids to cut a role; NULL: nothing. Before PostgreSQL 16, CREATEROLE alone allows to alter any role but superusers. */
const REFUSAL = `
  CASE WHEN r.oid IS NULL THEN NULL
       WHEN r.rolname IN (current_user, session_user) THEN 'admin'
       WHEN r.rolname IN ('${CONTAINED}', '${REVOKED}') OR r.oid::bigint < 16384 THEN 'reserved'
       WHEN r.rolsuper THEN 'superuser'
       WHEN r.rolreplication THEN 'replication'
       WHEN NOT me.rolsuper AND current_setting('server_version_num')::int >= 160000
            AND NOT ${has('r.oid', 'me', 'm.admin_option', 'MEMBER WITH ADMIN OPTION')} THEN 'unmanageable'
  END`

const marked = (marker: string, member: string) =>
  `coalesce((SELECT true FROM pg_auth_members m WHERE m.roleid = to_regrole('${marker}') AND m.member = ${member} LIMIT 1), false)`

const STATE = `
  r.oid::text AS oid, coalesce(r.rolcanlogin, false) AS login, ${REFUSAL} AS refusal,
  coalesce((SELECT a.sessions FROM activity a WHERE a.usesysid = r.oid), 0) AS sessions,
  ${marked(CONTAINED, 'r.oid')} AS contained, ${marked(REVOKED, 'r.oid')} AS revoked`

/** Read once: the view walks over all backends each time. */
const ACTIVITY = `
  activity AS MATERIALIZED (
    SELECT usesysid, count(*)::int AS sessions FROM ${SESSIONS}
     WHERE usesysid IS NOT NULL AND pid <> pg_backend_pid() GROUP BY usesysid)`

/** Names are compared as text, since a cast to `name` cuts them short; but only names stand in the index. */
const isNamed = (role: string, name: string) => `${role}.rolname = ${name}::text::name AND ${role}.rolname::text = ${name}`

/** The role that a row of `s` means: by its oid, or else by its name. */
const MEANT = `
    LEFT JOIN pg_roles r ON r.oid = coalesce(s.oid, (SELECT n.oid FROM pg_roles n WHERE ${isNamed('n', 's.name')}))`

/** No role has the oid any more. */
const isGone = (oid: string) => `(SELECT true FROM pg_roles g WHERE g.oid = ${oid}) IS NULL`

/** A role as the server has it; `oid` is null where there is none. */
export interface RoleRow {
  readonly oid: string | null
  readonly login: boolean
  readonly refusal: 'admin' | 'reserved' | 'superuser' | 'replication' | 'unmanageable' | null
  readonly sessions: number
  readonly contained: boolean
  readonly revoked: boolean
}

/** $1 names, $2 oids or nulls; a row for each, in order. */
export const FIND_ROLES = `
  WITH ${ACTIVITY}
  SELECT ${STATE},
         coalesce((SELECT n.oid <> s.oid FROM pg_roles n WHERE ${isNamed('n', 's.name')}), false) AS namesake,
         (SELECT coalesce(sum(a.sessions), 0)::int FROM activity a
           WHERE r.oid IS NULL AND CASE WHEN s.oid IS NULL THEN ${isGone('a.usesysid')} ELSE a.usesysid = s.oid END) AS orphans
    FROM unnest($1::text[], $2::oid[]) WITH ORDINALITY s(name, oid, n)
   CROSS JOIN (SELECT * FROM pg_roles WHERE rolname = current_user) me${MEANT}
   ORDER BY s.n`
export interface FoundRow extends RoleRow {
  /** Another role bears the name now. */
  readonly namesake: boolean
  /** Where the role is gone: sessions of that oid; without an oid, sessions of any role that is gone. */
  readonly orphans: number
}

/**
 * $1 the group: itself and its direct members. Members of members are other identities. A membership without INHERIT
 * and SET gives no access: PostgreSQL 16 puts whoever creates a role into it that way, to administer it.
 */
export const FIND_MEMBERS = `
  WITH ${ACTIVITY}
  SELECT ${STATE}, r.oid = g.oid AS "isGroup"
    FROM pg_roles g
   CROSS JOIN (SELECT * FROM pg_roles WHERE rolname = current_user) me
   CROSS JOIN LATERAL (
           SELECT g.oid
            UNION
           SELECT m.member FROM pg_auth_members m WHERE m.roleid = g.oid
              AND (coalesce((to_jsonb(m)->>'inherit_option')::boolean, true) OR coalesce((to_jsonb(m)->>'set_option')::boolean, true))) one
    JOIN pg_roles r ON r.oid = one.oid
   WHERE ${isNamed('g', '$1')}
   ORDER BY r.oid`
export interface MemberRow extends RoleRow {
  readonly oid: string
  readonly isGroup: boolean
}

/** A text as a constant, whatever stands in it. */
const text = (value: string) => `convert_from(decode('${Buffer.from(value).toString('hex')}', 'hex'), 'UTF8')`

/** What a DO takes: the roles, and what it is to know about them. */
export interface Work {
  readonly oids: readonly string[]
  readonly [name: string]: readonly string[] | string | null
}

/** One of the DO statements, in a transaction of its own that is committed; one row has its `answer`. */
export const performing = (statement: string, work: Work, lockTimeout: string): readonly string[] => [
  'BEGIN',
  `SELECT set_config('rescind.work', ${text(JSON.stringify(work))}, true), set_config('lock_timeout', ${text(lockTimeout)}, true)`,
  statement,
  `SELECT current_setting('rescind.answer') AS answer`,
  'COMMIT',
]
/** How a DO answers: oid to `done`, `idle` (nothing to do), `gone`, a word of its own, or an SQLSTATE. */
export type DoAnswer = Readonly<Record<string, string>>

const each = (declarations: string, body: string, onError = 'NULL;') => `
  DO $rescind$
  DECLARE
    work jsonb := current_setting('rescind.work')::jsonb;
    answers jsonb := '{}';
    answer text;
    subject oid;
    role record;
    ${declarations}
  BEGIN
    -- In the order of oids, so that two batches cannot wait for each other.
    FOR subject IN SELECT value::oid FROM jsonb_array_elements_text(work->'oids') ORDER BY value::oid LOOP
      FOR try IN 1..3 LOOP
        BEGIN
          answer := 'gone';
          SELECT r.oid, r.rolname, r.rolcanlogin INTO role FROM pg_roles r WHERE r.oid = subject;
          EXIT WHEN NOT FOUND;
          ${body}
          EXIT;
        EXCEPTION WHEN OTHERS THEN
          answer := SQLSTATE;
          ${onError}
        END;
      END LOOP;
      answers := answers || jsonb_build_object(subject::text, answer);
    END LOOP;
    PERFORM set_config('rescind.answer', answers::text, true);
  END $rescind$`

/** Raised where a name no longer leads to the oid that was looked up: the next try looks again. */
const RENAMED = `RAISE EXCEPTION 'the role was renamed or replaced' USING ERRCODE = '40001'`

/**
 * work: oids, mark, patience. NOLOGIN, and the marker that says who holds shut a role that was open. A role can hold its own
 * row in pg_authid locked (by changing its password in an open transaction): its sessions are ended, then once more.
 */
export const SHUT = each(
  `was_open boolean;
    marks boolean;
    usual text := current_setting('lock_timeout');
    patience text := work->>'patience';`,
  `
          was_open := role.rolcanlogin;
          IF was_open THEN
            EXECUTE format('ALTER ROLE %I NOLOGIN', role.rolname);
            IF (SELECT rolcanlogin FROM pg_roles WHERE oid = subject) IS DISTINCT FROM false THEN ${RENAMED}; END IF;
          END IF;
          answer := CASE WHEN was_open THEN 'done' ELSE 'idle' END;
          BEGIN
            -- What a person had shut carries no marker, and gets none.
            marks := was_open;
            IF NOT marks THEN marks := ${marked(CONTAINED, 'subject')} OR ${marked(REVOKED, 'subject')}; END IF;
            IF marks THEN
              -- Grants of one marker wait for each other (PostgreSQL 16 and later lock it), and in a large incident many
              -- cuts mark at once. The first of a batch waits for it, the others have it then; if it waits in vain, none waits.
              PERFORM set_config('lock_timeout', patience, true);
              EXECUTE format('GRANT %I TO %I', work->>'mark', role.rolname);
            END IF;
          EXCEPTION WHEN OTHERS THEN
            -- The cut stands without its marker; only the way back is then a person's work.
            answer := answer || ' unmarked';
            IF SQLSTATE = '55P03' THEN patience := '1ms'; END IF;
          END;
          PERFORM set_config('lock_timeout', usual, true);`,
  `PERFORM pg_stat_clear_snapshot();
          PERFORM pg_terminate_backend(a.pid) FROM ${SESSIONS} a WHERE a.usesysid = subject AND a.pid <> pg_backend_pid();`,
)

/** work: oids, mark, other. Takes the marker off, and gives LOGIN again where the other one does not hold the role: `held`. */
export const OPEN = each(
  'held boolean;',
  `
          held := EXISTS (SELECT FROM pg_auth_members m WHERE m.roleid = to_regrole(work->>'other') AND m.member = subject);
          answer := CASE WHEN held THEN 'held' ELSE 'unmarked' END;
          EXIT WHEN NOT EXISTS (SELECT FROM pg_auth_members m WHERE m.roleid = to_regrole(work->>'mark') AND m.member = subject);
          IF NOT held THEN
            EXECUTE format('ALTER ROLE %I LOGIN', role.rolname);
            IF (SELECT rolcanlogin FROM pg_roles WHERE oid = subject) IS DISTINCT FROM true THEN ${RENAMED}; END IF;
            answer := 'done';
          END IF;
          EXECUTE format('REVOKE %I FROM %I', work->>'mark', role.rolname);
          IF (SELECT rolname FROM pg_roles WHERE oid = subject) IS DISTINCT FROM role.rolname THEN ${RENAMED}; END IF;`,
)

/**
 * Ends the sessions of these roles, one row for each role that still has some. Once more until there are no rows. Only of
 * roles that are gone or cannot log in, as it is committed: whoever is cut off cannot come back.
 */
export const endingSessions = (oids: readonly string[]) => `
  SELECT a.usesysid::text AS oid, array_agg(a.pid) AS pids, count(*) FILTER (WHERE pg_terminate_backend(a.pid))::int AS signalled
    FROM ${SESSIONS} a
   WHERE a.usesysid = ANY((SELECT ${text(`{${oids.join(',')}}`)}::oid[])::oid[]) AND a.pid <> pg_backend_pid()
     AND (SELECT r.rolcanlogin FROM pg_roles r WHERE r.oid = a.usesysid) IS NOT TRUE
   GROUP BY a.usesysid`
/** The same after a pause of so many seconds, whatever the transaction knew of sessions before. */
export const endingSessionsAfter = (seconds: number, oids: readonly string[]): readonly string[] => [
  `SELECT pg_sleep(${seconds}), pg_stat_clear_snapshot()`,
  endingSessions(oids),
]
/** A session that was begun before, by its process id and the moment it began, to the microsecond. */
export interface NamedSession {
  readonly pid: number
  readonly startedAt: string
}

/**
 * $1 roles, $2 oids or nulls, $3 application names, $4 process ids or nulls, $5 moments or nulls; $6 the moment before
 * which sessions by name must have begun, null: now. A row for each, in order. Where the role is gone its sessions go on,
 * with its oid. Who is not allowed to see others' statistics is shown no `backend_start`.
 */
export const FIND_SESSIONS = `
  WITH activity AS MATERIALIZED (
    SELECT pid, usesysid, application_name, backend_start FROM ${SESSIONS}
     WHERE usesysid IS NOT NULL AND pid <> pg_backend_pid())
  SELECT me.rolsuper OR ${has(`'pg_read_all_stats'::regrole::oid`, 'me', inherits('me'), 'USAGE')} AS sees,
         nullif(${REFUSAL}, 'unmanageable') AS refusal,
         coalesce((SELECT jsonb_agg(jsonb_build_object('pid', a.pid, 'startedAt', a.backend_start)) FROM activity a
           WHERE CASE WHEN coalesce(s.oid, r.oid) IS NULL THEN ${isGone('a.usesysid')}
                      ELSE a.usesysid = coalesce(s.oid, r.oid) END
             AND CASE WHEN s.pid IS NULL
                      THEN a.application_name = s.application AND a.backend_start <= coalesce($6::timestamptz, clock_timestamp())
                      ELSE a.pid = s.pid AND date_trunc('milliseconds', a.backend_start) = date_trunc('milliseconds', s.started)
                 END), '[]') AS sessions
    FROM unnest($1::text[], $2::oid[], $3::text[], $4::int[], $5::timestamptz[]) WITH ORDINALITY s(name, oid, application, pid, started, n)
   CROSS JOIN (SELECT * FROM pg_roles WHERE rolname = current_user) me${MEANT}
   ORDER BY s.n`
export interface NamedSessionsRow {
  /** The admin may see when others' sessions began; without it nothing here tells one session from another. */
  readonly sees: boolean
  readonly refusal: Exclude<RoleRow['refusal'], 'unmanageable'>
  readonly sessions: readonly NamedSession[]
}

/** Ends the sessions with the process ids $1 that began at $2, a row for each that is still there. */
export const END_NAMED = `
  SELECT a.pid, pg_terminate_backend(a.pid) AS signalled
    FROM ${SESSIONS} a JOIN unnest($1::int[], $2::timestamptz[]) s(pid, started) ON a.pid = s.pid AND a.backend_start = s.started
   WHERE a.pid <> pg_backend_pid()`

/** What DROP OWNED may clear away: entries that only say what belongs to the role, and hold nothing (default privileges, user mappings). */
const NO_OBJECT = `('pg_default_acl'::regclass, 'pg_user_mapping'::regclass)`

/** What ties the oids $1 to the databases; `database` is null for shared objects, as databases themselves. */
export const FIND_TIES = `
  SELECT d.refobjid::text AS oid, b.datname::text AS database,
         count(*) FILTER (WHERE d.deptype = 'o' AND d.classid NOT IN ${NO_OBJECT})::int AS owned
    FROM pg_shdepend d LEFT JOIN pg_database b ON b.oid = d.dbid
   WHERE d.refclassid = 'pg_authid'::regclass AND d.refobjid = ANY($1::oid[])
   GROUP BY d.refobjid, b.datname
   ORDER BY d.refobjid, b.datname`
export interface TieRow {
  readonly oid: string
  readonly database: string | null
  readonly owned: number
}

const DEPENDENCIES_HERE = `
            pg_shdepend d WHERE d.refclassid = 'pg_authid'::regclass AND d.refobjid = subject
               AND d.dbid IN (0, (SELECT b.oid FROM pg_database b WHERE b.datname = current_database()))`
const OWNED_HERE = `(SELECT count(*) FROM ${DEPENDENCIES_HERE} AND d.deptype = 'o' AND d.classid NOT IN ${NO_OBJECT})`

/** Its cut was undone: it can log in, or will when its containment is released. */
const USABLE = `role.rolcanlogin OR (${marked(CONTAINED, 'subject')} AND NOT ${marked(REVOKED, 'subject')})`

/**
 * work: oids, heir (or null). Hands over what a role owns here, then clears its
 * privileges away. DROP OWNED drops what is owned, so it runs only when a count, taken after the handing over, is 0.
 */
export const HAND_OVER_OWNED = each(
  'owned int;',
  `
          answer := 'open';
          EXIT WHEN ${USABLE};
          IF NOT pg_has_role(current_user, subject, 'USAGE') THEN
            EXECUTE format(CASE WHEN current_setting('server_version_num')::int >= 160000
                                THEN 'GRANT %I TO %I WITH INHERIT TRUE, SET TRUE' ELSE 'GRANT %I TO %I' END, role.rolname, current_user);
          END IF;
          IF work->>'heir' IS NOT NULL AND ${OWNED_HERE} > 0 THEN
            EXECUTE format('REASSIGN OWNED BY %I TO %I', role.rolname, work->>'heir');
          END IF;
          IF ${OWNED_HERE} > 0 THEN RAISE EXCEPTION 'the role still owns something' USING ERRCODE = '2BP01'; END IF;
          EXECUTE format('DROP OWNED BY %I', role.rolname);
          IF (SELECT rolname FROM pg_roles WHERE oid = subject) IS DISTINCT FROM role.rolname THEN ${RENAMED}; END IF;
          -- What others granted, only they and superusers can take back: DROP OWNED passes over it with a warning.
          answer := CASE WHEN EXISTS (SELECT FROM ${DEPENDENCIES_HERE}) THEN 'tied' ELSE 'done' END;`,
)

/** work: oids. Drops roles that nobody can use: a session outlives its role, and would not be seen by name any more. */
export const DROP_ROLES = each(
  '',
  `
          answer := 'open';
          EXIT WHEN ${USABLE};
          answer := 'session';
          PERFORM pg_stat_clear_snapshot();
          EXIT WHEN EXISTS (SELECT FROM ${SESSIONS} a WHERE a.usesysid = subject);
          EXECUTE format('DROP ROLE %I', role.rolname);
          IF EXISTS (SELECT FROM pg_roles WHERE oid = subject) THEN ${RENAMED}; END IF;
          answer := 'done';`,
)

/** $1 the heir's name: its oid, if it exists. */
export const FIND_HEIR = `SELECT h.oid::text AS oid FROM pg_roles h WHERE ${isNamed('h', '$1')}`
