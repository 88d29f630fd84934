import './reflect.ts'

import type { webcrypto } from 'node:crypto'
import { randomBytes } from 'node:crypto'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { createServer } from 'node:http'
import { connect, createServer as createTlsServer } from 'node:tls'
import * as x509 from '@peculiar/x509'
import type { JWK } from 'jose'
import { exportJWK, exportPKCS8, importJWK, jwtVerify, SignJWT } from 'jose'
import { freePort } from './postgres.ts'

export const KEYS = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' } as const
export const HOST = '127.0.0.1'
const HOUR = 3_600_000

/** A certificate authority for tests, with the API of step-ca. */
export interface LocalAuthority {
  readonly url: string
  readonly port: number
  /** With its version. */
  readonly counterpart: string
  /** Of the key that signs certificates and the revocation list, PEM. */
  readonly certificate: string
  /** Whom to trust at `url`, PEM; none where it speaks plain HTTP. */
  readonly trust?: string
  readonly admin: Provisioner
  certify(name: string): Promise<Certified>
  /** What its revocation list says, read by another library than the provider's. */
  lists(serial: string): Promise<boolean>
  stop(): Promise<void>
}

/** As the provider's admin secret. */
export interface Provisioner {
  readonly provisioner: string
  readonly key: JWK & { readonly kid: string }
}

export interface Certified {
  /** Decimal. */
  readonly serial: string
  readonly notAfter: string
  readonly certificate: string
  /** PKCS #8, PEM. */
  readonly key: string
}

export interface Signer {
  readonly certificate: x509.X509Certificate
  readonly keys: webcrypto.CryptoKeyPair
}

export const newKeys = (): Promise<webcrypto.CryptoKeyPair> => crypto.subtle.generateKey(KEYS, true, ['sign', 'verify'])

export async function newProvisioner(provisioner = 'rescind'): Promise<Provisioner> {
  const jwk = await exportJWK((await newKeys()).privateKey)
  return { provisioner, key: { ...jwk, kid: randomBytes(8).toString('hex') } }
}

/** An authority's own certificate: a root, or one that another authority signs. */
export async function newSigner(name: string, by?: Signer): Promise<Signer> {
  const keys = await newKeys()
  const certificate = await x509.X509CertificateGenerator.create({
    serialNumber: `01${randomBytes(8).toString('hex')}`,
    subject: `CN=${name}`,
    issuer: by?.certificate.subject ?? `CN=${name}`,
    notBefore: new Date(Date.now() - HOUR),
    notAfter: new Date(Date.now() + 24 * HOUR),
    signingAlgorithm: KEYS,
    publicKey: keys.publicKey,
    signingKey: by?.keys.privateKey ?? keys.privateKey,
    extensions: [
      new x509.BasicConstraintsExtension(true, by === undefined ? 1 : 0, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign, true),
      await x509.SubjectKeyIdentifierExtension.create(keys.publicKey),
    ],
  })
  return { certificate, keys }
}

/** A one-time token of the provisioner. */
export async function tokenFor(admin: Provisioner, audience: string, subject: string, claims: object = {}): Promise<string> {
  return await new SignJWT({ ...claims })
    .setProtectedHeader({ alg: 'ES256', kid: admin.key.kid })
    .setIssuer(admin.provisioner)
    .setAudience(audience)
    .setSubject(subject)
    .setJti(randomBytes(16).toString('hex'))
    .setIssuedAt()
    .setNotBefore('-1m')
    .setExpirationTime('2m')
    .sign(await importJWK(admin.key, 'ES256'))
}

export async function readList(bytes: ArrayBuffer, by: x509.X509Certificate): Promise<x509.X509Crl> {
  const list = new x509.X509Crl(bytes)
  if (!(await list.verify({ publicKey: by.publicKey }))) throw new Error('the list is not signed by the authority')
  return list
}

