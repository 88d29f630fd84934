import { createHash } from 'node:crypto'
import type { DescribedSecret, ListedSecret } from './client.ts'
import type { Settings, Strategy, Target } from './definition.ts'
import { STRATEGIES } from './definition.ts'

/** Secrets with this tag are not touched, as users and roles of aws-iam are not. */
export const PROTECTED_TAG = 'rescind:protected'
/** Says of one secret what its rotations do: one of `STRATEGIES`. */
const ROTATION_TAG = 'rescind:rotation'

const OURS = 'rescind-'

/**
 * The id of the version that a rotation of ours makes, away from the version that is current: the same for all attempts
 * of a case, so that a repeated request starts no second rotation, and told from everybody else's afterwards.
 *
 * @param instead a version that got stuck on the same way
 */
export const tokenOf = (caseId: string, arn: string, current: string, instead = ''): string =>
  `${OURS}${createHash('sha256')
    .update(JSON.stringify([caseId, arn, current, instead]))
    .digest('hex')
    .slice(0, 40)}`

/** How a value stands, by its secret's labels. */
export type Standing =
  | { readonly kind: 'rotated'; readonly said: string /** By this very case. */; readonly ours: boolean }
  /** A rotation is under way. */
  | { readonly kind: 'under-way'; readonly versionId: string; readonly ours: boolean; readonly current: string }
  | { readonly kind: 'to-rotate'; readonly current: string }
  | { readonly kind: 'hopeless'; readonly said: string }

/** A tag of another text says nothing. */
const strategyOf = ({ tags }: Pick<DescribedSecret, 'tags'>, settings: Pick<Settings, 'strategy'>): Strategy =>
  STRATEGIES.find((strategy) => strategy === tags.get(ROTATION_TAG)) ?? settings.strategy

export function standingOf(
  secret: DescribedSecret,
  { arn, versionId }: Target,
  caseId: string,
  settings: Pick<Settings, 'strategy' | 'region'>,
): Standing {
  const { region } = settings
  const bearer = (label: string) => [...secret.labels].find(([, labels]) => labels.includes(label))?.[0]
  const [current, previous, pending] = [bearer('AWSCURRENT'), bearer('AWSPREVIOUS'), bearer('AWSPENDING')]
  if (secret.tags.get(PROTECTED_TAG) === 'true') return hopeless(`the secret carries ${PROTECTED_TAG}: not touched`)
  if (secret.deleting) {
    return hopeless(
      'the secret is to be deleted and cannot be rotated, whoever takes its value may go on doing so: restore it, or cut its value there',
    )
  }
  if (secret.primaryRegion !== undefined && secret.primaryRegion !== region) {
    return hopeless(`the secret is a replica, and is rotated in ${secret.primaryRegion} alone`)
  }
  if (current === undefined) return hopeless('the secret has no version AWSCURRENT')
  const oursFrom = (from: string | undefined) => from !== undefined && current === tokenOf(caseId, arn, from)
  const isPending = versionId === pending && versionId !== current
  if (versionId !== current && versionId !== previous && !isPending) {
    return { kind: 'rotated', said: `the version bears no label; AWSCURRENT is ${current}`, ours: oursFrom(previous) }
  }
  // Whoever else made it current may have put it by hand, and told no database.
  if (strategyOf(secret, settings) === 'single-user' && versionId === previous && current.startsWith(OURS)) {
    return { kind: 'rotated', said: `AWSCURRENT is ${current}, the version is AWSPREVIOUS`, ours: oursFrom(versionId) }
  }
  if (pending !== undefined && pending !== current) {
    return { kind: 'under-way', versionId: pending, ours: pending.startsWith(OURS), current }
  }
  if (!secret.rotates) {
    return hopeless(
      'no rotation is turned on, so nobody can cut the value: set a rotation function up, or change the value where it is used',
    )
  }
  return { kind: 'to-rotate', current }
}

/** The versions of a secret whose value somebody may have, and whether it may still work. */
export function livingOf(
  secret: ListedSecret,
  settings: Pick<Settings, 'strategy'>,
): { readonly versionId: string; readonly usable: boolean }[] {
  const bearer = (label: string) => [...secret.labels].find(([, labels]) => labels.includes(label))?.[0]
  const [current, previous] = [bearer('AWSCURRENT'), bearer('AWSPREVIOUS')]
  const dead = strategyOf(secret, settings) === 'single-user' && current?.startsWith(OURS) === true
  return [
    ...(current === undefined ? [] : [{ versionId: current, usable: true }]),
    ...(previous === undefined ? [] : [{ versionId: previous, usable: !dead }]),
  ]
}

const hopeless = (said: string): Standing => ({ kind: 'hopeless', said })
