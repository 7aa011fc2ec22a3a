/**
 * The application's own part: items in a table of its own. Triggers tell Reality of every change, whichever program makes it.
 *
 * @module
 */
import type { DatabaseSync } from "node:sqlite";
// In a project of yours: from "@rootlodge/reality-server", and from "@rootlodge/reality-server/track".
import type { RealityServer } from "../../mod.ts";
import { trackTable } from "../../storage/sql/track/track_table.ts";

/** The node that changes whenever an item is added, ticked or removed. */
export const BOARD_KEY = "board:items";

/** One thing on the board. */
export interface Item {
  id: number;
  text: string;
  done: boolean;
  /** Who changed it last. */
  by: string;
  /** When, in milliseconds since 1970. */
  at: number;
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

/** The shared board. A trigger writes to the outbox, in the transaction that changes an item. */
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
   * @param db The database of the server's storage, which has an outbox.
   * @param server The server that tells of changes.
   */
  static async open(db: DatabaseSync, server: RealityServer): Promise<Board> {
    const isNew = db.prepare("SELECT 1 FROM sqlite_master WHERE name = 'board_items'").get() === undefined;
    db.exec(`CREATE TABLE IF NOT EXISTS board_items (
      id INTEGER PRIMARY KEY AUTOINCREMENT,
      text TEXT NOT NULL,
      done INTEGER NOT NULL,
      changed_by TEXT NOT NULL,
      changed_at INTEGER NOT NULL
    )`);
    const board = new Board(db, server);
    // The first request creates the outbox.
    await board.#tell();
    const triggers = trackTable({ dialect: "sqlite", table: "board_items", keys: [BOARD_KEY] });
    db.exec(["BEGIN IMMEDIATE", ...triggers, "COMMIT"].join(";\n"));
    if (isNew) {
      for (const [text, by, done] of FIRST_ITEMS.toReversed()) board.#insert(text, by, done);
    }
    return board;
  }

  /** Reads all items, the newest first. */
  read(): Item[] {
    return this.#db.prepare("SELECT * FROM board_items ORDER BY id DESC").all().map(toItem);
  }

  /**
   * Adds an item.
   *
   * @throws {RangeError} When the board is full.
   */
  async add(text: string, by: string): Promise<Item> {
    if (this.read().length >= MAX_ITEMS) throw new RangeError("The board is full: remove something first");
    const item = this.#insert(text, by, false);
    await this.#tell();
    return item;
  }

  /** Ticks an item or takes the tick away; `undefined` if it is not there any more. */
  async tick(id: number, done: boolean, by: string): Promise<Item | undefined> {
    const row = this.#db.prepare(
      "UPDATE board_items SET done = ?, changed_by = ?, changed_at = ? WHERE id = ? RETURNING *",
    ).get(done ? 1 : 0, by, Date.now(), id);
    if (row === undefined) return undefined;
    await this.#tell();
    return toItem(row);
  }

  /** Removes an item, if it is there. */
  async remove(id: number): Promise<void> {
    const { changes } = this.#db.prepare("DELETE FROM board_items WHERE id = ?").run(id);
    if (Number(changes) > 0) await this.#tell();
  }

  /** Windows would be told within 25 ms. Any request reads the outbox, and tells them at once. */
  async #tell(): Promise<void> {
    await this.#server.getNode(BOARD_KEY);
  }

  #insert(text: string, by: string, done: boolean): Item {
    const row = this.#db.prepare(
      "INSERT INTO board_items (text, done, changed_by, changed_at) VALUES (?, ?, ?, ?) RETURNING *",
    ).get(text, done ? 1 : 0, by, Date.now());
    return toItem(row ?? {});
  }
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
