import { Duration, RemovalPolicy } from 'aws-cdk-lib'
import { AttributeType, BillingMode, ProjectionType, StreamViewType, Table, TableEncryption } from 'aws-cdk-lib/aws-dynamodb'
import type { Role } from 'aws-cdk-lib/aws-iam'
import { Key } from 'aws-cdk-lib/aws-kms'
import type { IBucket } from 'aws-cdk-lib/aws-s3'
import { BlockPublicAccess, Bucket, BucketEncryption, ObjectOwnership, StorageClass } from 'aws-cdk-lib/aws-s3'
import { Construct } from 'constructs'
import type { Config } from '../config.ts'
import { acknowledge, allow } from './permissions.ts'

const MARK_KEY = 'control/generation.json'

const KEYS = { partitionKey: { name: 'pk', type: AttributeType.STRING }, sortKey: { name: 'sk', type: AttributeType.STRING } }

/** The table, the audit index, the archive of audit segments, and the key that encrypts all three. */
export class Storage extends Construct {
  readonly table: Table
  readonly auditIndex: Table
  readonly archive: Bucket
  readonly key: Key

  constructor(scope: Construct, id: string, { config }: { readonly config: Config }) {
    super(scope, id)
    const removalPolicy = config.removal === 'retain' ? RemovalPolicy.RETAIN : RemovalPolicy.DESTROY
    this.key = new Key(this, 'Key', {
      description: 'Encrypts the table, the audit index and the archive of Rescind',
      enableKeyRotation: true,
      removalPolicy,
    })
    const common = {
      ...KEYS,
      billingMode: BillingMode.PAY_PER_REQUEST,
      encryption: TableEncryption.CUSTOMER_MANAGED,
      encryptionKey: this.key,
      pointInTimeRecoverySpecification: { pointInTimeRecoveryEnabled: true },
      deletionProtection: config.removal === 'retain',
      removalPolicy,
    }
    this.table = new Table(this, 'Table', {
      ...common,
      stream: StreamViewType.NEW_AND_OLD_IMAGES,
      timeToLiveAttribute: 'ttl',
    })
    // Eventually consistent, so for the sweeper and for operators' lists alone: leases to cut are found by base keys.
    for (const [indexName, partition, sort] of [
      ['due', 'duePk', 'dueAt'],
      ['list', 'listPk', 'listAt'],
    ] as const) {
      this.table.addGlobalSecondaryIndex({
        indexName,
        partitionKey: { name: partition, type: AttributeType.STRING },
        sortKey: { name: sort, type: AttributeType.STRING },
        projectionType: ProjectionType.ALL,
      })
    }
    this.auditIndex = new Table(this, 'AuditIndex', common)
    this.archive = this.#archive(config, removalPolicy)
  }

