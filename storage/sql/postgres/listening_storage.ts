/**
 * A storage in PostgreSQL that announces its changes with NOTIFY and receives those of other processes with LISTEN.
 *
 * @module
 */
import { StorageError } from "../../../src/errors.ts";
import {
  type AppliedMeta,
  type ChangeListener,
  type NodeChange,
  type NodeMerge,
  randomName,
  type StorageIdentity,
  type VersionVector,
} from "../../../src/store/contract.ts";
import type { RealityNodeMeta } from "../../../src/types.ts";
import { channelOf } from "./outbox.ts";
import type { PostgresPool } from "./pool.ts";
import { END_TIMEOUT, PooledStorage } from "./pooled_storage.ts";
import type { PostgresClient, PostgresOptions, PostgresStorage } from "./postgres_options.ts";
import { inTime, monotonicClock } from "./time_limit.ts";

/** The longest notification that names keys; PostgreSQL allows 8000 bytes. */
const MAX_NAMES_LENGTH = 2000;
/** The most changed keys that are named. With more, listeners are told that any key may have changed. */
const MAX_KEYS = 1000;
/** How long a client of the application may take to listen, in milliseconds. */
const LISTEN_TIMEOUT = 10_000;

/** Changes that were not announced yet. */
interface PendingChanges {
  readonly keys: Set<string>;
  /** All of them have versions above this; {@linkcode ANYTHING} when no version says what changed. */
  after: number;
}

/** A notification: the sender, the version after which something changed, and the keys if they are few. */
type Announcement = readonly [sender: string, after: number, ...keys: string[]];

/** Announced instead of a version: any key may have changed. */
const ANYTHING = -1;

/** A storage in PostgreSQL that announces its changes and receives those of other processes. */
export class ListeningStorage extends PooledStorage implements PostgresStorage {
  readonly #name = randomName(12);
  readonly #channel: string;
  readonly #listeners = new Set<{ readonly call: ChangeListener }>();
  #listening: Promise<{ unlisten(): Promise<void> }> | undefined;
  #pending: PendingChanges | undefined;
  #announcing: Promise<void> | undefined;
  /** The lowest version after which something changed that listeners do not know of. */
  #unreported = Infinity;
  #isReading = false;

  /**
   * @param client The client.
   * @param isOwn Whether `close()` ends it.
   * @param options The shared options and the table's name.
   */
  constructor(client: PostgresClient, isOwn: boolean, options: PostgresOptions) {
    super(client, isOwn, options);
    this.#channel = channelOf(options.tableName ?? "reality_nodes");
  }

  override async applyChanges(changes: readonly NodeChange[]): Promise<AppliedMeta[]> {
    const metas = await super.applyChanges(changes);
    for (const { key, version, unchanged } of metas) if (!unchanged) this.#announce(key, version - 1);
    return metas;
  }

  override async setNode(key: string, meta: RealityNodeMeta): Promise<void> {
    await super.setNode(key, meta);
    this.#announce(key, meta.version - 1);
  }

  override async deleteNode(key: string): Promise<void> {
    await super.deleteNode(key);
    this.#announce(key, 0);
  }

  override async mergeNodes(
    merges: readonly NodeMerge[],
    collected?: VersionVector,
  ): Promise<(RealityNodeMeta | null)[]> {
    const metas = await super.mergeNodes(merges, collected);
    for (const meta of metas) if (meta) this.#announce(meta.key, meta.version - 1);
    return metas;
  }

  override async adoptVector(
    vector: VersionVector,
    epoch: string,
    collected?: VersionVector,
    replicaId?: string,
  ): Promise<boolean> {
    const isOther = await super.adoptVector(vector, epoch, collected, replicaId);
    if (isOther) this.#announce(null, ANYTHING);
    return isOther;
  }

  override async newEpoch(): Promise<StorageIdentity> {
    const identity = await super.newEpoch();
    this.#announce(null, ANYTHING);
    return identity;
  }

