import { defineConfig } from 'vitest/config'

/** Not part of any project: most of it is to fail. */
export default defineConfig({ test: { include: ['test/liars/liars.ts'], testTimeout: 2000, reporters: ['json'] } })
