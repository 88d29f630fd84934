import { open } from './connection.ts'
import { moduleOver } from './operations.ts'

export const provider = moduleOver(open)