export const listHas = (list: x509.X509Crl, serial: string): boolean =>
  list.entries.some(({ serialNumber }) => String(BigInt(`0x${serialNumber}`)) === serial)

/** What an authority in memory can be told. */
export interface PlayedAuthority extends LocalAuthority {
  /** The next list is made on demand only, as on a schedule; true: at each revocation. */
  atOnce: boolean
  /** Makes the list anew, with the moments that it is to bear. */
  publish(thisUpdate?: Date, nextUpdate?: Date): Promise<void>
  /** Seconds of Retry-After with which every call is throttled. */
  throttled: number | undefined
  /** The next request is carried out and its connection broken, so that it is sent again with the token that it used. */
  breaks: boolean
  /** What the list is answered with instead. */
  instead: { readonly status: number; readonly body: string | Uint8Array } | undefined
  /** Every revocation that was asked for. */
  readonly asked: { readonly serial: string; readonly reasonCode: number }[]
}

/**
 * A certificate authority that answers as step-ca's published API does (smallstep/certificates v0.30, api/revoke.go and
 * api/crl.go): a token of a JWK provisioner, once, for the serial that is its subject; 200 for a serial that it never gave;
 * 400 for one that it has revoked before. Its certificates, signatures and revocation list are real.
 */
export async function playAuthority(): Promise<PlayedAuthority> {
  const [signer, admin, port] = [await newSigner('Played Authority'), await newProvisioner(), await freePort()]
  const url = `http://${HOST}:${port}`
  const { d: _, ...publicJwk } = admin.key
  const verifier = await importJWK(publicJwk, 'ES256')
  const revoked = new Map<string, Date>()
  const used = new Set<string>()
  let serials = 0n
  let list = new ArrayBuffer()
  const publish = async (thisUpdate = new Date(), nextUpdate = new Date(Date.now() + HOUR)) => {
    const created = await x509.X509CrlGenerator.create({
      issuer: signer.certificate.subject,
      thisUpdate,
      nextUpdate,
      signingAlgorithm: KEYS,
      signingKey: signer.keys.privateKey,
      entries: [...revoked].map(([serial, revocationDate]) => ({ serialNumber: hexOf(BigInt(serial)), revocationDate })),
    })
    list = created.rawData
  }
  await publish()

  const matches = (claimed: unknown) => typeof claimed === 'string' && /^http:\/\/127\.0\.0\.1:\d+\/1\.0\/revoke$/.test(claimed)
  async function authorised(token: unknown, serial: string): Promise<number> {
    try {
      if (typeof token !== 'string') return 401
      const { payload } = await jwtVerify(token, verifier, { issuer: admin.provisioner })
      // Whatever the port: step-ca leaves it out of the comparison.
      if (!matches(payload.aud)) return 401
      if (payload.jti === undefined || used.has(payload.jti)) return 401
      used.add(payload.jti)
      return payload.sub === serial ? 200 : 403
    } catch {
      return 401
    }
  }
  async function revoke(request: IncomingMessage): Promise<{ status: number; body: object }> {
    const parts: Uint8Array[] = []
    for await (const part of request) parts.push(part)
    const { serial = '', ott, passive, reasonCode = 0 } = JSON.parse(Buffer.concat(parts).toString()) as Record<string, never>
    const problem = (status: number, message: string) => ({ status, body: { status, message } })
    if (!/^\d+$/.test(serial)) return problem(400, 'not a valid serial number')
    if (passive !== true) return problem(501, 'non-passive revocation not implemented')
    const status = await authorised(ott, serial)
    if (status !== 200) return problem(status, status === 401 ? 'The request lacked necessary authorization' : 'do not match')
    played.asked.push({ serial, reasonCode })
    if (revoked.has(serial)) {
      return problem(400, `The request could not be completed: certificate with serial number '${serial}' is already revoked.`)
    }
    revoked.set(serial, new Date())
    if (played.atOnce) await publish()
    return { status: 200, body: { status: 'ok' } }
  }
  const answer = async (request: IncomingMessage, response: ServerResponse) => {
    if (played.throttled !== undefined) {
      response.writeHead(429, { 'retry-after': String(played.throttled) }).end()
    } else if (request.url === '/1.0/crl') {
      const { status, body } = played.instead ?? { status: 200, body: new Uint8Array(list) }
      response.writeHead(status, { 'content-type': 'application/pkix-crl' }).end(body)
    } else {
      const { status, body } = await revoke(request)
      if (played.breaks) {
        played.breaks = false
        request.socket.destroy()
        return
      }
      response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body))
    }
  }
  const server = createServer((request, response) => {
    answer(request, response).catch(() => response.destroy())
  })
  await new Promise<void>((done, fail) => server.once('error', fail).listen(port, HOST, done))

  const played: PlayedAuthority = {
    ...{ url, port, admin, publish, counterpart: "step-ca's published API (v0.30), played" },
    certificate: signer.certificate.toString('pem'),
    atOnce: true,
    throttled: undefined,
    breaks: false,
    instead: undefined,
    asked: [],
    async certify(name) {
      serials += 1n
      const serial = (serials << 64n) + BigInt(`0x${randomBytes(8).toString('hex')}`)
      const keys = await newKeys()
      const notAfter = new Date(Math.floor((Date.now() + HOUR) / 1000) * 1000)
      const certificate = await x509.X509CertificateGenerator.create({
        serialNumber: hexOf(serial),
        subject: [{ CN: [name] }],
        issuer: signer.certificate.subject,
        notBefore: new Date(Date.now() - HOUR),
        notAfter,
        signingAlgorithm: KEYS,
        publicKey: keys.publicKey,
        signingKey: signer.keys.privateKey,
        extensions: [new x509.SubjectAlternativeNameExtension([{ type: 'url', value: `spiffe://example.org/${name}` }])],
      })
      const key = await exportPKCS8(keys.privateKey)
      return { serial: String(serial), notAfter: notAfter.toISOString(), certificate: certificate.toString('pem'), key }
    },
    lists: async (serial) => listHas(await readList(list, signer.certificate), serial),
    async stop() {
      server.closeAllConnections()
      await new Promise((done) => server.close(done))
    },
  }
  return played
}

