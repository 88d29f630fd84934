import type { ClientChannel } from 'ssh2'
import ssh2 from 'ssh2'
import * as z from 'zod/mini'
import { readAdminSecret } from '../admin-secret.ts'
import { IssuerRefused, IssuerUnavailable } from '../contract.ts'
import type { Host, Look } from './agent.ts'
import { CHECK, endRequest, LOOK, putRequest, readAnswer } from './agent.ts'
import type { Host as HostSettings } from './definition.ts'
import { fingerprintOf } from './wire.ts'

/** The admin's key, read once for each piece of work. */
export interface Admin {
  readonly user: string
  readonly privateKey: string
  readonly passphrase: string | undefined
  /** The key is in use here, so it is never to be refused. */
  readonly fingerprint: string
}

const AdminSecret = z.strictObject({
  user: z.string().check(z.minLength(1), z.maxLength(255)),
  privateKey: z.string().check(z.minLength(1)),
  passphrase: z.optional(z.string().check(z.minLength(1))),
})

/** @throws IssuerRefused, and nothing of the secret is in it */
export function readAdmin(secret: string): Admin {
  const { user, privateKey, passphrase } = readAdminSecret(
    AdminSecret,
    secret,
    '{"user": ..., "privateKey": ..., "passphrase"?: ...}',
    'SSH',
  )
  const key = ssh2.utils.parseKey(privateKey, passphrase)
  if (key instanceof Error) throw new IssuerRefused('SSH: the private key of the admin secret cannot be read')
  return { user, privateKey, passphrase, fingerprint: fingerprintOf(key.getPublicSSH()) }
}

/** No list of 16 MiB in base64, with a line for each of a host's sessions, is larger. */
const MOST_CHARACTERS = 33_554_432

/** Connected, and says nothing: to connect again would only take as long once more. */
export class HostSilent extends IssuerUnavailable {}

export interface Connection extends Host {
  isOpen(): boolean
}

/**
 * Reaches one host: its key must be one of those that are known, before anything of ours is sent.
 * @throws IssuerRefused another host answers, or it refuses the admin. IssuerUnavailable it cannot be reached
 */
export async function openHost(settings: HostSettings, admin: Admin, timeoutMilliseconds: number): Promise<Connection> {
  const { name, host, port, fingerprints } = settings
  const { user: username, privateKey, passphrase } = admin
  const client = new ssh2.Client()
  let stranger = false
  let open = true
  const over = () => {
    open = false
  }
  client.once('end', over).once('close', over)
  await new Promise<void>((done, fail) => {
    client.once('ready', done)
    // A later one ends what is asked at that time, by its `close`.
    client.on('error', (error: Error & { readonly level?: string; readonly code?: string }) => {
      if (stranger) fail(new IssuerRefused(`SSH: ${name}: another host answers here, its key is none of the known ones`))
      else if (error.level === 'client-authentication') fail(new IssuerRefused(`SSH: ${name}: the admin key is refused`))
      else fail(new IssuerUnavailable(`SSH: ${name}: no connection (${error.code ?? error.level ?? 'unknown'})`))
    })
    client.once('close', () => fail(new IssuerUnavailable(`SSH: ${name}: the connection was closed`)))
    client.connect({
      host,
      port,
      username,
      privateKey,
      ...(passphrase === undefined ? {} : { passphrase }),
      readyTimeout: timeoutMilliseconds,
      hostVerifier: (key: Buffer) => {
        stranger = !fingerprints.includes(fingerprintOf(key))
        return !stranger
      },
    })
  }).catch((error: unknown) => {
    client.destroy()
    throw error
  })

  const ask = async (request: string): Promise<string> => {
    const asked = new AbortController()
    const { signal } = asked
    try {
      return await new Promise((done, fail) => {
        const gone = (why: string, Failure = IssuerUnavailable) => {
          fail(new Failure(`SSH: ${name}: ${why}`))
          client.destroy()
        }
        AbortSignal.timeout(timeoutMilliseconds).addEventListener('abort', () => gone('no answer in time', HostSilent), {
          signal,
        })
        const closed = () => gone('the connection was closed')
        client.once('close', closed)
        signal.addEventListener('abort', () => client.off('close', closed))
        // The command is not read: the key's forced command runs, and reads what it is told.
        if (!open) return closed()
        client.exec('rescind-ssh', (error: Error | undefined, channel: ClientChannel) => {
          if (error !== undefined) return gone('the host runs no command')
          const parts: Buffer[] = []
          let characters = 0
          channel.on('data', (part: Buffer) => {
            characters += part.length
            if (characters > MOST_CHARACTERS) gone('an answer that is too large')
            else parts.push(part)
          })
          channel.stderr.resume()
          channel.on('error', () => gone('the channel failed'))
          channel.on('close', () => done(Buffer.concat(parts).toString('latin1')))
          channel.end(request)
        })
      })
    } finally {
      // Its time-out must not end what is asked later on this connection.
      asked.abort()
    }
  }

  let last: Look | undefined
  const asked = async (request: string): Promise<Look | 'changed'> => {
    const answer = readAnswer(name, await ask(request))
    if (answer !== 'changed') last = answer
    return answer
  }
  const looked = async (request: string): Promise<Look> => {
    const answer = await asked(request)
    if (answer === 'changed') throw new IssuerUnavailable(`SSH: ${name}: no answer of the agent`)
    return answer
  }
  return {
    look: () => looked(last === undefined ? CHECK : LOOK),
    put: (old, bytes) => asked(putRequest(old, bytes)),
    end: (sessions) => looked(endRequest(sessions)),
    close: () => client.end(),
    isOpen: () => open,
  }
}
