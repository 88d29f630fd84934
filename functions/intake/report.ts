import type { Report, ReportedCase, ReportedCredential, ReportReceipt } from '../contracts/report.ts'
import type { Trigger } from '../contracts/trigger.ts'
import { key } from '../domain/keys.ts'
import { ProblemError } from '../runtime/problem-error.ts'
import type { AcceptPorts, Sender } from './accept.ts'
import { acceptor } from './accept.ts'
import type { NamedRead } from './named.ts'
import { keptOf, namedScopes } from './named.ts'

/** Cases opened side by side: a report of the largest size is taken within seconds. */
const PARALLEL = 16
/** `source` of a report's triggers; the authenticated sender makes it his own. */
const SOURCE = 'urn:rescind:report'

/**
 * Takes a report of leaked credentials: each gets a compromise case of its own, opened as a trigger would open it, and
 * known by the report and the credential, so that a report that comes again opens nothing twice. One that cannot be read
 * holds up no other one. The texts are fingerprinted and dropped.
 *
 * @param idempotencyKey of the report
 * @throws ProblemError where none of them was taken, or where a part of the report could not be carried out: then the same
 *   report is sent again
 */
export function reporter(ports: AcceptPorts) {
  const accept = acceptor(ports)

  return async function take(report: Report, idempotencyKey: string, sender: Sender): Promise<ReportReceipt> {
    if (!sender.source.triggers.includes('compromise'))
      throw new ProblemError('forbidden', `source ${sender.source.name} may not send compromise`)
    const mac = await ports.mac()
    const named = namedScopes(ports)
    const campaign = report.campaign ?? (report.credentials.length > 1 ? `report ${idempotencyKey}`.slice(0, 128) : undefined)
    // By what is looked for and where, hashed with the installation's key: the event's id is kept.
    const keyOf = ({ text, issuer, provider }: ReportedCredential) =>
      key('reported', mac(`report:${text.trim()}`), issuer ?? '', provider ?? '')

    async function each(credential: ReportedCredential, place: number): Promise<ReportedCase> {
      let read: NamedRead
      const id = `${idempotencyKey}/${keyOf(credential)}`
      const data: Trigger['data'] = {
        scope: { kind: 'credential-name', name: credential.text },
        reason: report.reason,
        ...(campaign === undefined ? {} : { campaign }),
      }
      try {
        const { text, ...where } = credential
        read = await named({ name: text, ...where }, keptOf(data, id), `/credentials/${place}/text`)
      } catch (error) {
        if (!(error instanceof ProblemError) || error.status >= 500 || error.status === 429) throw error
        return error.code === 'credential-unrecognised'
          ? { status: 'unrecognised' }
          : { status: 'refused', said: error.detail ?? error.title }
      }
      const receipt = await accept({ specversion: '1.0', id, source: SOURCE, type: 'io.rescind.compromise', data }, sender, read)
      return {
        status: receipt.status === 'replayed' ? 'replayed' : 'opened',
        case: receipt.case,
        readAs: read.scope.candidates.map(({ issuer, shown }) => ({ issuer, shown })),
        ...(read.leftOut.length === 0 ? {} : { leftOut: [...read.leftOut] }),
      }
    }

    const firsts = new Map<string, number>()
    for (const [place, credential] of report.credentials.entries()) {
      const id = keyOf(credential)
      if (!firsts.has(id)) firsts.set(id, place)
    }
    const taken = new Map<number, ReportedCase>()
    await inParallel([...firsts.values()], async (place) => {
      const credential = report.credentials[place]
      if (credential !== undefined) taken.set(place, await each(credential, place))
    })
    const credentials = report.credentials.map((credential, place): ReportedCase => {
      const first = firsts.get(keyOf(credential)) ?? place
      const found = taken.get(first) ?? { status: 'refused' }
      return first === place || found.case === undefined ? found : { ...found, status: 'repeated' }
    })
    if (credentials.every((one) => one.case === undefined)) throw noneTaken(credentials)
    return { credentials, ...(campaign === undefined ? {} : { campaign }) }
  }
}

const noneTaken = (credentials: readonly ReportedCase[]): ProblemError =>
  new ProblemError('credential-unrecognised', 'none of the reported credentials was taken', {
    errors: credentials.slice(0, 20).map(({ said }, place) => ({
      path: `/credentials/${place}/text`,
      message: said ?? 'is read as a credential by none of the providers',
    })),
  })

/** Runs a task for each, a few at a time; the first failure is thrown when those under way have ended. */
async function inParallel<Subject>(subjects: readonly Subject[], task: (subject: Subject) => Promise<void>): Promise<void> {
  const queue = [...subjects]
  const lanes = Array.from({ length: Math.min(PARALLEL, queue.length) }, async () => {
    for (let next = queue.shift(); next !== undefined; next = queue.shift()) await task(next)
  })
  for (const result of await Promise.allSettled(lanes)) if (result.status === 'rejected') throw result.reason
}
