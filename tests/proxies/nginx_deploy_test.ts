/**
 * Clients behind an nginx that sends each request to the next of two applications on one PostgreSQL, while both are
 * replaced one after the other, and one is killed.
 *
 * @module
 */
import assert from "node:assert/strict";
import process from "node:process";
import postgres from "postgres";
import { SeededRandom } from "../random.ts";
import { findPort } from "../run/server.ts";
import { type Running, type Runtime, start, testOn } from "../storage/runtimes.ts";
import { addressOf, newTableName } from "../storage/table_kit.ts";
import type { ApplicationOrder } from "./application.ts";
import { withNginxBefore } from "./nginx.ts";
import { Viewer, type ViewerKind } from "./viewer.ts";

const KINDS: readonly ViewerKind[] = [
  ...(["wait", "poll", "events"] as const).flatMap((transport) => [
    { transport, way: "live" } as const,
    { transport, way: "follow" } as const,
  ]),
  { transport: "wait", way: "follow with stamps" },
];

/** Keys of one group are written between two steps, and never afterwards: a later change does not hide a missed one. */
const GROUP_SIZE = 4;

/** How many writes are acknowledged between two steps, at least. */
const WRITES = 6;

/**
 * How long a client may show an older count than one that was acknowledged, in milliseconds. A server that stops asks its
 * clients to stay away for up to 3 s. The rest is for a connection that was cut, a busy machine and the fetch.
 */
const LONGEST_STALE = 6_000;

/** What the configuration of the page lacks for the application, and a field that names the server that answered. */
const EDITS = [[
  "location /reality/ {",
  "add_header X-Upstream $upstream_addr always;\nlocation /api/ { proxy_pass http://reality; }\nlocation /reality/ {",
]] as const;

/** A write that was acknowledged. */
interface Write {
  readonly key: string;
  readonly count: number;
  /** By `performance.now()`. */
  readonly at: number;
}

testOn(
  ["node", "deno"],
  "nginx: clients that hop between two applications on one PostgreSQL miss nothing while these are replaced or killed",
  async () => {
    const seed = Number(process.env.REALITY_RACE_SEED ?? Math.floor(Math.random() * 1e9));
    console.log(`REALITY_RACE_SEED=${seed}`);
    const random = new SeededRandom(`deploy ${seed}`);
    const database = addressOf("REALITY_TEST_POSTGRES");
    const sql = postgres(database, { max: 1, max_lifetime: null, fetch_types: false });
    const deploy = await Deploy.start(database, random.shuffle(["node", "deno"]));
    await sql`CREATE TABLE ${sql(deploy.countsTable)} (key text PRIMARY KEY, count integer NOT NULL)`;
    try {
      await withNginxBefore(deploy.origins, { edits: EDITS }, async ({ origin }) => {
        const steps = makeSteps(deploy, random);
        const groups = steps.map((_, group) => Array.from({ length: GROUP_SIZE }, (_, i) => `${group}:${i}`));
        const viewers = KINDS.map((kind) => new Viewer(origin, groups.flat(), kind));
        try {
          const zeros = Object.fromEntries(groups.flat().map((key) => [key, 0]));
          await Promise.all(viewers.map((viewer) => viewer.hasShown(zeros, LONGEST_STALE)));
          const { writes, repeated } = await write(origin, groups, random, steps);
          const rows = await sql`SELECT key, count FROM ${sql(deploy.countsTable)}`;
          const stored = { ...zeros, ...Object.fromEntries(rows.map(({ key, count }) => [key, count])) };
          await Promise.all(viewers.map((viewer) => viewer.hasShown(stored, LONGEST_STALE)));
          const reports = viewers.map((viewer) => {
            const { name, hops, stepsBack, shown } = viewer;
            const missed = Object.keys(stored).filter((key) => shown[key] !== stored[key]).length;
            const stale = Math.round(Math.max(...writes.map((write) => staleFor(viewer, write))));
            return { name, hops, missed, stepsBack, stale };
          });
          for (const report of reports) console.log(JSON.stringify(report));
          console.log(`${writes.length} writes, ${repeated} repeated`);
          for (const { name, hops, missed, stepsBack, stale } of reports) {
            assert.deepEqual({ missed, stepsBack }, { missed: 0, stepsBack: 0 }, name);
            assert.ok(stale <= LONGEST_STALE, `${name}: showed an older count for ${stale} ms`);
            assert.ok(hops > 0, `${name}: was answered by one server only`);
          }
        } finally {
          for (const viewer of viewers) viewer.close();
        }
      });
    } finally {
      await deploy.end();
      await sql.end();
    }
  },
);

