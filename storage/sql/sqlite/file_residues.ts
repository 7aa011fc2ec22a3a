/**
 * Gives a file that replaces another one a residue of its own.
 *
 * @module
 */
import { counterFloor, drawResidue, RESIDUES } from "../../../src/store/contract.ts";
import type { SQLDialect, SQLRow } from "../dialect.ts";
import { parseMesh } from "../mesh_column.ts";
import type { SQLiteDatabase } from "./database.ts";
import { sqliteDialect } from "./dialect.ts";

/**
 * Remembers the residues of all files that were open at a path. Two of these files may be written in the same moment. If
 * both gave the same number, a client or a server that knows a lost number would take it for the new one.
 */
export class FileResidues {
  readonly #dialect: SQLDialect;
  readonly #now: () => number;
  /** Residue → the number with which it was drawn, for every file that was open. */
  readonly #used = new Map<string, number>();

  /**
   * @param tableName The table's name.
   * @param now The clock, in milliseconds since 1970.
   */
  constructor(tableName: string, now: () => number = Date.now) {
    this.#dialect = sqliteDialect(tableName);
    this.#now = now;
  }

  /** Draws another residue in the new file, if it has one that an earlier file had. */
  renew(database: SQLiteDatabase, replaced: SQLiteDatabase): void {
    const { drawn = 0 } = this.#read(replaced) ?? {};
    // A file without a residue counts 1, 2, 3, or is empty.
    if (drawn === 0) return;
    this.#used.set(`${drawn % RESIDUES}`, drawn);
    for (let row = this.#read(database); row !== undefined && row.drawn > 0; row = this.#read(database)) {
      if (!this.#used.has(`${row.drawn % RESIDUES}`)) return;
      const residue = drawResidue(new Map([...parseMesh(row.mesh).vector, ...this.#used]));
      const { sql, params } = this.#dialect.drawResidue(row, residue, counterFloor("clock", this.#now()));
      database.prepare(sql).all(...params);
    }
  }

  #read(database: SQLiteDatabase): { readonly drawn: number; readonly mesh: string } | undefined {
    const { sql, params } = this.#dialect.readCounter();
    try {
      const [row] = database.prepare(sql).all(...params) as SQLRow[];
      return row && { drawn: Number(row.drawn), mesh: String(row.mesh) };
    } catch (error) {
      if (/no such (table|column)/.test(String(error))) return undefined;
      throw error;
    }
  }
}
