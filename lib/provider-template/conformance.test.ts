import type { Faults, Harness } from '../../test/conformance/suite.ts'
import { conformance } from '../../test/conformance/suite.ts'
import type { Settings, Target } from './definition.ts'
import { FakeExampleIssuer } from './fake.ts'
import { provider as module } from './provider.ts'

function unfinished(what: string): never {
  throw new Error(`the tests of example-issuer: ${what} is not written yet`)
}

/** What this issuer cannot have, and why; what it can have goes into the list of extras instead. */
const LACKS = {}

/** The real server: `lib/local/issuers/` has ways to start one on loopback; a gate before it (`startGate`) makes the faults. */
async function real(): Promise<Harness<Target, never, never, Settings>> {
  return unfinished('the harness of the real server')
}

async function fake(): Promise<Harness<Target, never, never, Settings>> {
  const issuer = new FakeExampleIssuer()
  const set = (fault: FakeExampleIssuer['fault']) => async () => {
    issuer.fault = fault
  }
  const faults: Faults = {
    down: set('down'),
    // Nothing in memory hangs or babbles: either is what the provider makes of it, no answer.
    hang: set('down'),
    nonsense: set('down'),
    other: set('other'),
    async throttled() {
      issuer.fault = 'throttled'
      return 7
    },
    heal: set('none'),
  }
  return {
    issuer: { name: 'example', settings: issuer.settings() },
    adminSecret: JSON.stringify(issuer.admin),
    wrongSecret: JSON.stringify({ ...issuer.admin, password: 'wrong-password' }),
    faults,
    repeated: 'absent',
    mint: async () => unfinished('a credential of the fake'),
    named: (name) => ({ lease: 'named', target: { name } }),
    neverExisted: () => ({ subject: { lease: 'never', target: { name: 'never' } }, status: 'absent' }),
    stop: async () => undefined,
  }
}

conformance(module, { against: 'real', counterpart: 'the server and its version', lacks: LACKS }, real, ['nonsense', 'named'])
conformance(
  new FakeExampleIssuer().module,
  { against: 'fake', counterpart: 'the published description, and its version', lacks: LACKS },
  fake,
  ['nonsense', 'named', 'throttled'],
)
