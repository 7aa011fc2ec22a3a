/**
 * openPostgres: SQLStorage with connections of its own, that announces changes.
 *
 * @module
 */
import assert from "node:assert/strict";
import { connect, type Socket } from "node:net";
import postgres from "postgres";
import { testStorage } from "../../../../storage/conformance/mod.ts";
import {
  openPostgres,
  type PostgresClient,
  type PostgresOptions,
  type PostgresStorage,
} from "../../../../storage/sql/postgres/postgres_storage.ts";
import { test } from "../../../harness.ts";
import { SQL_SUPPORTS } from "../sqlite/sqlite_kit.ts";
import { newTableName, Tables } from "../../table_kit.ts";
import { POSTGRES_URL } from "./drivers.ts";
import { withTLSServer } from "./tls_server.ts";

const supports = { ...SQL_SUPPORTS, subscribe: true };

{
  const tables = new Tables((tableName, now) => {
    const storage = openPostgres(POSTGRES_URL, { tableName, now, outbox: true });
    const client = postgres(POSTGRES_URL, { max: 1, max_lifetime: null, onnotice: () => {} });
    const close = async () => void await Promise.all([storage.close(), client.end()]);
    return Promise.resolve([storage, close, async (text, params) => await client.unsafe(text, params)]);
  });
  const { create, share, destroy, elapse, query } = tables;
  testStorage({
    name: "openPostgres",
    ...{ create, share, destroy, elapse, query },
    test,
    supports: { ...supports, outbox: "once" },
    runs: 10,
  });
}
{
  const tables = new Tables((tableName, now) => {
    // A client that is ended while it connects forgets its connection's lifetime only a moment later.
    const client = postgres(POSTGRES_URL, { max: 3, max_lifetime: null, onnotice: () => {} });
    return Promise.resolve([openPostgres(client, { tableName, now }), () => client.end()]);
  });
  const { create, share, destroy, elapse, disconnect } = tables;
  testStorage({
    name: "openPostgres with a client",
    ...{ create, share, destroy, elapse, disconnect },
    test,
    supports,
    runs: 5,
  });
}

/** Hears, and can be waited for. */
class Ear {
  readonly heard: (readonly string[] | null)[] = [];
  #look = () => {};

  readonly listener = (keys: readonly string[] | null): void => {
    this.heard.push(keys);
    this.#look();
  };

  async until(isEnough: (heard: (readonly string[] | null)[]) => boolean): Promise<void> {
    await new Promise<void>((resolve) => {
      this.#look = () => {
        if (isEnough(this.heard)) resolve();
      };
      this.#look();
    });
  }
}

/** Runs with two storages on one table, as two processes have them. */
async function withTwo(
  options: PostgresOptions,
  use: (one: PostgresStorage, other: PostgresStorage, client: PostgresClient) => Promise<void>,
): Promise<void> {
  const tableName = newTableName();
  const client = postgres(POSTGRES_URL, { max: 2, onnotice: () => {} });
  const storages = [1, 2].map(() => openPostgres(POSTGRES_URL, { tableName, ...options }));
  try {
    await use(storages[0]!, storages[1]!, client);
  } finally {
    for (const storage of storages) await storage.close();
    await client.end();
  }
}

test("openPostgres tells which keys another process changed, and not what this one did", async () => {
  await withTwo({}, async (one, other) => {
    const ear = new Ear();
    const leave = await one.subscribe!(ear.listener);
    await one.applyChanges([{ key: "own", hash: "", updatedAt: 1 }]);
    await other.applyChanges(["a", "b"].map((key) => ({ key, hash: "", updatedAt: 1 })));
    await ear.until((heard) => heard.length > 0);
    assert.deepEqual(ear.heard, [["a", "b"]]);
    await leave();
  });
});

test("openPostgres asks which keys it was when they are too many to be named", async () => {
  await withTwo({}, async (one, other) => {
    const ear = new Ear();
    const leave = await one.subscribe!(ear.listener);
    const keys = Array.from({ length: 900 }, (_, i) => `a key that is not short: ${i}`);
    await other.applyChanges([{ key: "before", hash: "", updatedAt: 1 }]);
    await ear.until((heard) => heard.length > 0);
    await other.applyChanges(keys.map((key) => ({ key, hash: "", updatedAt: 1 })));
    await ear.until((heard) => heard.length > 1);
    assert.deepEqual(ear.heard, [["before"], keys]);
    const more = keys.map((key) => ({ key: `${key}, and another`, hash: "", updatedAt: 1 }));
    await Promise.all([
      other.applyChanges(more),
      other.applyChanges(keys.map((key) => ({ ...more[0]!, key }))),
    ]);
    await ear.until((heard) => heard.flat().includes(null) || heard.flat().length >= 1 + 3 * keys.length);
    await leave();
  });
});

