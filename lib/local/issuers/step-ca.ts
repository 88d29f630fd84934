import './reflect.ts'

import { execFile } from 'node:child_process'
import { X509Certificate } from 'node:crypto'
import { existsSync } from 'node:fs'
import { mkdir, writeFile } from 'node:fs/promises'
import { request } from 'node:https'
import { homedir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import * as x509 from '@peculiar/x509'
import { exportPKCS8 } from 'jose'
import { Http } from '../../../functions/providers/http.ts'
import type { Certified, LocalAuthority } from './authority.ts'
import { HOST, KEYS, listHas, newKeys, newProvisioner, newSigner, readList, tokenFor } from './authority.ts'
import { freePort } from './postgres.ts'
import { program, startServer } from './server.ts'

/** `go install` puts it into the user's folder, which is not always searched. */
const INSTALLED = join(homedir(), 'go', 'bin', 'step-ca')
const FILE = program('step-ca') ?? (existsSync(INSTALLED) ? INSTALLED : undefined)

export const stepCaMissing: string | undefined =
  FILE === undefined ? 'step-ca is not installed (go install github.com/smallstep/certificates/cmd/step-ca@v0.30.2)' : undefined

export interface StepCa extends LocalAuthority {
  /** What the authority answers to a renewal with the certificate itself: the HTTP status. */
  renew(certified: Certified): Promise<number>
  /** @returns the answer's JSON. @throws for any status but 200 and 201 */
  post(path: string, body: object): Promise<unknown>
}

/** `step-ca 0.30.2`, as its module says it: a program that `go install` made knows no version of its own. */
export async function stepCaVersion(): Promise<string> {
  const { stdout } = await promisify(execFile)('go', ['version', '-m', FILE ?? '']).catch(() => ({ stdout: '' }))
  return `step-ca ${/smallstep\/certificates\tv(\S+)/.exec(stdout)?.[1] ?? ''}`.trim()
}

/** step-ca on loopback with an intermediate authority and a list that is made at each revocation, or within the hour. */
export async function startStepCa(options: { readonly folder: string; readonly listAtOnce?: boolean }): Promise<StepCa> {
  const { folder, listAtOnce = true } = options
  await mkdir(folder, { recursive: true })
  const at = (name: string) => join(folder, name)
  const root = await newSigner('Root')
  const [signer, admin, port] = [await newSigner('Intermediate', root), await newProvisioner(), await freePort()]
  const url = `https://${HOST}:${port}`
  const trust = root.certificate.toString('pem')
  const certificate = signer.certificate.toString('pem')
  await writeFile(at('root.crt'), trust)
  await writeFile(at('intermediate.crt'), certificate)
  await writeFile(at('intermediate.key'), await exportPKCS8(signer.keys.privateKey), { mode: 0o600 })
  const { d: _, ...publicKey } = admin.key
  const configuration = {
    ...{ root: at('root.crt'), crt: at('intermediate.crt'), key: at('intermediate.key') },
    ...{ address: `${HOST}:${port}`, dnsNames: [HOST], logger: { format: 'text' } },
    db: { type: 'bbolt', dataSource: at('db') },
    crl: { enabled: true, generateOnRevoke: listAtOnce, cacheDuration: '1h' },
    authority: { provisioners: [{ type: 'JWK', name: admin.provisioner, key: { ...publicKey, use: 'sig', alg: 'ES256' } }] },
  }
  await writeFile(at('ca.json'), JSON.stringify(configuration))
  const http = new Http({ name: 'step-ca', timeoutMilliseconds: 5000, now: Date.now, ca: trust, maximumBytes: 16_777_216 })
  const get = (path: string) => http.request(`${url}${path}`, { method: 'GET' })
  const post = async (path: string, body: object): Promise<unknown> => {
    const headers = { 'content-type': 'application/json' }
    const { json, status } = await http.request(`${url}${path}`, { method: 'POST', headers, body: JSON.stringify(body) })
    if (status !== 200 && status !== 201) throw new Error(`step-ca answers ${status} ${JSON.stringify(json)}`)
    return json
  }
  const server = await startServer({
    ...{ program: FILE ?? '', args: [at('ca.json')], folder },
    ready: async () => (await get('/health')).status === 200,
  })
  return {
    ...{ url, port, certificate, trust, admin, post },
    counterpart: await stepCaVersion(),
    async certify(name) {
      const keys = await newKeys()
      const csr = await x509.Pkcs10CertificateRequestGenerator.create({
        ...{ name: [{ CN: [name] }], keys, signingAlgorithm: KEYS },
        extensions: [new x509.SubjectAlternativeNameExtension([{ type: 'dns', value: name }])],
      })
      const ott = await tokenFor(admin, `${url}/1.0/sign`, name, { sans: [name] })
      const { crt } = (await post('/1.0/sign', { csr: csr.toString('pem'), ott })) as { readonly crt: string }
      const signed = new X509Certificate(crt)
      return {
        ...{ serial: String(BigInt(`0x${signed.serialNumber}`)), notAfter: signed.validToDate.toISOString() },
        ...{ certificate: signed.toString(), key: await exportPKCS8(keys.privateKey) },
      }
    },
    async lists(serial) {
      const { bytes } = await get('/1.0/crl')
      return listHas(await readList(new Uint8Array(bytes).buffer, signer.certificate), serial)
    },
    renew: ({ certificate: cert, key }) =>
      new Promise((done, fail) => {
        const sent = request(`${url}/1.0/renew`, { method: 'POST', ca: trust, cert, key, agent: false }, (response) => {
          response.resume()
          done(response.statusCode ?? 0)
        })
        sent.once('error', fail)
        sent.end()
      }),
    async stop() {
      http.close()
      await server.stop()
    },
  }
}
