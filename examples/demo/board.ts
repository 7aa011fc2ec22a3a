/**
 * The application's own part: items in a table of its own, and a word to Reality after each write.
 *
 * @module
 */
import { DatabaseSync } from "node:sqlite";
// In a project of yours: from "@rootlodge/reality-server".
import { createHash, type RealityServer } from "../../mod.ts";

/** The node that stands for which items there are. Each item's state has a node of its own. */
export const LIST_KEY = "board:items";

/** The node that stands for the state of one item. */
export function itemKey(id: number): string {
  return `board:item:${id}`;
}

/** One thing on the board. */
export interface Item {
  id: number;
  text: string;
  done: boolean;
  /** Who touched it last. */
  by: string;
  /** When, in milliseconds since 1970. */
  at: number;
}

/** Items, and what they stand for. */
export interface View {
  /** The epoch of the versions. */
  epoch: string;
  /** Key → version, read before the items: the items are at least as new. */
  versions: Record<string, number>;
  items: Item[];
}

/** The most items on the board. */
const MAX_ITEMS = 100;

const FIRST_ITEMS: readonly [text: string, by: string, done: boolean][] = [
  ["Firewood, two baskets", "Jon", false],
  ["Charcoal for both evenings", "Mina", false],
  ["Twelve bread rolls", "Ada", true],
  ["The big blue cool box", "Jon", false],
  ["Card games", "Mina", false],
  ["First aid kit", "Ada", true],
  ["Tent, pegs and mallet", "Jon", true],
];

/** The shared board. Every write first reaches the table, then Reality, and then the promise settles. */
export class Board {
  readonly #db: DatabaseSync;
  readonly #server: RealityServer;

  private constructor(db: DatabaseSync, server: RealityServer) {
    this.#db = db;
    this.#server = server;
  }

  /**
   * Opens the board, with a few items if it is new.
   *
   * @param path The SQLite file, which may be the one that Reality uses; `:memory:` for none.
   * @param server The server that is told of changes.
   */
  static async open(path: string, server: RealityServer): Promise<Board> {
    const db = new DatabaseSync(path);
    db.exec("PRAGMA journal_mode = WAL; PRAGMA busy_timeout = 5000");
    const isNew = db.prepare("SELECT 1 FROM sqlite_master WHERE name = 'board_items'").get() === undefined;
    // AUTOINCREMENT: a key must not come back as another item.
    db.exec(`CREATE TABLE IF NOT EXISTS board_items (
      id INTEGER PRIMARY KEY AUTOINCREMENT,
      text TEXT NOT NULL,
      done INTEGER NOT NULL,
      changed_by TEXT NOT NULL,
      changed_at INTEGER NOT NULL
    )`);
    const board = new Board(db, server);
    if (isNew) {
      for (const [text, by, done] of FIRST_ITEMS.toReversed()) board.#insert(text, by, done);
    }
    await board.#mend();
    return board;
  }

  /**
   * Reads items, the newest first.
   *
   * @param ids Only these, as far as they are there. Left out: all of them.
   */
  async read(ids?: readonly number[]): Promise<View> {
    const keys = ids ? ids.map(itemKey) : [LIST_KEY, ...this.#list().map((item) => itemKey(item.id))];
    // Versions first, items second. The other way round a change between the two would be missed: the
    // window would show the old item and hold the new version.
    const { epoch, changed } = await this.#server.handleSync({ known: zeros(keys) });
    const versions = Object.fromEntries(Object.values(changed).map(({ key, version }) => [key, version]));
    const items = this.#list();
    return { epoch, versions, items: ids ? items.filter((item) => ids.includes(item.id)) : items };
  }

  /**
   * Adds an item.
   *
   * @throws {RangeError} When the board is full.
   */
  async add(text: string, by: string): Promise<Item> {
    if (this.#list().length >= MAX_ITEMS) throw new RangeError("The board is full: remove something first");
    const item = this.#insert(text, by, false);
    // In one call, so that no client sees one change without the other.
    await this.#server.updateMany([
      { key: itemKey(item.id), hash: await hashOf(item) },
      { key: LIST_KEY, hash: await this.#hashOfList() },
    ]);
    return item;
  }

  /** Ticks an item or takes the tick away; `undefined` if it is not there any more. */
  async tick(id: number, done: boolean, by: string): Promise<Item | undefined> {
    const row = this.#db.prepare(
      "UPDATE board_items SET done = ?, changed_by = ?, changed_at = ? WHERE id = ? RETURNING *",
    ).get(done ? 1 : 0, by, Date.now(), id);
    if (row === undefined) return undefined;
    const item = toItem(row);
    await this.#server.updateNode(itemKey(id), hashOf(item));
    return item;
  }

  /** Takes an item away, and its node; `false` if it is not there any more. */
  async remove(id: number): Promise<boolean> {
    const { changes } = this.#db.prepare("DELETE FROM board_items WHERE id = ?").run(id);
    if (Number(changes) === 0) return false;
    const hash = await this.#hashOfList();
    // Asked for in the same moment, both go to the storage together.
    await Promise.all([this.#server.deleteNode(itemKey(id)), this.#server.updateNode(LIST_KEY, hash)]);
    return true;
  }

  /** Closes the table. */
  close(): void {
    this.#db.close();
  }

  /**
   * Tells Reality what it does not know: a process that died between its write and its word, or a table that
   * was changed while nothing ran, would otherwise leave windows behind. This is what a hash is good for.
   */
  async #mend(): Promise<void> {
    const hashes = new Map([[LIST_KEY, await this.#hashOfList()]]);
    for (const item of this.#list()) hashes.set(itemKey(item.id), await hashOf(item));
    const { changed } = await this.#server.handleSync({ known: zeros([...hashes.keys()]) });
    const stale = [...hashes].filter(([key, hash]) => changed[key]?.hash !== hash);
    if (stale.length > 0) await this.#server.updateMany(stale.map(([key, hash]) => ({ key, hash })));
  }

  #list(): Item[] {
    return this.#db.prepare("SELECT * FROM board_items ORDER BY id DESC").all().map(toItem);
  }

  #insert(text: string, by: string, done: boolean): Item {
    const row = this.#db.prepare(
      "INSERT INTO board_items (text, done, changed_by, changed_at) VALUES (?, ?, ?, ?) RETURNING *",
    ).get(text, done ? 1 : 0, by, Date.now());
    return toItem(row ?? {});
  }

  #hashOfList(): Promise<string> {
    return createHash(this.#list().map((item) => item.id).join());
  }
}

function hashOf(item: Item): Promise<string> {
  return createHash(JSON.stringify(item));
}

function toItem(row: Record<string, unknown>): Item {
  return {
    id: Number(row.id),
    text: String(row.text),
    done: row.done === 1,
    by: String(row.changed_by),
    at: Number(row.changed_at),
  };
}

function zeros(keys: readonly string[]): Record<string, number> {
  return Object.fromEntries(keys.map((key) => [key, 0]));
}
