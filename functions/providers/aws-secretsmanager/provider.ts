import { callerIn, classify, ownFault, THROTTLE_SECONDS, throttlingOf } from '../aws.ts'
import type { Answer, Discovered, Liveness, Located, Provider, ProviderModule, Subject, Warrant } from '../contract.ts'
import { IssuerThrottled } from '../contract.ts'
import type { DescribedSecret, SecretsClient } from './client.ts'
import { connectSecrets } from './client.ts'
import type { Settings } from './definition.ts'
import { definition, SECRET_ARN, Target } from './definition.ts'
import { credentialOf } from './recognise.ts'
import type { Standing } from './standing.ts'
import { livingOf, standingOf, tokenOf } from './standing.ts'

type Batch = readonly Subject<Target>[]

/** Two rotations where two users take turns, and a stuck one that is cleared, each with a look before. */
const ROUNDS = 4
const LOOK_AGAIN_SECONDS = 10
/** A function runs for 15 minutes at most; what stands still for longer is stuck. */
const STUCK_MILLISECONDS = 900_000
/** After this no further lease of a batch is begun, so that one batch stays below `limits.callSeconds`. */
const BATCH_MILLISECONDS = 30_000
const LIST_PAGE = 100
const SESSIONS = 'sessions opened with the old value live on until they end'

export const provider: ProviderModule<Target, undefined, never, Settings> = {
  definition,
  async connect(issuer, tools) {
    const client = await connectSecrets(issuer.name, issuer.settings, tools)
    try {
      return await openProvider(issuer.settings, client, () => tools.now())
    } catch (error) {
      client.close()
      throw error
    }
  },
}

/** Makes the provider over any client: the AWS SDK's, or the fake. `now` in milliseconds since 1970. */
export async function openProvider(
  settings: Settings,
  client: SecretsClient,
  now: () => number,
): Promise<Provider<Target, undefined, never>> {
  await callerIn(settings.account, client.whoAmI)
  return createProvider(settings, client, now)
}

