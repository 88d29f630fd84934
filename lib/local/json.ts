/** JSON as templates, events and patterns are made of. */
export type Json = null | boolean | number | string | readonly Json[] | JsonObject
export interface JsonObject {
  readonly [name: string]: Json | undefined
}

export const isObject = (value: unknown): value is JsonObject =>
  typeof value === 'object' && value !== null && !Array.isArray(value)
export const isArray = (value: Json | undefined): value is readonly Json[] => Array.isArray(value)

export function objectOf(value: Json | undefined, where: string): JsonObject {
  if (!isObject(value)) throw new TypeError(`${where} must be an object, not ${JSON.stringify(value)}`)
  return value
}

export function arrayOf(value: Json | undefined, where: string): readonly Json[] {
  if (!isArray(value)) throw new TypeError(`${where} must be a list, not ${JSON.stringify(value)}`)
  return value
}

export function textOf(value: Json | undefined, where: string): string {
  if (typeof value !== 'string') throw new TypeError(`${where} must be a text, not ${JSON.stringify(value)}`)
  return value
}

/** Templates write numbers as numbers or as texts; `fallback` is CloudFormation's documented default. */
export function numberOf(value: Json | undefined, where: string, fallback?: number): number {
  if (value === undefined && fallback !== undefined) return fallback
  const number = typeof value === 'string' && value !== '' ? Number(value) : value
  if (typeof number !== 'number' || Number.isNaN(number))
    throw new TypeError(`${where} must be a number, not ${JSON.stringify(value)}`)
  return number
}
