import type { Actor, Discovery } from '../domain/model.ts'
import type { ItemKey } from '../store/table.ts'
import type { WorkPorts } from './ports.ts'

/** What a step came to: the discovery as it stands then, or why it does not go on. */
export type Step =
  | { readonly kind: 'moved'; readonly current: Discovery }
  /** Somebody else moves it. */
  | { readonly kind: 'overtaken' }
  | { readonly kind: 'wait'; readonly until: string; readonly said: string }
  /** The issuer gave no answer to go on with; only so many times. */
  | { readonly kind: 'again'; readonly said: string; readonly afterSeconds?: number | undefined }
  | { readonly kind: 'failed'; readonly said: string }
  | { readonly kind: 'done' }

/** What the parts of a discovery have in common. */
export interface Discovering {
  readonly table: WorkPorts['table']
  readonly limits: WorkPorts['limits']
  readonly keep: number
  readonly now: () => string
  readonly by: () => Actor
  /** When a step that is written now is looked after. */
  readonly lookAt: () => string
  readonly keepUntil: () => number
  readonly unreadable: (item: ItemKey) => void
}
