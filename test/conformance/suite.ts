import { inspect } from 'node:util'
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest'
import type { ProviderModule } from '../../functions/providers/contract.ts'
import type { Property } from '../../lib/conformance/properties.ts'
import { PROPERTIES } from '../../lib/conformance/properties.ts'
import type { Against } from '../../lib/conformance/results.ts'
import { cutting } from './suite/cutting.ts'
import { failing } from './suite/failing.ts'
import { finding } from './suite/finding.ts'
import type { About, Credential, Extra, Harness } from './suite/harness.ts'
import { expectNoSecret, secretParts, tools } from './suite/harness.ts'
import type { Trial } from './suite/trial.ts'
import { recorded } from './suite/trial.ts'
import { undoing } from './suite/undoing.ts'

export { packageVersion } from '../../lib/local/issuers/versions.ts'
export type { Gate } from './suite/gate.ts'
export { startGate } from './suite/gate.ts'
export type { About, Credential, Faults, Harness, Minted, MintOptions, Nonsense, OpenSession } from './suite/harness.ts'
export { expectNoSecret, rejection, tools, WARRANT } from './suite/harness.ts'

/** How long a server may take to start on a machine that does much else. */
const START_SECONDS = { always: 120, long: 300 } as const

/** Which property an extra shows. */
const SHOWN_BY: Readonly<Record<Extra, Property>> = {
  poison: 'poison',
  replace: 'namesake',
  throttled: 'throttled',
  nonsense: 'nonsense',
  named: 'wild-names',
}

/** Whether a server that is missing is a failure: where the machine was made for it. The first of the two that says something. */
const required = () => {
  const [said = ''] = [process.env['RESCIND_REQUIRE_SERVERS'], process.env['CI']].filter((value) => (value ?? '') !== '')
  return !['', '0', 'false'].includes(said)
}

/**
 * Shows of a provider what every provider must show; `suite/harness.ts` says what it is given, `suite/properties.ts` what
 * it shows. `extras`: what the harness offers beyond what the definition claims.
 */
export function conformance<Target, Secret, Lever, Settings, Grants = unknown>(
  module: ProviderModule<Target, Secret, Lever, Settings, Grants>,
  about: About,
  start: () => Promise<Harness<Target, Secret, Lever, Settings, Grants>>,
  extras: readonly Extra[] = [],
): void {
  const { name } = module.definition
  const { against, counterpart, missing, title, lacks = {}, runs = 'always' } = about
  const behind = against === 'fake' ? `the fake: ${counterpart}` : counterpart
  const of: Against = {
    ...{ provider: name, against, counterpart, runs, lacks },
    ...(title === undefined ? {} : { title }),
    ...(missing === undefined ? {} : { missing }),
  }
  const skipped = missing !== undefined && !(runs === 'always' && required())
  if (missing !== undefined) {
    // Not the console's: whichever reporter runs, it is to be seen.
    process.stderr.write(
      `\n*** ${name}: NOT shown against ${counterpart}: ${missing}. \`npm run servers\` installs what can be had. ***\n\n`,
    )
  }

  describe.skipIf(skipped)(`${name}, ${behind}${title === undefined ? '' : `, ${title}`}`, () => {
    let harness: Harness<Target, Secret, Lever, Settings, Grants>
    const opened: { close(): Promise<void> }[] = []
    const said: unknown[] = []
    const secrets = new Set<string>()
    const sayOf = (id: Property) => PROPERTIES.find((property) => property.id === id)?.says ?? id

    const trial: Trial<Target, Secret, Lever, Settings, Grants> = {
      module,
      extras,
      get harness() {
        return harness
      },
      property(id, concerned, test) {
        if (!concerned || lacks[id] !== undefined) return
        it(`${id}: ${sayOf(id)}`, { meta: { conformance: { ...of, property: id } } }, async () => {
          if (broken !== undefined) throw broken
          await test()
        })
      },
      async connect(secret = harness.adminSecret) {
        const provider = await module.connect(harness.issuer, tools(secret, harness.environment)).catch((error: unknown) => {
          said.push(error)
          throw error
        })
        opened.push(provider)
        return recorded(provider, (answer) => said.push(answer))
      },
      mint: async (options) => trial.hold(await harness.mint(options)),
      hold(credential: Credential<Target, Secret>) {
        for (const secret of credential.secrets) secrets.add(secret)
        return credential
      },
      async open(credential) {
        const session = await credential.open?.()
        if (session !== undefined) opened.push(session)
        return session
      },
    }

    const logged: unknown[] = []
    // A hook that throws or takes too long would have its tests skipped: they are to fail.
    let broken: unknown
    const begin = async () => {
      if (missing !== undefined && !skipped)
        throw new Error(`${counterpart} is missing, and this machine must have it: ${missing}`)
      for (const level of ['debug', 'log', 'info', 'warn', 'error'] as const) {
        const original = console[level].bind(console)
        vi.spyOn(console, level).mockImplementation((...words: unknown[]) => {
          logged.push(words)
          original(...words)
        })
      }
      let timer: NodeJS.Timeout | undefined
      const late = new Promise<never>((_, fail) => {
        timer = setTimeout(
          () => fail(new Error(`${behind} was not ready in ${START_SECONDS[runs]} s`)),
          START_SECONDS[runs] * 1000,
        )
      })
      try {
        harness = await Promise.race([start(), late])
      } finally {
        clearTimeout(timer)
      }
    }
    beforeAll(async () => {
      await begin().catch((error: unknown) => {
        broken = error
      })
    }, 2000 * START_SECONDS[runs])
    afterEach(async () => {
      await harness?.faults.heal()
      await Promise.all(opened.splice(0).map((thing) => thing.close()))
    })
    afterAll(async () => {
      vi.restoreAllMocks()
      await harness?.stop()
    })

    cutting(trial)
    undoing(trial)
    finding(trial)
    failing(trial)

    // The last: it looks at all that was said in the others.
    trial.property('no-secret', true, async () => {
      expect(said.length).toBeGreaterThan(0)
      const text = [...said, ...logged].map((one) => inspect(one, { depth: null, maxArrayLength: null, maxStringLength: null }))
      expectNoSecret([...new Set(text)], [...secrets, ...secretParts(harness.adminSecret), ...secretParts(harness.wrongSecret)])
    })

    it('says why of each property that it lacks', { meta: { conformance: of } }, () => {
      const silent = Object.entries(SHOWN_BY).filter(
        ([extra, id]) => !extras.some((one) => one === extra) && lacks[id] === undefined,
      )
      expect(
        silent.map(([extra]) => extra),
        'neither among the extras, nor with a reason in lacks',
      ).toEqual([])
      for (const reason of Object.values(lacks)) expect(reason).toMatch(/\w+ \w+ \w+/)
    })
  })
}
