import { createHash } from 'node:crypto'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { definition as aws } from '../../../functions/providers/aws-iam/definition.ts'
import type { Clue, Definition } from '../../../functions/providers/contract.ts'
import { definition as oauth } from '../../../functions/providers/oauth/definition.ts'
import { definition as postgresql } from '../../../functions/providers/postgresql/definition.ts'
import { looksRandom } from '../../../functions/providers/shape.ts'
import { mac } from '../../support/mac.ts'

const read = ({ recognise }: Pick<Definition, 'recognise'>, text: string): Clue | undefined => recognise?.(text, mac)
const inAws = (text: string) => read(aws, text)
const inOauth = (text: string) => read(oauth, text)
const inPostgresql = (text: string) => read(postgresql, text)

const KEY = 'AKIAIOSFODNN7EXAMPLE'
const SECRET_KEY = 'wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY'
const OPAQUE = 'R9cWcY5k1bq0Jm0dUe3TnVx2LzAfHg7o-Qp4sKtNi_8'
const JWT = `eyJhbGciOiJSUzI1NiJ9.${Buffer.from('{"sub":"ci","exp":1}').toString('base64url')}.${'c2lnbmF0dXJl'.repeat(4)}`

const password = fc.oneof(
  fc.string({ minLength: 6, maxLength: 40 }),
  fc.stringMatching(/^[A-Za-z0-9!#$%&*+,./:;<=>?@^_~-]{6,40}$/),
  fc.stringMatching(/^[a-z]{3}@[a-z]{3}[/:@?#'" &=][a-z]{4}$/),
)

describe('aws-iam recognises', () => {
  it.each([
    ['alone', KEY],
    ['with blanks around', `  ${KEY}\n`],
    ['in a credentials file', `[ci]\naws_access_key_id = ${KEY}\naws_secret_access_key = ${SECRET_KEY}\n`],
    ['in environment variables', `export AWS_ACCESS_KEY_ID="${KEY}"\nexport AWS_SECRET_ACCESS_KEY="${SECRET_KEY}"`],
    ['in JSON, twice', JSON.stringify({ AccessKeyId: KEY, copy: KEY, SecretAccessKey: SECRET_KEY })],
    [
      'in a signed request',
      `Authorization: AWS4-HMAC-SHA256 Credential=${KEY}/20261122/eu-central-1/s3/aws4_request, Signature=0f`,
    ],
    [
      'in a presigned address',
      `https://b.s3.amazonaws.com/x?X-Amz-Credential=${KEY}%2F20261122%2Feu-central-1&X-Amz-Signature=0f`,
    ],
  ])('an access key %s', (_where, text) => {
    expect(inAws(text)).toEqual({ credential: `access-key:${KEY}`, shown: `access key ${KEY}`, query: { accessKeyId: KEY } })
  })

  it.each([
    ['two keys at once', `${KEY} ${KEY.replace('7', '8')}`],
    ['a key of a session', KEY.replace('AKIA', 'ASIA')],
    ['a user by its ARN: that is an identity', 'arn:aws:iam::123456789012:user/ci'],
    ['a key that is part of a word', `x${KEY}`],
    ['a secret key alone', SECRET_KEY],
    ['a short one', 'AKIA123'],
    ['small letters', KEY.toLowerCase()],
  ])('not %s', (_what, text) => {
    expect(inAws(text)).toBeUndefined()
  })

  it("a role's session by its principal id, with the role's name where an ARN tells it", () => {
    const id = 'AROA00000000000000001'
    expect(inAws(`${id}:job-7`)).toMatchObject({
      credential: `role-session:${id}:job-7`,
      query: { roleId: id, sessionName: 'job-7' },
    })
    const arn = 'arn:aws:sts::123456789012:assumed-role/app/job-7'
    expect(inAws(`{"principalId":"${id}:job-7","arn":"${arn}"}`)?.query).toEqual({
      roleId: id,
      sessionName: 'job-7',
      roleName: 'app',
    })
    expect(inAws(`{"principalId":"${id}:job-7","arn":"${arn}8"}`)?.query).toEqual({ roleId: id, sessionName: 'job-7' })
    expect(inAws(arn)).toBeUndefined()
    expect(inAws(`${id}:job-7 ${id}:job-8`)).toBeUndefined()
    expect(aws.credential({ kind: 'role-session', roleName: 'app', roleId: id, sessionName: 'job-7' }, undefined, mac)).toBe(
      inAws(`${id}:job-7`)?.credential,
    )
  })
})

describe('oauth recognises', () => {
  it.each([
    ['an opaque token', OPAQUE, OPAQUE],
    ['in quotes', ` "${OPAQUE}"\n`, OPAQUE],
    ['behind its scheme', `Authorization: Bearer ${OPAQUE}`, OPAQUE],
    ['a JWT', JWT, JWT],
    ['a JWT behind its scheme', `bearer ${JWT}`, JWT],
    ['one with a prefix of its issuer', 'glpat-x7Tq2Lm9Zc4Vb1Nk8WsP', 'glpat-x7Tq2Lm9Zc4Vb1Nk8WsP'],
    ['a UUID', '3f2b7a90-5c1e-4d88-9e0a-6b1f2c3d4e5f', '3f2b7a90-5c1e-4d88-9e0a-6b1f2c3d4e5f'],
  ])('%s', (_what, text, token) => {
    const clue = inOauth(text)
    expect(clue?.credential).toBe(oauth.credential({ tokenType: 'access_token' }, { token }, mac))
    expect(clue?.query).toEqual({})
    expect(JSON.stringify(clue)).not.toContain(token.slice(0, 8))
  })

  it.each([
    'hello',
    'password123',
    'S3cretPassw0rd!',
    'internationalization',
    'a-very-long-service-name-2026-production',
    'InternationalizationConfigurationManager',
    'db-production-7.internal.example.com',
    '/var/lib/postgresql/15/main/pg_hba.conf',
    'https://idp.example.com/oauth2/token',
    'arn:aws:iam::123456789012:user/ci',
    'spiffe://example.org/ci/build',
    '2026-11-22T10:00:00.000Z',
    KEY,
    'AKIA2B3C4D5E6F7G2H3J',
    `${KEY} ${OPAQUE}`,
    'postgres://app:x@db.example/app',
    'two words and a number 42',
    '{"access_token":1}',
  ])('not %s', (text) => {
    expect(inOauth(text)).toBeUndefined()
  })

  it('no single word under 20 characters', () => {
    fc.assert(
      fc.property(fc.stringMatching(/^\S{0,19}$/), (word) => {
        expect(inOauth(word)).toBeUndefined()
      }),
    )
  })

  it('every token of 32 random bytes, in hexadecimal and in base64', () => {
    fc.assert(
      fc.property(
        // Through a hash, since bytes that a property draws are often alike, small or zero.
        fc.string().map((text) => createHash('sha256').update(text).digest()),
        fc.constantFrom('hex', 'base64url', 'base64'),
        (bytes, encoding) => {
          expect(inOauth(bytes.toString(encoding))).toBeDefined()
        },
      ),
      { numRuns: 300 },
    )
  })
})

describe('postgresql recognises', () => {
  const query = (text: string) => inPostgresql(text)?.query
  it.each([
    ['postgres://app:pw@db.example/orders', { role: 'app', host: 'db.example' }],
    ['postgresql://app:pw@DB.Example:5433/orders?sslmode=require', { role: 'app', host: 'db.example', port: '5433' }],
    ['DATABASE_URL="postgres://app:p%40ss%2Fword@db/orders"', { role: 'app', host: 'db' }],
    ['postgres://app@[::1]:5432/orders', { role: 'app', host: '::1', port: '5432' }],
    ['postgres://my%20role:pw@db/x', { role: 'my role', host: 'db' }],
    ['postgres://app%40srv:pw@db/x', { role: 'app@srv', host: 'db' }],
    ['jdbc:postgresql://db:5432/orders?user=app&password=pw', { role: 'app', host: 'db', port: '5432' }],
    ['postgres://db/orders?password=a@b&user=app', { role: 'app' }],
    ['postgres://app:p@ss@db/x', { role: 'app' }],
    ['postgres://app:pa/ss@db/x', { role: 'app', host: 'db' }],
    ['postgres://app:pw@one,two/x', { role: 'app' }],
    ["host=db port=5433 dbname=orders user=app password='it\\'s user=x'", { role: 'app', host: 'db', port: '5433' }],
    ['dbname=orders user=app', { role: 'app' }],
    ['export PGHOST=db\nexport PGUSER=app\nexport PGPASSWORD="p w"\n', { role: 'app', host: 'db' }],
    ["psql 'postgres://app:pw@db/x'", { role: 'app', host: 'db' }],
    ["postgres://app:it's@db/x", { role: 'app', host: 'db' }],
    ['role app', { role: 'app' }],
    ['role:app', { role: 'app' }],
    ['role My "odd" Role', { role: 'My "odd" Role' }],
    ['billing', { role: 'billing' }],
    [' app_v2_ro\n', { role: 'app_v2_ro' }],
  ])('%s', (text, expected) => {
    expect(query(text)).toEqual(expected)
    expect(inPostgresql(text)?.credential).toBe(postgresql.credential({ role: expected.role }, undefined, mac))
  })

  it.each([
    ['a host without a role', 'postgres://db.example:5432/orders'],
    ['no name at all', 'postgres://:pw@db/x'],
    ['two roles at once', 'postgres://a:x@db/x postgres://b:x@db/x'],
    ['broken encoding', 'postgres://%zz:pw@db/x'],
    ['a name that is too long', `postgres://${'x'.repeat(64)}:pw@db/x`],
    ['a NUL', 'postgres://a%00b:pw@db/x'],
    ['what a MySQL client keeps', '[client]\nuser=app\npassword=pw\nhost=db\n'],
    ['words', 'the role was app'],
    ['a password', 'S3cretPassw0rd'],
    ['a password of small letters and digits', 'tr0ub4dor3x'],
    ['a token', OPAQUE],
    ['an access key', KEY],
    ['an address', 'https://db.example/'],
  ])('not %s', (_what, text) => {
    expect(inPostgresql(text)).toBeUndefined()
  })

  it('says which of several servers a connection string is of', () => {
    const settings = (host: string, port: number) =>
      postgresql.settings.parse({ host, port, database: 'x', system: '1', tls: { mode: 'disable' } })
    const { query: asked = {} } = inPostgresql('postgres://app:pw@DB.example/x') ?? {}
    expect(postgresql.meant?.(asked, settings('db.Example', 5432))).toBe(true)
    expect(postgresql.meant?.(asked, settings('db.example', 5433))).toBe(false)
    expect(postgresql.meant?.(asked, settings('other.example', 5432))).toBe(false)
    expect(postgresql.meant?.({ role: 'app' }, settings('db.example', 5432))).toBe(false)
  })

  it('nothing of a password that stands in a connection string, encoded or not', () => {
    const role = fc.constantFrom('app', 'Odd "role"', 'svc@corp')
    const place = fc.constantFrom('db.example', '10.0.0.7:5432')
    fc.assert(
      fc.property(
        role,
        password,
        place,
        fc.constantFrom('uri', 'raw uri', 'keywords', 'raw parameter'),
        (who, secret, where, form) => {
          const user = encodeURIComponent(who)
          const quoted = secret.replaceAll('\\', '\\\\').replaceAll("'", "\\'")
          const text = {
            uri: `postgres://${user}:${encodeURIComponent(secret)}@${where}/orders`,
            'raw uri': `postgres://${user}:${secret}@${where}/orders`,
            keywords: `dbname=orders user='${who}' password='${quoted}' host=db.example`,
            'raw parameter': `postgres://${where}/orders?user=${user}&password=${secret}`,
          }[form]
          const clue = inPostgresql(text)
          if (form === 'uri' || form === 'keywords') expect(clue?.query.role).toBe(who)
          if (clue === undefined) return
          // A raw password may break the text apart; what is read must be the role and the host or nothing.
          expect(clue.query.role).toBe(who)
          expect(['db.example', '10.0.0.7', undefined]).toContain(clue.query.host)
          expect(Object.keys(clue.query).toSorted().join()).toMatch(/^(host,)?(port,)?role$/)
        },
      ),
      { numRuns: 2000 },
    )
  })
})

describe('every recogniser', () => {
  const all: readonly Pick<Definition, 'recognise'>[] = [aws, oauth, postgresql]

  it('answers for any text, and with plain words', () => {
    const fragment = fc.oneof(
      fc.string({ unit: 'binary', maxLength: 60 }),
      fc.constantFrom(
        KEY,
        OPAQUE,
        'postgres://',
        'user=',
        "'",
        '"',
        '\\',
        '@',
        ':',
        'AROA00000000000000001:x',
        'role ',
        '?user=',
        '%',
      ),
    )
    fc.assert(
      fc.property(fc.array(fragment, { maxLength: 12 }), (parts) => {
        for (const { recognise } of all) {
          const clue = recognise?.(parts.join(''), mac)
          for (const value of Object.values(clue?.query ?? {})) expect(typeof value).toBe('string')
        }
      }),
      { numRuns: 150 },
    )
  }, 30_000)

  it('is done with 16 KB of anything at once', () => {
    const repeated = [
      "user='",
      'user=\\',
      'postgres://',
      'postgres://a:b@',
      'AKIA',
      'AROA0000000000000:',
      'eyJ.',
      'a',
      'aA1',
      '\\',
      '"',
      "'",
      ' ',
      '@',
      'role ',
      ':assumed-role/a/',
      'PGUSER="\\"',
    ]
    const started = performance.now()
    for (const piece of repeated) {
      const text = piece.repeat(Math.ceil(16_384 / piece.length)).slice(0, 16_384)
      for (const { recognise } of all) recognise?.(text, mac)
    }
    expect(performance.now() - started).toBeLessThan(10_000)
  }, 30_000)

  it('keeps a name and a token apart: what one takes for its secret, no other shows', () => {
    fc.assert(
      fc.property(fc.stringMatching(/^[A-Za-z0-9_-]{20,60}$/), (text) => {
        if (inOauth(text) === undefined) return
        expect(inPostgresql(text)).toBeUndefined()
        expect(inAws(text)).toBeUndefined()
      }),
      { numRuns: 1000 },
    )
    expect(looksRandom('reporting_production_2026')).toBe(false)
  })
})
