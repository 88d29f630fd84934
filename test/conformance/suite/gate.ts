import type { Server, Socket } from 'node:net'
import { createServer, connect as dial } from 'node:net'
import type { Faults, Nonsense } from './harness.ts'

/** A TCP gate before a real issuer: its address stays while what is behind it changes. */
export interface Gate extends Faults {
  readonly port: number
  nonsense(kind: Nonsense): Promise<void>
  close(): Promise<void>
}

const PAGE = '<!doctype html><title>Welcome</title><h1>It works</h1>'
const NONSENSE: Readonly<Record<Nonsense, Buffer>> = {
  html: Buffer.from(`HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: ${PAGE.length}\r\n\r\n${PAGE}`),
  // Bytes in no order, the same each time; the first is no letter of any protocol met here.
  garbage: Buffer.from(Array.from({ length: 512 }, (_, index) => (index * 167 + 251) % 256)),
}
/** Where the server is to speak first, its client waits for nonsense too. */
const UNASKED_MILLISECONDS = 30

/** `otherPort`: the server that answers instead under `other()`. */
export async function startGate(port: number, otherPort: number): Promise<Gate> {
  const sockets = new Set<Socket>()
  let target = port
  let frozen = false
  let babble: Buffer | undefined
  const keep = (socket: Socket) => {
    sockets.add(socket)
    socket.on('error', () => socket.destroy())
    socket.on('close', () => sockets.delete(socket))
  }
  const server: Server = createServer((near) => {
    keep(near)
    if (babble !== undefined) {
      const unasked = setTimeout(() => near.write(babble ?? ''), UNASKED_MILLISECONDS)
      near.on('close', () => clearTimeout(unasked))
      near.on('data', () => {
        clearTimeout(unasked)
        if (babble !== undefined) near.write(babble)
      })
      return
    }
    if (frozen) return
    const far = dial(target, '127.0.0.1')
    keep(far)
    near.on('data', (bytes) => {
      if (babble !== undefined) near.write(babble)
      else if (!frozen) far.write(bytes)
    })
    far.on('data', (bytes) => {
      if (!frozen && babble === undefined) near.write(bytes)
    })
    near.on('close', () => far.destroy())
    far.on('close', () => near.destroy())
  })
  const listen = (at: number) => new Promise<void>((done, fail) => server.once('error', fail).listen(at, '127.0.0.1', done))
  const shut = async () => {
    for (const socket of sockets) socket.destroy()
    if (server.listening) await new Promise((done) => server.close(done))
  }
  await listen(0)
  const address = server.address()
  if (address === null || typeof address === 'string') throw new Error('the gate has no port')
  const own = address.port
  let faulty = false
  return {
    port: own,
    async down() {
      faulty = true
      await shut()
    },
    async hang() {
      faulty = true
      frozen = true
    },
    async other() {
      faulty = true
      await shut()
      target = otherPort
      await listen(own)
    },
    async nonsense(kind) {
      faulty = true
      babble = NONSENSE[kind]
    },
    async heal() {
      if (!faulty) return
      faulty = false
      frozen = false
      babble = undefined
      target = port
      await shut()
      await listen(own)
    },
    close: shut,
  }
}