export function hexOf(serial: bigint): string {
  const hex = serial.toString(16)
  return hex.length % 2 === 0 ? hex : `0${hex}`
}

/**
 * A TLS server that lets in whoever has a certificate of the authority, and asks no revocation list while a connection is
 * open, as servers do.
 */
export async function startRelyingParty({ certificate: authority, trust }: Pick<LocalAuthority, 'certificate' | 'trust'>) {
  const own = await newSigner('Relying Party')
  const [cert, key] = [own.certificate.toString('pem'), await exportPKCS8(own.keys.privateKey)]
  const ca = trust === undefined ? [authority] : [authority, trust]
  const server = createTlsServer({ ca, cert, key, requestCert: true, rejectUnauthorized: true }, (socket) => {
    socket.on('error', () => undefined)
    socket.pipe(socket)
  })
  const port = await freePort()
  await new Promise<void>((done) => server.listen(port, HOST, done))
  return {
    async open({ certificate, key: own }: Certified) {
      const socket = connect({ host: HOST, port, cert: certificate, key: own, rejectUnauthorized: false })
      socket.on('error', () => undefined)
      const hears = async (word: string) =>
        await new Promise<boolean>((done) => {
          if (socket.destroyed) done(false)
          socket.once('data', (bytes: Buffer) => done(bytes.toString() === word))
          socket.once('close', () => done(false))
          socket.write(word)
        })
      if (!(await hears('hello'))) throw new Error('the relying party does not take the certificate')
      return {
        alive: () => hears('still there'),
        close: async () => {
          socket.destroy()
        },
      }
    },
    async stop() {
      await new Promise((done) => server.close(done))
    },
  }
}
