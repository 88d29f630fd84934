import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { catalog } from '../../../functions/providers/catalog.ts'
import { urisIn } from '../../../functions/providers/connection-uri.ts'
import type { Clue } from '../../../functions/providers/contract.ts'
import { mac } from '../../support/mac.ts'

/** The schemes of each provider that reads connection strings, and the key of its query that holds the name. */
const READERS = {
  postgresql: { schemes: ['postgres', 'postgresql', 'POSTGRES', 'jdbc:postgresql'], key: 'role' },
  mysql: { schemes: ['mysql', 'mariadb', 'mysqlx', 'mysql+pymysql', 'jdbc:mysql'], key: 'user' },
  redis: { schemes: ['redis', 'rediss', 'valkey'], key: 'user' },
  rabbitmq: { schemes: ['amqp', 'amqps'], key: 'user' },
} as const
const provider = fc.constantFrom('postgresql', 'mysql', 'redis', 'rabbitmq')
const read = (name: string, text: string): Clue | undefined => catalog[name]?.recognise?.(text, mac)

/** Everything but letters, digits, `-`, `.`, `_` and `~` (RFC 3986, section 2.3). */
const encoded = (text: string) =>
  encodeURIComponent(text).replaceAll(/[!'()*]/g, (sign) => `%${sign.charCodeAt(0).toString(16).toUpperCase()}`)

const name = fc.oneof(
  fc.constantFrom('app', 'svc@corp', 'odd:role', 'a/b', '100%', 'größe', 'o\'brien"', 'x?user=y'),
  fc.stringMatching(/^[a-z][a-z0-9_-]{0,20}$/),
)
const host = fc.constantFrom('db.example', '10.0.0.7', '[2001:db8::1]', 'DB_1.Example')
const port = fc.constantFrom('', ':6543')

/** What tempts a reader that looks for names: a raw password in which the like of a name stands. */
const bait = fc.constantFrom(
  ...['@', ':', '/', '?', '#', '%', '&', '=', "'", '"', '`', '<', '>', '\\', ' ', '\n', '%40', '%zz', '%00', '\0', ',', ';'],
  ...[
    '?user=evil',
    '&user=evil',
    'user=evil',
    'PGUSER=evil',
    'dbname=evil',
    ' -u evil ',
    ' --user evil',
    '/x?user=evil',
    '//evil:',
  ],
  ...[
    "' OR 1=1 --",
    "'; DROP TABLE users; --",
    '$(rm -rf /)',
    '`id`',
    '${HOME}',
    '|| true',
    '\u202e',
    'ключ',
    '密码',
    '😀',
    '@evil',
    '@evil:1',
  ],
  ...['role evil', 'mysql user evil', 'redis://evil:x', 'postgres://evil', '[::1]', '1234', '5432/'],
)
const password = fc
  .oneof(
    fc.string({ minLength: 4, maxLength: 30 }),
    fc.string({ unit: 'binary', minLength: 4, maxLength: 20 }),
    fc
      .array(fc.oneof(bait, fc.stringMatching(/^[a-zA-Z0-9]{1,8}$/)), { minLength: 1, maxLength: 6 })
      .map((parts) => parts.join('')),
  )
  .filter((text) => text.isWellFormed())

/** What ends a connection string: behind it a password cannot be told from the text around. */
const isWhole = (raw: string) => !/[\s"`<>']/.test(raw)
/** `app:5432/...` is a host and a port (RFC 3986, section 3.2), and so is `app:5432` before a blank. */
const isLikePort = (raw: string) => /^\d{1,5}[/\s"`<>']/.test(raw)

/** What may stand around a connection string, without a name of its own in it. */
const around = fc.constantFrom(
  ['', ''],
  ['DATABASE_URL=', '\nLOG_LEVEL=debug\n'],
  ['export URL="', '"'],
  ["cli '", "' --verbose"],
  ['<', '>'],
  ['{"url":"', '","retries":3}'],
  ['cannot connect to ', ' (time-out)'],
  ['say it to ops@corp.example: ', ' leaked'],
)

/** Whatever any provider takes a text for: what it says must be what is no secret. */
function expectNothingElse(text: string, known: readonly string[]): void {
  for (const [provider, { recognise }] of Object.entries(catalog)) {
    const clue = recognise?.(text, mac)
    for (const [key, value] of Object.entries(clue?.query ?? {})) expect(known, `${provider}: ${key}`).toContain(value)
  }
}

const bare = (authority: string) => authority.toLowerCase().replaceAll(/[[\]]/g, '')

describe('a connection string', () => {
  it('in standard form is found, whatever the password is and what stands around it', () => {
    fc.assert(
      fc.property(
        provider,
        fc.nat(),
        name,
        password,
        host,
        port,
        around,
        (who, nth, user, secret, at, behind, [before, after]) => {
          const { schemes, key } = READERS[who]
          const text = `${before}${schemes[nth % schemes.length]}://${encoded(user)}:${encoded(secret)}@${at}${behind}/0${after}`
          const { query } = read(who, text) ?? {}
          expect(query?.[key]).toBe(user)
          // An address elsewhere in the text leaves a doubt.
          expect(query?.['host']).toBe(text.split('@').length > 2 ? undefined : bare(at))
          expectNothingElse(text, [user, bare(at), behind.slice(1)])
        },
      ),
      { numRuns: 1500 },
    )
  })

  it('whose password is not encoded gives out nothing of the password', () => {
    fc.assert(
      fc.property(
        provider,
        fc.nat(),
        name,
        password,
        host,
        port,
        around,
        (who, nth, user, secret, at, behind, [before, after]) => {
          fc.pre((isWhole(secret) || !secret.includes('@')) && !isLikePort(secret))
          const { schemes } = READERS[who]
          const text = `${before}${schemes[nth % schemes.length]}://${encoded(user)}:${secret}@${at}${behind}/0${after}`
          expectNothingElse(text, [user, bare(at), behind.slice(1)])
        },
      ),
      { numRuns: 1500 },
    )
  })

  it('with the user among its parameters gives out that one alone', () => {
    const order = fc.constantFrom('user first', 'password first')
    fc.assert(
      fc.property(
        fc.constantFrom('postgresql', 'mysql'),
        name,
        password,
        host,
        port,
        order,
        fc.boolean(),
        (who, user, secret, at, behind, first, raw) => {
          fc.pre(!raw || isWhole(secret))
          const said = [`user=${encoded(user)}`, `password=${raw ? secret : encoded(secret)}`]
          const text = `jdbc:${who}://${at}${behind}/orders?${(first === 'user first' ? said : said.toReversed()).join('&')}`
          if (!raw) expect(read(who, text)?.query[READERS[who].key]).toBe(user)
          expectNothingElse(text, [user, bare(at), behind.slice(1)])
        },
      ),
      { numRuns: 1500 },
    )
  })

  it.each([
    ['postgres://app:p?user=evil@db/x'],
    ['postgres://app:p?user=evil x@db/x'],
    ['postgres://app:1234?user=evil x@db/x'],
    ['postgres://app:1234?user=evil@db/x'],
    ['postgres://:p?user=evil@db/x'],
    ['postgres://app:p&x?a=b&user=evil@db/x'],
    ['mysql://app:PGUSER=evil@db/x'],
    ['redis://app:dbname=evil&user=evil@db/x'],
    ['amqp://app:x@evil/y@db'],
    ['postgres://app:redis://evil:x@db/x'],
    ['mysql://app:x y PGUSER=evil@db/x'],
    ['redis://app:x redis://evil:y@db/0'],
  ])('%s: its password names nobody', (text) => {
    expectNothingElse(text, ['app', 'db'])
  })

  it('is told apart from the next one, and keeps its own quotes', () => {
    const uris = urisIn("x='postgres://a:it@h1' postgres://b:it's@h2:05/x?user=c", /postgres$/)
    expect(uris.map(({ userinfo, name, place }) => ({ userinfo, name, place }))).toEqual([
      { userinfo: 'a:it', name: 'a', place: {} },
      { userinfo: "b:it's", name: 'b', place: {} },
    ])
    expect(urisIn('postgres://b@h2:05/x?USER=c', /postgres$/).map(({ place, parameter }) => [place, parameter('user')])).toEqual([
      [{ host: 'h2', port: '5' }, 'c'],
    ])
  })
})
