import { MARKER_USER } from './names.ts'

/** Where the two servers keep what they tell in one language. Each statement that has `(?)` takes a list of names there. */
export interface Dialect {
  readonly name: 'MariaDB' | 'MySQL'
  /** `user`, `host`, `locked` (1 or 0), `role` (1 where it is no account but a role). */
  readonly accounts: string
  /** `user`, `host`, `role`: the roles of accounts. */
  readonly roles: string
  /** Names of accounts behind the one given, in the order of their bytes; how many stands behind it, as a number. */
  readonly page: string
  /** One row: `holders`, how many accounts have a role without being its admin. */
  readonly holders: string
  /** One row: `readonly` (0 or OFF where it is not), `marked` (above 0), `uuid`. $1 the marker. */
  readonly preflight: string
  /** Of a session: what the statements rely on. */
  readonly prepare: string
  /** Privileges on everything that a cut needs: one of each list. */
  readonly needs: readonly (readonly string[])[]
  /** The same, to see whatever names a user as its definer. */
  readonly sees: readonly (readonly string[])[]
}

const marked = (table: string) => `(SELECT COUNT(*) FROM ${table} WHERE User = '${MARKER_USER}' AND Host = ?)`

/** MariaDB 10.4 and later: its accounts are JSON, and `mysql.user` is a view that does not show all. */
const MARIADB: Dialect = {
  name: 'MariaDB',
  accounts: `SELECT User AS user, Host AS host, IFNULL(JSON_VALUE(Priv, '$.account_locked'), 0) AS locked,
                    IFNULL(JSON_VALUE(Priv, '$.is_role'), 0) AS role
               FROM mysql.global_priv WHERE User IN (?)`,
  roles: 'SELECT User AS user, Host AS host, Role AS role FROM mysql.roles_mapping WHERE User IN (?)',
  page: 'SELECT DISTINCT User AS user FROM mysql.global_priv WHERE User > ? ORDER BY User LIMIT',
  holders: "SELECT COUNT(*) AS holders FROM mysql.roles_mapping WHERE Role = ? AND Admin_option = 'N'",
  preflight: `SELECT @@GLOBAL.read_only AS readonly, ${marked('mysql.global_priv')} AS marked, NULL AS uuid`,
  // Without NO_AUTO_CREATE_USER a GRANT to an account that went meanwhile makes one that needs no password.
  prepare: "SET SESSION sql_mode = 'NO_AUTO_CREATE_USER', lock_wait_timeout = ",
  needs: [['CREATE USER'], ['PROCESS'], ['CONNECTION ADMIN', 'SUPER']],
  sees: [['SHOW VIEW'], ['TRIGGER'], ['EVENT']],
}

/** MySQL 8.0 and later. */
const MYSQL: Dialect = {
  name: 'MySQL',
  accounts: `SELECT User AS user, Host AS host, account_locked = 'Y' AS locked, 0 AS role FROM mysql.user WHERE User IN (?)`,
  roles: 'SELECT TO_USER AS user, TO_HOST AS host, FROM_USER AS role FROM mysql.role_edges WHERE TO_USER IN (?)',
  page: 'SELECT DISTINCT User AS user FROM mysql.user WHERE User > ? ORDER BY User LIMIT',
  holders: "SELECT COUNT(*) AS holders FROM mysql.role_edges WHERE FROM_USER = ? AND WITH_ADMIN_OPTION = 'N'",
  preflight: `SELECT @@GLOBAL.read_only AS readonly, ${marked('mysql.user')} AS marked, @@GLOBAL.server_uuid AS uuid`,
  prepare: "SET SESSION sql_mode = '', lock_wait_timeout = ",
  needs: [['CREATE USER'], ['PROCESS'], ['CONNECTION_ADMIN', 'SUPER'], ['ROLE_ADMIN', 'SUPER']],
  sees: [['SHOW VIEW'], ['TRIGGER'], ['EVENT'], ['SHOW_ROUTINE', 'SELECT']],
}

/** By `VERSION()`: MariaDB says its name there. */
export const dialectOf = (version: string): Dialect => (/mariadb/i.test(version) ? MARIADB : MYSQL)

/** Only that some names have sessions: upper and lower case and accents are the same to this table. */
export const SESSIONS = `SELECT ID AS id, USER AS user FROM information_schema.PROCESSLIST WHERE USER IN (?) AND ID <> CONNECTION_ID()`

/** Whatever runs with the rights of an account: `definer` is `user@host`, with no quotes. */
export const DEFINERS = `
  SELECT DEFINER AS definer, 'view' AS kind, COUNT(*) AS objects FROM information_schema.VIEWS GROUP BY DEFINER
  UNION ALL SELECT DEFINER, 'routine', COUNT(*) FROM information_schema.ROUTINES GROUP BY DEFINER
  UNION ALL SELECT DEFINER, 'trigger', COUNT(*) FROM information_schema.TRIGGERS GROUP BY DEFINER
  UNION ALL SELECT DEFINER, 'event', COUNT(*) FROM information_schema.EVENTS GROUP BY DEFINER`

export const CLUSTER = `SHOW GLOBAL STATUS LIKE 'wsrep_cluster_size'`
