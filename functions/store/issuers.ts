import type { IssuerDeclaration } from '../contracts/issuer.ts'
import { DEFAULT_SOAK_SECONDS } from '../contracts/issuer.ts'
import type { Actor, Issuer } from '../domain/model.ts'
import { actor, plain } from './identities.ts'
import { as, read } from './items.ts'
import { issuerItem, LIST } from './keys.ts'
import { closeBreaker } from './limits.ts'
import type { Table } from './table.ts'

export const issuerOf = (table: Table, name: string): Promise<Issuer | undefined> => read(table, 'issuer', issuerItem(name))

/** Declares an issuer anew, whole; its breaker closes, because what it complained of may be mended. */
export async function declareIssuer(table: Table, name: string, declaration: IssuerDeclaration, by: Actor): Promise<Issuer> {
  const current = await issuerOf(table, name)
  await table.write({
    update: issuerItem(name),
    set: [
      ['kind', 'issuer'],
      ['name', name],
      ['provider', declaration.provider],
      ['settings', plain(declaration.settings)],
      ['soakSeconds', declaration.soakSeconds ?? current?.soakSeconds ?? DEFAULT_SOAK_SECONDS],
      ['listPk', LIST.issuer],
      ['listAt', name],
      ['by', actor(by)],
      ...(declaration.adminSecret === undefined ? [] : [['adminSecret', declaration.adminSecret] as const]),
      ...(declaration.environment === undefined ? [] : [['environment', declaration.environment] as const]),
      // Whoever leaves it out means another change: nothing becomes bolder without a word.
      ...(declaration.mode === undefined ? [] : [['mode', declaration.mode] as const]),
      ...(declaration.limits === undefined ? [] : [['limits', plain(declaration.limits)] as const]),
      ...(declaration.discoverEverySeconds === undefined
        ? []
        : [['discoverEverySeconds', declaration.discoverEverySeconds] as const]),
    ],
    remove: [
      ...(declaration.limits === undefined ? ['limits'] : []),
      ...(declaration.discoverEverySeconds === undefined ? ['discoverEverySeconds'] : []),
      ...(declaration.adminSecret === undefined ? ['adminSecret'] : []),
      ...(declaration.environment === undefined ? ['environment'] : []),
    ],
  })
  await closeBreaker(table, name)
  const issuer = await issuerOf(table, name)
  if (issuer === undefined) throw new Error('an issuer vanished')
  return issuer
}

export async function issuers(table: Table): Promise<Issuer[]> {
  const found: Issuer[] = []
  let cursor: string | undefined
  do {
    const page = await table.index({
      index: 'list',
      partition: LIST.issuer,
      limit: 100,
      ...(cursor === undefined ? {} : { cursor }),
    })
    found.push(...page.items.map((item) => as('issuer', item)))
    cursor = page.cursor
  } while (cursor !== undefined)
  return found
}
