/**
 * What @peculiar/x509 asks of the proposal for metadata (reflect-metadata) when it is loaded: one value for each key of a
 * class. Import it before that library.
 */
const kept = new WeakMap<object, Map<string, unknown>>()

const getOwnMetadata = (key: string, target: object): unknown => kept.get(target)?.get(key)

Object.assign(Reflect, {
  getMetadata: getOwnMetadata,
  getOwnMetadata,
  defineMetadata(key: string, value: unknown, target: object) {
    kept.set(target, (kept.get(target) ?? new Map<string, unknown>()).set(key, value))
  },
})
