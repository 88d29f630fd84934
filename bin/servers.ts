import type { ServerPackage } from '../lib/local/issuers/install.ts'
import { installPackages, missingPackages, rootOf, SERVER_PACKAGES } from '../lib/local/issuers/install.ts'
import { commandLine } from '../lib/options.ts'

const USAGE = `npm run servers [-- --check]

Installs the real servers that the tests run against, where apt has them (Debian, Ubuntu) and we are root or sudo asks for
no password. No system service is started, now or at boot: tests start servers of their own, on loopback, and stop them.
PostgreSQL and the OAuth server come with npm ci. Without a server its tests are skipped, loudly; with CI or
RESCIND_REQUIRE_SERVERS=1 set they fail.

  --check   installs nothing; exit code 1 if something is missing
  --help
`

const { values } = commandLine({
  options: { check: { type: 'boolean', default: false }, help: { type: 'boolean', default: false } },
  strict: true,
})
const print = (text: string) => process.stdout.write(`${text}\n`)
const list = (packages: readonly ServerPackage[]) => packages.map(({ package: name }) => name).join(', ')

const missing = missingPackages()
if (values.help) process.stdout.write(USAGE)
else if (missing.length === 0) print(`all servers are here: ${list(SERVER_PACKAGES)}`)
else if (values.check) {
  print(`missing: ${list(missing)}`)
  process.exitCode = 1
} else {
  const root = rootOf()
  if ('command' in root) await installPackages(missing, root.command)
  const left = missingPackages()
  if (left.length === 0) print(`installed: ${list(missing)}; all servers are here`)
  else {
    const reason = 'reason' in root ? root.reason : 'apt did not install them: see above'
    const providers = [...new Set(left.map(({ provider }) => provider))].join(', ')
    print(`
*** MISSING: ${list(left)} (${reason}).
*** What needs them is skipped, NOT shown against a real server: ${providers}.
*** By hand: apt-get install ${left.map(({ package: name }) => name).join(' ')}
`)
  }
}
