import type { StackProps } from 'aws-cdk-lib'
import { CfnOutput, Duration, Stack, Tags } from 'aws-cdk-lib'
import type { Queue } from 'aws-cdk-lib/aws-sqs'
import type { Construct } from 'constructs'
import { workersOf } from '../../functions/domain/limiter.ts'
import type { Definition } from '../../functions/providers/contract.ts'
import type { Catalog, Config } from '../config.ts'
import { Alarms } from './alarms.ts'
import { Api } from './api.ts'
import { IntakeBus, OutcomeBus } from './buses.ts'
import { CLOSING_ITEMS, feedEachMinute, feedFromLanes, feedFromStream } from './feeds.ts'
import { FingerprintKey } from './fingerprint.ts'
import type { FunctionContext } from './function.ts'
import { StageFunction, workerTimeout } from './function.ts'
import { Guard, PROTECTED_TAG, sparesProtected } from './guard.ts'
import { allow, allowProvider, TABLE } from './permissions.ts'
import type { DeadQueue } from './queues.ts'
import { allowRedriving, allowSending, Lanes } from './queues.ts'
import { Sealing } from './sealing.ts'
import { Storage } from './storage.ts'

export interface RescindStackProps extends StackProps {
  readonly config: Config
  readonly environment: string
  readonly catalog: Catalog
  /** Folder with `<function>/index.mjs`. */
  readonly bundles: string
}

/**
 * One installation in one environment: the whole way of an event. Resources are made first, then each stage is given
 * the rights and the variables it needs, then stages are fed; who may do what can be read off this file.
 */
