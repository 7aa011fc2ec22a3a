import { deepEqual, equal, ok, rejects, throws } from "node:assert/strict";
import { DatabaseSync } from "node:sqlite";
import type { RealityStorage } from "../../../src/store/contract.ts";
import { RealityServer, type RealityServerOptions, type SyncResponse } from "../../../mod.ts";
import { SQLStorage } from "../../../storage/sql/sql_storage.ts";
import { test } from "../../harness.ts";
import { RequestContexts } from "../../request_context.ts";
import { NaiveStorage } from "../../storage/naive_storage.ts";

const TOKEN = "token-of-the-scope-test";

/** A database that answers within the request that asks. */
function createSQLStorage(contexts: RequestContexts): RealityStorage {
  const database = new DatabaseSync(":memory:");
  return new SQLStorage({
    counter: "sequential",
    query: (sql, params) => contexts.answer(() => database.prepare(sql).all(...params)),
    dialect: "sqlite",
    now: () => contexts.now(),
  });
}

/** The same for a storage with just the eight methods. */
function createNaiveStorage(contexts: RequestContexts): RealityStorage {
  const storage = new NaiveStorage();
  return new Proxy(storage, {
    get(target, name) {
      const value: unknown = Reflect.get(target, name);
      if (typeof value !== "function") return value;
      return (...given: unknown[]) => contexts.answer(() => value.apply(target, given));
    },
  });
}

const storages = { SQLStorage: createSQLStorage, "a storage of eight methods": createNaiveStorage };

function setUp(
  create: (contexts: RequestContexts) => RealityStorage = createSQLStorage,
  options: Partial<RealityServerOptions> = {},
) {
  const contexts = new RequestContexts();
  const storage = create(contexts);
  const createServer = () =>
    new RealityServer({ storage, clock: contexts, writeTokens: [TOKEN], requestScopedIO: true, ...options });
  const server = createServer();
  return { contexts, storage, server, createServer, handle: server.getFetchHandler() };
}

type Handle = (request: Request) => Promise<Response>;

function post(path: string, body: unknown): Request {
  return new Request(`http://localhost/reality${path}`, {
    method: "POST",
    headers: { "content-type": "application/json", authorization: `Bearer ${TOKEN}` },
    body: body instanceof ReadableStream ? body : JSON.stringify(body),
    ...(body instanceof ReadableStream ? { duplex: "half" } : {}),
  });
}

function get(path: string): Request {
  return new Request(`http://localhost/reality${path}`);
}

/** The status of an answer whose body was read. */
async function status(answer: Promise<Response>): Promise<number> {
  const response = await answer;
  await response.arrayBuffer();
  return response.status;
}

/** Every kind of request and call, with its expected result. */
const kinds: Record<string, (server: RealityServer, handle: Handle) => Promise<unknown>> = {
  "a sync": (_, handle) => status(handle(post("/sync", { known: { a: 0, b: 0 } }))),
  "a sync of a new key": (_, handle) =>
    status(handle(post("/sync", { known: { [`new-${Math.random()}`]: 0 } }))),
  "a sync that waits": (_, handle) => status(handle(post("/sync", { known: { quiet: 0 }, wait: 700 }))),
  "an update": (_, handle) => status(handle(post("/update", { updates: [{ key: "a", hash: "1" }] }))),
  "an update of many": (_, handle) =>
    status(handle(post("/update", { updates: [{ key: "a", hash: "2" }, { key: "c", hash: "2" }] }))),
  "an invalidation": (_, handle) => status(handle(post("/invalidate", { keys: ["a", "b"] }))),
  "a deletion": (_, handle) =>
    status(handle(
      new Request("http://localhost/reality/nodes/a", {
        method: "DELETE",
        headers: { authorization: `Bearer ${TOKEN}` },
      }),
    )).then((status) => status === 204 ? 200 : status),
  "a stream": async (server, handle) => {
    const { body } = await handle(get("/events?keys=a"));
    const reader = body!.getReader();
    const first = await reader.read();
    // The changes of the other requests may all have been made before the first event.
    await server.updateNode("a", `${Math.random()}`);
    const second = await reader.read();
    await reader.cancel();
    return first.done || second.done ? 0 : 200;
  },
  "a question whether it is ready": (_, handle) => status(handle(get("/ready"))),
  "a question for its health": (_, handle) => status(handle(get("/health"))),
  "a question for its metrics": (_, handle) => status(handle(get("/metrics"))),
  "a question for its document": (_, handle) => status(handle(get("/openapi.json"))),
  "a call of updateNode": (server) => server.updateNode("d", "1").then(() => 200),
  "a call of invalidateMany": (server) => server.invalidateMany(["a", "d"]).then(() => 200),
  "a call of getNode": (server) => server.getNode("a").then(() => 200),
  "a call of getStats": (server) => server.getStats().then(({ healthy }) => healthy ? 200 : 503),
  "a call of handleSync": (server) => server.handleSync({ known: { a: 0 } }).then(() => 200),
};

