import type { Clock } from './ports.ts'

/** `Quarantined`: what could not be handled and was put aside. `Shed`: requests that were refused to keep the pipeline working. */
export type MetricName = 'Quarantined' | 'Shed'

/** Counters that alarms watch. */
export interface Metrics {
  /** @param reason a word of ours, never a text from outside */
  count(name: MetricName, reason: string, value?: number): void
}

export const NAMESPACE = 'Rescind'

/** No word of ours: a dimension must not grow with what comes from outside. */
const WORD = /^[a-z][a-z0-9-]{0,63}$/

/**
 * Counters as lines of the function's own log in CloudWatch's embedded metric format (specification version 0): the log
 * service makes the metrics, so counting costs no call and needs no right. Each counts for the installation, which its
 * alarm watches, and by function and reason.
 *
 * @param installation value of the dimension `Installation`: what begins the names of the stack's resources
 */
export function embeddedMetrics(options: {
  readonly clock: Clock
  readonly installation: string
  readonly function: string
  readonly write?: (line: string) => void
}): Metrics {
  const write = options.write ?? ((line: string) => process.stdout.write(`${line}\n`))
  return {
    count(name, reason, value = 1) {
      write(
        JSON.stringify({
          _aws: {
            Timestamp: options.clock.now(),
            CloudWatchMetrics: [
              {
                Namespace: NAMESPACE,
                Dimensions: [['Installation'], ['Installation', 'Function', 'Reason']],
                Metrics: [{ Name: name, Unit: 'Count' }],
              },
            ],
          },
          Installation: options.installation,
          Function: options.function,
          Reason: WORD.test(reason) ? reason : 'other',
          [name]: value,
        }),
      )
    },
  }
}

/** The installation's prefix, from the name that Lambda tells a function: `<prefix>-<function>`. */
export function installationOf(lambdaName: string | undefined, stage: string): string {
  const ending = `-${stage}`
  return lambdaName?.endsWith(ending) === true ? lambdaName.slice(0, -ending.length) : 'local'
}
