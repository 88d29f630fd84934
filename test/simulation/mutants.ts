import type { Theme } from './world.ts'

/** One exact text of a product file, and what the bug says instead. */
export interface Edit {
  /** From the repository's root. */
  readonly file: string
  readonly find: string
  readonly replace: string
}

/** A deliberate bug. The product knows nothing of it: its texts are replaced while a process of its own loads them. */
export interface Mutant {
  readonly name: string
  /** What somebody might have written, or forgotten. */
  readonly says: string
  /** The promise that it breaks first. */
  readonly breaks: 'G1' | 'G2' | 'G3' | 'G4' | 'G5' | 'G6' | 'G7' | 'G8' | 'G9'
  readonly edits: readonly Edit[]
  /** Themes of the worlds in which it is looked for, beside each world's own; absent: none. */
  readonly about?: readonly Theme[]
  /** It is found within so many seeds, from the first one on; or, where chance takes too long, by `shownBy`. */
  readonly within?: number
  /** The schedule in `regressions/` that finds it: the one in which somebody made this very mistake. */
  readonly shownBy?: string
  /** The seed that found it when somebody last looked: tried before all others, so that the tests need not search. */
  readonly seed?: number
}

/**
 * Replaces each text, which must stand there exactly once: a bug that silently became none would prove nothing.
 *
 * @throws naming the text that is not there, or there more than once
 */
export function mutate(source: string, edits: readonly Edit[]): string {
  let text = source
  for (const { file, find, replace } of edits) {
    const times = text.split(find).length - 1
    if (times !== 1) throw new Error(`${file}: to be changed once, stands there ${times} times:\n${find}`)
    text = text.replace(find, () => replace)
  }
  return text
}

const one = (file: string, find: string, replace: string): readonly Edit[] => [{ file, find, replace }]

/**
 * Bugs that the simulation has to find, spread over the stages and the promises. Each is one that the protocol's rules
 * are there to prevent; the number of its rule stands in the design, and docs/promises.md says which promise it is about.
 */
