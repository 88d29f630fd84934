import type { Credential, Harness, MintOptions } from './harness.ts'

/** A server in memory whose users log in by name and password, with what may be wrong with it. */
interface FakeServer<Settings> {
  readonly admin: { readonly user: string; readonly password: string }
  fault: 'none' | 'down' | 'refused' | 'other' | 'throttled'
  settings(): Settings
  /** Nothing where the user cannot log in. */
  login(user: string, password: string): { alive(): boolean; close(): void } | undefined
}

interface Target {
  user: string
  tag?: string | undefined
}

interface Users {
  /** Of the names of users, as the server takes them. */
  readonly prefix: string
  /** @returns the mark of this incarnation */
  create(user: string, password: string): string
  drop(user: string): void
}

/** The part of a harness that is alike for all such servers. */
export function fakeLogins<Settings>(issuer: string, server: FakeServer<Settings>, { prefix, create, drop }: Users) {
  let serial = 0
  const credential = (target: Target, password: string): Credential<Target, never> => ({
    subject: { lease: 'lease', target },
    secrets: [password],
    async works() {
      const session = server.login(target.user, password)
      session?.close()
      return session !== undefined
    },
    async open() {
      const session = server.login(target.user, password)
      if (session === undefined) throw new Error('it does not log in')
      return { alive: async () => session.alive(), close: async () => session.close() }
    },
  })
  const mint = async ({ name }: MintOptions<never> = {}) => {
    serial += 1
    const [user, password] = [name ?? `${prefix}${serial}`, `password-of-${serial}`]
    return credential({ user, tag: create(user, password) }, password)
  }
  const set = (fault: typeof server.fault) => async () => {
    server.fault = fault
  }
  return {
    issuer: { name: issuer, settings: server.settings() },
    adminSecret: JSON.stringify(server.admin),
    wrongSecret: JSON.stringify({ user: server.admin.user, password: 'wrong-password' }),
    faults: {
      down: set('down'),
      // Nothing in memory hangs or babbles: either is what the provider makes of it, no answer.
      hang: set('down'),
      nonsense: set('down'),
      other: set('other'),
      async throttled() {
        server.fault = 'throttled'
        return undefined
      },
      heal: set('none'),
    },
    mint,
    use: ({ target, credential: { password = '' } }) => credential(target, password),
    async replace({ subject: { target } }) {
      drop(target.user)
      return await mint({ name: target.user })
    },
    stop: async () => undefined,
  } satisfies Partial<Harness<Target, never, never, Settings>>
}
