import { DEFAULT_LIMITS } from './functions/contracts/settings.ts'
import { defineConfig } from './lib/config.ts'

/**
 * An example installation to edit. It synthesises without an account; `npm run synth` names everything that is wrong.
 */
export default defineConfig({
  name: 'rescind',
  // One stack each. Give account and region to pin it; without them it goes where the deploying credentials belong.
  environments: [{ name: 'production' }],
  providers: { postgresql: {}, oauth: {}, 'aws-iam': {} },
  // PostgreSQL servers usually stand in a network of yours:
  // vpc: { subnetIds: ['subnet-0123456789abcdef0'], securityGroupIds: ['sg-0123456789abcdef0'] },
  vpc: 'none',
  alarms: {},
  settings: {
    // Whose tokens are believed: a SPIFFE trust domain, a CI system, your IdP.
    tokenIssuers: [
      {
        issuer: 'spiffe://example.org',
        kind: 'svid',
        audience: 'rescind',
        algorithms: ['ES256'],
        keys: { jwks: 'https://spire.example.org/keys' },
        namespace: 'example.org',
      },
      {
        issuer: 'https://idp.example.org',
        kind: 'oidc',
        audience: 'rescind',
        algorithms: ['RS256', 'ES256'],
        keys: { jwks: 'https://idp.example.org/.well-known/jwks.json' },
        namespace: 'idp',
      },
    ],
    // What callers may do beyond registering their own leases.
    grants: [
      {
        right: 'broker',
        caller: 'spiffe://example.org/secrets-manager',
        identities: ['spiffe://example.org/workload/**'],
        namespaces: ['deploy'],
      },
      // Only what a caller shows (a token) needs no such right: who may name credentials could have another's cut.
      { right: 'holder', caller: 'spiffe://example.org/workload/**', issuers: ['cloud-account'] },
      { right: 'operator', caller: 'https://idp.example.org#platform-*', approve: true },
    ],
    // Who may send triggers: over the bus (bound to its principals), by signed HTTP (keys by reference), or both.
    sources: [
      {
        name: 'hr',
        triggers: ['offboarding'],
        namespaces: [],
        secrets: ['rescind/sources/hr'],
      },
      {
        name: 'security',
        triggers: ['compromise'],
        namespaces: [],
        busSource: 'org.example.security',
        busPrincipals: ['arn:aws:iam::111122223333:role/incident-response'],
      },
      {
        name: 'deploy',
        triggers: ['decommission', 'task-complete'],
        namespaces: ['deploy'],
        busSource: 'org.example.deploy',
        busPrincipals: ['arn:aws:iam::111122223333:role/deploy/*'],
      },
    ],
    // Lifecycle cases of these wait for an approval; a compromise of them is contained all the same.
    protected: ['spiffe://example.org/platform/**'],
    ownerLeavesDefault: 'reassign',
    limits: DEFAULT_LIMITS,
  },
})
