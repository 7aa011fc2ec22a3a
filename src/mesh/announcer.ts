/**
 * Announces this storage's own changes: through Redis first, where there is one, then to the peers.
 *
 * @module
 */
import type { Clock } from "../clock.ts";
import type { FanOut } from "./fan_out.ts";
import type { Heartbeat } from "./heartbeat.ts";
import type { Invalidation } from "./message.ts";
import { PendingUpdates } from "./peers.ts";

/** How long the peers are told after Redis, where Redis brings the nodes themselves, in milliseconds. */
const REDIS_LEAD_MS = 3;

/** The maximum number of publishers that are remembered. */
const MAX_PUBLISHERS = 1_000;

/** The connection to Redis, as the mesh sees it. */
export interface MeshRelay {
  /** Signals that there is something to publish. */
  publish(): void;
  /** Whether published messages arrive, as far as is known, and are signed. */
  isTrusted(): boolean;
}

/** What an announcer needs. */
export interface AnnouncerOptions {
  readonly clock: Clock;
  readonly fanOut: FanOut;
  readonly heartbeat: Heartbeat;
  /** Left out where there is no Redis. */
  readonly relay?: MeshRelay | undefined;
}

/** The changes that are to be published or sent. Without Redis they are sent to the peers at once. */
export class Announcer {
  readonly #options: AnnouncerOptions;
  /** What was not published yet. */
  #unpublished = new PendingUpdates();
  /** What the peers are told after {@linkcode REDIS_LEAD_MS}. */
  #deferred = new PendingUpdates();
  #cancelDeferred: (() => void) | undefined;
  /** The highest version that was announced or received. */
  #highestVersion = 0;
  /** The ids of servers that publish on Redis themselves. */
  readonly #publishers = new Set<string>();

  /** @param options The ways to the other servers. */
  constructor(options: AnnouncerOptions) {
    this.#options = options;
  }

  /** Announces a change of this server to Redis and to the peers. Returns at once. */
  announce(invalidation: Invalidation): void {
    const { clock, fanOut, heartbeat, relay } = this.#options;
    this.#highestVersion = Math.max(this.#highestVersion, invalidation.version);
    heartbeat.start();
    this.publish(invalidation);
    if (!relay?.isTrusted()) return fanOut.sendToAll(invalidation);
    // Redis is the shorter way: sending both ways at once would transfer the nodes twice. The peers are told all the
    // same, since a message through Redis may be lost.
    this.#deferred.add(clock.elapsed(), invalidation);
    this.#cancelDeferred ??= clock.after(REDIS_LEAD_MS, () => this.flush());
  }

  /** Sends the deferred updates to the peers now. */
  flush(): void {
    this.#cancelDeferred?.();
    this.#cancelDeferred = undefined;
    const { invalidation } = this.#deferred;
    this.#deferred = new PendingUpdates();
    if (invalidation !== undefined) this.#options.fanOut.sendToAll(invalidation);
  }

  /** Announces a change to Redis only. */
  publish(invalidation: Invalidation): void {
    const { clock, relay } = this.#options;
    if (relay === undefined) return;
    this.#unpublished.add(clock.elapsed(), invalidation);
    relay.publish();
  }

  /** Signals that there is something to publish, without an invalidation. */
  requestPublication(): void {
    this.#options.relay?.publish();
  }

  /** Marks all keys as unpublished: earlier messages may have been lost. */
  markAllUnpublished(): void {
    this.#unpublished.add(this.#options.clock.elapsed(), { keys: null, version: this.#highestVersion });
  }

  /** Returns what was not published yet, and clears it. */
  takeUnpublished(): Invalidation | undefined {
    const { invalidation } = this.#unpublished;
    this.#unpublished = new PendingUpdates();
    return invalidation;
  }

  /** Whether a received version is higher than all before it. If so, it is the highest from then on. */
  raiseVersion(version: number): boolean {
    if (version <= this.#highestVersion) return false;
    this.#highestVersion = version;
    return true;
  }

  /** Records a server that publishes on Redis. */
  addPublisher(id: string): void {
    if (this.#publishers.size < MAX_PUBLISHERS) this.#publishers.add(id);
  }

  /** Whether a server publishes its changes on Redis itself. */
  isPublisher(id: string): boolean {
    return this.#publishers.has(id);
  }
}
