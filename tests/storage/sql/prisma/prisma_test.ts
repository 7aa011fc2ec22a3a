/**
 * createPrismaAdapter: which client and model it takes, and what it says of others.
 *
 * @module
 */
import { createClient } from "@libsql/client";
import { PrismaLibSql } from "@prisma/adapter-libsql";
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import {
  createPrismaAdapter,
  type PrismaAdapterOptions,
  type PrismaDatabase,
} from "../../../../storage/prisma.ts";
import { printModel } from "../../../../storage/sql/prisma_model.ts";
import { test } from "../../../harness.ts";
import { inFolder } from "../sqlite/sqlite_kit.ts";
import { type Client, generate, modelOf } from "./prisma_kit.ts";

const change = { key: "a", hash: "x", updatedAt: 1 };

/** Another model of this name, one whose table has its name, and one with a reserved word for a table. */
const otherModels = [
  "model User {\n  id   Int    @id\n  hash String\n}",
  modelOf("sqlite").replace('\n  @@map("reality_nodes")', "").replace("RealityNode", "followed"),
  modelOf("sqlite").replaceAll("reality_nodes", "order").replace("RealityNode", "Order"),
].join("\n\n");

/** Runs with a client of a schema, on an empty file. */
async function withClient(
  model: string,
  use: (prisma: Client, makeTables: () => Promise<void>) => Promise<void>,
): Promise<void> {
  const { PrismaClient, tables } = await generate("sqlite", model);
  await inFolder(async (folder) => {
    const url = `file:${join(folder, "reality.db")}`;
    const prisma = new PrismaClient({ adapter: new PrismaLibSql({ url }) });
    try {
      await use(prisma, async () => {
        const client = createClient({ url });
        await client.batch([...tables]);
        client.close();
      });
    } finally {
      await prisma.$disconnect();
    }
  });
}

/** As much of a client as is looked at, whatever its database. */
function bareClient(
  provider: string | undefined,
  models?: object,
  send = () => Promise.resolve([]),
): PrismaDatabase {
  const methods = { $queryRawUnsafe: send, $executeRawUnsafe: () => Promise.resolve(0) };
  return { ...methods, _activeProvider: provider, _runtimeDataModel: { models } } as PrismaDatabase;
}

test("createPrismaAdapter runs as the contract writes it", async () => {
  await withClient(modelOf("sqlite"), async (prisma, makeTables) => {
    await makeTables();
    const storage = createPrismaAdapter(prisma, {
      modelName: "RealityNode",
    });
    const [meta] = await storage.applyChanges([change]);
    assert.deepEqual(await storage.getNode("a"), meta);
  });
});

test("createPrismaAdapter leaves making the table to prisma migrate, unless told otherwise", async () => {
  await withClient(modelOf("sqlite"), async (prisma) => {
    const storage = createPrismaAdapter(prisma, { modelName: "RealityNode", counter: "sequential" });
    await assert.rejects(storage.getNode("a"), /table "reality_nodes" is not there/);
    assert.equal(await storage.isHealthy(), false);
    const making = createPrismaAdapter(prisma, {
      modelName: "RealityNode",
      counter: "sequential",
      createTables: true,
    });
    assert.equal((await making.applyChanges([change]))[0]?.version, 1);
    assert.equal((await storage.getNode("a"))?.version, 1);
  });
});

test("createPrismaAdapter takes the table's name from the model, quoted", async () => {
  await withClient(otherModels, async (prisma, makeTables) => {
    await makeTables();
    for (const modelName of ["followed", "Order"]) {
      const storage = createPrismaAdapter(prisma, { modelName, counter: "sequential" });
      assert.equal((await storage.applyChanges([change]))[0]?.version, 1);
    }
    assert.equal((await prisma.$queryRawUnsafe('SELECT * FROM "order"') as object[]).length, 2);
    assert.equal((await prisma.$queryRawUnsafe("SELECT * FROM followed") as object[]).length, 2);
  });
});

test("createPrismaAdapter takes an extended client", async () => {
  await withClient(modelOf("sqlite"), async (prisma, makeTables) => {
    await makeTables();
    const extended = prisma.$extends({ client: { now: () => 1 } });
    const storage = createPrismaAdapter(extended, { modelName: "RealityNode", counter: "sequential" });
    assert.equal((await storage.applyChanges([change]))[0]?.version, 1);
  });
});

test("createPrismaAdapter on a transaction writes as part of it", async () => {
  await withClient(modelOf("sqlite"), async (prisma, makeTables) => {
    await makeTables();
    const options = { modelName: "RealityNode", counter: "sequential" as const };
    const storage = createPrismaAdapter(prisma, options);
    const write = (given: PrismaDatabase, hash: string) =>
      createPrismaAdapter(given, options).applyChanges([{ ...change, hash }]);
    await write(prisma, "x");
    await prisma.$transaction((tx) => write(tx, "y"));
    assert.equal((await storage.getNode("a"))?.hash, "y");
    const undone = prisma.$transaction(async (tx) => {
      await write(tx, "z");
      throw new Error("no");
    });
    await assert.rejects(undone, /no/);
    assert.deepEqual(await storage.getNode("a"), { ...change, hash: "y", version: 2 });
  });
});

