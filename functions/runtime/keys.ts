import { createCipheriv, createDecipheriv } from 'node:crypto'
import { readFileSync } from 'node:fs'
import type { KMSClient } from '@aws-sdk/client-kms'
import { DecryptCommand, GenerateDataKeyCommand } from '@aws-sdk/client-kms'
import type { SealingSource } from './environment.ts'
import { OwnError } from './log.ts'
import type { KeyService, Randomness } from './ports.ts'

/** A data key cannot be made or unwrapped: the wrong context, the wrong key, or a damaged key file. */
export class KeyUnusable extends OwnError {
  override readonly name = 'KeyUnusable'
  readonly code = 'key-unusable'
}

/** KMS on AWS (the context is its encryption context), a key file with 32 bytes on one machine. */
export function keyService(
  source: SealingSource,
  tools: { readonly random: Randomness; readonly client?: () => KMSClient },
): KeyService {
  if (source.kind === 'kms') {
    if (tools.client === undefined) throw new TypeError('keys from KMS need its client')
    return kmsKeys(tools.client(), source.key)
  }
  return fileKeys(readFileSync(source.path), tools.random)
}

export function kmsKeys(client: KMSClient, key: string): KeyService {
  return {
    async generate(context) {
      const answer = await client.send(
        new GenerateDataKeyCommand({ KeyId: key, KeySpec: 'AES_256', EncryptionContext: { ...context } }),
      )
      if (answer.Plaintext?.length !== 32 || answer.CiphertextBlob === undefined) throw new KeyUnusable('KMS made no data key')
      return { plain: answer.Plaintext, wrapped: Buffer.from(answer.CiphertextBlob).toString('base64') }
    },
    async unwrap(wrapped, context) {
      // The key is named, so that a data key wrapped by somebody else's key does not open.
      const answer = await client.send(
        new DecryptCommand({ KeyId: key, CiphertextBlob: Buffer.from(wrapped, 'base64'), EncryptionContext: { ...context } }),
      )
      if (answer.Plaintext?.length !== 32) throw new KeyUnusable('KMS unwrapped no data key')
      return answer.Plaintext
    },
  }
}

const IV = 12
const TAG = 16

/** Wraps by AES-256-GCM with the context as additional data: `base64(iv, tag, wrapped key)`. */
export function fileKeys(key: Uint8Array, random: Randomness): KeyService {
  if (key.length !== 32) throw new KeyUnusable('a key file holds exactly 32 bytes')
  return {
    async generate(context) {
      const plain = random.bytes(32)
      const iv = random.bytes(IV)
      const cipher = createCipheriv('aes-256-gcm', key, iv, { authTagLength: TAG })
      cipher.setAAD(bytesOf(context))
      const sealed = Buffer.concat([cipher.update(plain), cipher.final()])
      return { plain, wrapped: Buffer.concat([iv, cipher.getAuthTag(), sealed]).toString('base64') }
    },
    async unwrap(wrapped, context) {
      const bytes = Buffer.from(wrapped, 'base64')
      if (bytes.length !== IV + TAG + 32) throw new KeyUnusable('a wrapped data key is malformed')
      const decipher = createDecipheriv('aes-256-gcm', key, bytes.subarray(0, IV), { authTagLength: TAG })
      decipher.setAAD(bytesOf(context))
      decipher.setAuthTag(bytes.subarray(IV, IV + TAG))
      try {
        return new Uint8Array(Buffer.concat([decipher.update(bytes.subarray(IV + TAG)), decipher.final()]))
      } catch {
        throw new KeyUnusable('the data key does not unwrap with this key and context')
      }
    },
  }
}

/** The same bytes whatever the order of the entries. */
const bytesOf = (context: Readonly<Record<string, string>>) =>
  Buffer.from(JSON.stringify(Object.entries(context).sort(([one], [other]) => (one < other ? -1 : 1))))
