/**
 * This version beside an earlier one, in one process and by turns: `deno task bench:against COMMIT`, on the runtime that
 * runs it. The earlier one is taken from git into `.cache/against/`. Where `REALITY_BENCH_POSTGRES` names a server, its pool
 * is measured as well: `deno run -A tests/run/with_databases.ts deno run -A bench/against.ts COMMIT`.
 *
 * @module
 */
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import process from "node:process";
import { pathToFileURL } from "node:url";
import { checkOut } from "./commits.ts";
import { type Effort, measure, ratio, summarize } from "./measure.ts";
import { HASH, keyOf } from "./workload.ts";

type Package = typeof import("../mod.ts");
type SQLite = typeof import("../storage/sql/sqlite/sqlite_storage.ts");
type Postgres = typeof import("../storage/sql/postgres/postgres_storage.ts");
type Server = InstanceType<Package["RealityServer"]>;

/** One kind of work: prepares it with a version of the package, and gives what does one unit of it. */
interface Work {
  readonly name: string;
  readonly effort?: Partial<Effort>;
  prepare(version: Version): Promise<() => unknown>;
}

/** One version of the package. */
interface Version {
  readonly reality: Package;
  readonly sqlite: SQLite;
  readonly postgres: Postgres;
  readonly file: string;
}

const NODES = 10_000;
const EFFORT: Effort = { rounds: 15, roundMs: 150 };
const POSTGRES = process.env.REALITY_BENCH_POSTGRES;
const KNOWN = Object.fromEntries(
  Array.from({ length: 10 }, (_, i) => [keyOf(i * 977), Number.MAX_SAFE_INTEGER]),
);

const commit = process.argv[2];
if (commit === undefined) {
  throw new Error("Cannot compare: name a commit, as in `deno task bench:against HEAD~1`");
}
const { hash, folder: earlier } = checkOut(commit);
const folder = mkdtempSync(join(tmpdir(), "reality-against-"));
const closing: (() => unknown)[] = [];

const works: Work[] = [
  {
    name: "sync of 10 keys through the fetch handler, memory",
    async prepare({ reality }) {
      const handler = reality.createFetchHandler(
        await fill(
          new reality.RealityServer({
            storage: new reality.MemoryStorage(),
          }),
        ),
      );
      const body = JSON.stringify({ known: KNOWN });
      const headers = { "content-type": "application/json" };
      return () =>
        handler(new Request("http://localhost/reality/sync", { method: "POST", headers, body }))
          .then((response) => response.text());
    },
  },
  {
    name: "sync of 10 keys, memory",
    async prepare({ reality }) {
      const server = await fill(new reality.RealityServer({ storage: new reality.MemoryStorage() }));
      return () => server.handleSync({ known: KNOWN });
    },
  },
  {
    name: "updateNode, memory",
    async prepare({ reality }) {
      const server = await fill(new reality.RealityServer({ storage: new reality.MemoryStorage() }));
      let i = 0;
      return () => server.updateNode(keyOf(i++ % NODES), HASH);
    },
  },
  {
    name: "1,000 updates at once, memory",
    async prepare({ reality }) {
      const server = await fill(new reality.RealityServer({ storage: new reality.MemoryStorage() }));
      const updates = Array.from({ length: 1_000 }, (_, i) => ({ key: keyOf(i), hash: HASH }));
      return () => server.updateMany(updates);
    },
  },
  {
    name: "sync of 10 keys, SQLite file",
    async prepare({ reality, sqlite, file }) {
      const storage = sqlite.openSQLite(`${file}-sync`, { synchronous: "normal" });
      closing.push(() => storage.close());
      const server = await fill(new reality.RealityServer({ storage }));
      return () => server.handleSync({ known: KNOWN });
    },
  },
  {
    name: "updateNode, SQLite file",
    async prepare({ reality, sqlite, file }) {
      const storage = sqlite.openSQLite(`${file}-update`, { synchronous: "normal" });
      closing.push(() => storage.close());
      const server = await fill(new reality.RealityServer({ storage }));
      let i = 0;
      return () => server.updateNode(keyOf(i++ % NODES), HASH);
    },
  },
  ...(POSTGRES === undefined ? [] : [
    postgresWork("sync of 10 keys, PostgreSQL", (server) => () => server.handleSync({ known: KNOWN })),
    postgresWork("updateNode, PostgreSQL", (server) => {
      let i = 0;
      return () => server.updateNode(keyOf(i++ % NODES), HASH);
    }),
    postgresWork("64 syncs of a new key each at once, PostgreSQL", (server) => {
      let i = 0;
      return () =>
        Promise.all(Array.from({ length: 64 }, () => server.handleSync({ known: { [`new:${i++}`]: 0 } })));
    }),
  ]),
];

/** Waits for a database, so that its time is on the clock. */
function postgresWork(name: string, use: (server: Server) => () => unknown): Work {
  return {
    name,
    effort: { meter: "clock" },
    async prepare({ reality, postgres }) {
      const tableName = `against_${Math.random().toString(36).slice(2)}`;
      const storage = postgres.openPostgres(POSTGRES!, { tableName });
      closing.push(() => storage.close());
      return use(await fill(new reality.RealityServer({ storage })));
    },
  };
}

async function fill(server: Server): Promise<Server> {
  for (let start = 0; start < NODES; start += 1_000) {
    await server.updateMany(Array.from({ length: 1_000 }, (_, i) => ({ key: keyOf(start + i), hash: HASH })));
  }
  closing.push(() => server.close());
  return server;
}

async function load(root: string, name: string): Promise<Version> {
  // Another version may have its modules in other places.
  const { exports } = JSON.parse(readFileSync(join(root, "deno.json"), "utf8"));
  const from = (entry: string) => import(pathToFileURL(join(root, exports[entry])).href);
  const [reality, sqlite, postgres] = await Promise.all([
    from(".") as Promise<Package>,
    from("./sqlite") as Promise<SQLite>,
    from("./postgres") as Promise<Postgres>,
  ]);
  return { reality, sqlite, postgres, file: join(folder, name) };
}

const [now, before] = [await load(resolve("."), "now"), await load(earlier, "before")];
console.log(
  `this version ÷ ${hash}, by turns; the middle of ${EFFORT.rounds} rounds and their range; below 1 is faster`,
);
for (const { name, effort, prepare } of works) {
  const contenders = [
    { name: "now", run: await prepare(now) },
    { name: "before", run: await prepare(before) },
  ];
  const times = await measure(contenders, { ...EFFORT, ...effort });
  const { median, low, high } = ratio(times.now!, times.before!);
  const [own, other] = [summarize(times.now!).median, summarize(times.before!).median];
  console.log(
    `${name.padEnd(52)} ${median.toFixed(2)} (${low.toFixed(2)}–${high.toFixed(2)})  ` +
      `${own.toFixed(1)} µs, before ${other.toFixed(1)} µs`,
  );
  for (const close of closing.splice(0).reverse()) await close();
}
rmSync(folder, { recursive: true, force: true });
