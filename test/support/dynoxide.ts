import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createRequire } from 'node:module'
import { createServer } from 'node:net'
import { dirname, join } from 'node:path'
import { setTimeout as wait } from 'node:timers/promises'
import { CreateTableCommand, DeleteTableCommand, DynamoDBClient, waitUntilTableExists } from '@aws-sdk/client-dynamodb'

export interface TestStore {
  readonly client: DynamoDBClient
  readonly endpoint: string
  readonly table: string
  stop(): Promise<void>
}

/**
 * A table of the product's shape: in the embedded store, in memory, or at `RESCIND_TEST_DYNAMODB_ENDPOINT` (DynamoDB
 * Local; `aws` for a real account by the standard variables), where it is made under a fresh name and deleted in the end.
 *
 * @param options another endpoint; a stream of the table's changes
 */
export async function startTestStore(
  options: { readonly endpoint?: string; readonly stream?: boolean } = {},
): Promise<TestStore> {
  const elsewhere = options.endpoint ?? process.env['RESCIND_TEST_DYNAMODB_ENDPOINT']
  const server = elsewhere === undefined ? await startDynoxide() : undefined
  const endpoint = elsewhere ?? server?.endpoint ?? ''
  const client =
    endpoint === 'aws'
      ? new DynamoDBClient({ maxAttempts: 1 })
      : new DynamoDBClient({
          endpoint,
          region: 'us-east-1',
          credentials: { accessKeyId: 'test', secretAccessKey: 'test' },
          maxAttempts: 1,
        })
  const table = `rescind-test-${process.pid}-${performance.now().toString(36).replace('.', '')}`
  const key = (partition: string, sort: string) => [
    { AttributeName: partition, KeyType: 'HASH' as const },
    { AttributeName: sort, KeyType: 'RANGE' as const },
  ]
  await client.send(
    new CreateTableCommand({
      TableName: table,
      BillingMode: 'PAY_PER_REQUEST',
      KeySchema: key('pk', 'sk'),
      AttributeDefinitions: ['pk', 'sk', 'duePk', 'dueAt', 'listPk', 'listAt'].map((AttributeName) => ({
        AttributeName,
        AttributeType: 'S',
      })),
      GlobalSecondaryIndexes: ['due', 'list'].map((IndexName) => ({
        IndexName,
        KeySchema: key(`${IndexName}Pk`, `${IndexName}At`),
        Projection: { ProjectionType: 'ALL' },
      })),
      ...(options.stream === true
        ? { StreamSpecification: { StreamEnabled: true, StreamViewType: 'NEW_AND_OLD_IMAGES' as const } }
        : {}),
    }),
  )
  await waitUntilTableExists({ client, maxWaitTime: 60, minDelay: 1 }, { TableName: table })
  return {
    client,
    endpoint,
    table,
    async stop() {
      await client.send(new DeleteTableCommand({ TableName: table }))
      client.destroy()
      await server?.stop()
    },
  }
}

/** The embedded store in memory, on a free port of the loopback interface. */
export async function startDynoxide(): Promise<{ readonly endpoint: string; stop(): Promise<void> }> {
  const binary = join(dirname(createRequire(import.meta.url).resolve('@dynoxide/linux-x64/package.json')), 'dynoxide')
  const port = await freePort()
  const child = spawn(binary, ['serve', '--port', String(port)], { stdio: 'ignore' })
  const ended = once(child, 'exit')
  const endpoint = `http://127.0.0.1:${port}`
  const stop = async () => {
    if (child.exitCode === null && child.signalCode === null) {
      child.kill('SIGTERM')
      await ended
    }
  }
  const deadline = performance.now() + 10_000
  for (;;) {
    if (child.exitCode !== null) throw new Error(`dynoxide ended with ${child.exitCode} before it served`)
    try {
      await fetch(endpoint, { signal: AbortSignal.timeout(500) })
      return { endpoint, stop }
    } catch (error) {
      if (performance.now() > deadline) {
        await stop()
        throw error
      }
      await wait(5)
    }
  }
}

async function freePort(): Promise<number> {
  const server = createServer()
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  if (address === null || typeof address === 'string') throw new Error('no port')
  server.close()
  await once(server, 'close')
  return address.port
}