/** A body that never ends. */
const endless = () =>
  new ReadableStream<Uint8Array>({ start: (body) => body.enqueue(new Uint8Array([123])) });

/** A body that does not arrive is refused after its time limit. */
const refused: typeof kinds = {
  "a body that does not come": (_, handle) =>
    status(handle(post("/sync", endless()))).then((status) => status === 408 ? 200 : status),
};

/** What an ended request may have been doing. */
const ended: typeof kinds = {
  ...kinds,
  "a sync whose body does not come": (_, handle) => handle(post("/sync", endless())),
  "a stream that is not read": (_, handle) => handle(get("/events?keys=a")),
};

/** Observes a promise without waiting for it. */
function watch<T>(promise: Promise<T>): { result: T | Error | "nothing yet" } {
  const watched: { result: T | Error | "nothing yet" } = { result: "nothing yet" };
  promise.then((value) => watched.result = value, (error) => watched.result = error);
  return watched;
}

/** Ends one request while another one is running. Returns which of them were never answered. */
async function findStuck(
  create: (contexts: RequestContexts) => RealityStorage,
  options: Partial<RealityServerOptions>,
): Promise<string[]> {
  const stuck: string[] = [];
  for (const [first, begin] of Object.entries(ended)) {
    for (const endsAt of [2, 12]) {
      const { contexts, server, handle } = setUp(create, { limits: { bodyTimeout: 500 }, ...options });
      // Several, so that a bound on how many may be under way would be reached.
      for (let i = 0; i < 4; i++) contexts.run("first", () => void begin(server, handle).catch(() => {}));
      await contexts.advance(endsAt);
      // Some arrive while the first is still running, and others afterwards.
      const run = (label: string) =>
        Object.entries({ ...kinds, ...refused }).map(([name, work]) => ({
          name: `${name}, ${label} ${first} that ended after ${endsAt} ms`,
          outcome: watch(contexts.run(`${label} ${name}`, () => work(server, handle))),
        }));
      const during = run("during");
      contexts.end("first");
      const later = run("after");
      await contexts.advance(3_000);
      for (const { name, outcome } of [...during, ...later]) {
        if (outcome.result !== 200) stuck.push(`${name}: ${outcome.result}`);
      }
      deepEqual(contexts.strays, []);
    }
  }
  return stuck;
}

for (const [name, create] of Object.entries(storages)) {
  test(`with requestScopedIO no request awaits I/O of another request, on ${name}`, async () => {
    deepEqual(await findStuck(create, {}), []);
  });
}

test("without requestScopedIO requests await I/O of each other", async () => {
  ok((await findStuck(createSQLStorage, { requestScopedIO: false })).length > 100);
});

test("with requestScopedIO a waiting sync receives changes of its keys by this server and by others, and no other changes", async () => {
  const { contexts, server, createServer } = setUp();
  const other = createServer();
  const wait = (key: string) =>
    watch(contexts.run(key, () => server.handleSync({ known: { [key]: 0 }, wait: 20_000 })));
  const waits = { here: wait("here"), there: wait("there"), nowhere: wait("nowhere") };
  await contexts.advance(5_000);
  deepEqual(Object.values(waits).map(({ result }) => result), Array(3).fill("nothing yet"));
  void contexts.run("writer", () => server.updateNode("here", "1"));
  void contexts.run("other writer", () => other.updateNode("there", "1"));
  await contexts.advance(600);
  for (const key of ["here", "there"] as const) {
    deepEqual(toldKeys(waits[key].result), [key]);
  }
  equal(waits.nowhere.result, "nothing yet");
  await contexts.advance(20_000);
  deepEqual(toldKeys(waits.nowhere.result), []);
  equal(contexts.timers, 0);
});

test("with requestScopedIO a waiting sync polls the storage about twice a second", async () => {
  let questions = 0;
  const { contexts, server } = setUp((contexts) => {
    const storage = createSQLStorage(contexts);
    return new Proxy(storage, {
      get(target, name) {
        const value: unknown = Reflect.get(target, name);
        if (typeof value !== "function") return value;
        return (...given: unknown[]) => {
          questions++;
          return value.apply(target, given);
        };
      },
    });
  });
  void contexts.run("waits", () => server.handleSync({ known: { a: 0 }, wait: 20_000 }));
  await contexts.advance(10_000);
  const before = questions;
  // Changes of other keys do not make it poll more often.
  for (let i = 0; i < 20; i++) {
    void contexts.run("writer", () => server.updateNode(`other-${i}`, "1"));
    await contexts.advance(500);
  }
  const asked = questions - before - 20;
  ok(asked >= 18 && asked <= 22, String(asked));
  ok(before < 30, String(before));
});

