import { X509Certificate } from 'node:crypto'
import * as z from 'zod/mini'
import { Instant } from '../../contracts/primitives.ts'
import type { Definition } from '../contract.ts'
import { isEndpoint } from '../shape.ts'
import { credentialOf, recognise } from './recognise.ts'

const Endpoint = z
  .string()
  .check(
    z.maxLength(2048),
    z.refine(isEndpoint, 'must be an https address without user, password or fragment (http only on a loopback address)'),
  )

const isCertificate = (text: string): boolean => {
  try {
    return new X509Certificate(text).ca
  } catch {
    // No certificate at all.
    return false
  }
}

export const Target = z.strictObject({
  /** As decimal text: 20 bytes at most (RFC 5280, section 4.1.2.2). An authority gives one serial once. */
  serial: z.string().check(z.regex(/^[1-9]\d{0,48}$/, 'must be a serial number as decimal text')),
  /** When the certificate ends by itself, where that is known. */
  notAfter: z.optional(Instant),
})
export type Target = z.infer<typeof Target>

export const Settings = z.strictObject({
  /** The authority's API, without a path: `https://ca.example:9000`. */
  url: Endpoint,
  /**
   * The certificate whose key signs the leaf certificates and their revocation list, PEM: whoever shows a list of another
   * key is another authority.
   */
  authority: z.string().check(z.maxLength(16_384), z.refine(isCertificate, "must be an authority's certificate as PEM")),
  /** Whom to trust at `url`, PEM; the public authorities where absent. */
  ca: z.optional(z.string().check(z.minLength(1), z.maxLength(65_536))),
  /** Where its revocation list is; default `/1.0/crl` of `url`. */
  list: z.optional(Endpoint),
  timeoutMilliseconds: z._default(z.int().check(z.minimum(100), z.maximum(10_000)), 5000),
})
export type Settings = z.infer<typeof Settings>

export const definition: Definition<Target, never, never, Settings> = {
  name: 'x509',
  title: 'X.509 certificates (step-ca)',
  target: Target,
  settings: Settings,
  credential: credentialOf,
  recognise,
  meant: ({ certificate }, settings) =>
    certificate !== undefined &&
    new X509Certificate(Buffer.from(certificate, 'base64')).checkIssued(new X509Certificate(settings.authority)),
  capabilities: {
    // It tells what it has revoked before, and takes a serial that it never gave.
    tellsAbsent: false,
    verifies: true,
    // What is on a revocation list stays there (RFC 5280 knows a hold; the API has none).
    containment: 'none',
    restores: false,
    tidies: false,
    // The authority chooses the serial when it signs.
    choosesName: false,
    locates: true,
    issues: false,
    discovers: false,
    sessions: 'outlive',
  },
  // A list is read twice for a batch; a list that is made on a schedule comes later still, and verify says so.
  limits: { batch: 20, propagationSeconds: 5, callSeconds: 45, concurrency: 9, callsPerSecond: 100, callsPerLease: 1 },
  serial: false,
  network: 'vpc',
  permissions: [],
}
