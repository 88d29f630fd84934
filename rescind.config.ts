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
    // How far the pipeline goes; without this, all the way. The first rule that fits decides. To begin with, watch:
    // modes: { default: 'observe', rules: [{ trigger: 'compromise', mode: 'enforce' }] },
    ownerLeavesDefault: 'reassign',
    // How long what may live, and what a registration must say. The first class that fits; nobody names it.
    discipline: {
      classes: [
        // A job's credentials end with the job. While the pipeline is down, CI goes on and hands its notes in afterwards.
        {
          name: 'ci-job',
          match: { identities: ['spiffe://example.org/ci/**'], kinds: ['dynamic'] },
          maxTtlSeconds: 6 * 3600,
          window: 'task',
          outage: 'spool',
        },
        { name: 'cloud-session', match: { providers: ['aws-iam'], kinds: ['dynamic'] }, maxTtlSeconds: 12 * 3600 },
        { name: 'database', match: { providers: ['postgresql'], kinds: ['dynamic'] }, maxTtlSeconds: 86400 },
        // Nobody wants to be woken by a service that stopped because a date had passed: these are told, and cut by people.
        {
          name: 'static-production',
          match: { kinds: ['static'], environments: ['production'] },
          maxTtlSeconds: 90 * 86400,
          expiry: 'notify',
        },
        { name: 'static', match: { kinds: ['static'] }, maxTtlSeconds: 90 * 86400 },
        { name: 'rest', match: {}, maxTtlSeconds: 7 * 86400 },
      ],
      rules: {
        owners: ['*@example.org', 'team:*'],
        consumer: {},
        purpose: { minLength: 12 },
      },
    },
    // How a pause of the pipeline itself is treated: these are the defaults.
    outage: { gapSeconds: 300, graceSeconds: 300, spoolHours: 24 },
    limits: DEFAULT_LIMITS,
  },
})
