/**
 * A place where timers and answers belong to the request that asked for them, as on Cloudflare Workers, but with a
 * clock that a test moves: once a request is ended, none of its timers and calls complete.
 *
 * @module
 */
import { AsyncLocalStorage } from "node:async_hooks";
import type { Clock } from "../src/clock.ts";
import { FakeClock } from "./clock.ts";

/** One request. */
class Context {
  readonly name: string;
  isOver = false;
  constructor(name: string) {
    this.name = name;
  }
}

/** All requests of one server. */
export class RequestContexts implements Clock {
  readonly #clock: FakeClock = new FakeClock();
  readonly #current: AsyncLocalStorage<Context> = new AsyncLocalStorage<Context>();
  readonly #contexts = new Map<string, Context>();
  /** Timers and calls outside requests. */
  readonly strays: string[] = [];

  now(): number {
    return this.#clock.now();
  }

  elapsed(): number {
    return this.#clock.elapsed();
  }

  random(): number {
    return 0;
  }

  /** How many timers are set. */
  get timers(): number {
    return this.#clock.timers;
  }

  after(ms: number, callback: () => void): () => void {
    const context = this.#find("a timer");
    return this.#clock.after(ms, () => {
      if (!context.isOver) this.#current.run(context, callback);
    });
  }

  /** Does something within a request of this name. */
  run<T>(name: string, work: () => T): T {
    let context = this.#contexts.get(name);
    if (context === undefined) this.#contexts.set(name, context = new Context(name));
    return this.#current.run(context, work);
  }

  /** Ends a request: its timers do not fire, and its calls are not answered. */
  end(name: string): void {
    this.run(name, () => this.#find("").isOver = true);
  }

  /** An answer of a database after 5 milliseconds, to the current request if it has not ended by then. */
  async answer<T>(question: () => T | Promise<T>): Promise<T> {
    this.#find("a question");
    const answer = await question();
    await new Promise<void>((resolve) => void this.after(5, resolve));
    return answer;
  }

  /** Lets time pass. */
  async advance(ms: number): Promise<void> {
    await this.#clock.advance(ms);
  }

  #find(what: string): Context {
    const context = this.#current.getStore();
    if (context === undefined) this.strays.push(what);
    return context ?? new Context("none");
  }
}
