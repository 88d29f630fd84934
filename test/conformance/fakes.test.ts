import type {
  Secret as OAuthSecret,
  Settings as OAuthSettings,
  Target as OAuthTarget,
} from '../../functions/providers/oauth/definition.ts'
import { FakeOAuth } from '../../functions/providers/oauth/fake.ts'
import type { Target } from '../../functions/providers/postgresql/definition.ts'
import { FakePostgresql } from '../../functions/providers/postgresql/fake.ts'
import type { Faults } from './suite.ts'
import { conformance } from './suite.ts'

/** The fakes behave like the real issuers: they pass the same suite. */

function faultsOf(fake: { fault: 'none' | 'down' | 'refused' | 'other' | 'throttled' }): Faults {
  const set = (fault: 'none' | 'down' | 'other') => async () => {
    fake.fault = fault
  }
  return {
    down: set('down'),
    // Nothing in memory hangs or babbles: either is what the provider makes of it, no answer.
    hang: set('down'),
    nonsense: set('down'),
    other: set('other'),
    async throttled() {
      fake.fault = 'throttled'
      return 7
    },
    heal: set('none'),
  }
}

const postgresql = new FakePostgresql()
conformance(
  postgresql.module,
  { against: 'fake', counterpart: 'the documentation of PostgreSQL 18, and what the embedded one does' },
  async () => {
    let serial = 0
    const name = () => {
      serial += 1
      return `role_${serial}`
    }
    const mint = async (options: { name?: string; lever?: { memberOf: string }; superuser?: boolean } = {}) => {
      const { lever, superuser = false } = options
      const role = postgresql.create(options.name ?? name(), { superuser, memberOf: lever === undefined ? [] : [lever.memberOf] })
      return credentialOf({ role: role.name, oid: role.oid }, [])
    }
    const credentialOf = (target: Target, secrets: readonly string[]) => {
      const oid = target.oid ?? ''
      const role = postgresql.find(target)
      if (role === undefined) throw new Error('no such role')
      return {
        subject: { lease: oid, target },
        secrets,
        async works() {
          if (!postgresql.login(oid)) return false
          role.sessions -= 1
          return true
        },
        async open() {
          postgresql.login(oid)
          return { alive: async () => role.sessions > 0, close: async () => undefined }
        },
      }
    }
    const readers = name()
    postgresql.create(readers, { login: false })
    return {
      issuer: { name: 'db', settings: postgresql.settings({ grantable: [readers] }) },
      grants: { memberOf: [readers] },
      use: ({ target, credential: { password = '' } }) => credentialOf(target, [password]),
      adminSecret: JSON.stringify(postgresql.admin),
      wrongSecret: JSON.stringify({ user: 'rescind', password: 'wrong-password' }),
      faults: faultsOf(postgresql),
      repeated: 'revoked',
      pasted: ({ subject: { target } }) => [`postgres://${encodeURIComponent(target.role)}:x@db.fake/app`, `role ${target.role}`],
      mint,
      named: (role) => ({ lease: 'named', target: { role } }),
      neverExisted: () => ({ subject: { lease: 'never', target: { role: 'never', oid: '4000000000' } }, status: 'absent' }),
      poison: async () => ({ subject: (await mint({ superuser: true })).subject, status: 'irrevocable' }),
      replace: async ({ subject: { target } }) => {
        postgresql.drop(target.oid ?? '')
        return await mint({ name: target.role })
      },
      hostileNames: [`'; DROP ROLE "x"`, '日本', ' padded '],
      lever: async () => {
        const memberOf = name()
        postgresql.create(memberOf, { login: false })
        return { memberOf }
      },
      stop: async () => undefined,
    }
  },
  ['poison', 'replace', 'named', 'nonsense', 'throttled'],
)

const oauth = new FakeOAuth()
conformance<OAuthTarget, OAuthSecret, never, OAuthSettings>(
  oauth.module,
  {
    against: 'fake',
    counterpart: 'RFC 7009, RFC 7662 and RFC 8414',
    lacks: {
      poison: 'any token may be revoked by whoever may revoke at all',
      namesake: 'a token is its own name: none comes after it',
    },
  },
  async () => ({
    issuer: { name: 'idp', settings: oauth.settings() },
    adminSecret: JSON.stringify(oauth.admin),
    wrongSecret: JSON.stringify({ clientId: 'rescind', clientSecret: 'wrong-secret' }),
    faults: faultsOf(oauth),
    repeated: 'absent',
    pasted: ({ secrets: [token] }) => [`${token}`, `Authorization: Bearer ${token}`],
    mint: async () => {
      const { token } = oauth.issue('refresh_token')
      const target = { tokenType: 'refresh_token' as const }
      return { subject: { lease: token, target, secret: { token } }, secrets: [token], works: async () => oauth.honours(token) }
    },
    named: (token) => ({ lease: 'named', target: { tokenType: 'refresh_token' }, secret: { token } }),
    neverExisted: () => ({
      subject: { lease: 'never', target: { tokenType: 'refresh_token' }, secret: { token: 'never' } },
      status: 'absent',
    }),
    stop: async () => undefined,
  }),
  ['named', 'nonsense', 'throttled'],
)
