import type { Login } from '../connection-uri.ts'
import { agreed, urisIn } from '../connection-uri.ts'
import type { Clue } from '../contract.ts'
import { UserName } from './names.ts'

const NAMED = /^rabbitmq user ([\s\S]{1,255})$/i

/**
 * A user by a connection string (`amqp://user:password@host/vhost`, also inside other text) or by `rabbitmq user <name>`.
 * What stands where a password belongs is never looked at. A text that names two users is none.
 */
export function recognise(text: string): Clue | undefined {
  const [, named] = NAMED.exec(text.trim()) ?? []
  const login = agreed(named === undefined ? fromUris(text) : [{ user: named }])
  if (login === undefined || !UserName.safeParse(login.user).success) return undefined
  const { user, host } = login
  return {
    credential: `user:${user}`,
    shown: host === undefined ? `rabbitmq user ${user}` : `rabbitmq user ${user} at ${host}`,
    query: { user, ...(host === undefined ? {} : { host }) },
  }
}

/** RabbitMQ documentation, "URI Specification". Ports differ between AMQP and the management that we speak to, so they say nothing. */
function fromUris(text: string): Login[] {
  return urisIn(text, /amqps?$/i).flatMap(({ userinfo, name = '', place: { host } }): Login[] => {
    // Without a user it is `guest`, which nobody was given.
    if (/[/?#]/.test(userinfo) || name === '') return []
    return [{ user: name, ...(host === undefined ? {} : { host }) }]
  })
}
