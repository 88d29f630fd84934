import { ProblemError } from '../../functions/runtime/problem-error.ts'

/** The problem that an attempt was refused with; an attempt that succeeds fails the test. */
export const refusal = async (attempt: Promise<unknown>): Promise<ProblemError> => {
  try {
    await attempt
  } catch (error) {
    if (error instanceof ProblemError) return error
    throw error
  }
  throw new Error('was not refused')
}
