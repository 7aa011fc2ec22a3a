/**
 * The races that every shared storage has to pass, and the faults of its database meanwhile.
 *
 * @module
 */
import type { PrivateServer } from "../run/server.ts";
import { RUNTIMES, testOn } from "../storage/runtimes.ts";
import { newTableName } from "../storage/table_kit.ts";
import type { Engine, Place } from "./engines.ts";
import { CHANGES, type Course, type Outcome, race } from "./race.ts";

/** The numbers of the writers that are killed. */
const VICTIMS = [0, 1, 2];

/** A storage that several processes share. */
export interface Shared {
  readonly name: string;
  readonly engine: Engine;
  /** Runs with a database of the test's own, which does not lose what it acknowledged. */
  use(test: (address: string, server?: PrivateServer) => Promise<void>): Promise<void>;
  /** The part of the usual number of changes that this database is up to. @default {1} */
  readonly share?: number;
  /** Whether it can be crashed and started again. */
  readonly canCrash: boolean;
}

/** Registers the races of a storage. */
export function testRaces({ name, engine, use, share = 1, canCrash }: Shared): void {
  const changes = Math.round(CHANGES * share);
  const run = (
    title: string,
    befall?: (course: Course, server: PrivateServer | undefined) => Promise<void>,
    { part = 1, victims = [] }: { readonly part?: number; readonly victims?: readonly number[] } = {},
  ) => {
    testOn(RUNTIMES, `${name}: 4 processes with 64 writers each ${title}`, async () => {
      await use(async (address, server) => {
        const place: Place = { engine, address, tableName: newTableName() };
        const options = befall ? { befall: (course: Course) => befall(course, server) } : {};
        report(name, title, await race({ place, changes: Math.round(changes * part), victims, ...options }));
      });
    });
  };

  run("never share, lose or reorder a version");
  run("lose nothing when one after the other is killed", async (course) => {
    for (const writer of VICTIMS) {
      await course.hasAcknowledged(changes / 2 * (writer + 1) / 8);
      await course.kill(writer);
    }
  }, { part: 0.5, victims: VICTIMS });
  if (!canCrash) return;
  run("lose nothing when the database crashes twice, and go on", async (course, server) => {
    for (const crash of [1, 2]) {
      await course.hasAcknowledged(changes / 2 * crash / 3);
      await server?.crash();
      await server?.restart();
    }
  }, { part: 0.5 });
}

function report(name: string, title: string, { duration, ...counts }: Outcome): void {
  const seconds = (duration / 1000).toFixed(1);
  const rate = Math.round(counts.acknowledged / duration * 1000);
  console.log(`${name}, ${title}: ${seconds} s, ${rate} changes/s, ${JSON.stringify(counts)}`);
}
