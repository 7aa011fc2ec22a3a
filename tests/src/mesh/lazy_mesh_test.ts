/*
 * A server whose mesh is still loading: what happens before the modules are there happens afterwards, and nothing is
 * lost.
 */
import { deepEqual, equal, rejects } from "node:assert/strict";
import type { RealityError } from "../../../src/errors.ts";
import { LazyModule } from "../../../src/lazy_module.ts";
import { LazyMesh, type MeshParts } from "../../../src/mesh/lazy_mesh.ts";
import { MemoryStorage } from "../../../storage/memory/memory_storage.ts";
import { FakeClock, settle } from "../../clock.ts";
import { test } from "../../harness.ts";

/** Records the calls of a mesh and of a connection to Redis. */
function setUp(hasRedis = true) {
  const calls: string[] = [];
  const reports: RealityError[] = [];
  const imports: { resolve(): void; reject(error: Error): void }[] = [];
  const clock = new FakeClock();
  const record = (name: string) => (...args: unknown[]) => {
    calls.push([name, ...args.map((arg) => JSON.stringify(arg))].join(" "));
    return Promise.resolve(name);
  };
  const parts = {
    mesh: {
      states: new Map([["b", "alive"]]),
      claims: {},
      announce: record("announce"),
      contactStalePeers: record("contact"),
      bootstrap: record("bootstrap"),
      isStarting: () => Promise.resolve(false),
      catchUp: record("catchUp"),
      answer: record("answer"),
      getStats: () => ({ exchanges: 7 }),
      close: record("close mesh"),
    },
    relay: hasRedis
      ? { healthy: true, refused: 3, start: record("start"), close: record("close relay") }
      : undefined,
  } as unknown as MeshParts;
  const module = new LazyModule(() =>
    new Promise<{ parts: MeshParts }>((resolve, reject) =>
      imports.push({ resolve: () => resolve({ parts }), reject })
    )
  );
  const mesh = new LazyMesh({
    storage: new MemoryStorage(),
    clock,
    hasRedis,
    module,
    create: ({ parts }) => parts,
    report: (error) => reports.push(error),
  });
  return { mesh, module, calls, reports, imports, clock };
}

test("changes before the mesh is loaded are announced once it is, in one announcement", async () => {
  const { mesh, calls, imports } = setUp();
  mesh.announce(["a", "b"], 2);
  // A commit that failed has no version.
  mesh.announce(["b", "c"], 0);
  equal(imports.length, 1);
  equal(mesh.states.size, 0);
  deepEqual(mesh.redis, { healthy: false, refused: 0 });
  imports[0]!.resolve();
  await settle();
  deepEqual(calls, ["start", 'announce ["a","b","c"] 2']);
  mesh.announce(["d"], 3);
  equal(calls.at(-1), 'announce ["d"] 3');
  equal(mesh.states.size, 1);
  deepEqual(mesh.redis, { healthy: true, refused: 3 });
});

test("clients and peers wait until the mesh is loaded", async () => {
  const { mesh, calls, imports } = setUp(false);
  mesh.contactStalePeers();
  const answers = Promise.all([mesh.bootstrap(), mesh.answer({ hello: 1 }), mesh.catchUp(), mesh.getStats()]);
  for (const { resolve } of imports) resolve();
  deepEqual((await answers).slice(0, 3), ["bootstrap", "answer", "catchUp"]);
  deepEqual((await answers)[3], { exchanges: 7 });
  equal(calls[0], "contact");
  equal(calls.length, 4);
  equal(mesh.redis, undefined);
});

test("a mesh that could not be loaded is reported, and loaded at the next use", async () => {
  const { mesh, calls, reports, imports } = setUp();
  mesh.announce(["a"], 1);
  imports[0]!.reject(new Error("no such file"));
  await settle();
  deepEqual(reports.map(({ message }) => message), ["The modules of the mesh cannot be loaded"]);
  const answer = mesh.answer({});
  imports[1]!.reject(new Error("no such file"));
  await rejects(answer, /no such file/);
  const second = mesh.bootstrap();
  imports[2]!.resolve();
  await second;
  deepEqual(calls, ["start", 'announce ["a"] 1', "bootstrap"]);
});

test("a server is starting while its mesh cannot be loaded, and asks again at the next call", async () => {
  const { mesh, imports } = setUp();
  const ask = () => {
    const answer = mesh.isStarting();
    return { answer, import: imports.at(-1)! };
  };
  for (let i = 0; i < 2; i++) {
    const asked = ask();
    asked.import.reject(new Error("no such file"));
    equal(await asked.answer, true);
  }
  const asked = ask();
  asked.import.resolve();
  equal(await asked.answer, false);
  equal(await mesh.isStarting(), false);
});

test("close() waits for the modules, and announces first what was changed", async () => {
  const { mesh, calls, imports } = setUp();
  mesh.announce(["a"], 1);
  const closed = mesh.close(1_000);
  for (const { resolve } of imports) resolve();
  await closed;
  deepEqual(calls, ["start", 'announce ["a"] 1', "close relay 1000", "close mesh 1000"]);
});

test("after close() no mesh is started, even if its modules come later", async () => {
  const { mesh, calls, reports, imports, clock } = setUp();
  const closed = mesh.close(1_000);
  await clock.advance(1_000);
  await closed;
  const late = rejects(mesh.bootstrap(), { code: "ERR_REALITY_CLOSED" });
  for (const { resolve } of imports) resolve();
  await late;
  await settle();
  deepEqual([calls, reports], [[], []]);
  equal(clock.timers, 0);
});

test("a server that is created after the modules were loaded has its mesh at once", async () => {
  const { module, imports, calls } = setUp();
  const loaded = module.load();
  for (const { resolve } of imports) resolve();
  await loaded;
  await settle();
  deepEqual(calls, ["start"]);
  const mesh = new LazyMesh({
    storage: new MemoryStorage(),
    clock: new FakeClock(),
    hasRedis: true,
    module,
    create: ({ parts }) => parts,
    report() {},
  });
  deepEqual(calls, ["start", "start"]);
  equal(mesh.states.size, 1);
});