test("createPrismaAdapter prints the model to paste where it is missing or another one", async () => {
  await withClient(otherModels, (prisma) => {
    const cases: [string, RegExp][] = [
      ["RealityNode", /no model "RealityNode" is there \(found: User, followed, Order\)/],
      ["order", /no model "order" is there/],
      ["User", /model "User" is of another kind: it has no column node_key, it has no column version/],
    ];
    for (const [modelName, message] of cases) {
      const give = () => createPrismaAdapter(prisma, { modelName });
      assert.throws(give, { name: "TypeError", message });
      assert.throws(
        give,
        (error: Error) => error.message.includes(printModel("sqlite", modelName, "reality_nodes")),
      );
    }
    return Promise.resolve();
  });
});

test("createPrismaAdapter prints the model for the provider of the schema", () => {
  const words: [string, RegExp][] = [
    [
      "postgresql",
      /nodeKey {6}String {2}@id @map\("node_key"\)\n[^]*counter {6}BigInt\?\n[^]*@@index\(\[version\]\)/,
    ],
    ["mysql", /nodeKey {6}Bytes {3}@id .* @db\.VarBinary\(512\)\n[^]*@@index\(\[version\], map: "version"\)/],
  ];
  for (const [provider, message] of words) {
    assert.throws(() => createPrismaAdapter(bareClient(provider, {}), { modelName: "RealityNode" }), {
      message,
    });
  }
  const text = {
    dbName: null,
    fields: [{ name: "node_key", type: "String" }, { name: "hash", type: "String" }],
  };
  assert.throws(() => createPrismaAdapter(bareClient("mysql", { Node: text }), { modelName: "Node" }), {
    message: /node_key is String, not Bytes, it has no column version, hash is String, not Bytes/,
  });
});

test("the docs give the model that the error prints", () => {
  const [whole = "", changed = ""] = [
    ...readFileSync("docs/storages.md", "utf8").matchAll(/```prisma\n([^]*?)\n```/g),
  ]
    .map(([, block = ""]) => block.replaceAll(/ \/\/.*/g, ""));
  assert.equal(whole, modelOf("postgres"));
  const comment = readFileSync("storage/prisma.ts", "utf8").replaceAll(/^ \*( |$)/gm, "");
  assert.ok(comment.includes(`\`\`\`prisma\n${whole}\n\`\`\``));
  const mysql = modelOf("mysql").split("\n");
  assert.deepEqual(changed.split("\n").filter((line) => !mysql.includes(line)), []);
  const same = mysql.filter((line) => !changed.includes(line));
  assert.deepEqual(same.filter((line) => !whole.includes(line)), []);
});

test("createPrismaAdapter gives what the database said, and sends again what it gave up", async () => {
  const fields = modelOf("postgres").matchAll(/^ {2}(\w+) +(\w+)\??(?:.*@map\("(\w+)"\))?/gm);
  const model = { fields: [...fields].map(([, name, type, dbName]) => ({ name, type, dbName })) };
  let failures = 3;
  const failure = Object.assign(new Error("Raw query failed. Code: `40P01`. Message: `deadlock detected`"), {
    code: "P2010",
    meta: { driverAdapterError: { cause: { originalCode: "40P01", originalMessage: "deadlock detected" } } },
  });
  const names = [...model.fields.map(({ name, dbName }) => ({ name: dbName ?? name }))];
  const send = (...[sql]: string[]) => {
    if (sql?.includes("pg_attribute")) return Promise.resolve(names);
    const row = { counter: 7n, drawn: 7n, max_version: "7", max_stamp: 7n };
    return failures-- > 0 ? Promise.reject(failure) : Promise.resolve([row]);
  };
  const inside = bareClient("postgresql", { RealityNode: model }, send as () => Promise<never[]>);
  const client = Object.assign({ $connect: () => Promise.resolve() }, inside);
  const storage = createPrismaAdapter(client, { modelName: "RealityNode" });
  assert.equal(await storage.getMaxVersion(), 7);
  // In a transaction it has given up all that was done before.
  failures = 1;
  await assert.rejects(
    createPrismaAdapter(inside, { modelName: "RealityNode" }).getMaxVersion(),
    /deadlock detected/,
  );
  failures = Infinity;
  await assert.rejects(storage.getMaxVersion(), {
    message: "Storage failed at getMaxVersion: deadlock detected",
  });
});

test("createPrismaAdapter refuses what is no client, and options that it does not know, by name", async () => {
  await withClient(modelOf("sqlite"), (prisma) => {
    const good = { modelName: "RealityNode" };
    const expected = "expected a PrismaClient for postgresql, mysql or sqlite";
    const wrong: [unknown, unknown, RegExp][] = [
      [undefined, good, new RegExp(`${expected}, got nothing`)],
      [{}, good, new RegExp(`${expected}, got an object without \\$queryRawUnsafe\\(\\)`)],
      [bareClient("sqlserver", {}), good, new RegExp(`${expected}, got one for sqlserver`)],
      [bareClient(undefined), good, new RegExp(`${expected}, got one for an unknown database`)],
      [prisma, undefined, /Cannot read the options of createPrismaAdapter/],
      [prisma, {}, /Option "modelName" is wrong: .* got nothing/],
      [prisma, { modelName: 'a"b' }, /Option "modelName" is wrong: .* got "a\\"b"/],
      [prisma, { ...good, tableName: "a" }, /Unknown option "tableName" of createPrismaAdapter: .*modelName/],
      [prisma, { ...good, createTables: 1 }, /Option "createTables" is wrong/],
    ];
    for (const [given, options, message] of wrong) {
      assert.throws(() => createPrismaAdapter(given as Client, options as PrismaAdapterOptions), {
        name: "TypeError",
        message,
      });
    }
    return Promise.resolve();
  });
});
