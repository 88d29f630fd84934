import type { Answer, Provider, ProviderModule, Restored, Subject, Warrant } from '../contract.ts'
import { openAccount } from './account.ts'
import type { IamClient } from './client.ts'
import { connectIam } from './client.ts'
import { levers } from './containment.ts'
import type { Lever, Settings, Target } from './definition.ts'
import { definition } from './definition.ts'
import { lister } from './discover.ts'
import { eachHolder, failedCut, failedLook, failedRestore } from './holders.ts'
import { accessKeys } from './keys.ts'
import { locator } from './locate.ts'
import { roleSessions } from './sessions.ts'

/** Makes the provider over any client: the AWS SDK's, or the fake. `now` in milliseconds since 1970. */
export function createProvider(settings: Settings, iam: IamClient, now: () => number): Provider<Target, undefined, Lever> {
  const account = openAccount(settings, iam, now)
  const keys = accessKeys(account)
  const sessions = roleSessions(account)
  const cut = (method: 'revoke' | 'tidy') => (batch: readonly Subject<Target>[], warrant: Warrant) =>
    eachHolder<Answer>(account, batch, warrant, keys[method], sessions[method], failedCut)
  return {
    revoke: cut('revoke'),
    verify: (batch, warrant) => eachHolder(account, batch, warrant, keys.verify, sessions.verify, failedLook),
    tidy: cut('tidy'),
    restore: (batch, warrant) => eachHolder<Restored>(account, batch, warrant, keys.restore, sessions.restore, failedRestore),
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
