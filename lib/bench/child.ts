import type { Job } from './job.ts'
import { fillLeases, previewLeases } from './preview.ts'

function doing(job: Job): Promise<unknown> {
  switch (job.do) {
    case 'fill':
      return fillLeases(job.leases, job.table)
    case 'preview':
      return previewLeases(job)
  }
}

/** Entry of the benchmark's child processes: one job, one answer. */
process.once('message', async (job: Job) => {
  try {
    process.send?.({ answer: await doing(job) })
  } catch (error) {
    process.send?.({ error: error instanceof Error ? `${error.stack}` : String(error) })
  }
  process.disconnect()
})
