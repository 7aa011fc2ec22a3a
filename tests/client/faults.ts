/**
 * Faults put into the client by hand, to see whether the simulation notices them: a test of the test.
 *
 * @module
 */
import { cp, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { type ClientModule, runHistory } from "./simulation.ts";

/** A fault: one line of the client, and what stands there instead. */
export interface ClientFault {
  readonly name: string;
  readonly file: string;
  /** A text that the file has once. */
  readonly find: string;
  readonly put: string;
}

/** Mistakes, each against one rule. Those that only cost time or requests are left to `client_test.ts`. */
export const FAULTS: readonly ClientFault[] = [
  {
    name: "the versions of a failed fetch are taken over",
    file: "subscription.ts",
    find: "for (const change of batch.values()) this.#owe(change);",
    put: "",
  },
  {
    name: "a change that is told during a fetch is not fetched again",
    file: "subscription.ts",
    find: "    this.#due.set(key, change);\n    this.#schedule();",
    put: "    if (!this.#running) this.#due.set(key, change);\n    this.#schedule();",
  },
  {
    name: "epochs are not compared",
    file: "subscription.ts",
    find: "if (held.epoch === epoch && held.version",
    put: "if (held.version",
  },
  {
    name: "only newer versions are told",
    file: "subscription.ts",
    find: "if (held.epoch === epoch && held.version === version)",
    put: "if (held.epoch === epoch && held.version >= version)",
  },
  {
    name: "a fetch that does not end is waited for",
    file: "deadline.ts",
    find: 'clock.after(ms, () => controller.abort(new Error("No answer in time")))',
    put: "clock.after(ms, () => {})",
  },
  {
    name: "only the first part of a long list of keys is asked",
    file: "transport.ts",
    find: "i < entries.length",
    put: "i < maxKeys",
  },
  {
    name: "Retry-After is ignored",
    file: "rounds.ts",
    find: "this.#notBefore = now + retryAfter;",
    put: "",
  },
  {
    name: "a new key does not end the wait",
    file: "rounds.ts",
    find: "if (this.#isWaiting) this.#abort();",
    put: "",
  },
  {
    name: "a hidden page asks",
    file: "rounds.ts",
    find: 'return page.current === "active" ? undefined : page.current;',
    put: "return undefined;",
  },
  {
    name: "a page that is shown again does not ask",
    file: "rounds.ts",
    find: "    this.#interrupt();\n    this.#deps.subscriptions.retry();",
    put: "    this.#deps.subscriptions.retry();",
  },
  {
    name: "a timer is left behind by close()",
    file: "rounds.ts",
    find: "    this.#cancelTick?.();\n    this.#interrupt();",
    put: "    this.#interrupt();",
  },
  {
    name: "a live store shows data that is older than before",
    file: "live.ts",
    find: "if (stamp && shown && isOlder(",
    put: "if (!stamp && shown && isOlder(",
  },
  {
    name: "a leader does not tell the other tabs",
    file: "tabs.ts",
    find: "subscriptions.add(answer)",
    put: "subscriptions.add(() => {})",
  },
  {
    name: "a leader delays what it tells the other tabs as if it were a fetch",
    file: "tabs.ts",
    find: "subscriptions.add(answer)",
    put: "subscriptions.add(answer, 20_000)",
  },
  {
    name: "a random delay is not cancelled when the client is closed",
    file: "subscription.ts",
    find: "    this.#isStopped = true;\n    this.#endPause();",
    put: "    this.#isStopped = true;",
  },
  {
    name: "a tab takes over versions of the leader without fetching",
    file: "tabs.ts",
    find: "if (onAnswer(asked, { epoch: message.epoch, changed })) end(0);",
    put: "",
  },
  {
    name: "a leader keeps what another tab wanted to know before",
    file: "tabs.ts",
    find: "    dropFollower(from);\n    if (known.size",
    put: "    if (followers.has(from)) return;\n    if (known.size",
  },
  {
    name: "a stream that is silent is waited for",
    file: "transport_events.ts",
    find: "const SILENCE_MS = 60_000;",
    put: "const SILENCE_MS = 6_000_000;",
  },
  {
    name: "the epoch of a stream is not asked for",
    file: "transport_events.ts",
    find: "await askByPost(question, once);",
    put: 'epoch = question.epoch ?? "";',
  },
  {
    name: "only the first read of a stream is told",
    file: "transport_events.ts",
    find: 'if (!fields.has("id") ||',
    put: 'if (epoch || !fields.has("id") ||',
  },
  {
    name: "a tab that rests keeps leading",
    file: "tabs.ts",
    find: "    hasLock = false;\n    unlock();",
    put: "",
  },
];

/** Mistakes in `transport_get.ts`, with the edges behind which they show. */
export const CACHE_FAULTS: readonly (ClientFault & { readonly kind: string })[] = [
  {
    name: "an answer without a part of the question is used",
    kind: "drop parameters",
    find: "if (Object(body).asked !== query)",
    put: "if (!Object(body).asked)",
  },
  {
    name: "old answers are used",
    kind: "keep answers for ever",
    find: "if (!(now > offset - MAX_AGE_MS))",
    put: "if (false)",
  },
  {
    name: "stale answers are used",
    kind: "serve stale while they revalidate",
    find: "if (!(now > offset - MAX_AGE_MS))",
    put: "if (!(now > offset - 600_000))",
  },
  {
    name: "an answer without Reality-Time counts as new",
    kind: "strip Reality-Time",
    find: 'response.headers.get("reality-time") ?? answer.serverTime',
    put: 'response.headers.get("reality-time") ?? clock.now()',
  },
  {
    name: "a failure is taken for the server's however often it comes",
    kind: "keep errors",
    find: "++failures < MIN_FAILURES || clock.elapsed() < nextPostAt",
    put: "true",
  },
  {
    name: "a request that is held is waited for",
    kind: "hold requests",
    find: "      isLate = true;\n      abort();",
    put: "",
  },
  {
    name: "answers that lead back are followed without an end",
    kind: "lead back",
    find: "if (stepsBack >= MAX_STEPS_BACK)",
    put: "if (false)",
  },
  {
    name: "what is told again and again is believed",
    kind: "answer another epoch",
    find: "if (answer.epoch === epoch && [...answer.changed].some(isSame))",
    put: "if (false)",
  },
  {
    name: "an empty answer that was kept is followed by the next request at once",
    kind: "obey",
    find: "await sleep(Math.max(minInterval, spread(KEPT_MS)), signal);",
    put: "await sleep(1, signal);",
  },
  {
    name: "the pause after an empty answer that was kept is too long",
    kind: "obey",
    find: "const KEPT_MS = 1_000;",
    put: "const KEPT_MS = 6_000;",
  },
  {
    name: "the answer to a POST does not say what the server's clock is",
    kind: "obey",
    find: "offset = answer.serverTime - clock.elapsed();",
    put: "",
  },
  {
    name: "equal questions have different URLs",
    kind: "obey",
    find: "...[...keys].sort()",
    put: "...[...keys].sort().reverse()",
  },
].map((fault) => ({ ...fault, file: "transport_get.ts" }));

/**
 * Runs histories against a copy of the client with a fault in it.
 *
 * @returns The first seed that fails, if one of so many does.
 * @throws {Error} If the text to be replaced does not occur exactly once: then the fault has to be put elsewhere.
 */
export async function examineFault(
  fault: ClientFault,
  histories: number,
  run: (seed: number, client: ClientModule) => Promise<unknown> = runHistory,
): Promise<number | undefined> {
  const folder = await mkdtemp(join(tmpdir(), "reality-client-fault-"));
  try {
    await cp("client", folder, { recursive: true });
    const path = join(folder, fault.file);
    const parts = (await readFile(path, "utf8")).split(fault.find);
    if (parts.length !== 2) {
      throw new Error(`Cannot put a fault into ${fault.file}: found ${fault.find} ${parts.length - 1} times`);
    }
    await writeFile(path, parts.join(fault.put));
    const client: ClientModule = await import(pathToFileURL(join(folder, "mod.ts")).href);
    // Loaded before the simulated time begins.
    for (const file of ["tabs.ts", "transport_get.ts", "transport_events.ts"]) {
      await import(pathToFileURL(join(folder, file)).href);
    }
    for (let seed = 1; seed <= histories; seed++) {
      try {
        await run(seed, client);
      } catch {
        return seed;
      }
    }
    return undefined;
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}
