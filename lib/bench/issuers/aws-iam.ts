import { CreateAccessKeyCommand, CreateUserCommand, IAMClient, UpdateAccessKeyCommand } from '@aws-sdk/client-iam'
import type { Lever, Target } from '../../../functions/providers/aws-iam/definition.ts'
import { Settings } from '../../../functions/providers/aws-iam/definition.ts'
import { provider as module } from '../../../functions/providers/aws-iam/provider.ts'
import { startMiniStack } from '../../../test/support/ministack.ts'
import type { IssuerBench } from './contract.ts'

/** Users and keys that are asked for at once while they are made. */
const AT_ONCE = 10

export const issuer: IssuerBench<Target, undefined, Lever, Settings> = {
  module,
  // Its packages are installed by the start: whether that works is known only then.
  missing: () => undefined,
  async start() {
    const stack = await startMiniStack()
    if (stack === undefined) throw new Error('MiniStack does not start: see above')
    const { endpoint, region, account, rootCredentials } = stack
    const iam = new IAMClient({ endpoint, region, credentials: rootCredentials })
    let made = 0
    return {
      counterpart: 'MiniStack 1.5.33, with IAM enforced',
      most: 200,
      adminSecret: JSON.stringify(rootCredentials),
      port: Number(new URL(endpoint).port),
      reached: (port) => ({
        settings: Settings.parse({ account, region }),
        environment: { AWS_ENDPOINT_URL: `http://127.0.0.1:${port}` },
      }),
      async mint(count) {
        const targets: Target[] = []
        const places = Array.from({ length: count }, () => {
          made += 1
          return `bench-${made}`
        }).values()
        const one = async () => {
          for (const userName of places) {
            const { User: user } = await iam.send(new CreateUserCommand({ UserName: userName }))
            const { AccessKey: key } = await iam.send(new CreateAccessKeyCommand({ UserName: userName }))
            const [userId, accessKeyId] = [user?.UserId ?? '', key?.AccessKeyId ?? '']
            targets.push({ kind: 'access-key', userName, userId, accessKeyId })
          }
        }
        await Promise.all(Array.from({ length: AT_ONCE }, one))
        return targets.map((target) => ({ lease: JSON.stringify(target), target }))
      },
      async loop(subjects) {
        for (const { target } of subjects) {
          if (target.kind !== 'access-key') throw new Error('only keys are minted here')
          const { userName: UserName, accessKeyId: AccessKeyId } = target
          await iam.send(new UpdateAccessKeyCommand({ UserName, AccessKeyId, Status: 'Inactive' }))
        }
      },
      looped: 'UpdateAccessKey Inactive',
      async stop() {
        iam.destroy()
        await stack.stop()
      },
    }
  },
}
