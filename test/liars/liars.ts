import type { Credential, Faults, Harness } from '../conformance/suite.ts'
import { conformance } from '../conformance/suite.ts'
import type { Account, Lever, Lie, Settings, Target } from './model.ts'
import { LIES, Model } from './model.ts'

/** The suite over an honest provider, and over each that lies: run by test/infra/liars.test.ts, which looks at what failed. */

function harness(model: Model): Harness<Target, never, Lever, Settings> {
  let serial = 0
  const next = (what: string) => {
    serial += 1
    return `${what}-${serial}`
  }
  const credential = (account: Account, password = account.password): Credential<Target, never> => ({
    subject: { lease: account.id, target: { name: account.name, id: account.id } },
    secrets: [password],
    works: async () => model.works(account, password),
    async open() {
      account.sessions += 1
      return { alive: async () => account.sessions > 0, close: async () => undefined }
    },
  })
  const set = (fault: Model['fault']) => async () => {
    model.fault = fault
  }
  const faults: Faults = {
    ...{ down: set('down'), hang: set('hang'), other: set('other'), nonsense: set('nonsense'), heal: set('none') },
    async throttled() {
      model.fault = 'throttled'
      return 7
    },
  }
  return {
    issuer: { name: 'model', settings: { server: 'model' } },
    adminSecret: JSON.stringify(model.admin),
    wrongSecret: JSON.stringify({ password: 'wrong-password' }),
    faults,
    repeated: 'revoked',
    mint: async ({ name, lever } = {}) =>
      credential(model.make(name ?? next('account'), lever === undefined ? {} : { team: lever.team })),
    neverExisted: () => ({ subject: { lease: 'never', target: { name: 'never', id: 'id-none' } }, status: 'absent' }),
    poison: async () => ({ subject: credential(model.make(next('root'), { superior: true })).subject, status: 'irrevocable' }),
    async replace({ subject: { target } }) {
      model.accounts.delete(target.id ?? '')
      return credential(model.make(target.name))
    },
    hostileNames: [`'; DROP TABLE x`, '日本', 'a*b'],
    named: (name) => ({ lease: 'named', target: { name } }),
    pasted: ({ subject, secrets: [password = 'unknown'] }) => [`model://${subject.target.name}:${password}@`],
    lever: async () => ({ team: next('team') }),
    grants: {},
    use({ target, credential: { password = '' } }) {
      const account = model.accounts.get(target.id ?? '')
      if (account === undefined) throw new Error('it was not minted')
      return credential(account, password)
    },
    stop: async () => undefined,
  }
}

const EXTRAS = ['poison', 'replace', 'throttled', 'nonsense', 'named'] as const
for (const lie of [undefined, ...(Object.keys(LIES) as Lie[])]) {
  const model = new Model(lie)
  conformance(
    model.module,
    { against: 'fake', counterpart: 'nothing that exists', title: lie ?? 'honest' },
    async () => harness(model),
    EXTRAS,
  )
}

const unstarted = async () => Promise.reject(new Error('it is started though it is missing'))
for (const runs of ['always', 'long'] as const)
  conformance(
    new Model().module,
    { against: 'real', counterpart: 'a server that is not here', title: `missing ${runs}`, missing: 'nobody installed it', runs },
    unstarted,
    EXTRAS,
  )
