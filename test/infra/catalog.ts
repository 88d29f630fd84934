import * as z from 'zod/mini'
import type { Definition } from '../../functions/providers/contract.ts'

/** Made-up providers, so that what the stacks promise does not depend on which providers exist. */
const made = (name: string, change: Partial<Definition>): Definition => ({
  name,
  title: `Made-up ${name}`,
  target: z.unknown(),
  settings: z.unknown(),
  credential: () => name,
  capabilities: {
    tellsAbsent: true,
    verifies: true,
    containment: 'none',
    restores: false,
    tidies: false,
    choosesName: false,
    locates: false,
    issues: false,
    discovers: false,
    sessions: 'ended',
  },
  limits: { batch: 10, propagationSeconds: 1, callSeconds: 10, concurrency: 9 },
  serial: false,
  network: 'public',
  permissions: [],
  ...change,
})

export const madeUp: Readonly<Record<string, Definition>> = {
  // Its handles hold a secret; the others' do not.
  alpha: made('alpha', { secret: z.unknown() }),
  omega: made('omega', {
    serial: true,
    network: 'vpc',
    permissions: [
      {
        actions: ['iam:PutRolePolicy'],
        resources: ['arn:${partition}:iam::${account}:role/*'],
        reason: 'roles are known at run time only',
      },
    ],
  }),
  silent: made('silent', { permissions: [{ actions: ['s3:*'], resources: ['arn:aws:s3:::bucket'], reason: ' ' }] }),
}
