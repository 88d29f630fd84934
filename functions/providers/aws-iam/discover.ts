import { canonicalIdentity } from '../../domain/identity.ts'
import type { Discovered, Listed } from '../contract.ts'
import { IssuerThrottled } from '../contract.ts'
import type { Account } from './account.ts'
import { doneUnless, ownFault, THROTTLE_SECONDS } from './account.ts'
import type { ListedUser } from './client.ts'
import type { Target } from './definition.ts'
import { Target as TargetSchema } from './definition.ts'

/** Each user costs a call, and each of its keys another: no page asks for more. */
const USERS = 25

/** The page of users, and the key in it behind which the next page of ours begins. */
interface Place {
  readonly marker?: string
  readonly userName: string
  readonly accessKeyId: string
}

interface Found {
  readonly accessKeyId: string
  readonly entry: Listed<Target>
}

/** Lists the access keys of an account's users, in the order of their names. Role sessions are listed by nobody. */
export function lister(account: Account): (from: string | undefined, most: number) => Promise<Discovered<Target>> {
  const { iam } = account

  async function keysOf({ userName, userId, arn }: ListedUser, own: boolean): Promise<Found[]> {
    const found: Found[] = []
    const look = async () => {
      const keys = [...(await iam.listAccessKeys(userName))].sort((left, right) =>
        left.accessKeyId < right.accessKeyId ? -1 : 1,
      )
      for (const { accessKeyId, status, createdAt } of keys) {
        const parsed = TargetSchema.safeParse({ kind: 'access-key', userName, userId, accessKeyId })
        if (!parsed.success) continue
        const { lastUsedAt } = await iam.accessKeyUse(accessKeyId)
        const entry = {
          target: parsed.data,
          shown: `access key ${accessKeyId} of user ${userName}`,
          usable: status === 'Active',
          identity: canonicalIdentity(arn),
          ...(own ? { own: 'the user that Rescind acts as' } : {}),
          ...(createdAt === undefined ? {} : { createdAt: createdAt.toISOString() }),
          ...(lastUsedAt === undefined ? {} : { lastUsedAt: lastUsedAt.toISOString() }),
        }
        found.push({ accessKeyId, entry })
      }
    }
    // A user or key that goes between two looks is no fault.
    await doneUnless('gone', look)
    return found
  }

  async function page(place: Place | undefined, most: number, ours: string): Promise<Discovered<Target>> {
    const { users, next } = await iam.listUsers(place?.marker, Math.min(USERS, most))
    const behind = [...users]
      .sort((left, right) => (left.userName < right.userName ? -1 : 1))
      .filter(({ userName }) => place === undefined || userName >= place.userName)
    const listed: Listed<Target>[] = []
    let reached = { userName: place?.userName ?? '', accessKeyId: place?.accessKeyId ?? '' }
    const upTo = (): Discovered<Target> => ({ status: 'page', listed, next: print({ ...markerOf(place), ...reached }) })
    for (const [index, user] of behind.entries()) {
      if (index === USERS || listed.length === most) return upTo()
      const { userName, userId } = user
      for (const { accessKeyId, entry } of await keysOf(user, userId === ours)) {
        if (userName === place?.userName && accessKeyId <= place.accessKeyId) continue
        if (listed.length === most) return upTo()
        listed.push(entry)
        reached = { userName, accessKeyId }
      }
      reached = { userName, accessKeyId: LAST }
    }
    return {
      status: 'page',
      listed,
      ...(next === undefined ? {} : { next: print({ marker: next, userName: '', accessKeyId: '' }) }),
    }
  }

  return async (from, most) => {
    const place = from === undefined ? undefined : parse(from)
    if (from !== undefined && place === undefined) return { status: 'unknown', said: 'that is no place in a list of ours' }
    const { userId: ours } = await account.caller()
    try {
      return await page(place, most, ours)
    } catch (error) {
      const fault = ownFault(error)
      const said = `AWS IAM answers ${fault.awsCode}`
      if (fault.kind === 'throttled') throw new IssuerThrottled(said, { afterSeconds: THROTTLE_SECONDS, cause: fault })
      if (fault.kind === 'busy') return { status: 'retry', said, afterSeconds: THROTTLE_SECONDS }
      return { status: 'unknown', said }
    }
  }
}

/** Behind every key: ids are capitals and digits. */
const LAST = '~'

const markerOf = (place: Place | undefined) => (place?.marker === undefined ? {} : { marker: place.marker })

const print = ({ marker, userName, accessKeyId }: Place): string => JSON.stringify([marker ?? null, userName, accessKeyId])

function parse(from: string): Place | undefined {
  let json: unknown
  try {
    json = JSON.parse(from)
  } catch {
    return undefined
  }
  if (!Array.isArray(json) || json.length !== 3) return undefined
  const [marker, userName, accessKeyId]: unknown[] = json
  if (typeof userName !== 'string' || typeof accessKeyId !== 'string') return undefined
  if (marker !== null && typeof marker !== 'string') return undefined
  return { ...(marker === null ? {} : { marker }), userName, accessKeyId }
}