  /**
   * Segments are written once and never changed. Object Lock in compliance mode, and the second account, belong here:
   * `objectLockEnabled` with `objectLockDefaultRetention` (both can only be set when the bucket is made).
   */
  #archive(config: Config, removalPolicy: RemovalPolicy): Bucket {
    const closed = {
      blockPublicAccess: BlockPublicAccess.BLOCK_ALL,
      enforceSSL: true,
      minimumTLSVersion: 1.2,
      objectOwnership: ObjectOwnership.BUCKET_OWNER_ENFORCED,
      removalPolicy,
    }
    const accesses = new Bucket(this, 'ArchiveAccesses', {
      ...closed,
      // Log delivery cannot write under a customer-managed key with its own principal in every region.
      encryption: BucketEncryption.S3_MANAGED,
      lifecycleRules: [{ expiration: Duration.days(365) }],
    })
    acknowledge(
      accesses,
      'AwsSolutions-S1',
      'It holds the access log of the archive; logging its own accesses into itself would never end.',
    )
    return new Bucket(this, 'Archive', {
      ...closed,
      versioned: true,
      encryption: BucketEncryption.KMS,
      encryptionKey: this.key,
      // One call to the key per bucket and hour instead of one per segment.
      bucketKeyEnabled: true,
      // Asserted: CDK's own class declares an optional property less exactly than its interface.
      serverAccessLogsBucket: accesses as IBucket,
      serverAccessLogsPrefix: 'archive/',
      lifecycleRules: [
        {
          transitions: [
            {
              storageClass: StorageClass.GLACIER_INSTANT_RETRIEVAL,
              transitionAfter: Duration.days(config.archive.coldAfterDays),
            },
          ],
          expiration: Duration.days(config.archive.retentionDays),
          // A version that is not current exists only if somebody overwrote or deleted: keep the evidence as long.
          noncurrentVersionExpiration: Duration.days(config.archive.retentionDays),
          abortIncompleteMultipartUploadAfter: Duration.days(1),
        },
        // The mark is written anew each minute; where two rules meet, S3 keeps to the shorter time.
        { prefix: MARK_KEY, noncurrentVersionExpiration: Duration.days(30) },
      ],
    })
  }

  /** Actions on the table itself, and with `indexes` queries of the two indexes; the key comes with them. */
  allowTable(role: Role, actions: readonly string[], indexes = false): void {
    allow(role, { actions, resources: [this.table.tableArn] })
    if (indexes) {
      allow(role, {
        actions: ['dynamodb:Query'],
        resources: [`${this.table.tableArn}/index/due`, `${this.table.tableArn}/index/list`],
      })
    }
    this.#allowKey(role, 'dynamodb')
  }

  /** Reading the operators' lists. */
  allowList(role: Role): void {
    allow(role, { actions: ['dynamodb:Query'], resources: [`${this.table.tableArn}/index/list`] })
  }

  /** Going through what is due, leases in force among it. */
  allowDue(role: Role): void {
    allow(role, { actions: ['dynamodb:Query'], resources: [`${this.table.tableArn}/index/due`] })
  }

  allowStream(role: Role): void {
    const stream = this.table.tableStreamArn
    if (stream === undefined) throw new Error('the table has no stream')
    allow(role, { actions: ['dynamodb:DescribeStream', 'dynamodb:GetRecords', 'dynamodb:GetShardIterator'], resources: [stream] })
    allow(role, {
      actions: ['dynamodb:ListStreams'],
      resources: ['*'],
      reason: 'ListStreams takes no narrower resource (Service Authorization Reference, DynamoDB); it tells names alone.',
    })
    this.#allowKey(role, 'dynamodb')
  }

  allowAuditIndex(role: Role, actions: readonly string[]): void {
    allow(role, { actions, resources: [this.auditIndex.tableArn] })
    this.#allowKey(role, 'dynamodb')
  }

  allowSegments(role: Role, action: 's3:PutObject' | 's3:GetObject'): void {
    allow(role, {
      actions: [action],
      resources: [this.archive.arnForObjects('segments/*')],
      reason: 'Each segment is an object of its own; the prefix holds nothing else.',
    })
    this.#allowKey(role, 's3')
  }

  /** The generation mark: one object of the archive's bucket, whose name `functions/runtime/mark.ts` has too. */
  allowMark(role: Role): void {
    allow(role, { actions: ['s3:GetObject', 's3:PutObject'], resources: [this.archive.arnForObjects(MARK_KEY)] })
    // Without it S3 answers 403 for an object that is not there yet, and a missing right would look like a first start.
    allow(role, { actions: ['s3:ListBucket'], resources: [this.archive.bucketArn] })
    this.#allowKey(role, 's3')
  }

  /** The key by way of one service only: nobody can use it to encrypt or decrypt anything directly. */
  #allowKey(role: Role, service: 'dynamodb' | 's3'): void {
    const stack = this.key.stack
    allow(role, {
      actions: [
        'kms:Decrypt',
        'kms:DescribeKey',
        'kms:Encrypt',
        'kms:GenerateDataKey',
        'kms:GenerateDataKeyWithoutPlaintext',
        'kms:ReEncryptFrom',
        'kms:ReEncryptTo',
      ],
      resources: [this.key.keyArn],
      conditions: { StringEquals: { 'kms:ViaService': `${service}.${stack.region}.amazonaws.com` } },
    })
  }
}
