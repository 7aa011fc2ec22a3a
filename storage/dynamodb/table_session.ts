/**
 * What the reads and writes of one DynamoDB storage share.
 *
 * @module
 */
import { CallRunner } from "./call_runner.ts";
import type { Call } from "./call.ts";
import { Drafts } from "./drafts.ts";
import type { ReadDynamoDBOptions } from "./dynamodb_options.ts";
import { type Numbering, otherReplicas } from "./numbering.ts";
import { ServiceClock } from "./service_clock.ts";
import { TableReader } from "./table_reader.ts";
import { TableWriter } from "./table_writer.ts";

/** A table, and how one storage reads, numbers and writes its nodes. */
export class TableSession {
  /** Milliseconds since 1970, by which changes are numbered. */
  readonly now: () => number;
  /** Tells which tombstones have expired. */
  readonly clock: ServiceClock;
  /** Gives the versions. */
  readonly numbering: Numbering;
  /** Drafts the commits. */
  readonly drafts: Drafts;
  /** Runs the calls. */
  readonly calls: CallRunner;
  /** Reads the table. */
  readonly reader: TableReader;
  /** Commits to the table. */
  readonly writer: TableWriter;

  /**
   * @param options The checked options.
   * @param numbering Gives the versions.
   */
  constructor({ client, ask, shared, ...limits }: ReadDynamoDBOptions, numbering: Numbering) {
    const now = this.now = shared.now;
    const clock = this.clock = new ServiceClock(client, shared.testNow);
    this.numbering = numbering;
    this.drafts = new Drafts(numbering, clock, shared.tombstoneTimeout);
    this.calls = new CallRunner(async (...request) => {
      try {
        return await ask(...request);
      } finally {
        // An error response has a date as well.
        clock.hear();
      }
    }, limits);
    this.reader = new TableReader(limits.tableName, clock, (counter) => numbering.firstDrawn(counter));
    this.writer = new TableWriter(this.reader, limits.tableName, { clock, now });
  }

  /** Draws a residue if the table has none: an older version created it, or its changes were counted one by one. */
  async ensureResidue(call: Call): Promise<void> {
    const { last } = this.reader;
    if (this.numbering.kind === "clock" && last?.drawn === 0 || last === undefined) {
      await this.writer.commit(call, async () => {
        const state = await this.reader.readState(call);
        // A table that was numbered by the clock once stays so.
        if (state.drawn > 0) this.numbering.useClock();
        const isWanted = this.numbering.kind === "clock" && state.drawn === 0;
        const others = otherReplicas(state, new Map());
        return [state, isWanted ? this.numbering.draftResidue(state, others) : undefined];
      });
    }
  }
}
