import { deepEqual, notEqual } from "node:assert/strict";
import { ReadAccess } from "../../../src/access.ts";
import { Lifecycle } from "../../../src/lifecycle.ts";
import { DEFAULT_LIMITS } from "../../../src/server_limits.ts";
import { Stamps } from "../../../src/stamp/stamps.ts";
import { MemoryStorage } from "../../../storage/memory/memory_storage.ts";
import { FakeClock } from "../../clock.ts";
import { test } from "../../harness.ts";

const MOMENT = { epoch: "e", replicaId: "r", maxVersion: 9, collectedVersion: 0, late: 0, recent: "" };

/** Makes stamps of an empty storage in this state. */
function setUp(moment: Partial<typeof MOMENT> = {}, log: string[] = []) {
  const nodes = new Map();
  return new Stamps({
    config: { limits: DEFAULT_LIMITS, clock: new FakeClock(), storage: new MemoryStorage() },
    lifecycle: new Lifecycle(),
    access: new ReadAccess(undefined, { call: (_name, call) => Promise.resolve(call()) }),
    getDeps: () => ({
      reader: {
        sent: 0,
        read: () => (log.push("read"), Promise.resolve({ ...MOMENT, ...moment, nodes })),
      },
      mesh: {
        states: new Map(),
        contactStalePeers: () => void log.push("contact"),
        bootstrap: async () => void (await null, log.push("bootstrap")),
        claims: { areWorthChecking: () => false, recordUnconfirmed() {} },
        catchUp: () => Promise.resolve(),
      },
    }),
  });
}

test("the tag of a key without a node differs for each state and each replica of the storage", async () => {
  const { etag } = await setUp().create(["a"], {});
  for (const other of [{ maxVersion: 10 }, { late: 1 }, { replicaId: "s" }, { epoch: "f" }]) {
    notEqual((await setUp(other).create(["a"], {})).etag, etag, JSON.stringify(other));
  }
});

test("a server with peers is ready before it reads the versions of a stamp, as for a sync", async () => {
  const log: string[] = [];
  await setUp({}, log).create(["a"], {});
  deepEqual(log, ["contact", "bootstrap", "read"]);
});
