import { chmodSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { loadavg, tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import type { BundleRun } from './bundles.ts'
import { bundlesText, measureBundles } from './bundles.ts'
import type { CostRun } from './cost.ts'
import { costText, measureCost } from './cost.ts'
import type { GrowthRun, Size } from './growth.ts'
import { containmentText, growthText, measureGrowth } from './growth.ts'
import { install } from './installation.ts'
import type { IssuersRun } from './issuers.ts'
import { issuersText, measureIssuers } from './issuers.ts'
import type { RegistrationRun } from './registrations.ts'
import { measureRegistrations, registrationsText } from './registrations.ts'
import type { Machine } from './report.ts'
import { figure, machine } from './report.ts'
import type { RevocationRun } from './revocations.ts'
import { measureRevocations, revocationsText } from './revocations.ts'
import type { World } from './world.ts'
import { makeWorld } from './world.ts'

export const PARTS = ['containment', 'revoke', 'issuers', 'register', 'cost', 'growth', 'cold'] as const
export type PartName = (typeof PARTS)[number]

/** What a part measured. */
export interface Measurements {
  readonly containment: readonly GrowthRun[]
  readonly revoke: readonly RevocationRun[]
  readonly issuers: IssuersRun
  readonly register: RegistrationRun
  readonly cost: CostRun
  readonly growth: readonly GrowthRun[]
  readonly cold: { readonly bare: BundleRun; readonly bundles: readonly BundleRun[] }
}

/** A part with where and when it was measured; parts may come from several runs. */
export interface Part<Name extends PartName> {
  readonly date: string
  readonly machine: Machine
  /** What chose the roles with sessions, the order of turns and the names of leases: all follow from places, so it says nothing but this. */
  readonly seed: number
  /** Load of the machine's cores by others and by ourselves, over the minute before. */
  readonly load: number
  /** Seconds that the part took. */
  readonly seconds: number
  readonly measured: Measurements[Name]
}

/** The file that `--json` writes, and that the tables of the documentation are made from. */
export type Results = { readonly [Name in PartName]?: Part<Name> }

/** How large each part is. */
export interface Scale {
  readonly containment: readonly Size[]
  readonly growth: readonly Size[]
  readonly revoke: { readonly sizes: readonly number[]; readonly rounds: number }
  readonly issuers: { readonly leases: number; readonly rounds: number; readonly only?: readonly string[] }
  readonly register: { readonly roles: number; readonly clients: number; readonly seconds: number }
  readonly cost: { readonly leases: number; readonly registrations: number }
  readonly imports: number
}

const contained = (leases: number, repeat: number): Size => ({ leases, repeat, whole: false })
const followed = (leases: number): Size => ({ leases, repeat: 1, whole: true })

/** About twenty minutes on two quiet cores. */
export const FULL: Scale = {
  containment: [contained(1, 5), contained(1000, 5), contained(100_000, 3), contained(1_000_000, 1)],
  growth: [followed(1000), followed(10_000), followed(100_000)],
  revoke: { sizes: [500, 2000, 10_000], rounds: 3 },
  issuers: { leases: 1000, rounds: 3 },
  register: { roles: 10_000, clients: 4, seconds: 15 },
  cost: { leases: 100_000, registrations: 2000 },
  imports: 7,
}

/** About three minutes: to see that it works. */
export const QUICK: Scale = {
  containment: [contained(1, 2), contained(1000, 2)],
  growth: [followed(1000), followed(5000)],
  revoke: { sizes: [500], rounds: 1 },
  issuers: { leases: 100, rounds: 1 },
  register: { roles: 500, clients: 4, seconds: 3 },
  cost: { leases: 2000, registrations: 200 },
  imports: 1,
}

export const MILLION: Size = followed(1_000_000)

export interface BenchOptions {
  readonly parts: readonly PartName[]
  readonly scale: Scale
  /** Written after each part; what it holds of other parts stays. */
  readonly json?: string
  readonly print: (text: string) => void
  readonly progress: (text: string) => void
}

const SEED = 1

/** Measures part by part, prints tables, and writes the same as JSON. Asserts nothing about time: a machine is slow or it is not. */
export async function runBench({ parts, scale, json, print, progress }: BenchOptions): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'rescind-bench-'))
  // The database server runs as another user, and must come to its files.
  chmodSync(folder, 0o755)
  const remove = () => rmSync(folder, { recursive: true, force: true })
  process.once('exit', remove)
  try {
    const here = machine()
    print(machineText(new Date().toISOString(), here))
    let made: World | undefined
    const world = async () => {
      progress('bundling and synthesising')
      made ??= await makeWorld(join(folder, 'world'))
      return made
    }
    for (const name of parts) {
      const start = performance.now()
      const own = join(folder, name)
      const told = (text: string) => progress(`${name}: ${text} (${Math.round((performance.now() - start) / 1000)} s)`)
      const part = async <Name extends PartName>(named: Name, measured: Measurements[Name]): Promise<void> => {
        const found: Part<Name> = {
          date: new Date().toISOString(),
          machine: here,
          seed: SEED,
          load: loadavg()[0] ?? Number.NaN,
          seconds: (performance.now() - start) / 1000,
          measured,
        }
        print(`\n${textOf(named, found)}\n\n(${figure(found.seconds)} s)`)
        if (json !== undefined) keep(json, { [named]: found })
      }
      switch (name) {
        case 'containment':
          await part(name, await measureGrowth(await world(), { sizes: scale.containment, folder: own, progress: told }))
          break
        case 'growth':
          await part(name, await measureGrowth(await world(), { sizes: scale.growth, folder: own, progress: told }))
          break
        case 'revoke':
          await part(name, await measureRevocations(await world(), { ...scale.revoke, folder: own, progress: told }))
          break
        case 'issuers':
          await part(name, await measureIssuers({ ...scale.issuers, folder: own, progress: told }))
          break
        case 'register':
          await part(name, await measureRegistrations(await world(), { ...scale.register, folder: own, progress: told }))
          break
        case 'cost':
          await part(name, await measureCost(await world(), { ...scale.cost, folder: own, progress: told }))
          break
        case 'cold': {
          told('bundling and synthesising')
          const { functions } = await install(join(folder, 'installation'))
          await part(name, await measureBundles(functions, scale.imports, told))
        }
      }
      rmSync(own, { recursive: true, force: true })
    }
  } finally {
    remove()
    process.off('exit', remove)
  }
}

