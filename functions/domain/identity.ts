/**
 * Canonical names of identities. One identity has one URI, and everything is stored and compared by it: a second
 * spelling would match nothing and look like success.
 */

/** The text names no identity. The message tells why and never repeats the text. */
export class IdentityInvalid extends RangeError {
  override readonly name = 'IdentityInvalid'
  readonly code = 'identity-invalid'
}

const LONGEST = 2048

/**
 * The canonical form of a SPIFFE ID, an ARN or an OIDC issuer with its subject. Canonical names come back unchanged.
 * Throws `IdentityInvalid`.
 *
 * - SPIFFE ID (SPIFFE-ID sections 2.1 to 2.3): the trust domain in lower case; no user, port, query, fragment or
 *   percent-encoding; no empty, `.` or `..` segment; a path there must be, for a bare trust domain names no workload.
 * - ARN: `arn:<partition>:sts::<account>:assumed-role/<role>/<session>` becomes the role's ARN, and roles and users lose
 *   their paths: an assumed role's ARN does not tell the path, and a name is unique in its account without it.
 * - OIDC: `<issuer>#<subject>`, the subject percent-encoded as `encodeURIComponent` does. The issuer stays as it is, since
 *   `iss` is compared exactly (OpenID Connect Core section 3.1.3.7), and must be an https URL in normal form.
 */
export function canonicalIdentity(text: string): string {
  if (text.length > LONGEST) throw new IdentityInvalid(`an identity has at most ${LONGEST} characters`)
  if (!/^[\x21-\x7e]+$/.test(text)) throw new IdentityInvalid('an identity is printable ASCII without blanks')
  const canonical = /^spiffe:/i.test(text) ? spiffe(text) : /^arn:/.test(text) ? arn(text) : oidc(text)
  // Encoding a subject may have made it longer.
  if (canonical.length > LONGEST) throw new IdentityInvalid(`an identity has at most ${LONGEST} characters`)
  return canonical
}

/** The identity of an OIDC token's subject. */
export function oidcIdentity(issuer: string, subject: string): string {
  let encoded: string
  try {
    encoded = encodeURIComponent(subject)
  } catch {
    throw new IdentityInvalid('a subject is well-formed Unicode')
  }
  return canonicalIdentity(`${issuer}#${encoded}`)
}

/** `spiffe://example.org` of a canonical SPIFFE ID. */
export function trustDomainOf(spiffeId: string): string {
  return `spiffe://${spiffeId.slice('spiffe://'.length).split('/', 1)[0] ?? ''}`
}

function spiffe(text: string): string {
  const parts = /^spiffe:\/\/([^/?#]*)(\/[^?#]*)?$/i.exec(text)
  if (parts === null) throw new IdentityInvalid('a SPIFFE ID is spiffe://<trust domain>/<path> without query and fragment')
  const domain = (parts[1] ?? '').toLowerCase()
  if (!/^[a-z0-9._-]{1,255}$/.test(domain)) {
    throw new IdentityInvalid('a trust domain has 1 to 255 letters, digits, full stops, hyphens and underscores')
  }
  const segments = (parts[2] ?? '').split('/').slice(1)
  if (segments.length === 0) throw new IdentityInvalid('a SPIFFE ID without a path names a trust domain, not an identity')
  for (const segment of segments) {
    if (segment === '') throw new IdentityInvalid('a SPIFFE ID has no empty path segment')
    if (segment === '.' || segment === '..') throw new IdentityInvalid('a SPIFFE ID has no relative path segment')
    if (!/^[A-Za-z0-9._-]+$/.test(segment)) {
      throw new IdentityInvalid('a SPIFFE path has letters, digits, full stops, hyphens and underscores')
    }
  }
  return `spiffe://${domain}/${segments.join('/')}`
}

const ARN = /^arn:(aws(?:-[a-z]+)*):([a-z0-9-]+):([a-z0-9-]*):([0-9]{12})?:([^*?]+)$/
/** The characters of names in IAM and STS. */
const IAM_NAME = /^[A-Za-z0-9_+=,.@-]{1,64}$/
const SESSION_NAME = /^[A-Za-z0-9_+=,.@-]{2,64}$/

function arn(text: string): string {
  const parts = ARN.exec(text)
  if (parts === null)
    throw new IdentityInvalid('an ARN is arn:<partition>:<service>:<region>:<account>:<resource> without wildcards')
  const [, partition = '', service = '', region = '', account = '', resource = ''] = parts
  if (service !== 'iam' && service !== 'sts') return text
  if (region !== '' || account === '') throw new IdentityInvalid('an ARN of IAM or STS has an account and no region')
  const [kind = '', ...names] = resource.split('/')
  const name = names.at(-1) ?? ''
  if (service === 'sts' && kind === 'assumed-role') {
    const [role = '', session = ''] = names
    if (names.length !== 2 || !IAM_NAME.test(role) || !SESSION_NAME.test(session)) {
      throw new IdentityInvalid('an assumed role is assumed-role/<role>/<session>')
    }
    return `arn:${partition}:iam::${account}:role/${role}`
  }
  if (service === 'sts' && kind === 'federated-user' && names.length === 1 && IAM_NAME.test(name)) return text
  if (service === 'iam' && resource === 'root') return text
  if (service === 'iam' && (kind === 'role' || kind === 'user') && IAM_NAME.test(name)) {
    if (names.slice(0, -1).some((step) => step === '')) throw new IdentityInvalid('an IAM path has no empty step')
    return `arn:${partition}:iam::${account}:${kind}/${name}`
  }
  throw new IdentityInvalid('an ARN of IAM or STS names a role, a user, the root, an assumed role or a federated user')
}

const LOOPBACK: ReadonlySet<string> = new Set(['localhost', '127.0.0.1', '[::1]'])

function oidc(text: string): string {
  const at = text.indexOf('#')
  if (at < 0 || at === text.length - 1) {
    throw new IdentityInvalid('an identity is a SPIFFE ID, an ARN, or an OIDC issuer, # and the percent-encoded subject')
  }
  const issuer = text.slice(0, at)
  const url = URL.canParse(issuer) ? new URL(issuer) : undefined
  if (url === undefined || !(url.protocol === 'https:' || (url.protocol === 'http:' && LOOPBACK.has(url.hostname)))) {
    throw new IdentityInvalid('an OIDC issuer is an https URL')
  }
  if (url.username !== '' || url.password !== '' || issuer.includes('?')) {
    throw new IdentityInvalid('an OIDC issuer has no user and no query')
  }
  if (url.href !== issuer && url.href !== `${issuer}/`) {
    throw new IdentityInvalid('an OIDC issuer is written in normal form: lower-case host, no default port, no relative steps')
  }
  let subject: string
  try {
    subject = decodeURIComponent(text.slice(at + 1))
  } catch {
    throw new IdentityInvalid('the subject of an OIDC identity is percent-encoded UTF-8')
  }
  return `${issuer}#${encodeURIComponent(subject)}`
}

/**
 * Why a pattern over identities can match none, or undefined: a grant that matches nothing is a nuisance, a protection
 * that matches nothing is a danger.
 */
export function patternFault(pattern: string): string | undefined {
  if (/^arn:[^:]*:sts:[^:]*:[^:]*:assumed-role\//.test(pattern))
    return 'assumed roles are known by their role: arn:...:iam::<account>:role/<name>'
  if (/^arn:[^:]*:iam:[^:]*:[^:]*:(role|user)\/[^/]*\/./.test(pattern)) return 'roles and users are known without their paths'
  if (/^spiffe:\/\/[^/]*[A-Z]/.test(pattern)) return 'trust domains are written in lower case'
  return undefined
}
