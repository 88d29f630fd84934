import { RemovalPolicy } from 'aws-cdk-lib'
import type { Role } from 'aws-cdk-lib/aws-iam'
import { Key } from 'aws-cdk-lib/aws-kms'
import { Construct } from 'constructs'
import type { Config } from '../config.ts'
import { allow } from './permissions.ts'

/**
 * What wraps the keys of sealed handles. The encryption context says whose handle it is, so that the registrar can seal
 * and never open, and a provider's worker can open its own provider's handles and no others.
 */
export class Sealing extends Construct {
  /** Value of `SEALING`. */
  readonly setting: string
  readonly #key: Key | undefined

  constructor(scope: Construct, id: string, { config }: { readonly config: Config }) {
    super(scope, id)
    if (config.sealing !== 'kms') {
      this.setting = config.sealing
      return
    }
    this.#key = new Key(this, 'Key', {
      description: 'Wraps the data keys of the sealed handles in leases of Rescind',
      enableKeyRotation: true,
      // Without it no sealed handle opens again, so no token could be revoked.
      removalPolicy: config.removal === 'retain' ? RemovalPolicy.RETAIN : RemovalPolicy.DESTROY,
    })
    this.setting = `kms:${this.#key.keyArn}`
  }

  allowSealing(role: Role, providers: readonly string[]): void {
    this.#allow(role, 'kms:GenerateDataKey', providers)
  }

  allowOpening(role: Role, provider: string): void {
    this.#allow(role, 'kms:Decrypt', [provider])
  }

  #allow(role: Role, action: string, providers: readonly string[]): void {
    if (this.#key === undefined) return
    allow(role, {
      actions: [action],
      resources: [this.#key.keyArn],
      conditions: { StringEquals: { 'kms:EncryptionContext:provider': providers } },
    })
  }
}
