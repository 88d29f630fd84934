import type { Target } from '../../../functions/providers/x509/definition.ts'
import { Settings } from '../../../functions/providers/x509/definition.ts'
import { provider } from '../../../functions/providers/x509/provider.ts'
import { tokenFor } from '../../local/issuers/authority.ts'
import { startStepCa, stepCaMissing } from '../../local/issuers/step-ca.ts'
import type { IssuerBench } from './contract.ts'

export const issuer: IssuerBench<Target, never, never, Settings> = {
  module: provider,
  missing: () => stepCaMissing,
  async start(folder) {
    // As its operators run it who want the list at once: it is made anew for each certificate, on both sides.
    const authority = await startStepCa({ folder })
    const { admin, certificate, port, trust = '', url } = authority
    return {
      ...{ counterpart: authority.counterpart, adminSecret: JSON.stringify(admin), port, most: 100 },
      reached: (at) => ({ settings: Settings.parse({ url: `https://127.0.0.1:${at}`, authority: certificate, ca: trust }) }),
      async mint(count) {
        const made: { lease: string; target: Target }[] = []
        while (made.length < count) {
          const { serial, notAfter } = await authority.certify(`job-${made.length}`)
          made.push({ lease: serial, target: { serial, notAfter } })
        }
        return made
      },
      async loop(subjects) {
        for (const { target } of subjects) {
          const ott = await tokenFor(admin, `${url}/1.0/revoke`, target.serial)
          await authority.post('/1.0/revoke', { serial: target.serial, ott, passive: true })
        }
      },
      looped: 'POST /1.0/revoke',
      stop: () => authority.stop(),
    }
  },
}
