/**
 * A process that writes to a database and follows it, while the data go back to an earlier state: a server with a writer,
 * with a client for each key that waits for news of it, and with an event stream of all keys. Prints each write, and at
 * the end what each client holds.
 *
 * @module
 */
import process from "node:process";
import { RealityServer } from "../../src/server.ts";
import { openPostgres } from "../../storage/sql/postgres/postgres_storage.ts";
import { openSQLite } from "../../storage/sql/sqlite/sqlite_storage.ts";

/** What the process is told, as JSON. */
export interface FollowerOrder {
  /** The path of an SQLite file, or an address that begins with `postgres:`. */
  readonly database: string;
  readonly name: string;
  /** The keys: those of one group at a time are written, all are followed. */
  readonly groups: readonly (readonly string[])[];
  /**
   * The node whose hash is the index of the group that is written now, or `end` when the writing ends. A group that was
   * left is not gone back to, though the node may.
   */
  readonly groupKey: string;
  /** The server's `storageTimeout`, in milliseconds. */
  readonly storageTimeout: number;
}

/** One line that the process prints. Times are milliseconds since 1970. */
export interface FollowerLine {
  /** When the write began; left out on the last line. */
  readonly begun?: number;
  /** When it was acknowledged. */
  readonly done?: number;
  /** Which group it was of. */
  readonly group?: number;
  /** Why it was not. */
  readonly failed?: string;
  /** On the last line: key → the version that the key's client holds, 0 for none. */
  readonly held?: Readonly<Record<string, number>>;
  /** On the last line: the same of the event stream. A key that it was never told of is left out. */
  readonly streamed?: Readonly<Record<string, number>>;
}

/**
 * How long nothing may change before the clients are asked what they hold, in milliseconds: longer than the 5 seconds
 * after which the watch looks at the latest on a storage that announces changes.
 */
const CALM = 7000;

const order = JSON.parse(process.argv[2] ?? "") as FollowerOrder;
const { database, name, groups, groupKey, storageTimeout } = order;
const storage = database.startsWith("postgres:")
  ? openPostgres(database, { statementTimeout: storageTimeout * 0.4 })
  : openSQLite(database, { counter: "clock" });
const server = new RealityServer({ storage, storageTimeout });
const held: Record<string, number> = {};
const streamed: Record<string, number> = {};
let isWriting = true;
let isOver = false;

const clients = [...groups.flat().map(follow), stream(groups.flat())];
let [group, count] = [0, 0];
while (isWriting) {
  const keys = groups[group] ?? [];
  const key = keys[Math.floor(Math.random() * keys.length)] ?? "";
  const begun = Date.now();
  const change = Math.random() < 0.1 ? server.deleteNode(key) : server.updateNode(key, `${name}.${count++}`);
  const outcome = await change.then(() => ({ done: Date.now() }), (error) => ({ failed: String(error) }));
  print({ begun, group, ...outcome });
  const hash = await server.getNode(groupKey).then((node) => node?.hash, () => undefined);
  isWriting = hash !== "end";
  group = Math.max(group, Number(hash) || 0);
  await pause(1 + Math.random() * 10);
}
await pause(CALM);
isOver = true;
print({ held, streamed });
await server.close();
await Promise.all(clients);
await storage.close();

/** Asks as a client does that knows no more than it was told. */
async function follow(key: string): Promise<void> {
  let [version, epoch] = [0, ""];
  while (!isOver) {
    try {
      const known = { [key]: version };
      const answer = await server.handleSync({ known, ...(epoch ? { epoch } : {}), wait: 25_000 });
      epoch = answer.epoch;
      version = answer.changed[key]?.version ?? version;
      held[key] = version;
    } catch {
      await pause(20);
    }
  }
}

/** Streams as an `EventSource` does, and comes back where the stream ended. */
async function stream(keys: readonly string[]): Promise<void> {
  let id: string | undefined;
  while (!isOver) {
    const headers = id === undefined ? undefined : { "last-event-id": id };
    const response = await server.handleSSECompat(
      new Request("http://localhost/events", headers && { headers }),
      { keys },
    );
    const reader = response.body!.pipeThrough(new TextDecoderStream()).getReader();
    let rest = "";
    for (let part = await reader.read(); !part.done; part = await reader.read()) {
      const events = (rest + part.value).split("\n\n");
      rest = events.pop() ?? "";
      for (const event of events) {
        const [, data] = /^data: (.*)$/m.exec(event) ?? [];
        if (/^event: update$/m.test(event)) {
          const node = JSON.parse(data ?? "") as { key: string; version: number; deleted?: true };
          streamed[node.key] = node.deleted ? 0 : node.version;
        }
        id = /^id: (.*)$/m.exec(event)?.[1] ?? id;
      }
    }
    await pause(20);
  }
}

function print(line: FollowerLine): void {
  console.log(JSON.stringify(line));
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
