import { randomBytes } from 'node:crypto'
import type { IncomingMessage, Server, ServerResponse } from 'node:http'
import { Agent, createServer, request } from 'node:http'
import type { AddressInfo, Socket } from 'node:net'
import type { SecretsManagerClient } from '@aws-sdk/client-secrets-manager'
import {
  CreateSecretCommand,
  DescribeSecretCommand,
  GetSecretValueCommand,
  PutSecretValueCommand,
  RotateSecretCommand,
  UpdateSecretVersionStageCommand,
} from '@aws-sdk/client-secrets-manager'
import * as z from 'zod'

const HOST = '127.0.0.1'
const Value = z.object({ user: z.string(), password: z.string() })
type Value = z.infer<typeof Value>
const Step = z.object({
  Step: z.enum(['createSecret', 'setSecret', 'testSecret', 'finishSecret']),
  SecretId: z.string(),
  ClientRequestToken: z.string(),
})

/** A secret whose value logs somebody in somewhere. */
export interface Rotating {
  readonly name: string
  readonly arn: string
  readonly versionId: string
  readonly value: Value
}

/**
 * A service with users and passwords, over HTTP, and the rotation function of its secrets: the four steps of AWS's
 * templates (Secrets Manager User Guide, "Lambda rotation functions"), for one user or for two that take turns.
 */