test("openPostgres says look again when its listening connection was lost, and hears on", async () => {
  await withTwo({}, async (one, other, client) => {
    const ear = new Ear();
    const leave = await one.subscribe!(ear.listener);
    const ended = await client.unsafe(
      "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query ILIKE 'listen%' AND query LIKE $1",
      [`%${tableOf(one)}%`],
    );
    assert.equal([...ended].length, 1);
    await ear.until((heard) => heard.includes(null));
    await other.applyChanges([{ key: "a", hash: "", updatedAt: 1 }]);
    await ear.until((heard) => heard.some((keys) => keys?.includes("a")));
    await leave();
  });
});

test("openPostgres goes on after its connections were lost while much was under way", async () => {
  const tableName = newTableName();
  const client = postgres(POSTGRES_URL, { max: 1, onnotice: () => {} });
  const storage = openPostgres(`${POSTGRES_URL}?application_name=${tableName}`, { tableName });
  try {
    await storage.getMaxVersion();
    let isOver = false;
    let acknowledged = 0;
    const writers = [...Array(8).keys()].map(async (writer) => {
      while (!isOver) {
        const writing = storage.applyChanges([{ key: `${writer}`, hash: "", updatedAt: 1 }]);
        acknowledged += await writing.then(() => 1, () => 0);
      }
    });
    for (let loss = 0; loss < 15; loss++) {
      const before = acknowledged;
      // One statement that was never answered would hold this up for good.
      while (acknowledged < before + 8) await storage.getMaxVersion().catch(() => {});
      await client`SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = ${tableName}`;
    }
    isOver = true;
    await Promise.all(writers);
    // The last loss may be noticed only now.
    while (!await storage.isHealthy());
    assert.ok(await storage.getMaxVersion() >= acknowledged);
  } finally {
    await storage.close();
    await client.end();
  }
});

test("openPostgres with listen: false has no subscribe, and does not announce", async () => {
  await withTwo({ listen: false }, async (one, other, client) => {
    assert.equal(one.subscribe, undefined);
    const payloads: string[] = [];
    const channel = `reality:${tableOf(one)}`;
    const { unlisten } = await client.listen(channel, (payload) => payloads.push(payload));
    await other.applyChanges([{ key: "a", hash: "", updatedAt: 1 }]);
    const heard = new Promise<void>((resolve) =>
      void client.listen(`${channel}:end`, () => resolve(), async () => {
        await client.unsafe("SELECT pg_notify($1, '')", [`${channel}:end`]);
      })
    );
    await heard;
    assert.deepEqual(payloads, []);
    await unlisten();
  });
});

test("openPostgres takes what it cannot read on its channel as look again", async () => {
  await withTwo({}, async (one, _other, client) => {
    const ear = new Ear();
    const leave = await one.subscribe!(ear.listener);
    const channel = `reality:${tableOf(one)}`;
    for (
      const payload of ["", "null", "[]", '["x"]', '["x",1.5]', '["x",1,2]', '{"a":1}', "€".repeat(2000)]
    ) {
      await client.unsafe("SELECT pg_notify($1, $2)", [channel, payload]);
    }
    await ear.until((heard) => heard.length === 8);
    assert.ok(ear.heard.every((keys) => keys === null));
    await leave();
  });
});

test("openPostgres does not end a client that was handed in, and leaves its channel", async () => {
  const client = postgres(POSTGRES_URL, { max: 1, onnotice: () => {} });
  const storage = openPostgres(client, { tableName: newTableName() });
  const leave = await storage.subscribe!(() => {});
  await storage.applyChanges([{ key: "a", hash: "", updatedAt: 1 }]);
  await leave();
  await storage.close();
  await assert.rejects(storage.getNode("a"), { code: "ERR_REALITY_CLOSED" });
  const [row] = await client`SELECT 1 AS one`;
  assert.equal(row?.one, 1);
  await client.end();
});

test("openPostgres leaves no statement running on the server after its call has ended", async () => {
  const tableName = newTableName();
  const client = postgres(POSTGRES_URL, { max: 2, onnotice: () => {} });
  const storage = openPostgres(`${POSTGRES_URL}?application_name=${tableName}`, {
    tableName,
    statementTimeout: 300,
  });
  const change = { key: "a", hash: "", updatedAt: 1 };
  const waiting = async () =>
    (await client`SELECT FROM pg_stat_activity WHERE application_name = ${tableName} AND wait_event_type = 'Lock'`)
      .length;
  try {
    await storage.applyChanges([change]);
    await client.begin(async (sql) => {
      await sql.unsafe(`LOCK TABLE ${tableName}`);
      // The second one finds the place of the first free.
      for (let i = 0; i < 2; i++) {
        await assert.rejects(storage.applyChanges([change]), { code: "ERR_REALITY_STORAGE" });
      }
      while (await waiting() > 0);
    });
    await storage.applyChanges([change]);
  } finally {
    await storage.close();
    await client.end();
  }
});

test("openPostgres at an address without a server rejects, and closes at once", async () => {
  const storage = openPostgres("postgres://postgres@127.0.0.1:1/nowhere");
  await assert.rejects(storage.getNode("a"), { code: "ERR_REALITY_STORAGE", message: /ECONNREFUSED/ });
  await assert.rejects(storage.subscribe!(() => {}), { code: "ERR_REALITY_STORAGE" });
  assert.equal(await storage.isHealthy(), false);
  await storage.close();
});

