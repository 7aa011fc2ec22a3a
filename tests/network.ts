/**
 * A network in memory that loses, repeats, delays and reorders messages at random.
 *
 * @module
 */
import type { SeededRandom } from "./random.ts";
import type { SimClock } from "./sim_clock.ts";

/** What may happen to a message. Probabilities are from 0 to 1. */
export interface NetworkFaults {
  /** That a request is lost on its way. */
  readonly requestLoss: number;
  /** That an answer is lost: the request was handled. */
  readonly answerLoss: number;
  /** That a request arrives, and is handled, twice. */
  readonly duplication: number;
  /** How long a message takes, from and to, in milliseconds. A wide range puts messages in another order. */
  readonly delay: readonly [number, number];
  /** That a message takes `straggle` milliseconds more. */
  readonly straggling: number;
  readonly straggle: number;
}

/** A network without faults. */
export const CALM: NetworkFaults = Object.freeze({
  requestLoss: 0,
  answerLoss: 0,
  duplication: 0,
  delay: [1, 3] as const,
  straggling: 0,
  straggle: 0,
});

/** A message that has arrived. */
export interface Delivery {
  readonly from: string;
  readonly to: string;
  readonly kind: "request" | "answer";
  readonly url: string;
  readonly method: string;
  readonly headers: readonly (readonly [string, string])[];
  readonly status: number;
  readonly body: string;
  /** How long ago the request was sent that it is, or that it answers, in milliseconds. */
  readonly age: number;
}

/** How long a sender without a deadline of its own waits for a lost message, in milliseconds. */
const PATIENCE = 60_000;

type Handler = (request: Request) => Promise<Response>;

/** One process's place in the network. */
export interface Station {
  /** Sends a request and settles as `fetch` does, or never, once the station has gone. */
  fetch(request: Request): Promise<Response>;
  /** Answers requests from now on. Before that, connections are refused. */
  listen(handler: Handler): void;
  /** Removes the process from the network, with its running requests. */
  leave(): void;
}

interface Process {
  readonly host: string;
  handler: Handler | undefined;
  gone: boolean;
  /** What waits for an answer of this process. */
  readonly asked: Set<() => void>;
}

/** Hosts and the links between them. Each link has random numbers of its own. */
export class FakeNetwork {
  readonly #clock: SimClock;
  readonly #random: SeededRandom;
  readonly #lines = new Map<string, SeededRandom>();
  readonly #processes = new Map<string, Process>();
  readonly #cuts = new Set<string>();
  readonly #strays = new Set<string>();
  #requests = 0;
  #bytes = 0;
  /** What happens to messages. */
  faults: NetworkFaults = CALM;
  /** Called with each message before it is handled. */
  onDelivery: (delivery: Delivery) => void = () => {};

  constructor(clock: SimClock, random: SeededRandom) {
    this.#clock = clock;
    this.#random = random;
  }

  /** How many requests were sent. */
  get requests(): number {
    return this.#requests;
  }

  /** The length of all bodies sent, requests and answers. */
  get bytes(): number {
    return this.#bytes;
  }

  /** Hosts that were called and never had a process. */
  get strays(): ReadonlySet<string> {
    return this.#strays;
  }

  /** Gives a process a place under a host's name; one that was there before has gone. */
  join(host: string): Station {
    this.#processes.get(host)?.asked.forEach((end) => end());
    const process: Process = { host, handler: undefined, gone: false, asked: new Set() };
    this.#processes.set(host, process);
    return {
      fetch: (request) => this.#fetch(process, request),
      listen: (handler) => process.handler = handler,
      leave: () => {
        process.gone = true;
        process.handler = undefined;
        process.asked.forEach((end) => end());
        process.asked.clear();
      },
    };
  }

  /** Cuts the direction from one host to another, for requests and answers. */
  cut(from: string, to: string): void {
    this.#cuts.add(`${from} ${to}`);
  }

  /** Restores all links. Random faults stay as they are. */
  mend(): void {
    this.#cuts.clear();
  }

  #fetch(sender: Process, request: Request): Promise<Response> {
    return new Promise((resolve, reject) => {
      if (sender.gone) return;
      const { signal } = request;
      if (signal.aborted) return reject(signal.reason);
      let settled = false;
      const settle = (act: () => void) => {
        if (settled) return;
        settled = true;
        giveUp();
        signal.removeEventListener("abort", abort);
        if (!sender.gone) act();
      };
      const fail = (cause: string) => settle(() => reject(new TypeError(`Cannot fetch: ${cause}`)));
      const abort = () => settle(() => reject(signal.reason));
      const giveUp = this.#clock.after(PATIENCE, () => fail("no answer"));
      signal.addEventListener("abort", abort);
      const answer = (response: Response) => settle(() => resolve(response));
      this.#send(sender, request, answer, fail).catch(reject);
    });
  }

  async #send(
    sender: Process,
    request: Request,
    answer: (response: Response) => void,
    fail: (cause: string) => void,
  ): Promise<void> {
    const { url, method } = request;
    const headers = [...request.headers];
    const body = await request.text();
    const to = new URL(url).host;
    const sentAt = this.#clock.now();
    const line = this.#line(sender.host, to);
    this.#requests++;
    this.#bytes += body.length;
    const deliver = async () => {
      const receiver = this.#processes.get(to);
      if (receiver === undefined) this.#strays.add(to);
      if (receiver?.handler === undefined) return this.#after(line, () => fail("connection refused"));
      const shared = { url, method, age: this.#clock.now() - sentAt };
      this.onDelivery({ ...shared, from: sender.host, to, kind: "request", headers, status: 0, body });
      const end = () => void this.#clock.after(1, () => fail("connection reset"));
      receiver.asked.add(end);
      const response = await receiver.handler(new Request(url, { method, headers, body }));
      const text = await response.text();
      receiver.asked.delete(end);
      if (receiver.gone) return;
      this.#bytes += text.length;
      const back = this.#line(to, sender.host);
      if (this.#isLost(to, sender.host, back, this.faults.answerLoss)) return;
      this.#after(back, () => {
        if (sender.gone || this.#cuts.has(`${to} ${sender.host}`)) return;
        const { status } = response;
        const found = [...response.headers];
        const shared = { url, method, age: this.#clock.now() - sentAt };
        const answered = { from: to, to: sender.host, headers: found, status, body: text };
        this.onDelivery({ ...shared, ...answered, kind: "answer" });
        answer(new Response(text, { status, headers: found }));
      });
    };
    const copies = line.happens(this.faults.duplication) ? 2 : 1;
    for (let i = 0; i < copies; i++) {
      if (this.#isLost(sender.host, to, line, this.faults.requestLoss)) continue;
      this.#after(line, () => {
        if (!this.#cuts.has(`${sender.host} ${to}`)) void deliver();
      });
    }
  }

  #isLost(from: string, to: string, line: SeededRandom, probability: number): boolean {
    return line.happens(probability) || this.#cuts.has(`${from} ${to}`);
  }

  #after(line: SeededRandom, callback: () => void): void {
    const { delay: [least, most], straggling, straggle } = this.faults;
    const more = line.happens(straggling) ? straggle : 0;
    this.#clock.after(line.between(least, most) + more, callback);
  }

  #line(from: string, to: string): SeededRandom {
    const name = `${from} ${to}`;
    let line = this.#lines.get(name);
    if (line === undefined) this.#lines.set(name, line = this.#random.fork(name));
    return line;
  }
}
