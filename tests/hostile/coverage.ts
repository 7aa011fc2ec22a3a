/**
 * Which blocks of some source files have run, as V8 counts them.
 *
 * @module
 */
import { Session } from "node:inspector";
import { runtime } from "../runtimes/child.ts";

/** A piece of source text, and how often it has run since the last look. */
interface Range {
  readonly startOffset: number;
  readonly endOffset: number;
  readonly count: number;
}

/** What has run of one file. */
interface Script {
  readonly url: string;
  readonly functions: readonly { readonly ranges: readonly Range[] }[];
}

/** What is known of one file: where its blocks begin and end, and which of its characters have run. */
interface Reached {
  readonly borders: Set<number>;
  ran: Uint8Array;
}

/** Counts the blocks of some files that have run since it was started. */
export class Coverage {
  readonly #session = new Session();
  readonly #files: readonly string[];
  readonly #reached = new Map<string, Reached>();

  private constructor(files: readonly string[]) {
    this.#files = files;
  }

  /**
   * Starts to count. What ran before does not count.
   *
   * @param files How the files' paths end.
   * @returns `null` on a runtime that has no V8.
   */
  static async start(files: readonly string[]): Promise<Coverage | null> {
    if (runtime === "bun") return null;
    const coverage = new Coverage(files);
    coverage.#session.connect();
    await coverage.#post("Profiler.enable");
    await coverage.#post("Profiler.startPreciseCoverage", { callCount: true, detailed: true });
    return coverage;
  }

  /**
   * Says whether anything ran since the last look that had not run before.
   *
   * @param keep Whether that is then no longer new.
   */
  async isNew(keep: boolean): Promise<boolean> {
    const { result } = await this.#post("Profiler.takePreciseCoverage") as { result: Script[] };
    let isNew = false;
    for (const file of this.#files) {
      const ranges = result.filter(({ url }) => url.endsWith(file))
        .flatMap(({ functions }) => functions.flatMap((one) => one.ranges));
      if (ranges.length > 0) isNew = this.#compare(file, ranges, keep) || isNew;
    }
    return isNew;
  }

  /** How many blocks there are, as far as they are known, and how many of them have run. */
  get blocks(): { readonly known: number; readonly reached: number } {
    let [known, reached] = [0, 0];
    for (const { borders, ran } of this.#reached.values()) {
      known += borders.size - 1;
      for (const border of borders) reached += ran[border] ?? 0;
    }
    return { known, reached };
  }

  /** Stops to count. */
  async stop(): Promise<void> {
    await this.#post("Profiler.stopPreciseCoverage");
    await this.#post("Profiler.disable");
    this.#session.disconnect();
  }

  #compare(file: string, ranges: readonly Range[], keep: boolean): boolean {
    const end = Math.max(...ranges.map(({ endOffset }) => endOffset));
    const before = this.#reached.get(file) ?? { borders: new Set<number>(), ran: new Uint8Array(end) };
    const ran = new Uint8Array(Math.max(end, before.ran.length));
    // What lies within a range comes after it, and is more exact.
    const outerFirst = ranges.toSorted((a, b) => a.startOffset - b.startOffset || b.endOffset - a.endOffset);
    for (const { startOffset, endOffset, count } of outerFirst) {
      ran.fill(count > 0 ? 1 : 0, startOffset, endOffset);
      if (keep) before.borders.add(startOffset).add(endOffset);
    }
    let isNew = false;
    for (let i = 0; i < ran.length; i++) {
      if (before.ran[i]) ran[i] = 1;
      else if (ran[i]) isNew = true;
    }
    if (keep) this.#reached.set(file, { borders: before.borders, ran });
    return isNew;
  }

  #post(method: string, params: Record<string, unknown> = {}): Promise<unknown> {
    return new Promise((resolve, reject) =>
      this.#session.post(
        method,
        params,
        (error: Error | null, result?: unknown) => error ? reject(new Error(error.message)) : resolve(result),
      )
    );
  }
}
