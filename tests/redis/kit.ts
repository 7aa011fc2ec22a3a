/**
 * A relay on a real Redis, with the objects around it, for tests.
 *
 * @module
 */
import assert from "node:assert/strict";
import process from "node:process";
import { type Clock, systemClock } from "../../src/clock.ts";
import type { RelayError } from "../../src/errors.ts";
import { Relay, type RelayDeps } from "../../src/redis/relay.ts";
import { soon } from "../http/client.ts";
import type { Clients, Library } from "./libraries.ts";

/** Real time, or time that goes faster, and how many of its timers are set. */
class CountingClock implements Clock {
  readonly #speed: number;
  timers = 0;

  constructor(speed: number) {
    this.#speed = speed;
  }

  now(): number {
    return systemClock.now() * this.#speed;
  }

  elapsed(): number {
    return systemClock.elapsed() * this.#speed;
  }

  random(): number {
    return systemClock.random();
  }

  after(ms: number, callback: () => void): () => void {
    let isSet = true;
    const unset = () => {
      if (isSet) this.timers--;
      isSet = false;
    };
    this.timers++;
    const cancel = systemClock.after(ms / this.#speed, () => {
      unset();
      callback();
    });
    return () => {
      unset();
      cancel();
    };
  }
}

/** The Redis that the tests share; each uses channels of its own. */
export function sharedRedis(): string {
  return process.env.REALITY_TEST_REDIS ?? assert.fail("Cannot test Redis: REALITY_TEST_REDIS is not set");
}

let channels = 0;

/** A channel that no other test uses, at whatever time and in whatever process. */
export function newChannel(): string {
  return `reality:test:${process.pid}:${Date.now()}:${channels++}`;
}

/** The parts of a server that a relay needs: it publishes messages of the test, and records received ones. */
export class Party implements RelayDeps {
  readonly clock: CountingClock;
  readonly clients: Clients;
  readonly relay: Relay;
  readonly received: string[] = [];
  readonly reports: RelayError[] = [];
  looks = 0;
  /** The connection that subscribes, as Redis numbers it. */
  connection: unknown;
  readonly #owed: string[] = [];
  readonly #watchers = new Set<() => void>();

  private constructor(clients: Clients, channel: string, speed: number) {
    this.clients = clients;
    this.clock = new CountingClock(speed);
    this.relay = new Relay({ ...clients, channel }, this);
  }

  /** Makes one that is not connected. Its time may go faster than real time. */
  static async create(library: Library, url: string, channel: string, speed: number = 1): Promise<Party> {
    return new Party(await library.open(url), channel, speed);
  }

  /** Connects it, and waits until it is subscribed. */
  async connect(): Promise<this> {
    await this.clients.connect();
    this.connection = await this.clients.identify();
    return await this.listen();
  }

  /** Waits until it is subscribed, with clients that are connected or connect by themselves. */
  async listen(): Promise<this> {
    this.relay.start();
    await this.until(() => this.relay.healthy, "a subscription");
    return this;
  }

  /** Publishes. Messages of one moment are published together, joined by `+`. */
  tell(text: string): void {
    this.#owed.push(text);
    this.relay.publish();
  }

  /** Ends the relay and its clients. */
  async end(): Promise<void> {
    await this.relay.close();
    await this.clients.end();
    assert.equal(this.clock.timers, 0, "timers that the relay left");
  }

  /** Waits until a condition holds, checking after each event. */
  async until(isSo: () => boolean, what: string): Promise<void> {
    const happened = new Promise<void>((resolve) => {
      const look = () => {
        if (!isSo()) return;
        this.#watchers.delete(look);
        resolve();
      };
      this.#watchers.add(look);
      look();
    });
    await soon(happened, `${what}; reported: ${this.reports.map(({ message }) => message).join(", ")}`);
  }

  /** Waits until a message was delivered. */
  async hears(text: string): Promise<void> {
    await this.until(() => this.received.includes(text), `the message ${text.slice(0, 100)}`);
  }

  compose(): Promise<string | null> {
    return Promise.resolve(this.#owed.length > 0 ? this.#owed.splice(0).join("+") : null);
  }

  receive(text: string): Promise<boolean> {
    if (text.startsWith("garbage")) return Promise.resolve(false);
    this.received.push(text);
    this.#look();
    return Promise.resolve(true);
  }

  onMissed(): void {
    this.looks++;
    this.#look();
  }

  report(error: RelayError): void {
    this.reports.push(error);
    this.#look();
  }

  #look(): void {
    // After the relay has done what it is about to do.
    queueMicrotask(() => {
      for (const watcher of this.#watchers) watcher();
    });
  }
}

/** For each report, whether it is an outage of Redis or its end. */
export function episodes(party: Party): string {
  return party.reports.map(({ recovered }) => recovered ? "up" : "down").join(" ");
}
