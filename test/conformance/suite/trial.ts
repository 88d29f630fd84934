import { setTimeout as sleep } from 'node:timers/promises'
import type { Answer, Provider, ProviderModule, Subject } from '../../../functions/providers/contract.ts'
import type { Property } from '../../../lib/conformance/properties.ts'
import type { Credential, Extra, Harness, OpenSession } from './harness.ts'
import { WARRANT } from './harness.ts'

/** One run of the suite: what its properties have in common. */
export interface Trial<Target, Secret, Lever, Settings, Grants> {
  readonly module: ProviderModule<Target, Secret, Lever, Settings, Grants>
  /** Only within a test: it is started before them. */
  readonly harness: Harness<Target, Secret, Lever, Settings, Grants>
  readonly extras: readonly Extra[]
  /** Shows a property where it is concerned; elsewhere the table says that it does not apply. */
  property(id: Property, concerned: boolean, test: () => Promise<void>): void
  /** A connection that is closed after the test, and whose every answer and error is kept. */
  connect(secret?: string): Promise<Provider<Target, Secret, Lever>>
  mint(options?: Parameters<Harness<Target, Secret, Lever, Settings, Grants>['mint']>[0]): Promise<Credential<Target, Secret>>
  /** Keeps what must not be told of it. */
  hold(credential: Credential<Target, Secret>): Credential<Target, Secret>
  open(credential: Credential<Target, Secret>): Promise<OpenSession | undefined>
}

/** Keeps everything that a provider answers or throws. What a minted credential's user gets is no answer: it is taken out. */
export function recorded<Some extends object>(provider: Some, keep: (said: unknown) => void): Some {
  return new Proxy(provider, {
    get(target, name) {
      const member: unknown = Reflect.get(target, name)
      if (typeof member !== 'function') return member
      return async (...given: unknown[]) => {
        try {
          const answer: unknown = await Reflect.apply(member, target, given)
          const handedOver = name === 'issue' ? { credential: undefined, secret: undefined } : {}
          keep(Array.isArray(answer) ? answer : { ...(answer as object | undefined), ...handedOver })
          return answer
        } catch (error) {
          keep(error)
          throw error
        }
      }
    },
  })
}

/** A harness lacks what its definition claims, or what its test file says it has. */
export function must<Some>(given: Some | undefined, what: string): Some {
  if (given === undefined) throw new Error(`the harness lacks ${what}`)
  return given
}

export const statuses = (answers: readonly { readonly status: string }[] | undefined) => answers?.map(({ status }) => status)

const LOOK_MILLISECONDS = 100

/** Asks until it is so, at most as long as a cut may take to be seen everywhere; once where that is at once. */
export async function within(seconds: number, ask: () => Promise<boolean>): Promise<boolean> {
  const deadline = performance.now() + seconds * 1000
  for (;;) {
    if (await ask()) return true
    if (performance.now() >= deadline) return false
    await sleep(LOOK_MILLISECONDS)
  }
}

/** Whether each of them is refused, at the latest when the cut is seen everywhere. */
export async function dead<Target, Secret>(
  credentials: readonly Credential<Target, Secret>[],
  propagationSeconds: number,
): Promise<boolean> {
  return await within(propagationSeconds, async () =>
    (await Promise.all(credentials.map((credential) => credential.works()))).every((works) => !works),
  )
}

/** Whether each of them works, at the latest when it is seen everywhere that it may. */
export async function alive<Target, Secret>(
  credentials: readonly Credential<Target, Secret>[],
  propagationSeconds: number,
): Promise<boolean> {
  return await within(propagationSeconds, async () =>
    (await Promise.all(credentials.map((credential) => credential.works()))).every((works) => works),
  )
}

const ROUNDS = 10

/** Revokes as the worker does: what is answered `retry` is tried again. @returns each lease's last answer */
export async function persistently<Target, Secret, Lever>(
  provider: Provider<Target, Secret, Lever>,
  subjects: readonly Subject<Target, Secret>[],
): Promise<Answer[]> {
  let answers = await provider.revoke(subjects, WARRANT)
  for (let round = 1; round < ROUNDS && answers.some(({ status }) => status === 'retry'); round += 1) {
    await sleep(LOOK_MILLISECONDS)
    const open = subjects.filter((_, index) => answers[index]?.status === 'retry')
    const again = await provider.revoke(open, WARRANT)
    answers = answers.map((answer) => (answer.status === 'retry' ? (again.shift() ?? answer) : answer))
  }
  return answers
}