export async function startRotation(client: SecretsManagerClient) {
  const passwords = new Map<string, string>()
  const sessions = new Map<Socket, string>()
  /** Steps that fail, and steps that were called. */
  const fails = new Set<string>()
  const steps: string[] = []
  const turning = new Set<string>()
  let held: { readonly until: Promise<void>; readonly let: () => void } | undefined
  const agents = new Set<Agent>()

  const service = createServer(({ headers, socket }, response) => {
    const [user = '', password] = Buffer.from((headers.authorization ?? '').replace('Basic ', ''), 'base64')
      .toString()
      .split(':')
    if (headers.authorization !== undefined && passwords.get(user) === password && password !== undefined) {
      sessions.set(socket, user)
      socket.once('close', () => sessions.delete(socket))
    }
    // Who is in stays in, whatever becomes of the password: as in most databases.
    response.writeHead(sessions.has(socket) ? 200 : 401).end()
  })
  service.keepAliveTimeout = 60_000
  await listen(service)

  const currentValue = async (arn: string, version: { readonly VersionStage?: string; readonly VersionId?: string }) =>
    Value.parse(JSON.parse((await client.send(new GetSecretValueCommand({ SecretId: arn, ...version }))).SecretString ?? ''))

  const functions: Readonly<Record<z.infer<typeof Step>['Step'], (arn: string, token: string) => Promise<void>>> = {
    async createSecret(arn, token) {
      const { user } = await currentValue(arn, { VersionStage: 'AWSCURRENT' })
      const other = user.endsWith('-clone') ? user.replace(/-clone$/, '') : `${user}-clone`
      const value = { user: turning.has(arn) ? other : user, password: randomBytes(12).toString('hex') }
      await client.send(
        new PutSecretValueCommand({
          SecretId: arn,
          ClientRequestToken: token,
          SecretString: JSON.stringify(value),
          VersionStages: ['AWSPENDING'],
        }),
      )
    },
    async setSecret(arn, token) {
      const { user, password } = await currentValue(arn, { VersionId: token })
      passwords.set(user, password)
    },
    async testSecret(arn, token) {
      const { user, password } = await currentValue(arn, { VersionId: token })
      if (passwords.get(user) !== password) throw new Error('the new password is refused')
    },
    async finishSecret(arn, token) {
      const { VersionIdsToStages: stages = {} } = await client.send(new DescribeSecretCommand({ SecretId: arn }))
      const [current] = Object.entries(stages).find(([, labels]) => labels.includes('AWSCURRENT')) ?? []
      await client.send(
        new UpdateSecretVersionStageCommand({
          SecretId: arn,
          VersionStage: 'AWSCURRENT',
          MoveToVersionId: token,
          RemoveFromVersionId: current,
        }),
      )
    },
  }
  const invoke = async (incoming: IncomingMessage, response: ServerResponse) => {
    const parts: Uint8Array[] = []
    for await (const part of incoming) parts.push(part)
    const { Step: step, SecretId: arn, ClientRequestToken: token } = Step.parse(JSON.parse(Buffer.concat(parts).toString()))
    await held?.until
    steps.push(step)
    if (fails.has(step)) throw new Error('the step fails')
    await functions[step](arn, token)
    response.end('null')
  }
  const lambda = createServer((incoming, response) => {
    invoke(incoming, response).catch(() => response.writeHead(500).end())
  })
  await listen(lambda)

  const login = (agent: Agent, value?: Value) =>
    new Promise<boolean>((done) => {
      const { port } = service.address() as AddressInfo
      const headers =
        value === undefined ? {} : { authorization: `Basic ${Buffer.from(`${value.user}:${value.password}`).toString('base64')}` }
      const sent = request({ host: HOST, port, agent, headers }, (response) => {
        response.resume()
        response.once('end', () => done(response.statusCode === 200))
      })
      sent.once('error', () => done(false))
      sent.end()
    })

  const prefix = `service-${randomBytes(3).toString('hex')}`
  let serial = 0
  return {
    fails,
    steps,
    functionArn: (speed: 'fast' | 'slowly' = 'fast') => {
      const { port } = lambda.address() as AddressInfo
      return `arn:aws:lambda:us-east-1:000000000000:function:SecretsManager-${port}${speed === 'fast' ? '' : '-slowly'}`
    },
    /** Rotations stand still until the function that this returns is called. */
    hold() {
      let free = () => {}
      const until = new Promise<void>((done) => {
        free = done
      })
      held = { until, let: free }
      return () => {
        held = undefined
        free()
      }
    },
    /** A new user of the service, and its secret. `rotates`: absent, it has no function. */
    async create(
      options: {
        readonly name?: string
        readonly rotates?: string
        readonly alternating?: boolean
        readonly tags?: Record<string, string>
      } = {},
    ): Promise<Rotating> {
      serial += 1
      const { name = `${prefix}/user-${serial}`, rotates, alternating = false, tags = {} } = options
      const value = { user: `${name}-${serial}`, password: randomBytes(12).toString('hex') }
      passwords.set(value.user, value.password)
      const Tags = Object.entries(tags).map(([Key, text]) => ({ Key, Value: text }))
      const { ARN: arn = '', VersionId: versionId = '' } = await client.send(
        new CreateSecretCommand({ Name: name, SecretString: JSON.stringify(value), Tags }),
      )
      if (alternating) turning.add(arn)
      if (rotates !== undefined) {
        await client.send(
          new RotateSecretCommand({
            SecretId: arn,
            RotationLambdaARN: rotates,
            RotationRules: { AutomaticallyAfterDays: 30 },
            RotateImmediately: false,
          }),
        )
      }
      return { name, arn, versionId, value }
    },
    currentValue,
    /** Whether the service lets somebody in with it. */
    works: (value: Value) => login(new Agent({ keepAlive: false }), value),
    async open(value: Value) {
      const agent = new Agent({ keepAlive: true, maxSockets: 1 })
      agents.add(agent)
      if (!(await login(agent, value))) throw new Error('the service lets nobody in')
      return { alive: () => login(agent), close: async () => agent.destroy() }
    },
    async stop() {
      held?.let()
      for (const agent of agents) agent.destroy()
      for (const server of [service, lambda]) {
        server.closeAllConnections()
        await new Promise((done) => server.close(done))
      }
    },
  }
}

const listen = (server: Server) => new Promise<void>((done, fail) => server.once('error', fail).listen(0, HOST, done))
