import type { IncomingMessage, Server } from 'node:http'

/** The body of a request, or undefined if it is larger than `most` bytes. */
export async function readBody(request: IncomingMessage, most: number): Promise<Buffer | undefined> {
  const parts: Buffer[] = []
  let size = 0
  for await (const part of request as AsyncIterable<Buffer>) {
    size += part.length
    // What comes after the limit is read and dropped, so that the sender gets to read the refusal.
    if (size <= most) parts.push(part)
  }
  return size > most ? undefined : Buffer.concat(parts)
}

/** Listens on the loopback interface; returns the port (0 asks for any). */
export function listenOn(server: Server, port: number): Promise<number> {
  return new Promise((resolve, reject) => {
    server.once('error', reject)
    server.listen(port, '127.0.0.1', () => {
      server.off('error', reject)
      const address = server.address()
      if (typeof address === 'object' && address !== null) resolve(address.port)
    })
  })
}

/** Lets answers under way finish, drops idle connections. */
export function closeServer(server: Server): Promise<void> {
  return new Promise((resolve) => {
    server.close(() => resolve())
    server.closeIdleConnections()
    const impatience = setTimeout(() => server.closeAllConnections(), 2000)
    impatience.unref()
  })
}
