/** RFC 3339 in UTC with milliseconds, as everything is stored. */
export const instant = (milliseconds: number): string => new Date(milliseconds).toISOString()
export const after = (moment: string, seconds: number): string => instant(Date.parse(moment) + seconds * 1000)
export const later = (one: string, other: string): string => (one > other ? one : other)
export const secondsUntil = (moment: string, now: string): number => (Date.parse(moment) - Date.parse(now)) / 1000
/** DynamoDB's TTL attribute: whole seconds since 1970. */
export const ttl = (moment: string): number => Math.ceil(Date.parse(moment) / 1000)
