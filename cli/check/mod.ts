/**
 * Checks any server that speaks the protocol, from outside: the rules of `src/PROTOCOL.md` by number.
 *
 * ```ts
 * import { createFetchHandler, MemoryStorage, RealityServer } from "@rootlodge/reality-server";
 * import { checkServer } from "@rootlodge/reality-server/check";
 *
 * const server = new RealityServer({ storage: new MemoryStorage() });
 * const listener = Deno.serve({ port: 0 }, createFetchHandler(server));
 *
 * const { failed, results } = await checkServer(`http://localhost:${listener.addr.port}`);
 * console.assert(failed === 0, results);
 *
 * await server.close();
 * await listener.shutdown();
 * ```
 *
 * @module
 */
import { checkRule, type RuleResult } from "./rule.ts";
import { RULES } from "./rules.ts";
import { CheckedServer, describe } from "./server.ts";
import { redactURL } from "../../src/redact.ts";
import { show } from "./verdict.ts";

export type { RuleResult };

/** How a server is checked. */
export interface CheckOptions {
  /**
   * A bearer token that opens the write routes. With it the check changes keys under a random prefix of its own, and
   * takes them away at the end. Left out: it changes nothing, and leaves the rules unchecked that need a change.
   *
   * @default {undefined}
   */
  writeToken?: string | undefined;
  /**
   * Headers of every request, such as those by which the server knows who may read.
   *
   * @default {undefined}
   */
  headers?: Readonly<Record<string, string>> | undefined;
  /**
   * How long one answer may take, in milliseconds, beside the time that it was asked to wait. Above 30,000 the check
   * also waits for a heartbeat of servers with the usual interval.
   *
   * @default {10000}
   */
  timeout?: number | undefined;
  /**
   * Hears of every result as soon as it is there.
   *
   * @default {undefined}
   */
  onResult?: ((result: RuleResult) => void) | undefined;
}

/** What became of all rules. */
export interface CheckReport {
  /** Where the server's routes hang. */
  url: string;
  /** How many rules hold. */
  ok: number;
  /** How many do not. */
  failed: number;
  /** How many were not checked. */
  notChecked: number;
  /** All of them, in the order of the protocol. */
  results: RuleResult[];
  /** Keys that the check has written and could not take away. */
  leftBehind: string[];
}

/** A server could not be checked at all: nothing answers, or it does not take the token. */
export class CheckError extends Error {}

/**
 * Checks a server by the rules of the protocol, one after the other.
 *
 * @param url Where it is: its base path, or only its origin for `/reality`.
 * @param options A token to write with, headers, and a limit of time.
 * @returns What became of each rule. Rejects for no rule that is broken.
 * @throws {CheckError} When the server cannot be reached, or does not take the token.
 * @throws {TypeError} When the URL is none.
 */
export async function checkServer(url: string, options: CheckOptions = {}): Promise<CheckReport> {
  const { writeToken, headers = {}, timeout = 10_000, onResult } = options;
  const server = new CheckedServer(baseOf(url), { writeToken, headers, timeout });
  await reach(server, writeToken);
  const results: RuleResult[] = [];
  let leftBehind: string[] = [];
  try {
    for (const rule of RULES) {
      const result = await checkRule(rule, server);
      results.push(result);
      onResult?.(result);
    }
  } finally {
    leftBehind = await server.cleanUp();
  }
  const count = (outcome: RuleResult["outcome"]) =>
    results.filter((result) => result.outcome === outcome).length;
  return {
    url: server.base,
    ok: count("ok"),
    failed: count("failed"),
    notChecked: count("not checked"),
    results,
    leftBehind,
  };
}

/** Finds out whether anything can be checked at all. */
async function reach(server: CheckedServer, writeToken: string | undefined): Promise<void> {
  let answer;
  try {
    answer = await server.ask("POST", "/sync", { body: { known: {} } });
  } catch (error) {
    throw new CheckError(`Cannot check ${server.base}: ${(error as Error).message}`, { cause: error });
  }
  if ([401, 403, 404, 502, 503, 504].includes(answer.status)) {
    throw new CheckError(`Cannot check ${server.base}: ${describe(answer)}`);
  }
  if (writeToken === undefined) return;
  // Refused for its shape where the token is right, so that nothing is written yet.
  const write = await server.ask("POST", "/update", { body: {}, headers: server.authorize([]) });
  if ([401, 403].includes(write.status)) {
    throw new CheckError(`Cannot write to ${server.base}: ${describe(write)}`);
  }
}

function baseOf(url: string): string {
  if (!URL.canParse(url) || !/^https?:$/.test(new URL(url).protocol)) {
    throw new TypeError(
      `Cannot check ${show(redactURL(url))}: expected a URL such as http://localhost:8000/reality`,
    );
  }
  const { origin, pathname } = new URL(url);
  const path = pathname.replace(/\/(?:sync)?$/, "");
  return origin + (pathname === "/" ? "/reality" : path);
}
