/**
 * The ports that stages are built from. Handlers are factories over them and keep no module state, so that the same
 * code runs in Lambda, on one machine and under a simulated scheduler. Implementations stand beside this file.
 */

export interface Clock {
  /** Milliseconds since 1970. */
  now(): number
  /** Waits; used only for short pauses between tries of one store call. */
  sleep(milliseconds: number): Promise<void>
}

export interface Randomness {
  /** Uniform in [0, 1). */
  fraction(): number
  /** Cryptographically strong. */
  bytes(length: number): Uint8Array
}

export interface QueueMessage {
  readonly body: unknown
  /** Fairness on a standard queue, order on a FIFO queue: the issuer. */
  readonly group?: string
  /** Seconds, at most 900; ignored by FIFO queues. */
  readonly delaySeconds?: number
}

/** Queues by logical name: `plan-p0`, `work-postgresql-p1`. */
export interface Queues {
  /** Sends all or throws; may send twice. */
  send(queue: string, messages: readonly QueueMessage[]): Promise<void>
  /**
   * Messages in a queue, about: those that wait, those under way, and those that are hidden for a while. Without it
   * nothing holds a sender back.
   */
  depth?(queue: string): Promise<number>
}

/** Where completion events go. */
export interface Announcer {
  announce(events: readonly { type: string; id: string; subject: string; time: string; data: unknown }[]): Promise<void>
}

/** The archive of audit segments: written once, never changed. */
export interface Archive {
  put(key: string, body: string): Promise<void>
  get(key: string): Promise<string | undefined>
}

/**
 * A number that only grows, kept apart from the table, so that a table brought back from a backup is seen to be behind
 * it. `version` is what a write is conditional on; `undefined` where there is no mark.
 */
export interface GenerationMark {
  read(): Promise<{ readonly generation: number; readonly version: string } | undefined>
  /** `false`: somebody else wrote in between. */
  write(generation: number, over: string | undefined): Promise<boolean>
}

/** Secrets by reference; a reference may stand in configuration, a value never does. */
export interface Secrets {
  get(reference: string): Promise<string>
}

/** Keys that wrap data keys: KMS on AWS, a local key file on one machine. `context` binds a key to its use. */
export interface KeyService {
  generate(context: Readonly<Record<string, string>>): Promise<{ plain: Uint8Array; wrapped: string }>
  unwrap(wrapped: string, context: Readonly<Record<string, string>>): Promise<Uint8Array>
}

/** Structured log lines; fields only from an allow-list of ids, counts, codes and durations. */
export interface Log {
  info(message: string, fields?: LogFields): void
  warn(message: string, fields?: LogFields): void
  /** `error` among the fields is told by name, code and place; its message only if it is one of our own errors. */
  error(message: string, fields?: LogFields): void
}
export type LogFields = Readonly<Record<string, unknown>>
