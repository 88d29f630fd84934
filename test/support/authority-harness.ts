import type { Target } from '../../functions/providers/x509/definition.ts'
import { Settings } from '../../functions/providers/x509/definition.ts'
import type { LocalAuthority } from '../../lib/local/issuers/authority.ts'
import { newProvisioner, startRelyingParty } from '../../lib/local/issuers/authority.ts'
import type { Faults, Harness } from '../conformance/suite.ts'
import { startGate } from '../conformance/suite.ts'

const ONCE = 'an authority gives a serial once: no later certificate has the same one'
export const LACKS = {
  namesake: ONCE,
  poison: 'any number is a serial to an authority: there is none that it could not list',
}

/** An authority as the suite sees it, played or real. `own`: faults that it has beside those of its gate. */
export async function authorityHarness(
  authority: LocalAuthority,
  other: LocalAuthority,
  own: { readonly throttled?: Faults['throttled']; readonly heal?: () => void } = {},
): Promise<Harness<Target, never, never, Settings>> {
  const gate = await startGate(authority.port, other.port)
  const relying = await startRelyingParty(authority)
  const { admin, certificate, trust } = authority
  const url = new URL(authority.url)
  url.port = String(gate.port)
  const texts = new Map<string, string>()
  let never = 0
  return {
    issuer: {
      name: 'ca',
      settings: Settings.parse({
        ...{ url: url.origin, authority: certificate, timeoutMilliseconds: 2500 },
        ...(trust === undefined ? {} : { ca: trust }),
      }),
    },
    adminSecret: JSON.stringify(admin),
    wrongSecret: JSON.stringify({ ...admin, key: { ...(await newProvisioner()).key, kid: admin.key.kid } }),
    faults: {
      ...gate,
      ...(own.throttled === undefined ? {} : { throttled: own.throttled }),
      async heal() {
        own.heal?.()
        await gate.heal()
      },
    },
    repeated: 'absent',
    async mint() {
      const certified = await authority.certify(`job-${texts.size}`)
      const { serial, notAfter } = certified
      texts.set(serial, certified.certificate)
      return {
        subject: { lease: serial, target: { serial, notAfter } },
        secrets: [certified.key],
        works: async () => !(await authority.lists(serial)),
        open: () => relying.open(certified),
      }
    },
    neverExisted() {
      never += 1
      return { subject: { lease: 'never', target: { serial: String(never) } }, status: 'revoked' }
    },
    named: (serial) => ({ lease: 'named', target: { serial } }),
    // What nobody certified is shown by a certificate of another authority.
    pasted: ({ subject: { target } }) => [texts.get(target.serial) ?? STRANGE],
    async stop() {
      await gate.close()
      await relying.stop()
      await authority.stop()
      await other.stop()
    },
  }
}

const STRANGE = 'serial=01'
