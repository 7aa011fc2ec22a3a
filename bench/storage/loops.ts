/**
 * The same work with the driver alone: a statement for each change, and batched statements written by hand.
 *
 * @module
 */
import type { SQLDialect } from "../../storage/sql/dialect.ts";
import type { Run } from "./engines.ts";

/** Makes changes, and reads ten nodes at a time. */
export interface Loop {
  /** Settles when it is stored. */
  change(key: string, hash: string): Promise<unknown>;
  /** The nodes' versions. */
  read(keys: readonly string[]): Promise<Map<string, number>>;
}

/** One statement for each, as many at once as the driver has connections. */
export function createSingleLoop(run: Run, dialect: SQLDialect): Loop {
  return {
    async change(key, hash) {
      const change = { key, offset: 1, hash, updatedAt: Date.now(), expiresAt: null };
      const { sql, params } = dialect.applyChanges([change], { floor: 0, step: 1 });
      return await run(sql, params);
    },
    async read(keys) {
      const { sql, params } = dialect.readMoment(keys);
      return toVersions(await run(sql, params));
    },
  };
}

/** What waits for the next statement. */
interface Batch<T> {
  readonly keys: Map<string, string>;
  readonly promise: Promise<T>;
  readonly resolve: (value: T) => void;
  readonly reject: (error: unknown) => void;
}

/** So many reads are under way at once; changes go one after the other. */
const READS = 2;

/** What waits at the same moment goes in one statement. */
export function createMergedLoop(run: Run, dialect: SQLDialect): Loop {
  const changes = new Merger<unknown>(1, async (keys) => {
    const updatedAt = Date.now();
    const placed = [...keys].map(([key, hash], i) => ({
      key,
      offset: i + 1,
      hash,
      updatedAt,
      expiresAt: null,
    }));
    const { sql, params } = dialect.applyChanges(placed, { floor: 0, step: 1 });
    return await run(sql, params);
  });
  const reads = new Merger<Map<string, number>>(READS, async (keys) => {
    const { sql, params } = dialect.readMoment([...keys.keys()]);
    return toVersions(await run(sql, params));
  });
  return {
    change: (key, hash) => changes.add([key], hash),
    async read(keys) {
      const versions = await reads.add(keys, "");
      return new Map(keys.map((key) => [key, versions.get(key) ?? 0]));
    },
  };
}

class Merger<T> {
  readonly #most: number;
  readonly #send: (keys: Map<string, string>) => Promise<T>;
  #next: Batch<T> | undefined;
  #running = 0;

  constructor(most: number, send: (keys: Map<string, string>) => Promise<T>) {
    this.#most = most;
    this.#send = send;
  }

  add(keys: readonly string[], value: string): Promise<T> {
    const batch = this.#next ??= this.#begin();
    for (const key of keys) batch.keys.set(key, value);
    return batch.promise;
  }

  #begin(): Batch<T> {
    let [resolve, reject] = [(_: T) => {}, (_: unknown) => {}];
    const promise = new Promise<T>((yes, no) => [resolve, reject] = [yes, no]);
    if (this.#running < this.#most) queueMicrotask(() => this.#sendNext());
    return { keys: new Map(), promise, resolve, reject };
  }

  #sendNext(): void {
    const batch = this.#next;
    if (batch === undefined) return;
    this.#next = undefined;
    this.#running++;
    this.#send(batch.keys).then(batch.resolve, batch.reject).finally(() => {
      this.#running--;
      this.#sendNext();
    });
  }
}

function toVersions(rows: unknown): Map<string, number> {
  const versions = new Map<string, number>();
  for (const { node_key, version } of rows as { node_key: string; version: unknown }[]) {
    versions.set(node_key, Number(version));
  }
  return versions;
}
