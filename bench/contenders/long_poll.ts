/**
 * The limit of the waiters bench: a bare long poll. It keeps waiting requests by key and answers them. It removes a
 * request when its client disconnects or its time is up.
 *
 * @module
 */
import { HASH, keyOf } from "../workload.ts";
import { HEAD, readText, type Served } from "./served.ts";

interface Held {
  readonly keys: readonly string[];
  readonly answer: (body: string) => void;
  readonly timer: ReturnType<typeof setTimeout>;
}

/** Holds requests until one of their keys changes. */
export class LongPoll {
  readonly #versions = new Map<string, number>();
  readonly #held = new Map<string, Set<Held>>();
  #waiting = 0;

  /** @param nodes How many nodes it keeps. */
  constructor(nodes: number) {
    for (let i = 0; i < nodes; i++) this.#versions.set(keyOf(i), i + 1);
  }

  /** How many wait. */
  get waiting(): number {
    return this.#waiting;
  }

  /**
   * Holds a request.
   *
   * @param body The same body as a waiting sync's.
   * @param answer Called once, with the answer's body.
   * @returns a function that removes the waiting client
   */
  hold(body: string, answer: (body: string) => void): () => void {
    const { known, wait } = JSON.parse(body) as { known: Record<string, number>; wait: number };
    const keys = Object.keys(known);
    const timer = setTimeout(() => {
      this.#release(held);
      answer(this.#answerTo([]));
    }, wait);
    const held: Held = { keys, answer, timer };
    this.#waiting++;
    for (const key of keys) {
      const there = this.#held.get(key);
      if (there) there.add(held);
      else this.#held.set(key, new Set([held]));
    }
    return () => this.#release(held);
  }

  /** Changes a node and answers all its waiting clients. */
  update(key: string): void {
    this.#versions.set(key, this.#versions.size + 1);
    for (const held of this.#held.get(key) ?? []) {
      this.#release(held);
      held.answer(this.#answerTo([key]));
    }
  }

  #answerTo(keys: readonly string[]): string {
    const changed: Record<string, object> = {};
    for (const key of keys) {
      changed[key] = { key, version: this.#versions.get(key), hash: HASH, updatedAt: Date.now() };
    }
    return JSON.stringify({
      changed,
      mesh: { peers: [], serverVersion: this.#versions.size },
      serverTime: Date.now(),
    });
  }

  #release(held: Held): void {
    clearTimeout(held.timer);
    for (const key of held.keys) {
      const there = this.#held.get(key);
      if (!there?.delete(held)) continue;
      this.#waiting--;
      if (there.size === 0) this.#held.delete(key);
    }
  }
}

/** The long poll behind HTTP. */
export function serveLongPoll(nodes: number): Served {
  const poll = new LongPoll(nodes);
  return {
    async fetch(request) {
      const body = await request.text();
      return await new Promise((resolve) => {
        const release = poll.hold(body, (text) => resolve(new Response(text, { headers: HEAD })));
        request.signal.addEventListener("abort", release);
      });
    },
    async listener(request, response) {
      const release = poll.hold(await readText(request), (text) => {
        response.writeHead(200, HEAD);
        response.end(text);
      });
      response.on("close", release);
    },
    change: (key) => poll.update(key),
    watch: () => Promise.resolve({ waiting: poll.waiting, reads: 0 }),
  };
}
