import type { ChildProcess } from 'node:child_process'
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

/**
 * One runtime per folder, and no process left behind: not after `stop`, not after Ctrl-C, and if this process is
 * killed, its children are found by the next start on the same folder.
 */
export interface Tenancy {
  /** Puts a child under this tenancy: it ends with the process, and its id is written down. */
  adopt(child: ChildProcess): void
  /** Ends every child by its process id, waits for it, and gives the folder back. Safe to call twice. */
  release(): Promise<void>
}

/** Another process runs on this folder. */
export class FolderBusy extends Error {
  override readonly name = 'FolderBusy'
  readonly code = 'folder-busy'
}

interface Note {
  readonly owner: Identity
  readonly children: readonly Identity[]
}

/** A process id alone may have been given to another process since: with the start time (Linux) it may not. */
interface Identity {
  readonly pid: number
  readonly started: string | undefined
}

function identify(pid: number): Identity | undefined {
  try {
    process.kill(pid, 0)
  } catch {
    return undefined
  }
  const path = `/proc/${pid}/stat`
  if (!existsSync(path)) return { pid, started: undefined }
  // Field 22 of proc(5) stat; the second field, in brackets, may hold blanks.
  const fields = readFileSync(path, 'utf8')
    .replace(/^.*\) /s, '')
    .split(' ')
  // A process that ended but was not waited for yet (state Z) is no longer alive.
  return fields[0] === 'Z' ? undefined : { pid, started: fields[19] }
}

const alive = (noted: Identity) => {
  const now = identify(noted.pid)
  return now !== undefined && now.started === noted.started
}

function readNote(path: string): Note | undefined {
  try {
    return JSON.parse(readFileSync(path, 'utf8')) as Note
  } catch {
    // Absent, or cut short by a crash while it was written: nobody to look for.
    return undefined
  }
}

export async function takeFolder(folder: string): Promise<Tenancy> {
  mkdirSync(folder, { recursive: true })
  const path = join(folder, 'running.json')
  const before = readNote(path)
  if (before !== undefined && before.owner.pid !== process.pid && alive(before.owner)) {
    throw new FolderBusy(`process ${before.owner.pid} runs on ${folder}: stop it first, or name another folder`)
  }
  // Without a start time there is no telling whether the id still means that child: better leave it than hit another.
  for (const child of before?.children ?? []) if (child.started !== undefined && alive(child)) process.kill(child.pid, 'SIGKILL')

  const owner = identify(process.pid) ?? { pid: process.pid, started: undefined }
  const children = new Map<ChildProcess, Identity>()
  const note = () => writeFileSync(path, JSON.stringify({ owner, children: [...children.values()] } satisfies Note))
  note()
  const killAll = () => {
    for (const child of children.keys()) child.kill('SIGKILL')
  }
  process.on('exit', killAll)
  let released = false

  return {
    adopt(child) {
      const identity = child.pid === undefined ? undefined : identify(child.pid)
      if (identity === undefined) return
      children.set(child, identity)
      note()
      child.once('exit', () => {
        children.delete(child)
        if (!released) note()
      })
    },
    async release() {
      if (released) return
      released = true
      await Promise.all([...children.keys()].map(end))
      process.off('exit', killAll)
      rmSync(path, { force: true })
    },
  }
}

/** Asks first; after two seconds it no longer asks. */
async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return
  const ended = new Promise<void>((resolve) => child.once('exit', () => resolve()))
  child.kill('SIGTERM')
  const impatience = setTimeout(() => child.kill('SIGKILL'), 2000)
  await ended
  clearTimeout(impatience)
}
