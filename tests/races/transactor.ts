/**
 * A process of an outbox race: it serves HTTP, runs transactions that write to the outbox, and asks every server after each.
 *
 * @module
 */
import process from "node:process";
import { createFetchHandler } from "../../adapters/fetch.ts";
import { RealityServer } from "../../src/server.ts";
import { listenFetch } from "../runtimes/fetch.ts";
import { openOutbox, type OutboxPlace } from "./outbox_engines.ts";

/** What a transactor is told to do. */
export interface TransactorOrder {
  readonly place: OutboxPlace;
  /** Its name: begins the names of its keys and transactions. */
  readonly name: string;
  /** How many transactions it runs. */
  readonly transactions: number;
  /** How many of them run at once. */
  readonly loops: number;
  /** The point of a transaction at which it kills itself. */
  readonly dieAt?: Point;
}

/** The points of a transaction. */
export const POINTS = ["begun", "written", "told", "committing", "committed"] as const;

/** A point of a transaction at which its process may die. */
export type Point = typeof POINTS[number];

/** What a transactor prints, as JSON. */
export type TransactorEntry =
  | { readonly kind: "port"; readonly port: number }
  /** A transaction is about to begin. A client holds this version of its key. */
  | { readonly kind: "begun"; readonly id: string; readonly key: string; readonly held: number }
  /** It was rolled back, or it was committed and told by so many servers. */
  | { readonly kind: "rolled back" | "told"; readonly id: string; readonly servers: number }
  /** Its commit failed. It may or may not be committed. */
  | { readonly kind: "unknown"; readonly id: string }
  | { readonly kind: "fault"; readonly text: string };

/** The hash of a transaction that is rolled back ends in this. */
export const ROLLED_BACK = "-rolled-back";

/** The key whose hash has the ports of all servers. */
export const PORTS = "ports";

if (process.argv[2]?.includes('"transactions"')) await run(JSON.parse(process.argv[2]) as TransactorOrder);

function print(entry: TransactorEntry): void {
  console.log(JSON.stringify(entry));
}

async function run({ place, name, transactions, loops, dieAt }: TransactorOrder): Promise<void> {
  const { storage, connect, close } = await openOutbox(place);
  const server = new RealityServer({ storage, onError: () => {} });
  const { origin, close: shut } = await listenFetch(createFetchHandler(server));
  const { port } = new URL(origin);
  print({ kind: "port", port: Number(port) });
  let left = transactions;
  // Dies in the middle of its share, with other transactions at other points.
  const deadline = Math.ceil(transactions / 2);
  const reach = (point: Point) => {
    if (point === dieAt && left <= deadline) process.kill(process.pid, "SIGKILL");
  };
  const getPorts = async () => {
    for (;;) {
      const node = await server.getNode(PORTS).catch(() => null);
      if (node !== null && node.hash.split(" ").length === 4) return node.hash.split(" ");
      await pause();
    }
  };
  const loop = async (number: number) => {
    const connection = await connect();
    for (let i = 0; left-- > 0; i++) {
      const id = `${name}.${number}.${i}`;
      const key = `${name}.${number}.${i % 5}`;
      const ports = await getPorts();
      const held = (await ask(port, key, 0))!.version;
      const isRolledBack = i % 3 === 1;
      print({ kind: "begun", id, key, held });
      try {
        await connection.begin();
        reach("begun");
        await connection.note(id);
        reach("written");
        const hash = isRolledBack ? id + ROLLED_BACK : id;
        // Several rows, of which the last counts.
        await server.updateIn(connection.query, [{ key, hash: "earlier" }, { key, hash }]);
        reach("told");
        if (isRolledBack) {
          await connection.end("ROLLBACK");
        } else {
          const committing = connection.end("COMMIT");
          reach("committing");
          await committing;
        }
        reach("committed");
      } catch {
        await connection.reset();
        print({ kind: "unknown", id });
        continue;
      }
      // Servers that have ended meanwhile are not there to be asked.
      const answers = await Promise.all(ports.map((port) => ask(port, key, held)));
      const present = answers.filter((answer) => answer !== undefined);
      for (const answer of present) {
        const isTold = answer.version > held;
        if (isTold === isRolledBack || answer.hash.endsWith(ROLLED_BACK)) {
          const what = isRolledBack ? "rolled back" : "committed";
          print({
            kind: "fault",
            text: `${id}, ${what}: with ${held} of ${key} a client was told ${JSON.stringify(answer)}`,
          });
        }
      }
      print({ kind: isRolledBack ? "rolled back" : "told", id, servers: present.length });
    }
    await connection.close();
  };
  await Promise.all(Array.from({ length: loops }, (_, i) => loop(i)));
  // Others may still ask this server.
  while ((await server.getNode("end").catch(() => null)) === null) await pause();
  await server.close();
  await shut();
  await close();
}

/** Asks a server for a key, until it answers; nothing if it is not there. */
async function ask(
  port: string,
  key: string,
  held: number,
): Promise<{ version: number; hash: string } | undefined> {
  for (;;) {
    let response: Response;
    try {
      response = await fetch(`http://127.0.0.1:${port}/reality/sync`, {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: JSON.stringify({ known: { [key]: held } }),
      });
      const answer = await response.json();
      if (response.status === 200) return answer.changed[key] ?? { version: held, hash: "" };
    } catch {
      return undefined;
    }
    await pause();
  }
}

function pause(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, 20));
}
