/**
 * Clients of a cluster, which record their requests and answers.
 *
 * @module
 */
import type { RealityNodeMeta, SyncRequest, SyncResponse } from "../../src/types.ts";
import { WRITE_TOKEN } from "./cluster.ts";
import type { Change, Read, Sight } from "./journal.ts";

/** How long a client waits for an answer, in milliseconds, beyond what it asked the server to wait. */
const PATIENCE = 2000;

/** What a server answered to a sync. */
export interface Answer extends Omit<SyncResponse, "asked"> {
  /** When it was asked and when all of the answer was there. */
  readonly asked: number;
  readonly answered: number;
}

/** Asks a server, and gives up after a while. */
export async function sync(url: string, request: SyncRequest): Promise<Answer> {
  const asked = performance.now();
  const answer = await send<SyncResponse>(`${url}/reality/sync`, "POST", request, request.wait);
  return { ...answer, asked, answered: performance.now() };
}

/** What a client holds after an answer: for each key that it asked for, the version, and the hash if it was told. */
export function sightsOf(
  known: Readonly<Record<string, number>>,
  { changed }: Pick<SyncResponse, "changed">,
): Sight[] {
  return Object.entries(known).map(([key, version]): Sight => {
    const meta: RealityNodeMeta | undefined = changed[key];
    return meta === undefined ? { key, version } : { key, version: meta.version, hash: meta.hash };
  });
}

/** What a client asks of a server. */
export type Asking = Pick<Change, "key" | "hash" | "isDeletion" | "server">;

/** Asks for a change; one that gets no answer may or may not be there. */
export async function change(url: string, asking: Asking): Promise<Change> {
  if (!asking.isDeletion) return (await update(url, [asking]))[0]!;
  const asked = performance.now();
  const path = `/reality/nodes/${encodeURIComponent(asking.key)}`;
  const answered = await orNever(send(`${url}${path}`, "DELETE").then(() => performance.now()));
  return { ...asking, asked, answered: answered ?? Infinity, version: 0 };
}

/** Asks for many changes at once, none of them a deletion. */
export async function update(url: string, askings: readonly Asking[]): Promise<Change[]> {
  const asked = performance.now();
  const updates = askings.map(({ key, hash }) => ({ key, hash }));
  const answer = await orNever(
    send<{ versions: Record<string, number> }>(`${url}/reality/update`, "POST", { updates }),
  );
  const answered = answer === undefined ? Infinity : performance.now();
  return askings.map((asking) => ({
    ...asking,
    asked,
    answered,
    version: answer?.versions[asking.key] ?? 0,
  }));
}

/** The answer, or undefined when none came. */
async function orNever<T>(answer: Promise<T>): Promise<T | undefined> {
  try {
    return await answer;
  } catch (error) {
    if (error instanceof Refused) throw error;
    return undefined;
  }
}

/** A server refused a valid request. */
export class Refused extends Error {
  override readonly name: string = "Refused";
}

async function send<T>(url: string, method: string, body?: object, wait = 0): Promise<T> {
  const controller = new AbortController();
  const timer = setTimeout(() => controller.abort(), PATIENCE + wait);
  try {
    const response = await fetch(url, {
      method,
      signal: controller.signal,
      headers: { "authorization": `Bearer ${WRITE_TOKEN}`, "content-type": "application/json" },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    const text = await response.text();
    if (response.ok) return (text === "" ? undefined : JSON.parse(text)) as T;
    const found = `${method} ${url} was answered with ${response.status}: ${text}`;
    // A storage that failed may work again, and a server that closes may be started again.
    throw response.status === 503 ? new Error(found) : new Refused(found);
  } finally {
    clearTimeout(timer);
  }
}

/** A client that asks now this server, now that one. It keeps what it was told, as any client does. */
export class Hopper {
  readonly #known = new Map<string, number>();
  readonly #sendsEpoch: boolean;
  #epoch: string | undefined;

  /** @param sendsEpoch Whether it says which epoch its versions come from. Clients need not. */
  constructor(sendsEpoch: boolean) {
    this.#sendsEpoch = sendsEpoch;
  }

  /** Asks for these keys, and waits for news of them so long; gives what it got. */
  async ask(url: string, server: number, keys: readonly string[], wait?: number): Promise<Read> {
    const known = Object.fromEntries(keys.map((key) => [key, this.#known.get(key) ?? 0]));
    const answer = await sync(url, {
      known,
      ...(this.#sendsEpoch && this.#epoch !== undefined ? { epoch: this.#epoch } : {}),
      ...(wait === undefined ? {} : { wait }),
    });
    // Versions of an epoch that ended say nothing of those that were not asked for now.
    if (this.#sendsEpoch && answer.epoch !== this.#epoch) this.#known.clear();
    this.#epoch = answer.epoch;
    const sights = sightsOf(known, answer);
    for (const { key, version } of sights) this.#known.set(key, version);
    return { server, asked: answer.asked, answered: answer.answered, sights };
  }
}
