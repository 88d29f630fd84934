import { RemovalPolicy } from 'aws-cdk-lib'
import type { Role } from 'aws-cdk-lib/aws-iam'
import { Secret } from 'aws-cdk-lib/aws-secretsmanager'
import { Construct } from 'constructs'
import type { Config } from '../config.ts'
import { acknowledge, allow } from './permissions.ts'

/**
 * The key of the installation's keyed hash, by which credentials are known that must not be stored. It is made once and
 * never changes: under another key no credential would be found again. Only those who hash may read it.
 */
export class FingerprintKey extends Construct {
  /** Value of `FINGERPRINT_KEY`: its name among the secrets. */
  readonly setting: string
  readonly #secret: Secret | undefined

  constructor(scope: Construct, id: string, { config }: { readonly config: Config }) {
    super(scope, id)
    this.setting = `${config.name}/keys/fingerprint`
    if (config.secrets !== 'aws') return
    this.#secret = new Secret(this, 'Secret', {
      secretName: this.setting,
      description: 'Key of the keyed hash that Rescind knows credentials by; never change it',
      // 64 letters and digits: 381 bits.
      generateSecretString: { passwordLength: 64, excludePunctuation: true },
      removalPolicy: config.removal === 'retain' ? RemovalPolicy.RETAIN : RemovalPolicy.DESTROY,
    })
    acknowledge(
      this.#secret,
      'AwsSolutions-SMG4',
      'Under another key no credential would be found again: it is no password that somebody could log in with.',
    )
  }

  allowReading(role: Role): void {
    if (this.#secret === undefined) return
    allow(role, { actions: ['secretsmanager:GetSecretValue'], resources: [this.#secret.secretArn] })
  }
}