test("with requestScopedIO a stream receives each change of its keys once", async () => {
  const { contexts, server, handle } = setUp();
  const frames: string[] = [];
  await contexts.run("stream", async () => {
    const { body } = await handle(get("/events?keys=a&keys=b"));
    void body!.pipeThrough(new TextDecoderStream()).pipeTo(
      new WritableStream({ write: (text) => void frames.push(text) }),
    ).catch(() => {});
  });
  for (const key of ["a", "b", "other", "a"]) {
    await contexts.advance(700);
    void contexts.run("writer", () => server.updateNode(key, `of ${key}`));
  }
  await contexts.advance(700);
  const told = [...frames.join("").matchAll(/"key":"(\w+)","version":(\d+)/g)].map(([, key, version]) =>
    `${key} ${version}`
  );
  deepEqual(told, ["a 1", "b 2", "a 4"]);
});

test("with requestScopedIO slots of ended requests are freed after a while", async () => {
  const limits = { maxRequests: 2, maxWaiters: 2, maxStreams: 1, maxReadingBytes: 1_000 };
  const { contexts, server, handle } = setUp(createSQLStorage, { limits });
  const lost: Record<string, () => unknown> = {
    request: () => handle(post("/sync", { known: { a: 0 } })),
    waiter: () => server.handleSync({ known: { a: 0 }, wait: 20_000 }),
    stream: async () => (await handle(get("/events?keys=a"))).body!.getReader().read(),
    body: () => handle(post("/sync", endless())),
  };
  for (const [name, work] of Object.entries(lost)) {
    contexts.run(name, () => void work());
    await contexts.advance(name === "request" || name === "body" ? 2 : 100);
    contexts.end(name);
  }
  const { waiters, streams } = await settled(contexts, contexts.run("looks", () => server.getStats()));
  deepEqual({ waiters, streams }, { waiters: 2, streams: 1 });
  equal(
    await settled(contexts, contexts.run("full", () => status(handle(post("/sync", { known: {} }))))),
    503,
  );
  await contexts.advance(120_000);
  const sync = watch(contexts.run("later", () => server.handleSync({ known: { a: 0 }, wait: 5_000 })));
  const stream = contexts.run("later stream", async () => {
    const reader = (await handle(get("/events?keys=a"))).body!.getReader();
    await reader.read();
    return await Promise.race([
      reader.read(),
      new Promise((resolve) => void contexts.after(500, () => resolve(0))),
    ]);
  });
  equal(await settled(contexts, stream), 0, "the stream goes on");
  equal(sync.result, "nothing yet");
  const answer = contexts.run("later body", () => status(handle(post("/sync", { known: {} }))));
  equal(await settled(contexts, answer), 200);
  const after = await settled(contexts, contexts.run("looks again", () => server.getStats()));
  deepEqual([after.waiters, after.streams], [2, 1]);
});

test("with requestScopedIO close() ends waiting syncs, streams and bodies, and waits for them", async () => {
  const { contexts, server, handle } = setUp();
  const wait = watch(
    contexts.run("waits", () => status(handle(post("/sync", { known: { a: 0 }, wait: 20_000 })))),
  );
  const stream = watch(contexts.run("streams", () => status(handle(get("/events?keys=a")))));
  const body = watch(contexts.run("sends", () => status(handle(post("/sync", endless())))));
  await contexts.advance(1_000);
  const closed = watch(contexts.run("closes", () => server.close()));
  const write = contexts.run("writes", () => status(handle(post("/update", { updates: [] }))));
  await contexts.advance(400);
  deepEqual([wait.result, stream.result, body.result], [200, 200, 503]);
  equal(closed.result, undefined);
  equal(await settled(contexts, write), 503);
  equal(contexts.timers, 0);
  await rejects(contexts.run("asks", () => server.getNode("a")), { code: "ERR_REALITY_CLOSED" });
});

test("options of the mesh and Redis cannot be used with requestScopedIO", () => {
  const storage = new NaiveStorage();
  const redis = { publisher: {}, subscriber: {} } as unknown as RealityServerOptions["redis"];
  const options: Partial<RealityServerOptions>[] = [
    { meshPeers: ["http://localhost:1"] },
    { meshSecret: "0123456789abcdef" },
    { redis },
  ];
  for (const given of options) {
    const [name] = Object.keys(given);
    throws(() => new RealityServer({ storage, requestScopedIO: true, ...given }), {
      name: "TypeError",
      message:
        `Option "${name}" cannot be used with requestScopedIO: it talks to other servers beside the requests`,
    });
  }
  ok(new RealityServer({ storage, requestScopedIO: true, meshPeers: [] }));
  throws(() => new RealityServer({ storage, requestScopedIO: 1 as unknown as boolean }), /true or false/);
});

function toldKeys(answer: SyncResponse | Error | string): string[] {
  return typeof answer === "object" && "changed" in answer ? Object.keys(answer.changed) : [String(answer)];
}

/** Lets time pass until an answer is there. */
async function settled<T>(contexts: RequestContexts, answer: Promise<T>): Promise<T> {
  const watched = watch(answer);
  for (let i = 0; i < 100 && watched.result === "nothing yet"; i++) await contexts.advance(10);
  return await answer;
}