export function readResults(path: string): Results {
  return existsSync(path) ? (JSON.parse(readFileSync(path, 'utf8')) as Results) : {}
}

function keep(path: string, results: Results): void {
  mkdirSync(dirname(path), { recursive: true })
  writeFileSync(path, `${JSON.stringify({ ...readResults(path), ...results }, null, 2)}\n`)
}

const TITLES: Readonly<Record<PartName, string>> = {
  containment: 'Fence and containment',
  revoke: 'Revocations of real roles',
  issuers: 'Issuer by issuer',
  register: 'Registrations',
  cost: 'Cost',
  growth: 'Growth',
  cold: 'Bundles and cold imports',
}

const texts: { readonly [Name in PartName]: (measured: Measurements[Name]) => string } = {
  containment: containmentText,
  revoke: revocationsText,
  issuers: issuersText,
  register: registrationsText,
  cost: costText,
  growth: growthText,
  cold: ({ bare, bundles }) => bundlesText(bare, bundles),
}

/** A part as Markdown. */
export const textOf = <Name extends PartName>(name: Name, { measured }: Part<Name>): string =>
  `## ${TITLES[name]}\n\n${texts[name](measured)}`

/** Where and when, in a line. */
export function machineText(date: string, { cpu, cores, memory, system, node, versions, commit }: Machine): string {
  const parts = Object.entries(versions).map(([name, version]) => `${name} ${version}`)
  return `${date.slice(0, 10)}; ${cpu}, ${cores} cores, ${memory} GB; ${system}; node ${node}; commit ${commit}; ${parts.join(', ')}.`
}
