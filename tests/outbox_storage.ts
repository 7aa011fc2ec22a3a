/**
 * A storage with an outbox, for tests of the server.
 *
 * @module
 */
import type {
  OutboxChange,
  OutboxRow,
  OutboxStatement,
  OutboxSummary,
  RealityStorage,
  StorageChanges,
  StorageOutbox,
  StorageReading,
} from "../src/store/contract.ts";
import { HistoryStorage } from "./storages.ts";

/** An outbox in memory. Rows are written when the test commits them. */
export class MemoryOutbox implements StorageOutbox {
  /** The rows; those with an id below 0 were set aside. */
  rows: OutboxRow[] = [];
  /** How often rows were read: by key, or from the first one on. */
  reads: ("keys" | "all")[] = [];
  /** While set, rows cannot be read. */
  failure: Error | undefined;
  readonly #storage: Pick<Required<RealityStorage>, "applyChanges">;
  #lastId = 0;

  /** @param storage Where changes are written. */
  constructor(storage: Pick<Required<RealityStorage>, "applyChanges">) {
    this.#storage = storage;
  }

  /** The highest id of a pending row. */
  get pending(): { outbox?: number } {
    const ids = this.rows.map(({ id }) => id).filter((id) => id > 0);
    return ids.length > 0 ? { outbox: Math.max(...ids) } : {};
  }

  /** Draws an id, as a transaction does that is not committed yet. */
  drawId(): number {
    return ++this.#lastId;
  }

  /** Commits a row. */
  commit(key: unknown, { hash = null, id = this.drawId(), format = 1 }: Partial<OutboxRow> = {}): void {
    this.rows.push({ id, key, hash, format });
  }

  readRows(upTo: number, limit: number, keys?: readonly string[]): Promise<OutboxRow[]> {
    this.reads.push(keys ? "keys" : "all");
    if (this.failure) return Promise.reject(this.failure);
    const rows = this.rows.filter(({ id, key }) =>
      id > 0 && id <= upTo && (!keys || keys.includes(key as string))
    );
    return Promise.resolve(rows.sort((a, b) => a.id - b.id).slice(0, limit));
  }

  async applyRows(changes: readonly OutboxChange[]): Promise<number> {
    const keys = new Map(changes.toReversed().flatMap(({ key, rows }) => rows.map((id) => [id, key])));
    const isMeant = ({ id, key }: OutboxRow) => {
      const wanted = keys.get(id);
      return wanted === key || (wanted?.includes("\u{FFFD}") ?? false);
    };
    const taken = new Set(this.rows.filter(isMeant).map(({ id }) => id));
    const there = changes.filter(({ rows }) => rows.some((id) => taken.has(id)));
    if (there.length === 0) return 0;
    const removed = this.rows.filter(({ id }) => taken.has(id));
    this.rows = this.rows.filter(({ id }) => !taken.has(id));
    try {
      const metas = await this.#storage.applyChanges(there.map(({ rows: _, ...change }) => change));
      return Math.max(...metas.map(({ version }) => version));
    } catch (error) {
      // As a transaction that fails.
      this.rows.push(...removed);
      throw error;
    }
  }

  setAside(rows: readonly OutboxRow[]): Promise<void> {
    const isMeant = (row: OutboxRow) => rows.some(({ id, key }) => id === row.id && key === row.key);
    this.rows = this.rows.map((row) => isMeant(row) ? { ...row, id: -row.id } : row);
    return Promise.resolve();
  }

  summarize(limit: number): Promise<OutboxSummary> {
    const count = (sign: number) => this.rows.filter(({ id }) => id * sign > 0).slice(0, limit).length;
    return Promise.resolve({ pending: count(1), oldestAge: 0, setAside: count(-1) });
  }

  insertion(changes: readonly { readonly key: string; readonly hash: string }[]): OutboxStatement {
    return { text: "insert", params: changes.flatMap(({ key, hash }) => [key, hash]) };
  }
}

/** A shared storage with a history and an outbox. */
export class OutboxStorage extends HistoryStorage {
  readonly outbox: MemoryOutbox = new MemoryOutbox(this);

  override async readNodes(keys: readonly string[]): Promise<StorageReading> {
    const pending = this.outbox.pending;
    return { ...await super.readNodes(keys), ...pending };
  }

  override async readChanges(version: number, limit: number): Promise<StorageChanges> {
    const pending = this.outbox.pending;
    return { ...await super.readChanges(version, limit), ...pending };
  }
}