test("openPostgres refuses options it does not know, or of the wrong kind, by name", () => {
  const client = { unsafe: () => Promise.resolve([]), listen: () => {}, end: () => {} };
  const wrong: [unknown, unknown, RegExp][] = [
    [POSTGRES_URL, { pool: 4 }, /Unknown option "pool" of openPostgres: known are .*maxConnections, listen/],
    [POSTGRES_URL, { maxConnections: 0 }, /Option "maxConnections" is wrong: .* got the number 0/],
    [POSTGRES_URL, { listen: "yes" }, /Option "listen" is wrong: expected true or false, got "yes"/],
    [POSTGRES_URL, { tableName: "a b" }, /Option "tableName" is wrong/],
    [client, { maxConnections: 2 }, /Option "maxConnections" is wrong: only for an address/],
    [POSTGRES_URL, { statementTimeout: 0 }, /Option "statementTimeout" is wrong: .* got the number 0/],
    [POSTGRES_URL, { maxLifetime: "1h" }, /Option "maxLifetime" is wrong: expected milliseconds.*, got "1h"/],
    [client, { maxLifetime: 1000 }, /Option "maxLifetime" is wrong: only for an address/],
    [client, { statementTimeout: 1000 }, /Option "statementTimeout" is wrong: only for an address/],
    [5, {}, /Cannot open Postgres: expected an address or a client of npm:postgres, got the number 5/],
    [undefined, {}, /Cannot open Postgres: .* got nothing/],
  ];
  for (const [database, options, message] of wrong) {
    assert.throws(() => openPostgres(database as string, options as PostgresOptions), {
      name: "TypeError",
      message,
    });
  }
});

/** The table's name, as its schema tells. */
function tableOf(storage: PostgresStorage): string {
  return /"(test_\w+)"/.exec(storage.schema)?.[1] ?? "";
}

test("openPostgres() connects with the parameters of other clients, and keeps nodes in the schema that one names", async () => {
  const schema = newTableName();
  const admin = postgres(POSTGRES_URL, { max: 1, max_lifetime: null, onnotice: () => {} });
  const others = "sslmode=prefer&connection_limit=2&pool_timeout=5&connect_timeout=10&keepalives_idle=30" +
    "&channel_binding=prefer&application_name=reality&options=-c%20work_mem%3D8MB&target_session_attrs=any";
  try {
    await admin.unsafe(`CREATE SCHEMA "${schema}"`);
    const { host, username, pathname } = new URL(POSTGRES_URL);
    const [hostname, port] = host.split(":");
    const addresses = [
      `${POSTGRES_URL}?schema=${schema}&${others}`,
      `postgres://none:0@0.0.0.0:1/none?schema=${schema}&host=${hostname}&port=${port}&user=${username}` +
      `&dbname=${pathname.slice(1)}&pgbouncer=true`,
    ];
    for (const [i, address] of addresses.entries()) {
      const storage = openPostgres(address);
      try {
        await storage.applyChanges([{ key: "a", hash: `${i}`, updatedAt: 0 }]);
      } finally {
        await storage.close();
      }
    }
    const rows = await admin.unsafe(`SELECT hash FROM "${schema}".reality_nodes WHERE node_key = 'a'`);
    assert.equal(rows[0]?.hash, "1");
    const unknown = openPostgres(`${POSTGRES_URL}?speed=high`);
    await assert.rejects(unknown.getMaxVersion(), /unrecognized configuration parameter "speed"/);
    await unknown.close();
  } finally {
    await admin.unsafe(`DROP SCHEMA IF EXISTS "${schema}" CASCADE`);
    await admin.end();
  }
});

test("openPostgres() reads, writes and listens over TLS", async () => {
  const { hostname, port, username, pathname } = new URL(POSTGRES_URL);
  const serve = (socket: Socket) => {
    const line = connect(Number(port), hostname).on("error", () => {});
    socket.once("close", () => line.destroy());
    line.once("close", () => socket.destroy());
    socket.pipe(line).pipe(socket);
  };
  await withTLSServer({ serve }, async (server) => {
    const root = encodeURIComponent(server.certificate);
    const address =
      `postgres://${username}@127.0.0.1:${server.port}${pathname}?host=localhost&sslrootcert=${root}`;
    const tableName = newTableName();
    const [storage, other] = [openPostgres(address, { tableName }), openPostgres(address, { tableName })];
    try {
      const heard = Promise.withResolvers<void>();
      const leave = await storage.subscribe!((keys) => {
        if (keys?.includes("a")) heard.resolve();
      });
      await other.applyChanges([{ key: "a", hash: "x".repeat(100_000), updatedAt: 0 }]);
      await heard.promise;
      assert.equal((await storage.getNodes(["a"])).get("a")?.hash.length, 100_000);
      await leave();
    } finally {
      await Promise.all([storage.close(), other.close()]);
    }
    await server.closed();
  });
});
