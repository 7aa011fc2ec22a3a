/**
 * Races of transactions that write to an outbox: every committed one is told at every server, none that was rolled back.
 *
 * @module
 */
import assert from "node:assert/strict";
import process from "node:process";
import type { PrivateServer } from "../run/server.ts";
import { type Running, type Runtime, RUNTIMES, start, testOn } from "../storage/runtimes.ts";
import { createTables, openOutbox, type OutboxPlace, readTransactions } from "./outbox_engines.ts";
import { POINTS, PORTS, ROLLED_BACK, type TransactorEntry, type TransactorOrder } from "./transactor.ts";

/** How many transactions a race has. */
const TRANSACTIONS = Number(process.env.REALITY_RACE_TRANSACTIONS ?? 160);

/** How many processes are killed one after the other for each of the four that run: each at another point. */
const LIVES = Number(process.env.REALITY_RACE_LIVES ?? 1);

const PROCESSES: readonly Runtime[] = ["deno", "node", "bun", "node"];
const LOOPS = 4;

/** A database with an outbox that several processes share. */
export interface SharedOutbox {
  readonly name: string;
  readonly engine: OutboxPlace["engine"];
  /** Runs with a database of the test's own, which does not lose what it acknowledged. */
  use(test: (address: string, server?: PrivateServer) => Promise<void>): Promise<void>;
}

/** Registers the race. */
export function testOutboxRace({ name, engine, use }: SharedOutbox): void {
  testOn(
    RUNTIMES,
    `${name}: every committed transaction is told at every server, also of a process that dies at any point`,
    () =>
      use(async (address, server) => {
        const startedAt = performance.now();
        const figures = await race({ engine, address }, server);
        const seconds = ((performance.now() - startedAt) / 1000).toFixed(1);
        console.log(`${name}, outbox: ${seconds} s, ${JSON.stringify(figures)}`);
      }),
  );
}

async function race(place: OutboxPlace, server: PrivateServer | undefined): Promise<object> {
  await createTables(place);
  const started: Running[] = [];
  const { storage, close } = await openOutbox(place);
  /** Writes a change, also while the database restarts. */
  const write = async (key: string, hash: string) => {
    for (let triesLeft = 200;; triesLeft--) {
      try {
        return void await storage.applyChanges!([{ key, hash, updatedAt: Date.now() }]);
      } catch (error) {
        if (triesLeft === 0) throw error;
        await new Promise((resolve) => setTimeout(resolve, 50));
      }
    }
  };
  const ports: number[] = [];
  const runProcess = async (number: number) => {
    const share = Math.ceil(TRANSACTIONS / PROCESSES.length / (LIVES + 1));
    for (let life = 0; life <= LIVES; life++) {
      const order: TransactorOrder = {
        place,
        name: `p${number}l${life}`,
        transactions: share,
        // A process writes to a file in one transaction at a time.
        loops: place.engine === "sqlite" ? 1 : LOOPS,
        ...(life < LIVES && { dieAt: POINTS[(number + life) % POINTS.length]! }),
      };
      const running = start(PROCESSES[number]!, "../races/transactor.ts", [JSON.stringify(order)]);
      started.push(running);
      await running.hasPrinted(1);
      ports[number] = (entriesOf(running)[0] as { port: number }).port;
      if (ports.filter(Boolean).length === PROCESSES.length) await write(PORTS, ports.join(" "));
      if (life < LIVES) assert.equal((await running.ended).signal, "SIGKILL");
      else await hasFinished(running, share);
    }
  };
  const crash = async () => {
    if (server === undefined) return;
    await until(() => started.flatMap(entriesOf).length > TRANSACTIONS);
    await server.crash();
    await server.restart();
  };
  try {
    await Promise.all([...PROCESSES.map((_, i) => runProcess(i)), crash()]);
    await write("end", "end");
    await Promise.all(started.map(({ ended }) => ended));
    return await check(place, started.flatMap(entriesOf));
  } finally {
    for (const running of started) running.kill();
    await Promise.allSettled(started.map(({ ended }) => ended));
    await close();
  }
}

/** Checks what became of all transactions, and returns how many of each kind there were. */
async function check(place: OutboxPlace, entries: readonly TransactorEntry[]): Promise<object> {
  const of = <K extends TransactorEntry["kind"]>(kind: K) =>
    entries.filter((entry): entry is Extract<TransactorEntry, { kind: K }> => entry.kind === kind);
  assert.deepEqual(of("fault").map(({ text }) => text), []);
  const committed = await readTransactions(place);
  const { storage, close } = await openOutbox(place);
  const { RealityServer } = await import("../../src/server.ts");
  const server = new RealityServer({ storage });
  // Also of the transactions whose process died: a client that held the version before is told, or no client is.
  for (const { id, key, held } of of("begun")) {
    const { changed } = await server.handleSync({ known: { [key]: held } });
    if (committed.has(id)) {
      assert.ok(changed[key] !== undefined, `${id} was committed, and a client with ${held} is not told`);
    }
  }
  const nodes = await storage.listChangedSince(0);
  const hashes = nodes.map(({ hash }) => hash);
  assert.deepEqual(hashes.filter((hash) => hash.endsWith(ROLLED_BACK)), []);
  const begun = new Set(of("begun").map(({ id }) => id));
  const untrue = hashes.filter((hash) => begun.has(hash) && !committed.has(hash));
  assert.deepEqual(untrue, [], "changes of transactions that were not committed");
  const told = of("told");
  assert.deepEqual(told.filter(({ id }) => !committed.has(id)), []);
  assert.deepEqual((await storage.readNodes!([])).outbox, undefined);
  await server.close();
  await close();
  return {
    transactions: of("begun").length,
    committed: committed.size,
    rolledBack: of("rolled back").length,
    unknown: of("unknown").length,
    answers: [...told, ...of("rolled back")].reduce((sum, { servers }) => sum + servers, 0),
  };
}

function entriesOf({ lines }: Running): TransactorEntry[] {
  return lines.map((line) => JSON.parse(line) as TransactorEntry);
}

/** Waits until a process has ended all its transactions, in one way or another. */
async function hasFinished(running: Running, transactions: number): Promise<void> {
  const ends = ["told", "rolled back", "unknown"];
  await until(
    () => entriesOf(running).filter(({ kind }) => ends.includes(kind)).length >= transactions,
    running,
  );
}

/** Waits for a condition; rejects when the process ends before. */
async function until(isMet: () => boolean, running?: Running): Promise<void> {
  let isOver = false;
  running?.ended.then(() => isOver = true, () => isOver = true);
  while (!isMet()) {
    if (isOver) await running!.ended.then(() => Promise.reject(new Error("The process has ended early")));
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}