function createProvider(settings: Settings, client: SecretsClient, now: () => number): Provider<Target, undefined, never> {
  const { account, region, clearsStuck } = settings
  const SERVICE = 'AWS Secrets Manager'

  /** Each lease of a batch on its own: one that fails harms no other. */
  async function each<Result>(
    batch: Batch,
    answer: (target: Target) => Promise<Result>,
    failed: (said: string, hint: { readonly afterSeconds?: number; readonly throttled?: true }) => Result,
  ): Promise<Result[]> {
    if (batch.length === 0) return []
    // Asked for each batch: behind an address or a role another account may stand by now.
    await callerIn(account, client.whoAmI)
    const end = now() + BATCH_MILLISECONDS
    const results: Result[] = []
    let throttled: string | undefined
    for (const { target } of batch) {
      if (throttled !== undefined) results.push(failed(throttled, { afterSeconds: THROTTLE_SECONDS, throttled: true }))
      else if (now() > end) results.push(failed('the batch took too long, this lease was not begun', {}))
      else {
        try {
          results.push(await answer(target))
        } catch (error) {
          const fault = ownFault(error, SERVICE)
          const said = `${SERVICE} answers ${fault.awsCode}`
          if (fault.kind === 'throttled') {
            if (results.length === 0) throw new IssuerThrottled(said, { afterSeconds: THROTTLE_SECONDS, cause: fault })
            throttled = said
          }
          results.push(failed(said, { afterSeconds: THROTTLE_SECONDS, ...throttlingOf(fault) }))
        }
      }
    }
    return results
  }

  /** Why a secret is none of this issuer's, if it is not. */
  function foreign({ arn }: Target): string | undefined {
    const [, itsRegion, itsAccount] = SECRET_ARN.exec(arn) ?? []
    return itsAccount === account && itsRegion === region
      ? undefined
      : `the secret is of account ${itsAccount} in ${itsRegion}, not of ${account} in ${region}`
  }

  /** A name that was cut short would find another secret: the answer must be about the very one. */
  async function described({ arn }: Target): Promise<DescribedSecret | undefined> {
    const secret = await client.describe(arn)
    return secret?.arn === arn ? secret : undefined
  }

  async function cut(target: Target, warrant: Warrant): Promise<Answer> {
    const said = foreign(target)
    if (said !== undefined) return { status: 'irrevocable', said }
    let asked = false
    for (let round = 0; round < ROUNDS; round += 1) {
      const secret = await described(target)
      if (secret === undefined) return { status: 'absent', said: GONE }
      const standing = standingOf(secret, target, warrant.case, settings)
      if (standing.kind === 'hopeless') return { status: 'irrevocable', said: standing.said }
      if (standing.kind === 'rotated') {
        return standing.ours
          ? { status: 'revoked', said: `rotated: ${standing.said}; ${SESSIONS}` }
          : { status: 'absent', said: `rotated before: ${standing.said}` }
      }
      const next = standing.kind === 'to-rotate' ? { instead: undefined } : await freed(target, standing, asked)
      if ('status' in next) return next
      const refused = await rotated(target, tokenOf(warrant.case, target.arn, standing.current, next.instead))
      if (refused !== undefined) return refused
      asked = true
    }
    return {
      status: 'retry',
      said: 'the secret was rotated, and its labels have not followed yet',
      effect: 'unknown',
      afterSeconds: LOOK_AGAIN_SECONDS,
    }
  }

  /** Asks for a rotation. What there is to answer if it is not begun; else whatever comes of it shows in the labels. */
  async function rotated(target: Target, token: string): Promise<Answer | undefined> {
    try {
      await client.rotate(target.arn, token)
      return undefined
    } catch (error) {
      const fault = classify(error)
      // It was deleted, or somebody else's rotation has begun, a moment ago: the next look tells.
      if (fault.kind !== 'invalid' && fault.kind !== 'gone') throw fault
      return {
        status: 'retry',
        said: `RotateSecret answers ${fault.awsCode}`,
        effect: 'unknown',
        afterSeconds: LOOK_AGAIN_SECONDS,
      }
    }
  }

  /** Waits for a rotation under way, or takes its label away if it is stuck and the issuer says so. */
  async function freed(
    { arn }: Target,
    { versionId, ours }: Extract<Standing, { kind: 'under-way' }>,
    asked: boolean,
  ): Promise<Answer | { readonly instead: string }> {
    const made = asked ? undefined : await client.versionMade(arn, versionId)
    const whose = ours ? 'our rotation' : 'a rotation'
    if (made === undefined || now() - made < STUCK_MILLISECONDS) {
      const said = `${whose} is under way: AWSPENDING is ${versionId}`
      return { status: 'retry', said, effect: ours ? 'unknown' : 'none', afterSeconds: LOOK_AGAIN_SECONDS }
    }
    if (!clearsStuck) {
      const since = new Date(made).toISOString()
      return {
        status: 'irrevocable',
        said: `${whose} is stuck since ${since}: see the log of its function, then take AWSPENDING from ${versionId} by UpdateSecretVersionStage`,
      }
    }
    await client.removePending(arn, versionId)
    return { instead: versionId }
  }

  async function look(target: Target, warrant: Warrant): Promise<Liveness> {
    const said = foreign(target)
    if (said !== undefined) return { status: 'unknown', said }
    const secret = await described(target)
    if (secret === undefined) return { status: 'dead', said: GONE }
    const standing = standingOf(secret, target, warrant.case, settings)
    switch (standing.kind) {
      case 'rotated':
        return { status: 'dead', said: standing.said }
      case 'hopeless':
        return { status: secret.deleting ? 'unknown' : 'alive', said: standing.said }
      case 'under-way':
        return { status: 'alive', said: `a rotation is under way: AWSPENDING is ${standing.versionId}` }
      case 'to-rotate':
        return {
          status: 'alive',
          said:
            standing.current === target.versionId
              ? 'the version is AWSCURRENT'
              : 'the version is AWSPREVIOUS, one more rotation is needed',
        }
    }
  }

  return {
    revoke: (batch, warrant) =>
      each<Answer>(
        batch,
        (target) => cut(target, warrant),
        (said, hint) => ({ status: 'retry', said, effect: 'unknown', ...hint }),
      ),
    verify: (batch, warrant) =>
      each<Liveness>(
        batch,
        (target) => look(target, warrant),
        (said, hint) => ({ status: 'unknown', said, ...hint }),
      ),

    async locate(query): Promise<Located<Target, never>> {
      const parsed = Target.safeParse({ arn: query['arn'], versionId: query['versionId'] })
      if (!parsed.success) return { status: 'unknown', said: 'that is no version of a secret' }
      const { data: target } = parsed
      const elsewhere = foreign(target)
      if (elsewhere !== undefined) return { status: 'unknown', said: elsewhere }
      const [located] = await each<Located<Target, never>>(
        [{ lease: '', target }],
        async () => {
          const secret = await described(target)
          const labels = secret?.labels.get(target.versionId)
          if (secret === undefined || labels === undefined) return { status: 'unknown', said: GONE_OR_ROTATED }
          return { status: 'found', said: `the version bears ${labels.join(' and ')}`, target }
        },
        (said, hint) => ({ status: 'retry', said, ...hint }),
      )
      return located ?? { status: 'unknown', said: GONE_OR_ROTATED }
    },

    async discover(from, most): Promise<Discovered<Target>> {
      await callerIn(account, client.whoAmI)
      const place = from === undefined ? { offset: 0 } : parsePlace(from)
      if (place === undefined) return { status: 'unknown', said: 'that is no place in a list of ours' }
      try {
        // Two versions of each secret have labels that count.
        const pageOf = Math.min(Math.max(1, Math.floor(most / 2)), LIST_PAGE)
        const { secrets, next } = await client.list(place.token, pageOf)
        const all = secrets.flatMap((secret) =>
          livingOf(secret, settings).flatMap(({ versionId, usable }) => {
            const parsed = Target.safeParse({ arn: secret.arn, versionId })
            if (!parsed.success) return []
            const lastUsed = secret.readAt === undefined ? {} : { lastUsedAt: secret.readAt.toISOString() }
            return [{ target: parsed.data, shown: credentialOf(parsed.data), usable, ...lastUsed }]
          }),
        )
        const end = place.offset + most
        const listed = all.slice(place.offset, end)
        if (end < all.length) return { status: 'page', listed, next: printPlace({ ...place, offset: end }) }
        return { status: 'page', listed, ...(next === undefined ? {} : { next: printPlace({ token: next, offset: 0 }) }) }
      } catch (error) {
        const fault = ownFault(error, SERVICE)
        const said = `${SERVICE} answers ${fault.awsCode}`
        if (fault.kind === 'throttled') throw new IssuerThrottled(said, { afterSeconds: THROTTLE_SECONDS, cause: fault })
        return { status: 'unknown', said }
      }
    },

    async close() {
      client.close()
    },
  }
}

/** A page of Secrets Manager's, and how many of its versions were listed before. */
interface Place {
  readonly token?: string
  readonly offset: number
}

const printPlace = ({ token, offset }: Place): string => JSON.stringify([offset, token ?? null])

function parsePlace(from: string): Place | undefined {
  const parsed = /^\[(\d{1,6}),(null|"[^"\\]{1,4096}")\]$/.exec(from)
  if (parsed === null) return undefined
  const [, offset, token] = parsed
  return { offset: Number(offset), ...(token === 'null' || token === undefined ? {} : { token: token.slice(1, -1) }) }
}

const GONE =
  'there is no such secret, so nobody gets its value any more; whether a database still takes it, Secrets Manager cannot tell'
const GONE_OR_ROTATED = 'no such secret, or a version that bears no label any more'