export const MUTANTS: readonly Mutant[] = [
  // G1: no lease is missed.
  {
    name: 'fence-after-scan',
    says: 'An identity is fenced when its leases have been listed.',
    breaks: 'G1',
    edits: [
      {
        file: 'functions/plan/plan.ts',
        find: '    await reach(current, policy, identity, undefined, by)\n    await fenced(current, by)\n',
        replace: `    const known = await identityOf(table, identity)
    if (known !== undefined) await listOnce(current, await openUnit(table, current, \`identity#\${identity}\`, known, by), by)
    await reach(current, policy, identity, undefined, by)
    await fenced(current, by)
`,
      },
      { file: 'functions/plan/reach.ts', find: "    if (unit.state === 'listed') return known\n", replace: '' },
      {
        file: 'functions/plan/reach.ts',
        find: "    if (unit.state !== 'opened' || unit.epoch === undefined) return undefined\n",
        replace: "    if ((unit.state !== 'opened' && unit.state !== 'listed') || unit.epoch === undefined) return undefined\n",
      },
    ],
    about: ['rush'],
    within: 1600,
    seed: 309,
  },
  {
    name: 'stale-scan',
    says: 'The scan reads eventually consistent: what stood there two seconds ago.',
    breaks: 'G1',
    edits: one(
      'functions/plan/scan.ts',
      '    const all = chunksOf(page.items, scope, shard, progress.expected)\n',
      `    const seen = new Date(Date.parse(by.at) - 2000).toISOString()
    const old = page.items.filter((item) => String(Reflect.get(Object(item.by), 'at')) < seen)
    const all = chunksOf(old, scope, shard, progress.expected)
`,
    ),
    about: ['rush'],
    within: 200,
    seed: 1,
  },
  {
    name: 'cursor-before-chunks',
    says: 'The cursor is moved first, the chunks are written in a second transaction.',
    breaks: 'G1',
    edits: one(
      'functions/store/units.ts',
      `        ['cursor', '=', progress.cursor],
        ['sealed', '=', false],
      ],
    },
    ...chunks.map(
      (chunk): Write => ({ put: newChunk(progress.case, name, progress.epoch, chunk, dueAt, by), if: [['pk', 'absent']] }),
    ),
  ])
  return done.ok`,
      `        ['cursor', '=', progress.cursor],
        ['sealed', '=', false],
      ],
    },
  ])
  if (!done.ok || chunks.length === 0) return done.ok
  await table.transact(
    chunks.map(
      (chunk): Write => ({ put: newChunk(progress.case, name, progress.epoch, chunk, dueAt, by), if: [['pk', 'absent']] }),
    ),
  )
  return true`,
    ),
    about: ['rush'],
    within: 200,
    seed: 32,
  },
  {
    name: 'late-ignored',
    says: 'A lease that came too late is marked so, and no amendment cuts it.',
    breaks: 'G1',
    edits: one(
      'functions/store/amendments.ts',
      `  const done = await table.transact([
    onLease,
    { put, if: [['pk', 'absent']] },
    { update: caseItem(caseId), add: [[['amendments', 'expected'], 1]], if: [['pk', 'exists']] },
  ])`,
      `  const done = await table.transact(
    because === 'late'
      ? [onLease]
      : [
          onLease,
          { put, if: [['pk', 'absent']] },
          { update: caseItem(caseId), add: [[['amendments', 'expected'], 1]], if: [['pk', 'exists']] },
        ],
  )`,
    ),
    about: ['rush'],
    within: 100,
    seed: 1,
  },
  {
    name: 'children-not-listed',
    says: 'What was delegated from a lease does not join the case.',
    breaks: 'G1',
    edits: one(
      'functions/revoke/gather.ts',
      `    if (lease.delegable)
      joined.push(`,
      `    const children = lease.delegable ? await childrenOf(ports, lease, current, by) : undefined
    if (children === undefined && lease.delegable)
      joined.push(`,
    ),
    about: ['children'],
    within: 300,
    seed: 54,
  },
  {
    name: 'children-not-fenced',
    says: 'The children of a lease are listed, but new ones are neither fenced nor kept from a parent that ends.',
    breaks: 'G1',
    edits: [
      {
        file: 'functions/revoke/gather.ts',
        find: `  current.mode === 'observe' ? scopeOfChildren(lease.id) : fenceChildren(ports.table, lease, current.id, by)`,
        replace: `  current.mode === 'observe' || by.at !== '' ? scopeOfChildren(lease.id) : fenceChildren(ports.table, lease, current.id, by)`,
      },
      {
        file: 'functions/register/register.ts',
        find: `    const parentGone = lease.parent !== undefined && seen.parent?.state !== 'live'\n`,
        replace: `    const parentGone = lease.parent !== undefined && seen.parent?.state === undefined\n`,
      },
    ],
    about: ['children', 'tasks', 'rush'],
    within: 300,
    seed: 54,
  },
  {
    name: 'place-not-given-back',
    says: 'A grant that is released keeps its place at the credential, so nobody is ever the last.',
    breaks: 'G1',
    edits: one(
      'functions/store/leases.ts',
      `      update: credentialItem(lease.fingerprint),
      add: [['holders', -1]],
      set: [['by', actor(by)]],
      if: [
        ['holders', '=', credential.holders],`,
      `      update: credentialItem(lease.fingerprint),
      add: [['holders', 0]],
      set: [['by', actor(by)]],
      if: [
        ['holders', '=', credential.holders],`,
    ),
    about: ['shared'],
    within: 100,
    seed: 3,
  },
  {
    name: 'look-before-write',
    says: 'A registration looks at the fences before it writes the lease, and not after.',
    breaks: 'G1',
    edits: [
      {
        file: 'functions/register/register.ts',
        find: `    await writePointers(table, fresh, by)
    return finish(same(await recorded(fresh, by), digest), false, by)`,
        replace: `    const early = await look(table, fresh)
    await writePointers(table, fresh, by)
    return finish(same(await recorded(fresh, by), digest), false, by, early)`,
      },
      {
        file: 'functions/register/register.ts',
        find: '  async function finish(lease: Lease, repeated: boolean, by: Actor): Promise<Registered> {\n',
        replace: `  async function finish(
    lease: Lease,
    repeated: boolean,
    by: Actor,
    early?: Awaited<ReturnType<typeof look>>,
  ): Promise<Registered> {
`,
      },
      {
        file: 'functions/register/register.ts',
        find: '    const seen = await look(table, lease)\n    const parentGone',
        replace: '    const seen = early ?? (await look(table, lease))\n    const parentGone',
      },
    ],
    shownBy: 'registered-as-its-task-ends',
  },
  {
    name: 'holders-unconditional',
    says: 'A place at a shared credential is given back however many there are by then.',
    breaks: 'G1',
    edits: one(
      'functions/store/leases.ts',
      `      if: [
        ['holders', '=', credential.holders],
        ['cutting', '=', false],
      ],`,
      `      if: [['cutting', '=', false]],`,
    ),
    shownBy: 'last-two-leave-at-once',
  },
  {
    name: 'restores-later-cut',
    says: 'A restoration gives back what a case has cut that came after it was asked for.',
    breaks: 'G1',
    edits: one(
      'functions/domain/restoring.ts',
      `  if (!(asked.scope.kind === 'case' && asked.scope.id === id) && openedAt >= asked.openedAt)
    return \`case \${id} covers it, and came after the restoration was asked for\`
`,
      '',
    ),
    shownBy: 'cut-again-while-restored',
  },

  // G2: nothing else is touched.
  {
    name: 'epoch-ignored',
    says: 'A case cuts leases of a later epoch than its own.',
    breaks: 'G2',
    edits: one(
      'functions/domain/decide.ts',
      `  if (asker.epoch !== undefined && lease.epoch > asker.epoch) return skip('of a later epoch')\n`,
      '',
    ),
    about: ['reinstate', 'outages'],
    within: 1600,
    seed: 318,
  },
  {
    name: 'last-holder-ignored',
    says: 'The end of one grant cuts a credential that others hold too.',
    breaks: 'G2',
    edits: one(
      'functions/domain/decide.ts',
      `  if (asker.shared === 'release' && credential !== undefined && credential.holders > 1 && !credential.cutting)`,
      `  if (asker.shared === 'release' && credential !== undefined && credential.holders > 99 && !credential.cutting)`,
    ),
    about: ['shared'],
    within: 200,
    seed: 25,
  },
  {
    name: 'incarnation-forgotten',
    says: 'The confirmation of a mint does not keep what tells the credential from a later one of its name.',
    breaks: 'G2',
    edits: one('functions/register/holder.ts', "          ['target', plain(handle.target)],\n", ''),
    shownBy: 'replaced-and-restored',
  },
  {
    name: 'renewal-ignored',
    says: 'What the sweeper saw expire is cut, though its holder has renewed it since.',
    breaks: 'G2',
    edits: [
      {
        file: 'functions/domain/decide.ts',
        find: `  if (asker.expirySeen !== undefined && lease.expiresAt !== asker.expirySeen) return skip('renewed meanwhile')\n`,
        replace: '',
      },
      {
        // What an outage gave back is counted from the expiry, and would notice too.
        file: 'functions/revoke/gather.ts',
        find: '      const until = lease.acknowledged ? grace?.expiry(lease) :',
        replace:
          '      const until = lease.acknowledged ? grace?.expiry({ ...lease, expiresAt: seen.get(id) ?? lease.expiresAt }) :',
      },
    ],
    shownBy: 'renewed-as-it-expires',
  },
  {
    name: 'compromise-undone',
    says: 'A restoration gives back what a compromise cut, though nobody called it a false alarm.',
    breaks: 'G1',
    edits: one(
      'functions/domain/restoring.ts',
      `  if (type !== 'compromise') return undefined
  if (!asked.undoesCompromise) return`,
      `  if (type !== 'compromise' || !asked.undoesCompromise) return undefined
  if (asked.openedAt === '') return`,
    ),
    about: ['restore'],
    within: 800,
    seed: 359,
  },

  // G3: a case closes if and only if each of its leases has its outcome, and counts each once.
  {
    name: 'counter-unconditional',
    says: 'The end of a chunk is counted whenever a worker comes to it.',
    breaks: 'G3',
    edits: one(
      'functions/store/work.ts',
      `    if: [
      ['state', '=', 'open'],
      // Another worker`,
      `    if: [
      ['pk', 'exists'],
      // Another worker`,
    ),
    within: 400,
    seed: 74,
  },
  {
    name: 'ended-after-parked',
    says: 'Parking does not count the generation on, so a second worker ends what is counted as parked.',
    breaks: 'G3',
    edits: one('functions/store/leases.ts', "    add: isParked ? [['generation', 1]] : [],\n", ''),
    shownBy: 'ended-after-parked',
  },
  {
    name: 'generation-ignored',
    says: 'An outcome is written on a lease that is still being cut, whoever has taken it meanwhile.',
    breaks: 'G3',
    edits: one(
      'functions/store/leases.ts',
      `    remove: ['holder', ...(isParked ? [] : ['unsettledUntil', 'parkedSince'])],
    if: asRead(lease),`,
      `    remove: ['holder', ...(isParked ? [] : ['unsettledUntil', 'parkedSince'])],
    if: [['state', '=', lease.state]],`,
    ),
    shownBy: 'ended-after-parked',
  },
  {
    name: 'sealed-early',
    says: 'A case is sealed before its identities are listed.',
    breaks: 'G3',
    edits: one(
      'functions/plan/plan.ts',
      `    await postponeCase(table, current.id, after(by.at, LOOK_AFTER_SECONDS))
    switch (current.scope.kind) {`,
      `    await postponeCase(table, current.id, after(by.at, LOOK_AFTER_SECONDS))
    await sealCase(table, current.id, at(by))
    switch (current.scope.kind) {`,
    ),
    within: 100,
    seed: 3,
  },
  {
    name: 'closed-unfinished',
    says: 'A sealed case is closed without asking whether its shards are done.',
    breaks: 'G3',
    edits: [
      {
        file: 'functions/store/cases.ts',
        find: `  current.closedAt === undefined &&
  current.scans.done === current.scans.expected &&`,
        replace: '  current.closedAt === undefined &&',
      },
      {
        file: 'functions/store/cases.ts',
        find: `      [['scans', 'done'], '=', current.scans.expected],
      [['scans', 'expected'], '=', current.scans.expected],
      ...answers(current),`,
        replace: '      ...answers(current),',
      },
    ],
    within: 100,
    seed: 3,
  },
  {
    name: 'amendment-twice',
    says: 'A case that meets a late lease again expects its amendment once more.',
    breaks: 'G3',
    edits: one(
      'functions/store/amendments.ts',
      `    onLease,
    { put, if: [['pk', 'absent']] },
    { update: caseItem(caseId), add: [[['amendments', 'expected'], 1]], if: [['pk', 'exists']] },`,
      `    onLease,
    { put },
    { update: caseItem(caseId), add: [[['amendments', 'expected'], 1]], if: [['pk', 'exists']] },`,
    ),
    about: ['rush'],
    within: 100,
    seed: 5,
  },

  // G4: no false success.
  {
    name: 'outcome-before-effect',
    says: 'The outcome is written first, the issuer is called afterwards.',
    breaks: 'G4',
    edits: one(
      'functions/revoke/work.ts',
      '    const before = new Map(uncut.map(({ lease, unanswered }) => [lease.id, unanswered]))\n',
      `    const before = new Map(uncut.map(({ lease, unanswered }) => [lease.id, unanswered]))
    for (const { lease } of subjects) {
      const evidence = { said: 'cut', cutAt: now() }
      await table.write(finish(lease, current.id, { outcome: 'revoked', at: now(), evidence }, 0, by.at, at(by)))
    }
`,
    ),
    within: 100,
    seed: 1,
  },
  {
    name: 'unverified',
    says: 'What the issuer calls cut is not asked after.',
    breaks: 'G4',
    edits: one(
      'functions/revoke/work.ts',
      '        const ready = definition.capabilities.verifies\n',
      '        const ready = false\n',
    ),
    within: 100,
    seed: 3,
  },
  {
    name: 'absent-for-error',
    says: 'A provider that fails means that the credential is gone.',
    breaks: 'G4',
    edits: one(
      'functions/revoke/issuer.ts',
      `  status: 'retry',
  said: \`the provider failed: \${codeOf(error)}\`,
  effect: 'unknown',`,
      `  status: 'absent',
  said: \`the provider failed: \${codeOf(error)}\`,`,
    ),
    about: ['natures'],
    within: 100,
    seed: 7,
  },
  {
    name: 'wrong-batch',
    says: 'Where a batch fails, the same lease is tried again and again instead of each of them.',
    breaks: 'G4',
    edits: one(
      'functions/revoke/issuer.ts',
      '    for (const subject of batch) results.push(...(await eachAnswered([subject], call, instead)))',
      '    for (const _ of batch) results.push(...(await eachAnswered(batch.slice(0, 1), call, instead)))',
    ),
    about: ['batches', 'natures'],
    within: 100,
    seed: 7,
  },
  {
    name: 'unanswered-forgotten',
    says: 'A claim does not remember that an attempt follows whose answer may be lost.',
    breaks: 'G4',
    edits: [
      {
        file: 'functions/store/leases.ts',
        find: `      ['unanswered', asker.unanswered],`,
        replace: `      ['unanswered', false],`,
      },
    ],
    within: 100,
    seed: 4,
  },
  {
    name: 'unsettled-final',
    says: 'An outcome is final though a mint that is under way may still bring the credential to life.',
    breaks: 'G4',
    edits: one(
      'functions/domain/settle.ts',
      '  const unsettled = lease.unsettledUntil !== undefined && lease.unsettledUntil > now\n',
      '  const unsettled = false as boolean\n',
    ),
    about: ['intents'],
    within: 100,
    seed: 5,
  },

  {
    name: 'renewal-settled',
    says: 'The confirmation of a mint settles a renewal too, which may still bring the credential to life.',
    breaks: 'G4',
    edits: one(
      'functions/register/holder.ts',
      "        remove: lease.renewedAt === undefined ? ['unsettledUntil'] : [],",
      "        remove: ['unsettledUntil'],",
    ),
    shownBy: 'renewed-before-confirmed',
  },
  {
    name: 'told-as-never-pulled',
    says: 'A lever whose identity is back is told as never pulled, though somebody called and died.',
    breaks: 'G4',
    edits: one(
      'functions/revoke/contain.ts',
      '      if (lever.unanswered === true) await failed(said)\n',
      '      if (lever.attempts > TRIES) await failed(said)\n',
    ),
    shownBy: 'pulled-and-reinstated',
  },
  {
    name: 'serial-in-any-lane',
    says: 'What watches and deletes at a serial issuer is sent to the queue for what is in no hurry, beside its own.',
    breaks: 'G4',
    edits: one(
      'functions/sweep/chunks.ts',
      "    const lane = chunk.step === 'watch' && !(await ports.isSerial(chunk.issuer)) ? 'p2' : found\n",
      "    const lane = chunk.step === 'watch' ? 'p2' : found\n",
    ),
    within: 100,
    seed: 5,
  },

  // G5: every state change is in the ledger.
  {
    name: 'segments-overwritten',
    says: 'Segments of one hour have one name, and the last one stays.',
    breaks: 'G5',
    edits: one('functions/domain/segment.ts', '/${first}-${last}.jsonl`', '/segment.jsonl`'),
    within: 100,
    seed: 1,
  },
  {
    name: 'silent-untold',
    says: 'Versions that tell no state are left out of the trail.',
    breaks: 'G5',
    edits: one(
      'functions/prove/prove.ts',
      '        if (untellable !== undefined) silent.push(untellable)\n',
      '        if (untellable !== undefined && untellable.version > 2) silent.push(untellable)\n',
    ),
    within: 100,
    seed: 1,
  },

  // G6: a duplicated, reordered or replayed event changes nothing.
  {
    name: 'event-not-remembered',
    says: 'An event that comes again opens a case of its own.',
    breaks: 'G6',
    edits: [
      {
        file: 'functions/intake/accept.ts',
        find: `    if (known !== undefined) return { case: known, status: 'replayed' }\n`,
        replace: '',
      },
      {
        file: 'functions/intake/accept.ts',
        find: '      id: caseKey(sender.source.name, event),\n      event,',
        replace: '      id: caseKey(sender.source.name, event + now),\n      event: event + now,',
      },
    ],
    about: ['replays'],
    within: 100,
    seed: 1,
  },
  {
    name: 'event-before-signature',
    says: 'The event is remembered before its signature is looked at: a forged one keeps the real one out.',
    breaks: 'G6',
    edits: [
      {
        file: 'functions/intake/http.ts',
        find: '    const sender = await senderOf(request)\n    try {\n      const trigger',
        replace: `    const named = request.headers[SOURCE_HEADER] ?? ''
    const claimed: unknown = (() => {
      try {
        return JSON.parse(Buffer.from(request.body).toString())
      } catch {
        return undefined
      }
    })()
    const { id, source } = (claimed ?? {}) as { id?: string; source?: string }
    const event = key('event', named, String(source), String(id))
    const noted = { kind: 'event', case: key('case', named, event), by: { who: named, at: instant(clock.now()) } }
    const first = await table.write({ put: { pk: 'EVENT#' + event, sk: 'EVENT', ...noted }, if: [['pk', 'absent']] })
    const sender = await senderOf(request)
    if (first.ok) await table.write({ delete: { pk: 'EVENT#' + event, sk: 'EVENT' } })
    try {
      const trigger`,
      },
    ],
    about: ['forgeries'],
    within: 100,
    seed: 1,
  },
  {
    name: 'event-before-case',
    says: 'The event is remembered before its case is written, each by itself.',
    breaks: 'G6',
    edits: one(
      'functions/store/cases.ts',
      `  const done = await table.transact([
    eventOf(opened, by),
    { put: caseOfNew(opened, dueAt, by), if: [['pk', 'absent']] },`,
      `  const noted = await table.write(eventOf(opened, by))
  if (!noted.ok) return false
  const done = await table.transact([
    { put: caseOfNew(opened, dueAt, by), if: [['pk', 'absent']] },`,
    ),
    within: 100,
    seed: 2,
  },

  // G7: no secret stands anywhere.
  {
    name: 'error-repeated',
    says: 'What an issuer’s error says is kept as evidence.',
    breaks: 'G7',
    edits: one(
      'functions/revoke/issuer.ts',
      `  error instanceof Error && 'code' in error && typeof error.code === 'string' && /^[\\w.-]{1,64}$/.test(error.code)
    ? error.code
    : 'unexpected error'`,
      `  error instanceof Error ? error.message : 'unexpected error'`,
    ),
    within: 100,
    seed: 8,
  },
  {
    name: 'body-kept',
    says: 'What is refused is kept as it came.',
    breaks: 'G7',
    edits: one(
      'functions/intake/http.ts',
      '        notes: problem.errors ?? [],\n',
      "        notes: [{ path: '', message: Buffer.from(request.body).toString() }],\n",
    ),
    about: ['forgeries'],
    within: 100,
    seed: 3,
  },

  // G8: one bad lease, event or issuer never holds up the others.
  {
    name: 'poison-spreads',
    says: 'Where a batch fails, all of its leases have failed.',
    breaks: 'G8',
    edits: one(
      'functions/revoke/issuer.ts',
      '    if (batch.length <= 1) return batch.map(() => instead(error))\n',
      '    if (batch.length >= 1) return batch.map(() => instead(error))\n',
    ),
    about: ['batches', 'natures'],
    within: 100,
    seed: 7,
  },
  {
    name: 'outage-spends',
    says: 'An issuer that is away costs its leases their attempts.',
    breaks: 'G8',
    edits: [
      {
        file: 'functions/revoke/work.ts',
        find: "    if (reached.kind === 'unknown') return park(chunk, current, reached.said, by, watch)\n",
        replace:
          "    if (reached.kind === 'unknown' || reached.kind === 'not-now') return park(chunk, current, reached.said, by, watch)\n",
      },
    ],
    about: ['outages'],
    within: 100,
    seed: 1,
  },

  // G9: the pipeline cannot be turned into a weapon.
  {
    name: 'signature-unchecked',
    says: 'Whoever names a source is believed.',
    breaks: 'G9',
    edits: one(
      'functions/intake/http.ts',
      '    verifyWebhook(request, { secrets, toleranceSeconds: settings.limits.clockSkewSeconds, now: clock.now() })\n',
      '    if (secrets.length < 0) verifyWebhook(request, { secrets, toleranceSeconds: 0, now: clock.now() })\n',
    ),
    about: ['forgeries'],
    within: 100,
    seed: 1,
  },
  {
    name: 'protected-not-held',
    says: 'A case on a protected identity begins at once.',
    breaks: 'G9',
    edits: one(
      'functions/domain/request.ts',
      `): boolean => policy.holdable && identity !== undefined && isGuarded(settings, identity) && leastCautious(modes) !== 'observe'`,
      `): boolean => policy.holdable && identity !== undefined && isGuarded(settings, identity) && leastCautious(modes) === 'observe'`,
    ),
    about: ['protected'],
    within: 100,
    seed: 5,
  },
  {
    name: 'paused-goes-on',
    says: 'A case that somebody paused goes on cutting.',
    breaks: 'G9',
    edits: one(
      'functions/revoke/issuer.ts',
      '    if (why !== undefined || current?.paused === undefined) return why\n',
      '    if (why !== undefined || current?.paused === undefined || current.paused.at !== undefined) return why\n',
    ),
    about: ['holds', 'outages'],
    within: 100,
    seed: 6,
  },
  {
    name: 'kill-switch-ignored',
    says: 'The kill switch is shown, and nobody asks it.',
    breaks: 'G9',
    edits: one(
      'functions/revoke/issuer.ts',
      '    const why = whyStopped(control)\n',
      "    const why = control === undefined || whyStopped(control) !== '' ? undefined : whyStopped(control)\n",
    ),
    about: ['kill-switch'],
    within: 100,
    seed: 6,
  },
  {
    name: 'exempt-touched',
    says: 'A lease of an exempt identity is cut like any other.',
    breaks: 'G9',
    edits: one(
      'functions/revoke/gather.ts',
      "  if (decision.do !== 'claim' && decision.do !== 'release') return undefined\n  if (isExempt",
      "  if (decision.do !== 'claim' && decision.do !== 'wait') return undefined\n  if (decision.do === 'claim') return undefined\n  if (isExempt",
    ),
    about: ['exempt'],
    within: 100,
    seed: 3,
  },
]
