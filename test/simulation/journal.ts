/** What truly happened at the issuers, and what clients asked and were told: all that the oracle judges by. */

/** When something happened: `step` counts the scheduler's steps, `at` is virtual milliseconds since 1970. */
export interface Moment {
  readonly step: number
  readonly at: number
}

/** One change of the world at a simulated issuer, told by the issuer itself and never by the pipeline. */
export interface TrueEvent extends Moment {
  readonly issuer: string
  /**
   * `minted` it exists and works; `cut` it worked, and a call of ours ended it; `lied` we were told that it was cut, and it
   * works on; `contained`, `released` a lever was pulled or pushed back; `restored` a call of ours gave it back;
   * `tidied` what was left of it is deleted; `died` and `lives` somebody else ended it, or brought it back.
   */
  readonly what: 'minted' | 'cut' | 'lied' | 'contained' | 'released' | 'restored' | 'tidied' | 'died' | 'lives'
  /** The credential's name at its issuer; absent for levers. */
  readonly credential?: string
  readonly lever?: string
  /** The case or the restoration in whose name we called. */
  readonly case?: string
  /** The lease that we called for. */
  readonly lease?: string
  /** The task that called, and the step at which it began; absent where nobody of ours did. */
  readonly task?: string
  readonly began?: number
}

/** A credential as it truly is. */
export interface TrueCredential {
  readonly issuer: string
  readonly name: string
  /** It works, but for a lever that may hold it. */
  readonly alive: boolean
  /** The lever that it hangs on. */
  readonly lever?: string
}

/** One attempt of a client or an operator, and what he was told. */
export interface Told {
  /** Index of the operation in the schedule; -1 for what the run itself does at the end. */
  readonly operation: number
  readonly from: Moment
  /** Absent: nobody ever answered. */
  to?: Moment
  status: 'ok' | 'refused' | 'lost'
  /** Code of the refusal. */
  code?: string
  lease?: string
  case?: string
  /** What became of a trigger: `opened`, `held`, `scheduled`, `noted`, `replayed`. */
  said?: string
  /** Further ids that were answered: restorations, aliases, campaigns. */
  id?: string
}

/** A message, as it was sent. */
export interface Sent {
  /** The queue's logical name. */
  readonly queue: string
  readonly body: string
}