  async subscribe(call: ChangeListener): Promise<() => Promise<void>> {
    // A client that was ended would still listen. This call rejects then.
    await this.getMaxVersion();
    const listener = { call };
    this.#listeners.add(listener);
    try {
      await (this.#listening ??= this.#listen());
    } catch (error) {
      this.#listeners.delete(listener);
      throw new StorageError("subscribe", error);
    }
    return () => {
      this.#listeners.delete(listener);
      return Promise.resolve();
    };
  }

  protected override async end(): Promise<void> {
    this.#listeners.clear();
    await settlesInTime(this.#announcing ?? Promise.resolve());
    // Not awaited: it may take long if the connection was just lost.
    this.#listening?.then(({ unlisten }) => unlisten()).catch(() => {});
    await super.end();
  }

  /** Starts to listen. Ends only with this storage: a client that lost a channel once cannot leave it. */
  async #listen(): Promise<{ unlisten(): Promise<void> }> {
    let isCurrent = true;
    let isFirst = true;
    try {
      const onlisten = () => {
        // Notifications were missed while the connection was lost.
        if (!isFirst && isCurrent) this.#report(null);
        isFirst = false;
      };
      const onnotify = (payload: string) => {
        if (isCurrent) this.#receive(payload);
      };
      const isWanted = () => this.#listeners.size > 0;
      const client: Pick<PostgresPool, "listen"> = this.client;
      return await inTime(
        monotonicClock,
        LISTEN_TIMEOUT,
        () => client.listen(this.#channel, onnotify, onlisten, isWanted),
      );
    } catch (error) {
      // The application's client may go on trying. The next subscriber listens again.
      isCurrent = false;
      this.#listening = undefined;
      throw error;
    }
  }

  #announce(key: string | null, after: number): void {
    this.#pending ??= { keys: new Set(), after };
    if (key !== null) this.#pending.keys.add(key);
    this.#pending.after = Math.min(this.#pending.after, after);
    this.#announcing ??= this.#announceAll().finally(() => this.#announcing = undefined);
  }

  async #announceAll(): Promise<void> {
    // Changes of the same moment share a notification.
    await null;
    while (this.#pending) {
      const { keys, after } = this.#pending;
      this.#pending = undefined;
      const announcement: Announcement = [this.#name, after];
      const named = JSON.stringify([...announcement, ...keys]);
      const isShort = after !== ANYTHING && named.length <= MAX_NAMES_LENGTH;
      const payload = isShort ? named : JSON.stringify(announcement);
      // It need not be on the disk: a crash of the server also ends all LISTEN connections, and their processes then poll.
      const sql = "SELECT pg_notify($1, $2), set_config('synchronous_commit', 'off', true)";
      // If it fails or takes too long, other processes find the change by polling.
      await settlesInTime(this.client.unsafe(sql, [this.#channel, payload], { prepare: true }));
    }
  }

  #receive(payload: string): void {
    if (this.#listeners.size === 0) return;
    const announcement = parseAnnouncement(payload);
    if (announcement === undefined) return this.#report(null);
    const [sender, after, ...keys] = announcement;
    if (sender === this.#name) return;
    if (after === ANYTHING) return this.#report(null);
    if (keys.length > 0) return this.#report(keys);
    this.#unreported = Math.min(this.#unreported, after);
    if (!this.#isReading) void this.#reportUnnamed();
  }

  /** Reads which keys changed, once for all notifications without keys that came meanwhile. */
  async #reportUnnamed(): Promise<void> {
    this.#isReading = true;
    while (this.#unreported < Infinity) {
      const after = this.#unreported;
      this.#unreported = Infinity;
      let keys: string[] | null = null;
      await settlesInTime(
        this.readChanges(after, MAX_KEYS + 1).then(({ nodes }) => {
          if (nodes.length <= MAX_KEYS) keys = nodes.map(({ key }) => key);
        }),
      );
      this.#report(keys);
    }
    this.#isReading = false;
  }

  #report(keys: readonly string[] | null): void {
    // A listener that throws stops neither the other listeners nor the connection.
    for (const { call } of this.#listeners) queueMicrotask(() => call(keys));
  }
}

/** Settles when the work has settled, either way, or when it takes too long. Never rejects. */
async function settlesInTime(running: PromiseLike<unknown>): Promise<void> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const late = new Promise<void>((resolve) => timer = setTimeout(resolve, END_TIMEOUT * 1000));
  await Promise.race([running.then(() => {}, () => {}), late]);
  clearTimeout(timer);
}

/** Parses a notification; `undefined` for one that was not sent by this package. */
function parseAnnouncement(payload: string): Announcement | undefined {
  try {
    const [sender, after, ...keys] = JSON.parse(payload) as unknown[];
    const isRight = typeof sender === "string" && Number.isSafeInteger(after) &&
      keys.every((key) => typeof key === "string");
    return isRight ? [sender, after as number, ...keys as string[]] : undefined;
  } catch {
    return undefined;
  }
}
