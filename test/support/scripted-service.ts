import { Readable } from 'node:stream'

/** A request as the SDK sent it. */
export interface SentRequest {
  /** `DynamoDB_20120810.GetItem` and the like; for REST services the method and the path. */
  readonly target: string
  readonly headers: Readonly<Record<string, string>>
  readonly body: string
}
export type ScriptedAnswer =
  | { readonly status?: number; readonly body?: unknown; readonly headers?: Record<string, string> }
  | Error

interface WireRequest {
  readonly method: string
  readonly path: string
  readonly headers: Record<string, string>
  readonly body?: unknown
}

/**
 * Stands where the SDK's HTTP handler stands, so that the real client serialises, signs and reads answers: no network.
 * `answer` is asked for each request; an `Error` breaks the connection.
 */
export function scriptedService(answer: (request: SentRequest, place: number) => ScriptedAnswer) {
  const requests: SentRequest[] = []
  return {
    requests,
    configuration: {
      region: 'us-east-1',
      credentials: { accessKeyId: 'test', secretAccessKey: 'test' },
      requestHandler: {
        async handle(request: WireRequest) {
          const sent = {
            target: request.headers['x-amz-target'] ?? `${request.method} ${request.path}`,
            headers: request.headers,
            body: request.body instanceof Uint8Array ? new TextDecoder().decode(request.body) : String(request.body ?? ''),
          }
          requests.push(sent)
          const given = answer(sent, requests.length - 1)
          if (given instanceof Error) throw given
          const text = typeof given.body === 'string' ? given.body : JSON.stringify(given.body ?? {})
          return {
            response: {
              statusCode: given.status ?? 200,
              headers: { 'content-type': 'application/x-amz-json-1.0', ...given.headers },
              body: Readable.from([Buffer.from(text)]),
            },
          }
        },
      },
    },
  }
}

/** An error as the JSON protocols write it. */
export const awsError = (name: string, extra: Record<string, unknown> = {}): ScriptedAnswer => ({
  status: name === 'InternalServerError' ? 500 : 400,
  body: { __type: `com.amazonaws#${name}`, message: name, ...extra },
})

/** A connection that broke in a way that Node names by a code. */
export const broken = (code: string): Error => Object.assign(new Error('connection broke'), { code })
