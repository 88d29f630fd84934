import { once } from 'node:events'
import type { Socket } from 'node:net'
import { createServer, connect as dial } from 'node:net'

export interface Relay {
  readonly port: number
  /** How often a client spoke, at first or after it was answered: what it sends without waiting for an answer counts once. */
  trips(): number
  close(): Promise<void>
}

/** A TCP relay on loopback before a server there, which counts round trips whatever is spoken. */
export async function startRelay(to: number): Promise<Relay> {
  const sockets = new Set<Socket>()
  let trips = 0
  const keep = (socket: Socket) => {
    sockets.add(socket)
    socket.setNoDelay(true)
    socket.on('error', () => socket.destroy())
    socket.on('close', () => sockets.delete(socket))
  }
  const server = createServer((near) => {
    const far = dial(to, '127.0.0.1')
    keep(near)
    keep(far)
    let answered = true
    near.on('data', (bytes) => {
      if (answered) trips += 1
      answered = false
      far.write(bytes)
    })
    far.on('data', (bytes) => {
      answered = true
      near.write(bytes)
    })
    near.on('close', () => far.destroy())
    far.on('close', () => near.destroy())
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  if (address === null || typeof address === 'string') throw new Error('the relay has no port')
  return {
    port: address.port,
    trips: () => trips,
    async close() {
      for (const socket of sockets) socket.destroy()
      await new Promise((done) => server.close(done))
    },
  }
}
