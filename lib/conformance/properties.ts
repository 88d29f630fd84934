/**
 * What the suite shows of a provider, property by property: names that stay, so that a table can be made of provider by
 * property. The order is that of the table.
 */

export const GROUPS = {
  cut: 'cuts',
  again: 'again',
  others: 'others',
  contain: 'contains',
  undo: 'undoes',
  find: 'finds',
  issue: 'mints',
  faults: 'faults',
  issuer: 'issuer',
} as const
export type Group = keyof typeof GROUPS

const of = <const Names extends Readonly<Record<string, string>>>(group: Group, names: Names) =>
  Object.entries(names).map(([id, says]) => ({ id: id as keyof Names & string, group, says }))

export const PROPERTIES = [
  ...of('cut', {
    schemas: 'takes its own settings and targets',
    claims: 'has what it claims',
    kills: 'kills a credential: it works before, afterwards it does not, and the issuer is asked',
    sessions: 'ends what was open, or says honestly how long it lives on',
    'full-batch': 'cuts a full batch, and answers for each lease in order',
    'empty-batch': 'answers an empty batch with nothing',
  }),
  ...of('again', {
    again: 'may be called again',
    'never-existed': 'tells what never existed',
    'two-at-once': 'is cut by two at once',
    'shared-object': 'loses neither of two batches that change one object at once',
  }),
  ...of('others', {
    poison: 'lets a poisoned lease harm no other',
    namesake: 'leaves a namesake alone',
    'hostile-names': 'cuts hostile names, and nothing else',
    'wild-names': 'matches and injects nothing by names of quotes, wildcards, control characters or 10 kB',
  }),
  ...of('contain', {
    contain: 'contains all of an identity and nobody else, and releases what it contained',
    'contained-revoked': 'revokes for good what was contained before',
    'nothing-to-contain': 'does not call it contained where there was nothing to pull',
  }),
  ...of('undo', {
    restore: 'restores what it revoked: the same credential works again',
    'restore-untouched': 'leaves as it is what was never cut, and answers for each of a batch',
    'restore-deleted': 'cannot restore what was deleted',
    'restore-namesake': 'does not take a namesake for what it is to restore',
    'restore-contained': 'restores under a containment, and only its release lets the credential work again, in either order',
    tidies: 'tidies what is cut, and nothing that is not',
  }),
  ...of('find', {
    recognises: 'recognises what a person pastes, and shows nothing secret of it',
    locates: 'finds a credential that nobody registered, and cuts what it found',
    'locates-nothing': 'does not find what does not exist',
    discovers: 'lists what lives at its issuer, page by page, and changes nothing',
    'discovers-under-change': 'misses nothing of its list when something goes between two pages',
  }),
  ...of('issue', {
    issues: 'mints a credential of the name that the order chose, and cuts it by its target',
    'issues-once': 'refuses a second order of one name, and two at once make one',
    'issue-cut-by-name': 'cuts by its name alone what it minted, though nobody kept the answer',
  }),
  ...of('faults', {
    down: 'says that the issuer is unavailable when it is down, and goes on when it is back',
    hang: 'gives up when the issuer hangs',
    nonsense: 'takes nonsense for no answer',
    throttled: 'hands on that the issuer throttles, with its hint',
  }),
  ...of('issuer', {
    'admin-refused': 'says that the admin is refused',
    'other-server': 'notices another server at the same address before it believes or does anything',
    'no-secret': 'lets no secret into an answer, an error or a log',
  }),
] as const

export type Property = (typeof PROPERTIES)[number]['id']
