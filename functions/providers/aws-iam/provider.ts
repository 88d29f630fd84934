import type { Answer, Liveness, Provider, ProviderModule, Restored } from '../contract.ts'
import { openAccount } from './account.ts'
import type { IamClient } from './client.ts'
import { connectIam } from './client.ts'
import { levers } from './containment.ts'
import type { Lever, Settings, Target } from './definition.ts'
import { definition } from './definition.ts'
import { lister } from './discover.ts'
import type { AllWorks } from './holders.ts'
import { eachHolder, failedCut, failedLook, failedRestore } from './holders.ts'
import { keysOf } from './keys.ts'
import { accessKeyKind, userCredentialKind } from './kinds.ts'
import { locator } from './locate.ts'
import { passwords } from './passwords.ts'
import { roleSessions } from './sessions.ts'

/** Makes the provider over any client: the AWS SDK's, or the fake. `now` in milliseconds since 1970. */
export function createProvider(settings: Settings, iam: IamClient, now: () => number): Provider<Target, undefined, Lever> {
  const account = openAccount(settings, iam, now)
  const sessions = roleSessions(account)
  const works: AllWorks = {
    'access-key': keysOf(account, accessKeyKind(iam)),
    'ssh-key': keysOf(account, userCredentialKind(iam, 'ssh-key')),
    certificate: keysOf(account, userCredentialKind(iam, 'certificate')),
    'service-credential': keysOf(account, userCredentialKind(iam, 'service-credential')),
    'login-profile': passwords(account),
    'role-session': sessions,
    'source-identity': sessions,
  }
  return {
    revoke: (batch, warrant) => eachHolder<Answer>(account, batch, warrant, works, ({ revoke }) => revoke, failedCut),
    verify: (batch, warrant) => eachHolder<Liveness>(account, batch, warrant, works, ({ verify }) => verify, failedLook),
    tidy: (batch, warrant) => eachHolder<Answer>(account, batch, warrant, works, ({ tidy }) => tidy, failedCut),
    restore: (batch, warrant) => eachHolder<Restored>(account, batch, warrant, works, ({ restore }) => restore, failedRestore),
    ...levers(account),
    locate: locator(account),
    discover: lister(account),
    async close() {
      iam.close()
    },
  }
}

/** The same, once it is known that it acts in the right account. @throws IssuerError; the client is closed then */
export async function openProvider(
  settings: Settings,
  iam: IamClient,
  now: () => number,
): Promise<Provider<Target, undefined, Lever>> {
  try {
    await openAccount(settings, iam, now).caller()
  } catch (error) {
    iam.close()
    throw error
  }
  return createProvider(settings, iam, now)
}

export const provider: ProviderModule<Target, undefined, Lever, Settings> = {
  definition,
  connect: async (issuer, tools) =>
    openProvider(issuer.settings, await connectIam(issuer.name, issuer.settings, tools), () => tools.now()),
}
