/** The part of oidc-provider (which ships no types) that the local authorization server uses. */
declare module 'oidc-provider' {
  import type { IncomingMessage, ServerResponse } from 'node:http'

  export interface Client {
    readonly clientId: string
  }
  export interface Context {
    body: unknown
    readonly oidc: { readonly client: Client; readonly params: Readonly<Record<string, string | undefined>> }
  }
  export interface Grant {
    addOIDCScope(scope: string): void
    save(): Promise<string>
  }
  export interface Token {
    readonly exp: number
    save(): Promise<string>
  }
  export interface TokenProperties {
    readonly accountId: string
    readonly client: Client
    readonly grantId: string
    readonly gty: string
    readonly scope: string
  }
  export default class Provider {
    constructor(issuer: string, configuration: Readonly<Record<string, unknown>>)
    readonly Grant: new (properties: {
      readonly accountId: string
      readonly clientId: string
    }) => Grant
    readonly AccessToken: new (
      properties: TokenProperties,
    ) => Token
    readonly RefreshToken: new (
      properties: TokenProperties,
    ) => Token
    callback(): (request: IncomingMessage, response: ServerResponse) => void
    on(event: 'server_error', listener: (context: unknown, error: Error) => void): this
    registerGrantType(name: string, handler: (context: Context) => Promise<void>, parameters: readonly string[]): void
  }
}
