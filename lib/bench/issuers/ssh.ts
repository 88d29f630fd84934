import { execFile } from 'node:child_process'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import type { Lever, Target } from '../../../functions/providers/ssh/definition.ts'
import { Settings } from '../../../functions/providers/ssh/definition.ts'
import { provider } from '../../../functions/providers/ssh/provider.ts'
import { missing, startSshd } from '../../local/issuers/sshd.ts'
import type { IssuerBench } from './contract.ts'

const run = promisify(execFile)

/** Serials are what a list refuses, so credentials are made by counting: no certificate needs to be signed for it. */
export const issuer: IssuerBench<Target, never, Lever, Settings> = {
  module: provider,
  missing: () => missing,
  async start(folder) {
    const server = await startSshd({ folder })
    let serial = 0
    return {
      counterpart: server.version,
      adminSecret: JSON.stringify(server.admin),
      port: server.port,
      most: 500,
      reached: (port) => ({
        settings: Settings.parse({
          hosts: [{ name: 'one', host: server.host, port, fingerprints: [server.fingerprint] }],
          authorities: [{ publicKey: server.authority }],
        }),
      }),
      async mint(count) {
        return Array.from({ length: count }, () => {
          // Not in a row, as the serials of an incident are not.
          serial += 2
          const target: Target = { kind: 'certificate', ca: server.authorityFingerprint, serial: String(serial) }
          return { lease: String(serial), target }
        })
      },
      async loop(subjects) {
        for (const { target } of subjects) {
          if (target.kind !== 'certificate') continue
          await writeFile(join(folder, 'cut'), `serial: ${target.serial}\n`)
          await run('ssh-keygen', ['-q', '-k', '-u', '-f', server.list, '-s', join(folder, 'authority.pub'), join(folder, 'cut')])
        }
      },
      looped: 'ssh-keygen -k -u on the host',
      stop: () => server.stop(),
    }
  },
}
