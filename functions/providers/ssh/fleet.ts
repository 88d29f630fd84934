import { IssuerError, IssuerRefused, IssuerUnavailable } from '../contract.ts'
import type { Host, Look, Session } from './agent.ts'
import { hashOf, isOpenedWith } from './agent.ts'
import type { Entry } from './held.ts'
import { Held } from './held.ts'
import { UnfitList } from './krl.ts'

/** Hosts at once. */
const AT_ONCE = 10
/** No further host is begun after this, so that one visit stays below `limits.callSeconds`. */
const VISIT_MILLISECONDS = 30_000
/** Somebody else writes the same list: then it is read and changed again. */
const TRIES = 10

/** A configured host, not reached yet. */
export interface Address {
  readonly name: string
  /** `first`: what stands there now, told by the host that was just recognised. */
  open(): Promise<{ readonly host: Host; readonly first: Look }>
}

/** What came of it on one host. */
export type Visited<Result> =
  | { readonly name: string; readonly result: Result }
  | { readonly name: string; readonly error: IssuerError }

/** The list of a host as it stands, and its sessions. */
export interface State {
  readonly held: Held
  readonly look: Look
}

/**
 * Does the same on every host; one that is down or refuses us holds up none of the others.
 * @throws IssuerError where no host could be used
 */
export async function onEach<Result>(
  addresses: readonly Address[],
  now: () => number,
  work: (host: Host, state: State, name: string) => Promise<Result>,
): Promise<Visited<Result>[]> {
  const deadline = now() + VISIT_MILLISECONDS
  const visited: Visited<Result>[] = new Array(addresses.length)
  const queue = addresses.entries()
  const worker = async () => {
    for (const [place, address] of queue) visited[place] = await visit(address, now() > deadline, work)
  }
  await Promise.all(Array.from({ length: Math.min(AT_ONCE, addresses.length) }, worker))
  const errors = visited.flatMap((one) => ('error' in one ? [one.error] : []))
  // Of hosts that are down and hosts that refuse us, the ones that are down may come back by themselves.
  const error = errors.find((one) => !(one instanceof IssuerRefused)) ?? errors[0]
  if (error !== undefined && errors.length === visited.length) throw error
  return visited
}

async function visit<Result>(
  { name, open }: Address,
  late: boolean,
  work: (host: Host, state: State, name: string) => Promise<Result>,
): Promise<Visited<Result>> {
  if (late) return { name, error: new IssuerUnavailable(`SSH: ${name}: not begun, the other hosts took too long`) }
  try {
    const { host, first } = await open()
    try {
      return { name, result: await work(host, told(name, first), name) }
    } finally {
      host.close()
    }
  } catch (error) {
    if (!(error instanceof IssuerError)) throw error
    return { name, error }
  }
}

const told = (name: string, look: Look): State => ({ look, held: heldOf(name, look.bytes) })

function heldOf(name: string, bytes: Buffer): Held {
  try {
    return new Held(bytes)
  } catch (error) {
    if (error instanceof UnfitList) throw new IssuerRefused(`SSH: ${name}: ${error.message}`)
    throw error
  }
}

/**
 * Changes the list and puts it back, unless another has done so meanwhile: then it is read again, and so on.
 * `change` says whether it changed anything. @returns what stands there afterwards, as the host tells it
 */
export async function changed(
  host: Host,
  first: State,
  name: string,
  seconds: number,
  change: (held: Held) => boolean,
): Promise<State> {
  let state = first
  for (let tries = 0; tries < TRIES; tries += 1) {
    if (!change(state.held)) return state
    state.held.sweep(seconds)
    const after = await host.put(hashOf(state.look.bytes), state.held.write(seconds))
    if (after !== 'changed') return told(name, after)
    state = told(name, await host.look())
  }
  throw new IssuerUnavailable(`SSH: ${name}: others change the revocation list all the time`)
}

/** Ends what was opened with any of these; @returns what stands there afterwards, and what was ended. */
export async function ended(
  host: Host,
  name: string,
  state: State,
  entries: readonly Entry[],
): Promise<{ readonly state: State; readonly ended: readonly Session[] }> {
  const ours = (session: Session) => entries.some((entry) => isOpenedWith(session, entry))
  const open = state.look.sessions.filter(ours)
  if (open.length === 0) return { state, ended: [] }
  return { state: told(name, await host.end(open)), ended: open }
}
