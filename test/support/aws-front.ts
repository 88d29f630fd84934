import type { IncomingMessage, ServerResponse } from 'node:http'
import { createServer, request } from 'node:http'
import type { AddressInfo } from 'node:net'

/** A server before an emulator of AWS: it hands on byte by byte (signatures stay whole), or throttles as AWS does. */
export async function startAwsFront(endpoint: string) {
  let throttling = false
  const server = createServer((incoming, response) => {
    if (throttling) throttle(incoming, response)
    else handOn(incoming, response)
  })
  function handOn(incoming: IncomingMessage, response: ServerResponse): void {
    const { method, url = '/', headers } = incoming
    const sent = request(new URL(url, endpoint), { method, headers, setHost: false }, (answer) => {
      response.writeHead(answer.statusCode ?? 500, answer.headers)
      answer.pipe(response)
    })
    sent.once('error', () => response.destroy())
    incoming.pipe(sent)
  }
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done))
  return {
    port: (server.address() as AddressInfo).port,
    throttle(on: boolean) {
      throttling = on
    },
    async stop() {
      server.closeAllConnections()
      await new Promise((done) => server.close(done))
    },
  }
}

/** STS and IAM speak XML, Secrets Manager speaks JSON 1.1. */
function throttle(incoming: IncomingMessage, response: ServerResponse): void {
  incoming.resume()
  if (incoming.headers['x-amz-target'] === undefined) {
    response.writeHead(400, { 'content-type': 'text/xml' })
    response.end(
      '<ErrorResponse><Error><Type>Sender</Type><Code>Throttling</Code><Message>Rate exceeded</Message></Error></ErrorResponse>',
    )
  } else {
    response.writeHead(400, { 'content-type': 'application/x-amz-json-1.1' })
    response.end('{"__type":"ThrottlingException","message":"Rate exceeded"}')
  }
}

/** Another account at the address: whoever asks for its name is told another number, and nothing else is answered. */
export async function startOtherAccount(account: string) {
  const asked: string[] = []
  const server = createServer((incoming, response) => {
    const parts: Uint8Array[] = []
    incoming.on('data', (part: Uint8Array) => parts.push(part))
    incoming.once('end', () => {
      const action =
        new URLSearchParams(Buffer.concat(parts).toString()).get('Action') ?? String(incoming.headers['x-amz-target'])
      asked.push(action)
      if (action !== 'GetCallerIdentity') return response.writeHead(500).end()
      response.writeHead(200, { 'content-type': 'text/xml' })
      return response.end(
        `<GetCallerIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><GetCallerIdentityResult><Arn>arn:aws:iam::${account}:user/x</Arn><UserId>AIDA0000000000000000</UserId><Account>${account}</Account></GetCallerIdentityResult></GetCallerIdentityResponse>`,
      )
    })
  })
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done))
  return {
    port: (server.address() as AddressInfo).port,
    /** Actions that were asked of it. */
    asked,
    async stop() {
      server.closeAllConnections()
      await new Promise((done) => server.close(done))
    },
  }
}
