import type { Lane } from '../../contracts/primitives.ts'
import type { Answer } from '../contract.ts'
import type { Account } from './account.ts'
import { doneUnless, holderName, THROTTLE_SECONDS } from './account.ts'
import type { Holder } from './client.ts'
import type { Attempt } from './holders.ts'
import type { Denies } from './policy.ts'
import {
  coalesce,
  countCharacters,
  LONGEST_ROLE_SESSION_SECONDS,
  LONGEST_TOKEN_SECONDS,
  merge,
  mergeExact,
  printDenies,
  prune,
  ROLE_POLICY_CHARACTERS,
} from './policy.ts'

/** One session to deny, in the name of one lease. */
export interface Cut {
  readonly lease: string
  /** Its `aws:userid`. */
  readonly user: string
  /** Its tokens from before this second, since 1970, are denied. */
  readonly second: number
  /** Only those of this very second are: others bear the same name. */
  readonly exact: boolean
}

export interface Written {
  /** Whether the policy was written at all. */
  readonly any: boolean
  /** Answers of the leases, by id, whose deny found no room. */
  readonly left: ReadonlyMap<string, Answer>
  /** The sessions' denies gave way to one for the whole role. */
  readonly coalesced: boolean
}

/**
 * Writes the denies of a batch into a role's policy in one go, as many as fit. For lack of room older denies go first,
 * then, for a compromise, the distinction between the role's sessions.
 *
 * @param before what the policy holds
 * @throws IamFault
 */
export async function writeDenies(
  account: Account,
  role: Holder,
  policyName: string,
  before: Denies,
  cuts: readonly Cut[],
  lane: Lane,
  attempt: Attempt,
): Promise<Written> {
  const second = account.nowSecond()
  const put = async (denies: Denies) => {
    attempt.wrote = true
    return await doneUnless('full', () => account.iam.putPolicy(role, policyName, printDenies(denies)))
  }
  const all: Written = { any: true, left: new Map(), coalesced: false }
  const full = `the inline policies of ${holderName(role)} are full`
  const noRoom: Answer = { status: 'retry', said: full, afterSeconds: THROTTLE_SECONDS, effect: 'none' }
  const none: Written = { any: false, left: new Map(cuts.map(({ lease }) => [lease, noRoom])), coalesced: false }

  const whole = prune(withCuts(before, cuts), second, LONGEST_TOKEN_SECONDS)
  // The other policies are measured only if AWS says that there is no room: that costs a call for each of them.
  if (printDenies(whole).length <= ROLE_POLICY_CHARACTERS && (await put(whole))) return all

  const room = ROLE_POLICY_CHARACTERS - (await othersCharacters(account, role, policyName))
  const fits = (denies: Denies) => printDenies(denies).length <= room
  const current = prune(before, second, LONGEST_ROLE_SESSION_SECONDS)
  const younger = withCuts(current, cuts)
  if (fits(younger)) return (await put(younger)) ? all : none

  const one = coalesce(younger)
  if (lane === 'p0' && fits(one) && (await put(one))) return { ...all, coalesced: true }

  let some = current
  const left = new Map<string, Answer>()
  for (const cut of cuts) {
    const more = withCuts(some, [cut])
    if (fits(more)) some = more
    else left.set(cut.lease, laterOrNever(current, role, second))
  }
  if (left.size === cuts.length) return { ...none, left }
  return (await put(some)) ? { ...all, left } : none
}

function withCuts(denies: Denies, cuts: readonly Cut[]): Denies {
  const pairs = (exact: boolean) => cuts.filter((cut) => cut.exact === exact).map(({ user, second }) => [user, second] as const)
  return mergeExact(merge(denies, pairs(false)), pairs(true))
}

/** Room comes when the oldest of our own denies has outlived every token it hits; where there is none, it never comes. */
function laterOrNever(denies: Denies, role: Holder, second: number): Answer {
  const exact = [...denies.exact.values()].flatMap((seconds) => [...seconds])
  const oldest = Math.min(...denies.sessions.values(), ...exact, denies.all ?? Number.POSITIVE_INFINITY)
  if (!Number.isFinite(oldest)) {
    const said = `the inline policies of ${holderName(role)} leave no room for a deny (${ROLE_POLICY_CHARACTERS} characters for all)`
    return { status: 'irrevocable', said }
  }
  const afterSeconds = Math.max(THROTTLE_SECONDS, oldest + LONGEST_ROLE_SESSION_SECONDS - second)
  const said = `the inline policies of ${holderName(role)} are full until older denies may go`
  return { status: 'retry', said, afterSeconds, effect: 'none' }
}

async function othersCharacters({ iam }: Account, role: Holder, policyName: string): Promise<number> {
  let characters = 0
  for (const name of await iam.policyNames(role.name)) {
    if (name === policyName) continue
    characters += countCharacters((await iam.getPolicy(role, name)) ?? '')
  }
  return characters
}
