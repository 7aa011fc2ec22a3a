/**
 * The lives of one server: what its processes say, one after the other.
 *
 * @module
 */
import type { Cluster } from "../cluster/cluster.ts";
import type { ServerLine, ServerSample } from "../cluster/server.ts";

/** How long after its end a process that was ended on purpose is no longer its server's, in milliseconds. */
const GRACE = 1000;

/** Reads what a server says, and notices when its process ends although nobody ended it. */
export class Lives {
  readonly server: number;
  /** Which life this is. */
  number = 0;
  /** What it said last; undefined before it has said anything, and while it is not there. */
  newest: ServerSample | undefined;
  readonly #cluster: Cluster;
  readonly #onFailure: (what: string) => void;
  #process: ReturnType<Cluster["processOf"]>;
  #lines = 0;

  constructor(cluster: Cluster, server: number, onFailure: (what: string) => void) {
    this.#cluster = cluster;
    this.server = server;
    this.#onFailure = onFailure;
    this.read();
  }

  get name(): string {
    return this.#cluster.names[this.server]!;
  }

  /** Reads what it has said since the last time, to the end of a life; gives what it reported. */
  read(): { readonly report: string; readonly message: string }[] {
    const current = this.#cluster.processOf(this.server);
    const said = this.#take();
    if (current === undefined) this.newest = undefined;
    else if (current !== this.#process) {
      this.#begin(current);
      said.push(...this.#take());
    }
    return said.flatMap((line) => "report" in line ? [line] : []);
  }

  /** What its process has said and nobody has read. */
  #take(): ServerLine[] {
    const lines = this.#process?.lines.slice(this.#lines).map((line) => JSON.parse(line) as ServerLine) ?? [];
    this.#lines += lines.length;
    for (const line of lines) if ("sample" in line) this.newest = line.sample;
    return lines;
  }

  #begin(process: NonNullable<ReturnType<Cluster["processOf"]>>): void {
    this.#process = process;
    this.number++;
    this.newest = undefined;
    this.#lines = 0;
    const look = (end: unknown) =>
      setTimeout(() => {
        if (this.#cluster.processOf(this.server) !== process) return;
        this.#onFailure(
          `${this.name} ended by itself: ${end instanceof Error ? end.message : JSON.stringify(end)}`,
        );
        this.#cluster.restart(this.server).catch((error: Error) => this.#onFailure(error.message));
      }, GRACE).unref();
    process.ended.then(look, look);
  }
}
