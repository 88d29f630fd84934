import {
  CreateAccessKeyCommand,
  CreateRoleCommand,
  CreateUserCommand,
  IAMClient,
  PutRolePolicyCommand,
  PutUserPolicyCommand,
} from '@aws-sdk/client-iam'
import { ListBucketsCommand, S3Client } from '@aws-sdk/client-s3'
import { AssumeRoleCommand, GetCallerIdentityCommand, STSClient } from '@aws-sdk/client-sts'
import type { MiniStack } from '../ministack.ts'

export interface Credentials {
  readonly accessKeyId: string
  readonly secretAccessKey: string
  readonly sessionToken?: string
}

export interface Session extends Credentials {
  /** The second that its token was issued in (`aws:TokenIssueTime`). */
  readonly issuedAt: string
}

/** AWS's default, said all the same: the time of issue is reckoned from it. */
const SESSION_SECONDS = 3600

export interface AwsUser {
  readonly userName: string
  readonly userId: string
  readonly key: Credentials
}

export interface AwsRole {
  readonly roleName: string
  readonly roleId: string
  readonly arn: string
}

interface Statement {
  readonly Effect: 'Allow' | 'Deny'
  readonly Action: string | readonly string[]
  readonly Resource: string | readonly string[]
}

export const allow = (Action: string | readonly string[], Resource: string | readonly string[] = '*'): Statement => ({
  Effect: 'Allow',
  Action,
  Resource,
})

/** One account of an AWS that enforces IAM: principals with real keys and sessions, and what they get when they call. */
export function awsAccount(stack: MiniStack) {
  const configuration = (credentials: Credentials) => ({
    region: stack.region,
    endpoint: stack.endpoint,
    credentials,
    maxAttempts: 2,
  })
  const root = configuration(stack.rootCredentials)
  const iam = new IAMClient(root)
  const sts = new STSClient(root)
  const document = (statements: readonly Statement[]) => JSON.stringify({ Version: '2012-10-17', Statement: statements })

  return {
    iam,
    root: stack.rootCredentials as Credentials,
    configuration,

    async user(userName: string, statements: readonly Statement[]): Promise<AwsUser> {
      const { User: user } = await iam.send(new CreateUserCommand({ UserName: userName }))
      await iam.send(new PutUserPolicyCommand({ UserName: userName, PolicyName: 'own', PolicyDocument: document(statements) }))
      const { AccessKey: key } = await iam.send(new CreateAccessKeyCommand({ UserName: userName }))
      return {
        userName,
        userId: user?.UserId ?? '',
        key: { accessKeyId: key?.AccessKeyId ?? '', secretAccessKey: key?.SecretAccessKey ?? '' },
      }
    },

    async role(roleName: string, statements: readonly Statement[]): Promise<AwsRole> {
      const trust = { Effect: 'Allow', Principal: { AWS: `arn:aws:iam::${stack.account}:root` }, Action: 'sts:AssumeRole' }
      const { Role: role } = await iam.send(
        new CreateRoleCommand({
          RoleName: roleName,
          AssumeRolePolicyDocument: JSON.stringify({ Version: '2012-10-17', Statement: [trust] }),
        }),
      )
      await iam.send(new PutRolePolicyCommand({ RoleName: roleName, PolicyName: 'own', PolicyDocument: document(statements) }))
      return { roleName, roleId: role?.RoleId ?? '', arn: role?.Arn ?? '' }
    },

    /** A session of a role, by the account's root: also of a function's role, to see what that function may do. */
    async session(roleArn: string, sessionName: string): Promise<Session> {
      const { Credentials: session } = await sts.send(
        new AssumeRoleCommand({ RoleArn: roleArn, RoleSessionName: sessionName, DurationSeconds: SESSION_SECONDS }),
      )
      const issued = Math.floor((session?.Expiration?.getTime() ?? 0) / 1000) - SESSION_SECONDS
      return {
        issuedAt: `${new Date(issued * 1000).toISOString().slice(0, 19)}Z`,
        accessKeyId: session?.AccessKeyId ?? '',
        secretAccessKey: session?.SecretAccessKey ?? '',
        sessionToken: session?.SessionToken ?? '',
      }
    },

    /** What the holder is told who wants to do something: `undefined` if it works, else the error's code. */
    async refusal(credentials: Credentials): Promise<string | undefined> {
      const s3 = new S3Client({ ...configuration(credentials), maxAttempts: 1, forcePathStyle: true })
      return s3
        .send(new ListBucketsCommand({}))
        .then(() => undefined, codeOf)
        .finally(() => s3.destroy())
    },

    /** The same for who wants nothing but to be known: what no policy can refuse (`sts:GetCallerIdentity`). */
    async unknown(credentials: Credentials): Promise<string | undefined> {
      const client = new STSClient({ ...configuration(credentials), maxAttempts: 1 })
      return client
        .send(new GetCallerIdentityCommand({}))
        .then(() => undefined, codeOf)
        .finally(() => client.destroy())
    },

    /** An HTTP request signed with Signature Version 4, as a program in AWS would send it. */
    async signed(
      credentials: Credentials,
      service: string,
      method: string,
      address: string,
      body?: unknown,
      headers: Readonly<Record<string, string>> = {},
    ): Promise<{ readonly status: number; readonly body: unknown }> {
      const url = new URL(address)
      const client = new STSClient(configuration(credentials))
      const text = body === undefined ? undefined : JSON.stringify(body)
      try {
        const signer = await client.config.signer({
          name: 'sigv4',
          signingName: service,
          signingRegion: stack.region,
          properties: {},
        })
        const request = await signer.sign({
          method,
          protocol: url.protocol,
          hostname: url.hostname,
          port: Number(url.port),
          path: url.pathname,
          query: Object.fromEntries(url.searchParams),
          headers: { host: url.host, ...(text === undefined ? {} : { 'content-type': 'application/json' }), ...headers },
          ...(text === undefined ? {} : { body: text }),
        })
        const { host: _, ...sent } = request.headers
        const answer = await fetch(url, {
          method,
          headers: sent,
          ...(text === undefined ? {} : { body: text }),
          signal: AbortSignal.timeout(30_000),
        })
        const said = await answer.text()
        return { status: answer.status, body: said === '' ? undefined : parsed(said) }
      } finally {
        client.destroy()
      }
    },

    close() {
      iam.destroy()
      sts.destroy()
    },
  }
}
export type AwsAccount = ReturnType<typeof awsAccount>

/** The code of what AWS refused. */
export const codeOf = (error: unknown): string => (error instanceof Error ? error.name : String(error))

function parsed(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return text
  }
}
