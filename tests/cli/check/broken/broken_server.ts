/**
 * A server that breaks rules of the protocol, as the check of the command line must find them.
 *
 * @module
 */
import type { HandlerOptions, RealityServerOptions } from "../../../../mod.ts";

/** The write token of each broken server. */
export const TOKEN = "token-of-the-check-01";

/** Answers a request. */
export type Handler = (request: Request) => Promise<Response>;

/** A server that breaks a rule. */
export interface BrokenServer {
  /** What the server does wrong, as a test name. */
  readonly does: string;
  /** The numbers of all rules that it breaks. */
  readonly breaks: readonly string[];
  readonly options?: Partial<RealityServerOptions>;
  readonly handler?: HandlerOptions;
  /** Answers a request. `ask` gives the answer of a correct server. */
  answer(request: Request, ask: Handler): Promise<Response>;
}
