import { resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import { catalog } from '../functions/providers/catalog.ts'
import { ConfigInvalid } from '../lib/config.ts'
import { rescindApp } from '../lib/stacks/app.ts'

/**
 * The CDK app. `RESCIND_CONFIG` names another configuration file than `rescind.config.ts`, `RESCIND_BUNDLES` another
 * folder of bundles than `dist/functions`; `RESCIND_CLI_CREDENTIALS=1` deploys with the caller's credentials instead of
 * the bootstrap roles.
 */
const root = resolve(import.meta.dirname, '..')
const file = resolve(root, process.env['RESCIND_CONFIG'] ?? 'rescind.config.ts')
const module: { default?: unknown } = await import(pathToFileURL(file).href)

try {
  rescindApp({
    config: module.default,
    catalog,
    bundles: resolve(root, process.env['RESCIND_BUNDLES'] ?? 'dist/functions'),
    cliCredentials: process.env['RESCIND_CLI_CREDENTIALS'] === '1',
  }).synth()
} catch (error) {
  if (!(error instanceof ConfigInvalid)) throw error
  process.stderr.write(`${file}: ${error.message}\n`)
  process.exitCode = 1
}
