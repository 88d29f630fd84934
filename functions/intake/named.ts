import { MOST_CANDIDATES } from '../contracts/scope.ts'
import type { TriggerData } from '../contracts/trigger.ts'
import type { CredentialName, NamedScope, NamePorts } from '../runtime/names.ts'
import { nameReader } from '../runtime/names.ts'
import { ProblemError } from '../runtime/problem-error.ts'

export interface NamedRead {
  readonly scope: NamedScope
  readonly leftOut: readonly string[]
}

/**
 * Turns what a responder has in hand into the credentials that it can be. What comes out holds nothing of a secret; the
 * text goes no further than here.
 *
 * @param beside what is kept as it came: it must not hold the text where that may be a secret
 * @throws ProblemError `issuer-unknown`, `credential-unrecognised` or `body-invalid`, never with the text
 */
export function namedScopes(ports: NamePorts) {
  const read = nameReader(ports)
  return async (named: CredentialName, beside: readonly (string | undefined)[], path: string): Promise<NamedRead> => {
    const found = await read(named)
    switch (found.kind) {
      case 'issuer-unknown':
        throw new ProblemError('issuer-unknown', 'the issuer that is named is not configured, or not of this provider')
      case 'unrecognised':
        throw new ProblemError('credential-unrecognised', 'no configured issuer has a provider that reads this as a credential', {
          errors: [{ path, message: 'is read as a credential by none of the providers' }],
        })
      case 'too-many':
        throw new ProblemError(
          'body-invalid',
          `it could be a credential at ${found.issuers} issuers, more than ${MOST_CANDIDATES}: name the issuer or the provider`,
          { errors: [{ path, message: 'could be a credential at too many issuers' }] },
        )
      case 'read':
        if (found.secret && beside.some((text) => text?.includes(named.name.trim()) === true))
          throw new ProblemError(
            'body-invalid',
            'the credential itself stands in a field that is kept: name it there in other words',
          )
        return { scope: found.scope, leftOut: found.leftOut }
    }
  }
}

/** The fields of a trigger that are stored as they came. */
export const keptOf = (data: TriggerData, ...others: readonly string[]): (string | undefined)[] => [
  data.reason,
  data.requestedBy,
  data.campaign,
  ...others,
]
