/**
 * Reads the output of the processes of one server, one after the other.
 *
 * @module
 */
import type { Cluster } from "../cluster/cluster.ts";
import type { ServerLine, ServerSample } from "../cluster/server.ts";

/** The grace period after a process is ended on purpose, in milliseconds. */
const GRACE = 1000;

/** Reads the output of a server, and reports a process that ends by itself. */
export class ProcessMonitor {
  readonly server: number;
  /** The number of its current process. */
  number = 0;
  /** Its newest sample; `undefined` before the first one, and without a process. */
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

  /** Reads the new output and returns the reported errors. */
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

  /** Returns the unread lines of its process. */
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
