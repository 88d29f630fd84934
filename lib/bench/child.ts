import type { Job } from './job.ts'
import { registerLeases } from './register.ts'
import { revokeLeases } from './revoke.ts'

/** Entry of the benchmark's child processes: one job, one answer. */
process.once('message', async (job: Job) => {
  try {
    process.send?.({ answer: job.do === 'register' ? await registerLeases(job.leases, job.table) : await revokeLeases(job) })
  } catch (error) {
    process.send?.({ error: error instanceof Error ? `${error.stack}` : String(error) })
  }
  process.disconnect()
})
