/**
 * Simulated time and lines for many servers in one process: whatever is sent arrives a round later.
 *
 * @module
 */
import { createHmac } from "node:crypto";
import { setImmediate } from "node:timers";
import type { Clock } from "../../src/clock.ts";

interface Timer {
  readonly at: number;
  callback: (() => void) | undefined;
}

/** A clock that shows rounds as milliseconds, and moves only when everything has been said. */
export class RoundClock implements Clock {
  /** Moment → what falls due then. */
  readonly #due = new Map<number, Timer[]>();
  #now: number = Date.now();
  #state: number;

  /** @param seed the seed of its random numbers */
  constructor(seed: number) {
    this.#state = seed;
  }

  now(): number {
    return this.#now;
  }

  elapsed(): number {
    return this.#now;
  }

  /** Mulberry32. */
  random(): number {
    this.#state = (this.#state + 0x6d2b79f5) | 0;
    let bits = Math.imul(this.#state ^ (this.#state >>> 15), 1 | this.#state);
    bits = (bits + Math.imul(bits ^ (bits >>> 7), 61 | bits)) ^ bits;
    return ((bits ^ (bits >>> 14)) >>> 0) / 2 ** 32;
  }

  after(ms: number, callback: () => void): () => void {
    const timer: Timer = { at: this.#now + Math.max(1, Math.ceil(ms)), callback };
    const others = this.#due.get(timer.at);
    if (others === undefined) this.#due.set(timer.at, [timer]);
    else others.push(timer);
    return () => timer.callback = undefined;
  }

  /** Moves to the next moment at which something falls due; says whether there was one before the last. */
  step(last: number): boolean {
    const [next] = [...this.#due.keys()].filter((at) => this.#isDue(at)).sort((a, b) => a - b);
    if (next === undefined || next > last) return false;
    this.#now = next;
    const timers = this.#due.get(next)!;
    this.#due.delete(next);
    for (const { callback } of timers) callback?.();
    return true;
  }

  #isDue(at: number): boolean {
    if (this.#due.get(at)!.some(({ callback }) => callback !== undefined)) return true;
    this.#due.delete(at);
    return false;
  }
}

/** What has been sent. */
export interface Traffic {
  /** Requests, without those that only say hello. */
  messages: number;
  /** Requests to stopped servers. */
  lost: number;
  /** Bytes of all bodies, answers included. */
  bytes: number;
  /** Hellos, and their bytes. */
  hellos: number;
  helloBytes: number;
}

/** The lines between the servers. */
export class Lines {
  readonly #clock: RoundClock;
  readonly #handlers = new Map<string, (request: Request) => Promise<Response>>();
  /** Unreachable hosts. */
  readonly down: Set<string> = new Set();
  #traffic: Traffic = emptyTraffic();
  #sample: string | undefined;
  #underWay = 0;
  #busy = 0;

  constructor(clock: RoundClock) {
    this.#clock = clock;
  }

  /** Whether a message, or an answer, is under way. */
  get isBusy(): boolean {
    return this.#underWay > 0;
  }

  /** Opens a server to the others. */
  open(host: string, handler: (request: Request) => Promise<Response>): void {
    this.#handlers.set(host, handler);
  }

  /** What was sent since this was asked last. */
  takeTraffic(): Traffic {
    const traffic = this.#traffic;
    this.#traffic = emptyTraffic();
    return traffic;
  }

  /** The first request since this was asked last: field → bytes of it. */
  takeSample(): Record<string, number> {
    const { gossip } = JSON.parse(this.#sample ?? '{"gossip":{"message":"{}"}}');
    const message = JSON.parse(gossip.message);
    const { delta, ...fields } = message;
    const bytes = (value: unknown) => value === undefined ? 0 : JSON.stringify(JSON.stringify(value)).length;
    const sizes = {
      peers: fields.peers,
      seen: fields.seen,
      base: delta?.base,
      news: delta?.nodes ?? fields.look,
    };
    const sample: Record<string, number> = { whole: this.#sample?.length ?? 0 };
    for (const [name, value] of Object.entries(sizes)) sample[name] = bytes(value);
    this.#sample = undefined;
    return sample;
  }

  /** Sends a request: the `fetch` of all servers. */
  readonly send = async (request: Request): Promise<Response> => {
    this.#underWay++;
    try {
      const { url } = request;
      const body = await this.#during(request.text());
      const { host } = new URL(url);
      const isDown = this.down.has(host);
      // Two servers exchange a hello only once. A round for it would hide the cost of later changes.
      const isHello = !isDown && body.slice(0, 80).includes('"hello"');
      if (!isHello) await this.#round();
      this.#count(isHello, body.length, isDown);
      if (!isHello && !isDown) this.#sample ??= body;
      if (isDown) throw new TypeError("Connection refused");
      const answer = await this.#during(this.#answer(host, url, body));
      this.#count(isHello, answer.length);
      if (!isHello) await this.#round();
      return new Response(answer, { headers: { "content-type": "application/json" } });
    } finally {
      this.#underWay--;
    }
  };

  /** Settles when nothing goes on any more before the clock moves. */
  async settle(): Promise<void> {
    for (let quiet = 0; quiet < 3; quiet++) {
      await new Promise((resolve) => setImmediate(resolve));
      if (this.#busy > 0) quiet = 0;
    }
  }

  async #answer(host: string, url: string, body: string): Promise<string> {
    const headers = { "content-type": "application/json", "content-length": String(body.length) };
    const response = await this.#handlers.get(host)!(new Request(url, { method: "POST", headers, body }));
    const text = await response.text();
    if (response.status !== 200) throw new Error(`${host} answered ${response.status}: ${text}`);
    return text;
  }

  async #during<T>(work: Promise<T>): Promise<T> {
    this.#busy++;
    try {
      return await work;
    } finally {
      this.#busy--;
    }
  }

  #round(): Promise<void> {
    return new Promise((resolve) => this.#clock.after(1, resolve));
  }

  /** Adds a request when its destination is known, or an answer. All texts are ASCII. */
  #count(isHello: boolean, bytes: number, isDown?: boolean): void {
    const traffic = this.#traffic;
    if (isHello) traffic.helloBytes += bytes;
    else traffic.bytes += bytes;
    if (isDown === undefined) return;
    if (isHello) traffic.hellos++;
    else if (isDown) traffic.lost++;
    else traffic.messages++;
  }
}

function emptyTraffic(): Traffic {
  return { messages: 0, lost: 0, bytes: 0, hellos: 0, helloBytes: 0 };
}

/**
 * Has Web Crypto make the same signatures at once. It makes them on other threads, and a simulated clock would not
 * know when they are done.
 */
export function signAtOnce(): void {
  type Bytes = Uint8Array<ArrayBuffer>;
  const sign = (key: Bytes, bytes: Bytes) => new Uint8Array(createHmac("sha256", key).update(bytes).digest());
  Object.defineProperties(crypto.subtle, {
    importKey: { value: (_format: string, key: Bytes) => Promise.resolve(key) },
    sign: { value: (_name: string, key: Bytes, bytes: Bytes) => Promise.resolve(sign(key, bytes).buffer) },
    verify: {
      value: (_name: string, key: Bytes, proof: Bytes, bytes: Bytes) =>
        Promise.resolve(Buffer.compare(proof, sign(key, bytes)) === 0),
    },
  });
}
