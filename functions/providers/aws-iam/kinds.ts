import type { CredentialKind, IamClient, KeyStatus, UserCredential } from './client.ts'
import type { AccessKeyTarget, UserCredentialTarget } from './definition.ts'

/** A kind of a user's credentials that can be active and inactive. */
export interface Kind<Target> {
  /** In evidence: `key AKIA...`. */
  readonly word: string
  /** STS gives tokens for it that outlive it. */
  readonly hasTokens: boolean
  idOf(target: Target): string
  list(userName: string): Promise<readonly UserCredential[]>
  set(userName: string, id: string, status: KeyStatus): Promise<void>
  delete(userName: string, id: string): Promise<void>
}

export const accessKeyKind = (iam: IamClient): Kind<AccessKeyTarget> => ({
  word: 'key',
  hasTokens: true,
  idOf: ({ accessKeyId }) => accessKeyId,
  list: async (userName) => (await iam.listAccessKeys(userName)).map(({ accessKeyId, status }) => ({ id: accessKeyId, status })),
  set: (userName, id, status) => iam.setAccessKey(userName, id, status),
  delete: (userName, id) => iam.deleteAccessKey(userName, id),
})

const WORDS: Readonly<Record<CredentialKind, string>> = {
  'ssh-key': 'SSH key',
  certificate: 'certificate',
  'service-credential': 'service credential',
}

export const userCredentialKind = (iam: IamClient, kind: CredentialKind): Kind<UserCredentialTarget> => ({
  word: WORDS[kind],
  hasTokens: false,
  idOf: ({ id }) => id,
  list: (userName) => iam.listCredentials(kind, userName),
  set: (userName, id, status) => iam.setCredential(kind, userName, id, status),
  delete: (userName, id) => iam.deleteCredential(kind, userName, id),
})
