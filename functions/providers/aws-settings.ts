import * as z from 'zod/mini'

const ROLE_ARN = /^arn:(?:aws|aws-cn|aws-us-gov):iam::(\d{12}):role\/[\x21-\x7e]{1,512}$/

/** Which account and region an issuer of AWS is, and how a worker of another account gets there: a part of its settings. */
export const accountSettings = {
  /** The account meant; nothing is done, and nothing believed, in another one. */
  account: z.string().check(z.regex(/^\d{12}$/)),
  region: z.string().check(z.regex(/^[a-z]{2}(-[a-z]+)+-\d$/)),
  /** A role of that account to assume first, where the worker stands in another account. */
  roleArn: z.optional(z.string().check(z.regex(ROLE_ARN))),
  /** What that role's trust policy demands, against a confused deputy. */
  externalId: z.optional(z.string().check(z.regex(/^[\w+=,.@:/-]{2,1224}$/))),
}

interface Account {
  readonly account: string
  readonly roleArn?: string | undefined
  readonly externalId?: string | undefined
}

/** Checks of settings that `accountSettings` is a part of. */
export const accountChecks = [
  z.refine<Account>(({ account, roleArn }) => roleArn === undefined || ROLE_ARN.exec(roleArn)?.[1] === account, {
    error: 'roleArn must be a role of the account',
    path: ['roleArn'],
  }),
  z.refine<Account>(({ roleArn, externalId }) => externalId === undefined || roleArn !== undefined, {
    error: 'externalId is of use with a roleArn only',
    path: ['externalId'],
  }),
] as const
