import type { Warrant } from '../contract.ts'
import type { Account } from './account.ts'
import { doneUnless } from './account.ts'
import type { Holder } from './client.ts'
import { definition } from './definition.ts'
import {
  isEmpty,
  LONGEST_TOKEN_SECONDS,
  merge,
  NO_DENIES,
  parseDenies,
  printDenies,
  printSecond,
  prune,
  secondFrom,
} from './policy.ts'

export const TOKENS_LIVE = `tokens that STS gave for the key live up to ${LONGEST_TOKEN_SECONDS / 3600} h unless the user is contained`

/**
 * Denies the tokens that a user's keys got from STS until now, and says so. GetSessionToken and GetFederationToken make
 * tokens that outlive their key. Which key made one cannot be told, so a dated deny on the user cuts those of its other
 * keys too: for a compromise only.
 *
 * @param cutBefore this very case has cut all the keys concerned before, so that they minted nothing since its deny
 * @throws IamFault
 */
export async function denyTokens(account: Account, userName: string, warrant: Warrant, cutBefore: boolean): Promise<string> {
  const { iam, names } = account
  const holder: Holder = { kind: 'user', name: userName }
  const policyName = names.tokenPolicy(warrant.lane)
  const denies = parseDenies(await iam.getPolicy(holder, policyName)) ?? NO_DENIES
  const fenced = secondFrom(Date.parse(warrant.fencedAt))
  const cut = Math.max(fenced, account.nowSecond())
  const said = (until: number) =>
    `tokens of user ${userName} from before ${printSecond(until)} are denied, also those of its other keys`
  // The deny that came with another key's cut ends with it: this key may have minted since.
  if (denies.all !== undefined && denies.all >= (cutBefore ? fenced : cut)) return said(denies.all)
  // The key goes on minting tokens until its deactivation has propagated.
  const until = cut + definition.limits.propagationSeconds
  const put = () => iam.putPolicy(holder, policyName, printDenies(merge(denies, [], until)))
  return (await doneUnless('full', put)) ? said(until) : `${TOKENS_LIVE}: no room for a deny on the user`
}

/**
 * Takes the deny off again when every token that it could hit has expired.
 * @throws IamFault
 */
export async function tidyTokens(account: Account, userName: string): Promise<void> {
  const holder: Holder = { kind: 'user', name: userName }
  const policyName = account.names.tokenPolicy('p0')
  const denies = parseDenies(await account.iam.getPolicy(holder, policyName))
  if (denies === undefined || isEmpty(denies)) return
  if (isEmpty(prune(denies, account.nowSecond(), LONGEST_TOKEN_SECONDS))) await account.iam.deletePolicy(holder, policyName)
}
