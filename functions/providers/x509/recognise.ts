import { X509Certificate } from 'node:crypto'
import type { Clue } from '../contract.ts'
import { bare } from '../shape.ts'

const LONGEST = 65_536
const PEM = /-----BEGIN CERTIFICATE-----\s+[A-Za-z0-9+/=\s]+?\s+-----END CERTIFICATE-----/
/** As `openssl x509 -serial` prints it. */
const SERIAL = /^serial=([0-9A-F]{1,40})$/i

/** An authority gives a serial once, so it names the certificate. */
export const credentialOf = ({ serial }: { readonly serial: string }): string => `certificate:${serial}`

/** A certificate as PEM, the first one of a chain (the leaf, by RFC 8446, section 4.4.2), also with its private key below it. */
export function recognise(text: string): Clue | undefined {
  if (text.length > LONGEST) return undefined
  const [, hex] = SERIAL.exec(bare(text)) ?? []
  if (hex !== undefined) return clueOf(BigInt(`0x${hex}`), {})
  const [pem] = PEM.exec(text) ?? []
  const certificate = pem === undefined ? undefined : parsed(pem)
  if (certificate === undefined || certificate.ca) return undefined
  return clueOf(BigInt(`0x${certificate.serialNumber}`), { certificate: certificate.raw.toString('base64') })
}

function clueOf(number: bigint, query: Clue['query']): Clue | undefined {
  if (number === 0n) return undefined
  const serial = String(number)
  return { credential: credentialOf({ serial }), shown: `certificate ${serial}`, query }
}

function parsed(pem: string): X509Certificate | undefined {
  try {
    return new X509Certificate(pem)
  } catch {
    // Looks like one, and is none.
    return undefined
  }
}