export class RescindStack extends Stack {
  constructor(scope: Construct, id: string, { config, environment, catalog, bundles, ...props }: RescindStackProps) {
    super(scope, id, {
      ...props,
      description: 'Rescind: revokes every lease of an identity when the reason for its access is gone',
    })
    Tags.of(this).add(PROTECTED_TAG, 'true')
    const prefix = `${config.name}-${environment}`
    const path = `/${config.name}/`
    const enabled = Object.keys(config.providers)
      .sort()
      .map((name) => definitionOf(catalog, name))

    const storage = new Storage(this, 'Storage', { config })
    const sealing = new Sealing(this, 'Sealing', { config })
    const fingerprintKey = new FingerprintKey(this, 'FingerprintKey', { config })
    const intakeBus = new IntakeBus(this, 'IntakeBus', { config, prefix })
    const outcomeBus = new OutcomeBus(this, 'OutcomeBus', { prefix })
    const alarms = new Alarms(this, 'Alarms', { config })
    const context: FunctionContext = { config, prefix, path, bundles, guard: new Guard(this, 'Guard', { path }).policy }

    const stage = (logicalId: string, name: string, description: string, seconds: number, memory?: number) =>
      new StageFunction(this, logicalId, context, {
        name,
        description,
        timeout: Duration.seconds(seconds),
        ...(memory === undefined ? {} : { memory }),
      })
    // An HTTP API waits 30 seconds at most; whoever answers must be done before.
    const intakeHttp = stage('IntakeHttp', 'intake-http', 'Takes triggers and reports over HTTP', 25)
    const intake = stage('Intake', 'intake-bus', 'Takes triggers from the intake bus', 30)
    // It may not take what planners and workers run on. Triggers have no such ceiling: the most urgent come that way too.
    const { registrars } = config.api
    const register = new StageFunction(this, 'Register', context, {
      name: 'register',
      description: 'Registers, confirms, renews and releases leases',
      timeout: Duration.seconds(25),
      ...(registrars === 'none' ? {} : { reserved: registrars }),
    })
    const operate = stage('Operate', 'operate', "The operators' API", 25)
    // One CPU: it counts as long as it has time, and what it counts must be unpacked.
    const preview = stage('Preview', 'plan-preview', 'Says what a trigger would do, and does nothing', 25, 1769)
    const plan = stage('Plan', 'plan', 'Opens cases, fences, orders containment, lists leases into chunks', 60)
    const close = stage('Close', 'close', 'Closes cases and announces their completion', 60)
    const prove = stage('Prove', 'prove', 'Writes the audit trail', 60)
    const sweep = stage('Sweep', 'sweep', 'Wakes what is due and what is stuck', 55, 1024)
    const workers = enabled.map((definition) => {
      const timeout = workerTimeout(definition.limits.callSeconds)
      const logicalId = pascal(definition.name)
      return {
        definition,
        stage: new StageFunction(this, `Revoke${logicalId}`, context, {
          name: `revoke-${definition.name}`,
          description: `Contains, cuts and verifies: ${definition.title}`,
          timeout,
          inVpc: definition.network === 'vpc',
        }),
        lanes: new Lanes(this, `Work${logicalId}`, {
          name: `work-${definition.name}`,
          prefix,
          functionTimeout: timeout,
          fifo: definition.serial,
        }),
      }
    })
    const planLanes = new Lanes(this, 'PlanQueues', { name: 'plan', prefix, functionTimeout: plan.timeout, fifo: false })
    const planQueues = planLanes.all
    const workQueues = workers.flatMap(({ lanes }) => lanes.all)

    // Who may touch the table, and how.
    for (const each of [register, ...workers.map((worker) => worker.stage)]) storage.allowTable(each.role, TABLE.record)
    // A worker that compares an issuer's list with its leases goes through those by when they run out.
    for (const each of workers) storage.allowDue(each.stage.role)
    storage.allowTable(plan.role, TABLE.plan)
    storage.allowTable(close.role, TABLE.close)
    storage.allowTable(operate.role, TABLE.operate, true)
    storage.allowTable(sweep.role, TABLE.sweep, true)
    for (const each of [intakeHttp, intake]) {
      storage.allowTable(each.role, TABLE.intake)
      // What a responder has in hand is looked for at every issuer that is configured.
      storage.allowList(each.role)
    }
    // It may look at everything that a case is planned from, and write nothing at all.
    storage.allowTable(preview.role, TABLE.preview)
    storage.allowList(preview.role)
    for (const each of [
      intakeHttp,
      intake,
      register,
      operate,
      preview,
      plan,
      close,
      sweep,
      ...workers.map((worker) => worker.stage),
    ]) {
      each.set({ TABLE_NAME: storage.table.tableName })
    }

    // Who may send where.
    for (const [each, queues] of [
      [intakeHttp, planQueues],
      [intake, planQueues],
      [operate, planQueues],
      [register, workQueues],
      [plan, [...planQueues, ...workQueues]],
      [sweep, [...planQueues, ...workQueues]],
      // A child lease may belong to another issuer than its parent.
      ...workers.map((worker) => [worker.stage, workQueues] as const),
    ] as const) {
      // Who lists a case and who sends again hold back where a queue is full.
      each.set({ QUEUES: allowSending(each.role, queues, each === plan || each === sweep) })
    }

    // Who may open what is secret.
    const secrets = (folder: string) =>
      `arn:${this.partition}:secretsmanager:${this.region}:${this.account}:secret:${config.name}/${folder}/*`
    for (const [each, folder] of [
      [intakeHttp, 'sources'],
      ...workers.map((worker) => [worker.stage, `issuers/${worker.definition.name}`] as const),
    ] as const) {
      each.set({ SECRETS: config.secrets })
      if (config.secrets !== 'aws') continue
      allow(each.role, {
        actions: ['secretsmanager:GetSecretValue'],
        resources: [secrets(folder)],
        reason: `Secrets are added while it runs, and AWS ends their ARNs with random characters; all of them are named ${config.name}/${folder}/...`,
      })
    }
    // Those who know credentials by their keyed hash.
    for (const each of [intakeHttp, intake, register, preview]) {
      fingerprintKey.allowReading(each.role)
      each.set({ FINGERPRINT_KEY: fingerprintKey.setting, SECRETS: config.secrets })
    }
    // Only handles that hold a secret are sealed; the other workers have nothing to open.
    const sealed = enabled.filter(({ secret }) => secret !== undefined).map(({ name }) => name)
    if (sealed.length > 0) sealing.allowSealing(register.role, sealed)
    register.set({ SEALING: sealing.setting })
    for (const { definition, stage: worker } of workers) {
      if (sealed.includes(definition.name)) sealing.allowOpening(worker.role, definition.name)
      worker.set({ SEALING: sealing.setting })
      allowProvider(worker.role, definition.permissions)
      const actions = definition.permissions.flatMap((permission) => permission.actions)
      if (actions.length > 0) worker.role.addToPolicy(sparesProtected(actions))
    }

    // Who writes and reads what is proven, and who tells.
    // `BatchWriteItem` could delete from the index; the index can be made anew from the archive, where nothing can be deleted.
    storage.allowAuditIndex(prove.role, ['dynamodb:PutItem', 'dynamodb:BatchWriteItem'])
    storage.allowSegments(prove.role, 's3:PutObject')
    // A segment that is there already is compared with what was to be written.
    storage.allowSegments(prove.role, 's3:GetObject')
    storage.allowAuditIndex(operate.role, ['dynamodb:GetItem', 'dynamodb:BatchGetItem', 'dynamodb:Query'])
    storage.allowSegments(operate.role, 's3:GetObject')
    for (const each of [prove, operate]) {
      each.set({ ARCHIVE_BUCKET: storage.archive.bucketName, AUDIT_INDEX_TABLE: storage.auditIndex.tableName })
    }
    // A table restored from a backup is behind a mark that is no part of it.
    storage.allowMark(sweep.role)
    sweep.set({ ARCHIVE_BUCKET: storage.archive.bucketName })
    outcomeBus.allowAnnouncing(close.role)
    close.set({ OUTCOME_BUS: outcomeBus.bus.eventBusName })

    // What feeds whom.
    const api = new Api(this, 'Api', { config, prefix, functions: { intake: intakeHttp, register, operate, preview } })
    const fromBus = intakeBus.feed(intake, prefix)
    const dead: DeadQueue[] = [...planLanes.all, ...workQueues].map((lane) => ({
      name: `${lane.name}-dead`,
      dead: lane.dead,
      back: lane.queue,
    }))
    const watch = (name: string, queue: Queue) => {
      alarms.watchDead(queue, name)
      dead.push({ name, dead: queue })
    }
    if (fromBus !== undefined) watch('intake-bus-dead', fromBus)
    feedFromLanes(plan, planLanes, config.lanes, { p0: 1, p1: 5, p2: 5 })
    alarms.watchLanes(planLanes)
    for (const { definition, stage: worker, lanes } of workers) {
      const most = config.providers[definition.name]?.concurrency ?? definition.limits.concurrency
      feedFromLanes(worker, lanes, workersOf(most), { p0: 1, p1: 2, p2: 2 })
      // One issuer may hold all workers of a lane but one: the worker must know how many there are.
      worker.set({ RESCIND_CONCURRENCY: String(most) })
      alarms.watchLanes(lanes)
    }
    watch(
      'close-dead',
      feedFromStream(close, { storage, prefix, batchSize: 25, parallel: 2, retries: 10, hours: 6, filters: CLOSING_ITEMS }),
    )
    // What it cannot read it tells as such and passes by. All else is an outage: nothing is given up while the stream has it.
    watch(
      'prove-dead',
      feedFromStream(prove, {
        storage,
        prefix,
        batchSize: 500,
        window: Duration.seconds(1),
        parallel: 4,
        retries: 10_000,
        hours: 24,
      }),
    )
    watch('sweep-dead', feedEachMinute(this, sweep, prefix))
    operate.set({ DEAD_LETTERS: allowRedriving(operate.role, dead) })
    for (const each of [close, prove]) alarms.watchStream(each)
    for (const each of [intakeHttp, intake, register, operate, preview, plan, sweep, ...workers.map((worker) => worker.stage)])
      alarms.watchErrors(each)
    alarms.watchSweep(sweep)
    alarms.watchQuarantine(prefix)

    new CfnOutput(this, 'ApiUrl', { value: api.api.apiEndpoint, description: 'Base address of the HTTP API' })
    new CfnOutput(this, 'IntakeBusName', { value: intakeBus.bus.eventBusName })
    new CfnOutput(this, 'OutcomeBusName', { value: outcomeBus.bus.eventBusName })
    new CfnOutput(this, 'TableName', { value: storage.table.tableName })
    new CfnOutput(this, 'AuditIndexName', { value: storage.auditIndex.tableName })
    new CfnOutput(this, 'ArchiveName', { value: storage.archive.bucketName })
  }
}

function definitionOf(catalog: Catalog, name: string): Definition {
  const definition = catalog[name]
  if (definition === undefined) throw new Error(`no provider ${name} in the catalog`)
  return definition
}

const pascal = (name: string) => name.replace(/(?:^|-)(\w)/g, (_, letter: string) => letter.toUpperCase())
