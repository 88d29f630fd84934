import { join } from 'node:path'
import { encodeAccount } from '@nats-io/jwt'
import type { KeyPair } from '@nats-io/nkeys'
import { createAccount, createUser } from '@nats-io/nkeys'
import { connect, jwtAuthenticator } from '@nats-io/transport-node'
import type { Lever, Target } from '../../../functions/providers/nats/definition.ts'
import { Settings } from '../../../functions/providers/nats/definition.ts'
import { provider as module } from '../../../functions/providers/nats/provider.ts'
import { LIMITS, natsMissing, natsVersion, newOperator, startNats } from '../../local/issuers/nats.ts'
import type { IssuerBench } from './contract.ts'

const ISSUED = 1_764_547_200

/** Users are dates in their account's token: nothing has to be made at the server before one can be cut. */
export const issuer: IssuerBench<Target, never, Lever, Settings> = {
  module,
  missing: natsMissing,
  async start(folder) {
    const operator = await newOperator()
    const server = await startNats({ folder: join(folder, 'nats'), operator })
    const root = await connect({
      ...{ servers: `127.0.0.1:${server.port}`, reconnect: false, ignoreClusterUpdates: true },
      authenticator: jwtAuthenticator(operator.root.token, operator.root.key.getSeed()),
    })
    const push = async (token: string) => {
      const answer = (await root.request('$SYS.REQ.CLAIMS.UPDATE', token, { timeout: 10_000 })).string()
      if (!answer.includes('"code":200')) throw new Error(`the server does not take the account: ${answer.slice(0, 200)}`)
    }
    const tokenOf = (account: KeyPair, revocations: Readonly<Record<string, number>> = {}) =>
      encodeAccount('bench', account, { limits: LIMITS, revocations: { ...revocations } }, { signer: operator.rootSigner })
    const accounts = new Map<string, KeyPair>()
    const seed = (key: KeyPair) => Buffer.from(key.getSeed()).toString()
    return {
      counterpart: `NATS ${(await natsVersion()) ?? ''}`.trim(),
      adminSecret: JSON.stringify({
        userToken: operator.admin.token,
        userSeed: seed(operator.admin.key),
        signingSeed: seed(operator.signer),
      }),
      port: server.port,
      reached: (port) => ({
        settings: Settings.parse({
          ...{ host: '127.0.0.1', port, tls: { mode: 'disable' } },
          operator: operator.operator.getPublicKey(),
        }),
      }),
      async mint(count) {
        const account = createAccount()
        await push(await tokenOf(account))
        accounts.set(account.getPublicKey(), account)
        return Array.from({ length: count }, () => {
          const user = createUser().getPublicKey()
          return { lease: user, target: { account: account.getPublicKey(), user, issuedAt: ISSUED } }
        })
      },
      async loop(subjects) {
        const revoked: Record<string, Record<string, number>> = {}
        for (const { target } of subjects) {
          const key = accounts.get(target.account)
          if (key === undefined) throw new Error('an account that was not minted')
          const own = { ...revoked[target.account], [target.user]: ISSUED }
          revoked[target.account] = own
          await push(await tokenOf(key, own))
        }
      },
      looped: '$SYS.REQ.CLAIMS.UPDATE',
      async stop() {
        await root.close()
        await server.stop()
      },
    }
  },
}
