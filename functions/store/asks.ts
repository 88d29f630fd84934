import type { AskState } from '../contracts/case.ts'
import type { Actor, Ask } from '../domain/model.ts'
import { actor } from './identities.ts'
import { read } from './items.ts'
import { askItem, caseItem, DUE } from './keys.ts'
import type { Table, Update } from './table.ts'

/** Questions to issuers about credentials that no lease names. A case closes when each has its answer. */

export const askOf = (table: Table, caseId: string, issuer: string): Promise<Ask | undefined> =>
  read(table, 'ask', askItem(caseId, issuer))

/** Writes the question, counted in its case exactly once and only while more may still come. */
export async function openAsk(table: Table, caseId: string, issuer: string, dueAt: string, by: Actor): Promise<void> {
  await table.transact([
    {
      put: {
        ...askItem(caseId, issuer),
        kind: 'ask',
        case: caseId,
        issuer,
        state: 'open',
        said: '',
        attempts: 0,
        duePk: DUE.ask,
        dueAt,
        by: actor(by),
      },
      if: [['pk', 'absent']],
    },
    {
      update: caseItem(caseId),
      set: [
        [['asked', issuer], { state: 'open', said: 'is being asked' }],
        ['by', actor(by)],
      ],
      add: [[['asks', 'expected'], 1]],
      if: [['sealed', '=', false]],
    },
  ])
}

/** An issuer that cannot be asked, or need not be: the case names it with the reason. */
export async function noteUnasked(table: Table, caseId: string, issuer: string, said: string, by: Actor): Promise<void> {
  await table.write({
    update: caseItem(caseId),
    set: [
      [['asked', issuer], { state: 'unasked', said }],
      ['by', actor(by)],
    ],
    if: [
      ['sealed', '=', false],
      [['asked', issuer], 'absent'],
    ],
  })
}

/** The answer, counted in the case exactly once. */
export async function endAsk(table: Table, ask: Ask, state: Exclude<AskState, 'open'>, said: string, by: Actor): Promise<void> {
  await table.transact([
    {
      update: askItem(ask.case, ask.issuer),
      set: [
        ['state', state],
        ['said', said],
        ['by', actor(by)],
      ],
      remove: ['duePk', 'dueAt'],
      if: [['state', '=', 'open']],
    },
    {
      update: caseItem(ask.case),
      set: [
        [['asked', ask.issuer], { state, said }],
        ['by', actor(by)],
      ],
      add: [[['asks', 'done'], 1]],
    },
  ])
}

/** It has no answer yet: when it is due again, and why, in the case as well. */
export async function postponeAsk(
  table: Table,
  ask: Ask,
  dueAt: string,
  said: string,
  spends: boolean,
  by: Actor,
): Promise<void> {
  const postponed: Update = {
    update: askItem(ask.case, ask.issuer),
    set: [
      ['dueAt', dueAt],
      ['said', said],
      ['resent', 0],
      ['by', actor(by)],
    ],
    add: spends ? [['attempts', 1]] : [],
    if: [['state', '=', 'open']],
  }
  if (ask.said === said) {
    await table.write(postponed)
    return
  }
  await table.transact([
    postponed,
    {
      update: caseItem(ask.case),
      set: [
        [['asked', ask.issuer], { state: 'open', said }],
        ['by', actor(by)],
      ],
    },
  ])
}
