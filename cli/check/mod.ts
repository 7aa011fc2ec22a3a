/**
 * Checks a running server against the rules of `src/PROTOCOL.md`, from outside.
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
import { format } from "./outcome.ts";

export type { RuleResult };

/** Options of {@linkcode checkServer}. */
export interface CheckOptions {
  /**
   * A bearer token of the write routes. With it the check changes keys with a random prefix, and deletes them at the end.
   * Without it the check changes nothing, and skips the rules that need a change.
   *
   * @default {undefined}
   */
  writeToken?: string | undefined;
  /**
   * The URL of an answer of the application that has a stamp, or its path, such as `"/api/messages"`. With it the check
   * fetches the answer some times, and checks its stamp. With `writeToken` as well, it invalidates one of the keys of the
   * answer, so that clients fetch it again. Without it, the rules of stamps are skipped.
   *
   * @default {undefined}
   */
  stamped?: string | undefined;
  /**
   * Headers of every request, for example those that identify the client.
   *
   * @default {undefined}
   */
  headers?: Readonly<Record<string, string>> | undefined;
  /**
   * Time for one answer, in milliseconds, in addition to the `wait` of the request. Above 30,000 the check also waits for
   * a heartbeat of a server with the default interval.
   *
   * @default {10000}
   */
  timeout?: number | undefined;
  /**
   * Called with every result as soon as it is known.
   *
   * @default {undefined}
   */
  onResult?: ((result: RuleResult) => void) | undefined;
}

/** The results of all rules. */
export interface CheckReport {
  /** The URL of the base path. */
  url: string;
  /** The number of rules that the server keeps. */
  ok: number;
  /** The number of broken rules. */
  failed: number;
  /** The number of rules that were not checked. */
  notChecked: number;
  /** All results, in the order of the protocol. */
  results: RuleResult[];
  /** Keys that the check has written and could not delete. */
  leftBehind: string[];
}

/** A server cannot be checked: it does not answer, or does not accept the token. */
export class CheckError extends Error {}

/**
 * Checks a server against the rules of the protocol, one after the other.
 *
 * @param url The URL of the base path, or only the origin for `/reality`.
 * @param options A write token, the URL of a stamped answer, headers and a timeout.
 * @returns The result of each rule. Does not reject if a rule is broken.
 * @throws {CheckError} If the server cannot be reached or does not accept the token.
 * @throws {TypeError} If the URL is not valid.
 */
export async function checkServer(url: string, options: CheckOptions = {}): Promise<CheckReport> {
  const { writeToken, headers = {}, timeout = 10_000, onResult } = options;
  const base = parseBase(url);
  const stamped = options.stamped === undefined ? undefined : parseStamped(options.stamped, base);
  const server = new CheckedServer(base, { writeToken, stamped, headers, timeout });
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
    leftBehind = await server.deleteWritten();
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

/** Throws if the server cannot be checked. */
async function reach(server: CheckedServer, writeToken: string | undefined): Promise<void> {
  let answer;
  try {
    answer = await server.send("POST", "/sync", { body: { known: {} } });
  } catch (error) {
    throw new CheckError(`Cannot check ${server.base}: ${(error as Error).message}`, { cause: error });
  }
  if ([401, 403, 404, 502, 503, 504].includes(answer.status)) {
    throw new CheckError(`Cannot check ${server.base}: ${describe(answer)}`);
  }
  if (writeToken === undefined) return;
  // The body is wrong: with a valid token the request is refused too, and nothing is written.
  const write = await server.send("POST", "/update", { body: {}, headers: server.authorize([]) });
  if ([401, 403].includes(write.status)) {
    throw new CheckError(`Cannot write to ${server.base}: ${describe(write)}`);
  }
}

function parseBase(url: string): string {
  if (!URL.canParse(url) || !/^https?:$/.test(new URL(url).protocol)) {
    throw new TypeError(
      `Cannot check ${format(redactURL(url))}: expected a URL such as http://localhost:8000/reality`,
    );
  }
  const { origin, pathname } = new URL(url);
  const path = pathname.replace(/\/(?:sync)?$/, "");
  return origin + (pathname === "/" ? "/reality" : path);
}

/** A path is one of the server's origin. */
function parseStamped(stamped: string, base: string): string {
  if (!URL.canParse(stamped, base) || !/^https?:$/.test(new URL(stamped, base).protocol)) {
    throw new TypeError(
      `Cannot check the stamp of ${
        format(redactURL(stamped))
      }: expected a URL, or a path such as /api/messages`,
    );
  }
  const { origin, pathname, search } = new URL(stamped, base);
  return origin + pathname + search;
}
