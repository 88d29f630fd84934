import { randomUUID } from 'node:crypto'
import type { Delivery, Target } from './events.ts'
import { readTarget } from './events.ts'
import type { Json } from './json.ts'
import { arrayOf, textOf } from './json.ts'
import type { Functions } from './lambda.ts'
import type { Resource, Template } from './template.ts'
import { TemplateError } from './template.ts'

export interface Schedules {
  /** Runs every schedule now and waits for it. */
  fire(): Promise<void>
  stop(): void
}

interface Schedule {
  readonly seconds: number
  readonly target: Target
  readonly arn: string
}

/** Rates of rules and of EventBridge Scheduler, first due after one rate. `seconds` replaces every rate. */
export function startSchedules(options: {
  readonly template: Template
  readonly functions: Functions
  readonly delivery: Delivery
  readonly region: string
  readonly account: string
  readonly seconds?: number
}): Schedules {
  const schedules = readSchedules(options.template, options.functions)
  const fire = ({ target, arn }: Schedule) =>
    options.delivery.deliver(target, {
      version: '0',
      id: randomUUID(),
      'detail-type': 'Scheduled Event',
      source: 'aws.events',
      account: options.account,
      time: new Date().toISOString().replace(/\.\d+Z$/, 'Z'),
      region: options.region,
      resources: [arn],
      detail: {},
    })
  // On AWS a slow run and the next one overlap; at a demonstration's rate they would pile up, so a tick is left out.
  const busy = new Set<Schedule>()
  const tick = async (schedule: Schedule) => {
    if (busy.has(schedule)) return
    busy.add(schedule)
    await fire(schedule)
    busy.delete(schedule)
  }
  const timers = schedules.map((schedule) => setInterval(() => void tick(schedule), (options.seconds ?? schedule.seconds) * 1000))
  return {
    fire: async () => void (await Promise.all(schedules.map(fire))),
    stop: () =>
      timers.forEach((timer) => {
        clearInterval(timer)
      }),
  }
}

function readSchedules(template: Template, functions: Functions): Schedule[] {
  const read = (resource: Resource, targets: readonly Json[]): Schedule[] => {
    const where = `${resource.stack}/${resource.logicalId}`
    const expression = template.property(resource, 'ScheduleExpression')
    if (expression === undefined || template.property(resource, 'State') === 'DISABLED') return []
    const seconds = rateSeconds(textOf(expression, `${where}: ScheduleExpression`), where)
    const arn = template.attribute(resource, 'Arn')
    return targets.map((target) => ({ seconds, arn, target: readTarget(template, functions, target, where) }))
  }
  return [
    ...template
      .ofType('AWS::Events::Rule')
      .flatMap((rule) => read(rule, arrayOf(template.property(rule, 'Targets') ?? [], `${rule.logicalId}: Targets`))),
    ...template
      .ofType('AWS::Scheduler::Schedule')
      .flatMap((schedule) => read(schedule, [template.property(schedule, 'Target') ?? null])),
  ]
}

const UNITS: Readonly<Record<string, number>> = { minute: 60, hour: 3600, day: 86_400 }

/** `rate(5 minutes)`; a `cron` or `at` expression is refused. */
export function rateSeconds(expression: string, where: string): number {
  const [, count, unit] = /^rate\((\d+) (minute|hour|day)s?\)$/.exec(expression) ?? []
  const seconds = Number(count) * (UNITS[unit ?? ''] ?? 0)
  if (!(seconds > 0)) {
    throw new TemplateError('unsupported-property', `${where}: ${expression} is not known on one machine (only rate(...) is)`)
  }
  return seconds
}