/** What happens, one after the other. */
function makeSteps(deploy: Deploy, random: SeededRandom): readonly (() => Promise<void>)[] {
  const [first, second] = random.shuffle([0, 1]) as [number, number];
  const victim = random.pick([0, 1]);
  return [
    () => Promise.resolve(),
    () => deploy.stop(first),
    () => deploy.begin(first),
    () => deploy.stop(second),
    () => deploy.begin(second),
    () => deploy.kill(victim),
    () => deploy.begin(victim),
  ];
}

/** Takes the steps while two writers write, each time to keys of another group. */
async function write(
  origin: string,
  groups: readonly (readonly string[])[],
  random: SeededRandom,
  steps: readonly (() => Promise<void>)[],
): Promise<{ writes: Write[]; repeated: number }> {
  const writes: Write[] = [];
  let [group, repeated, isOver] = [0, 0, false];
  let onWrite = () => {};
  const writer = async (random: SeededRandom) => {
    while (!isOver) {
      const key = random.pick(groups[group]!);
      const count = await increment(`${origin}/api/count?key=${key}`, () => repeated++);
      writes.push({ key, count, at: performance.now() });
      onWrite();
      await new Promise((resolve) => setTimeout(resolve, random.between(5, 60)));
    }
  };
  const writers = Promise.all(["one", "two"].map((name) => writer(random.fork(name))));
  for (const [i, step] of steps.entries()) {
    group = i;
    const target = writes.length + random.between(WRITES, 2 * WRITES);
    await Promise.all([
      step(),
      new Promise<void>((resolve) => onWrite = () => writes.length >= target && resolve()),
    ]);
  }
  isOver = true;
  await writers;
  return { writes, repeated };
}

/** Sends a write until it is acknowledged. */
async function increment(url: string, onRepeat: () => void): Promise<number> {
  for (;;) {
    const response = await fetch(url, { method: "POST" });
    if (response.ok) return await response.json();
    await response.body?.cancel();
    onRepeat();
  }
}

/** How long a viewer did not show what was written, in milliseconds; `Infinity` if it never did. */
function staleFor({ sights }: Viewer, { key, count, at }: Write): number {
  const sight = sights.get(key)!.find((sight) => sight.count >= count);
  return sight === undefined ? Infinity : Math.max(0, sight.at - at);
}

/** Two applications at two addresses. */
class Deploy {
  readonly origins: readonly string[];
  readonly countsTable: string;
  readonly #orders: readonly ApplicationOrder[];
  readonly #runtimes: readonly Runtime[];
  readonly #running: Running[] = [];

  private constructor(orders: readonly ApplicationOrder[], runtimes: readonly Runtime[]) {
    this.#orders = orders;
    this.#runtimes = runtimes;
    this.origins = orders.map(({ port }) => `http://127.0.0.1:${port}`);
    this.countsTable = `${orders[0]!.tableName}_counts`;
  }

  /** Starts both. */
  static async start(database: string, runtimes: readonly Runtime[]): Promise<Deploy> {
    const tableName = newTableName();
    const ports = [await findPort(), await findPort()];
    const deploy = new Deploy(ports.map((port) => ({ database, tableName, port })), runtimes);
    try {
      await Promise.all(ports.map((_, i) => deploy.begin(i)));
      return deploy;
    } catch (error) {
      await deploy.end();
      throw error;
    }
  }

  /** Starts one; settles when it listens. */
  async begin(i: number): Promise<void> {
    const running = start(this.#runtimes[i]!, "../proxies/application.ts", [JSON.stringify(this.#orders[i])]);
    this.#running[i] = running;
    await running.hasPrinted(1);
  }

  /** Asks one to end; settles when it has ended by itself. */
  async stop(i: number): Promise<void> {
    this.#running[i]!.signal("SIGTERM");
    assert.deepEqual(await this.#running[i]!.ended, { code: 0, signal: null });
  }

  /** Kills one. */
  async kill(i: number): Promise<void> {
    this.#running[i]!.kill();
    await this.#running[i]!.ended;
  }

  /** Ends what runs. */
  async end(): Promise<void> {
    for (const running of this.#running) running.kill();
    await Promise.allSettled(this.#running.map(({ ended }) => ended));
  }
}
