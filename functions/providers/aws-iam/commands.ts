import type { IAMClient } from '@aws-sdk/client-iam'
import {
  DeleteServiceSpecificCredentialCommand,
  DeleteSigningCertificateCommand,
  DeleteSSHPublicKeyCommand,
  ListServiceSpecificCredentialsCommand,
  ListSigningCertificatesCommand,
  ListSSHPublicKeysCommand,
  UpdateServiceSpecificCredentialCommand,
  UpdateSigningCertificateCommand,
  UpdateSSHPublicKeyCommand,
} from '@aws-sdk/client-iam'
import { present } from '../aws.ts'

type KeyStatus = 'Active' | 'Inactive'

interface Commands {
  list(userName: string): Promise<readonly { readonly id: string; readonly status: KeyStatus }[]>
  set(userName: string, id: string, status: KeyStatus): Promise<unknown>
  delete(userName: string, id: string): Promise<unknown>
}

/** Whatever is not clearly inactive is taken for usable (there is a third status, `Expired`). */
export const statusOf = (status: string | undefined): KeyStatus => (status === 'Inactive' ? 'Inactive' : 'Active')

/** The calls for each kind of a user's credentials but access keys: the same three, under names of their own. */
export const credentialCommands = (
  iam: IAMClient,
): Readonly<Record<'ssh-key' | 'certificate' | 'service-credential', Commands>> => ({
  'ssh-key': {
    list: (UserName) =>
      everyPage(async (Marker) => {
        const page = await iam.send(new ListSSHPublicKeysCommand({ UserName, ...Marker }))
        return { ...page, found: page.SSHPublicKeys?.map(({ SSHPublicKeyId: id, Status: status }) => ({ id, status })) }
      }),
    set: (UserName, SSHPublicKeyId, Status) => iam.send(new UpdateSSHPublicKeyCommand({ UserName, SSHPublicKeyId, Status })),
    delete: (UserName, SSHPublicKeyId) => iam.send(new DeleteSSHPublicKeyCommand({ UserName, SSHPublicKeyId })),
  },
  certificate: {
    list: (UserName) =>
      everyPage(async (Marker) => {
        const page = await iam.send(new ListSigningCertificatesCommand({ UserName, ...Marker }))
        return { ...page, found: page.Certificates?.map(({ CertificateId: id, Status: status }) => ({ id, status })) }
      }),
    set: (UserName, CertificateId, Status) => iam.send(new UpdateSigningCertificateCommand({ UserName, CertificateId, Status })),
    delete: (UserName, CertificateId) => iam.send(new DeleteSigningCertificateCommand({ UserName, CertificateId })),
  },
  'service-credential': {
    list: (UserName) =>
      everyPage(async (Marker) => {
        const page = await iam.send(new ListServiceSpecificCredentialsCommand({ UserName, ...Marker }))
        const found = page.ServiceSpecificCredentials?.map(({ ServiceSpecificCredentialId: id, Status: status }) => ({
          id,
          status,
        }))
        return { ...page, found }
      }),
    set: (UserName, ServiceSpecificCredentialId, Status) =>
      iam.send(new UpdateServiceSpecificCredentialCommand({ UserName, ServiceSpecificCredentialId, Status })),
    delete: (UserName, ServiceSpecificCredentialId) =>
      iam.send(new DeleteServiceSpecificCredentialCommand({ UserName, ServiceSpecificCredentialId })),
  },
})

async function everyPage(
  page: (from: { readonly Marker?: string }) => Promise<{
    readonly found: readonly { readonly id: string | undefined; readonly status: string | undefined }[] | undefined
    readonly IsTruncated?: boolean | undefined
    readonly Marker?: string | undefined
  }>,
) {
  const all: { id: string; status: KeyStatus }[] = []
  let from: { readonly Marker?: string } | undefined = {}
  while (from !== undefined) {
    const { found, IsTruncated: more, Marker: next }: Awaited<ReturnType<typeof page>> = await page(from)
    for (const { id, status } of found ?? []) all.push({ id: present(id, 'Id'), status: statusOf(status) })
    from = more === true && next !== undefined ? { Marker: next } : undefined
  }
  return all
}
