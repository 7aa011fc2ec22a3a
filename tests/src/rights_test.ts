import { deepEqual, equal, match, throws } from "node:assert/strict";
import { createNodeHandler } from "../../adapters/node.ts";
import {
  type Authorize,
  MemoryStorage,
  RealityServer,
  type RealityServerOptions,
  RefusalError,
} from "../../mod.ts";
import { FakeClock, settle } from "../clock.ts";
import { test } from "../harness.ts";
import { listenNode } from "../runtimes/node.ts";

/** A server that asks `authorize`, with a node under each of these keys. */
async function setUp(authorize: Authorize, options: Partial<RealityServerOptions> = {}) {
  const clock = new FakeClock();
  const server = new RealityServer({ storage: new MemoryStorage(), authorize, clock, ...options });
  await server.updateMany(["mine", "theirs"].map((key) => ({ key, hash: "1" })));
  const handler = server.getFetchHandler();
  const sync = async (body: unknown, token = "me") => {
    const response = await handler(
      new Request("http://localhost/reality/sync", {
        method: "POST",
        headers: { "content-type": "application/json", "authorization": token },
        body: JSON.stringify(body),
      }),
    );
    return { status: response.status, body: await response.json() };
  };
  return { clock, server, handler, sync };
}

const onlyMine: Authorize = (request, keys) =>
  request.headers.get("authorization") === "me" ? keys.filter((key) => key === "mine") : false;

test("authorize decides which keys a client receives", async () => {
  const { server, sync } = await setUp(onlyMine);
  const known = { mine: 0, theirs: 0 };
  deepEqual(Object.keys((await sync({ known })).body.changed), ["mine"]);
  deepEqual(Object.keys((await sync({ known }, "nobody")).body.changed), []);
  await server.close();
});

test("a forbidden key looks like an absent one", async () => {
  const { server, sync } = await setUp(onlyMine);
  const { body } = await sync({ known: { theirs: 7, nothing: 7 } });
  deepEqual(body.changed.theirs, { ...body.changed.nothing, key: "theirs" });
  await server.close();
});

test("a stream that reconnects with more rights receives the nodes that it could not read before", async () => {
  let allowed = ["mine"];
  const { server } = await setUp(() => allowed);
  const visit = async (id?: string) => {
    const headers = id === undefined ? {} : { "last-event-id": id };
    const request = new Request("http://localhost/events", { headers });
    const reader = (await server.handleSSECompat(request, { keys: ["mine", "theirs"] })).body!.getReader();
    const text = new TextDecoder().decode((await reader.read()).value);
    await reader.cancel();
    const told = [...text.matchAll(/^data: (.*)$/gm)].map(([, data]) => JSON.parse(data!).key);
    return { told, id: [...text.matchAll(/^id: (.*)$/gm)].at(-1)?.[1] };
  };
  const before = await visit();
  deepEqual(before.told, ["mine"]);
  allowed = ["mine", "theirs"];
  const after = await visit(before.id);
  equal(after.told.includes("theirs"), true);
  deepEqual((await visit(after.id)).told, []);
  allowed = ["theirs"];
  equal((await visit(after.id)).told.includes("mine"), true);
  await server.close();
});

test("authorize is called once with the request and all keys, and may return each documented value", async () => {
  const asked: (readonly string[])[] = [];
  for (
    const [answer, told] of [
      [true, ["mine", "theirs"]],
      [false, []],
      [["theirs", "other"], ["theirs"]],
      [new Set(["mine"]), ["mine"]],
      [{ keys: true }, ["mine", "theirs"]],
      [{ keys: ["mine"], expiresAt: Number.MAX_SAFE_INTEGER }, ["mine"]],
      [{ keys: true, expiresAt: 0 }, []],
    ] as const
  ) {
    const { server, sync } = await setUp((request, keys) => {
      asked.push(keys);
      equal(new URL(request.url).pathname, "/reality/sync");
      return Promise.resolve(answer);
    });
    deepEqual(Object.keys((await sync({ known: { mine: 0, theirs: 0 } })).body.changed).sort(), told);
    await server.close();
  }
  for (const keys of asked) deepEqual(keys, ["mine", "theirs"]);
});

test("a waiting client is not answered for keys that it may not read", async () => {
  const { clock, server, sync } = await setUp(onlyMine);
  const waiting = sync({ known: { theirs: 0 }, wait: 10_000 });
  await settle();
  await server.updateNode("theirs", "2");
  await clock.advance(10_000);
  deepEqual((await waiting).body.changed, {});
  await server.close();
});

test("authorize is called again before a waiting client is answered", async () => {
  let allowed = true;
  const { clock, server, sync } = await setUp(() => allowed);
  const known = { mine: (await server.getNode("mine"))!.version };
  const waiting = sync({ known, wait: 10_000 });
  await settle();
  allowed = false;
  await server.updateNode("mine", "2");
  await clock.advance(10_000);
  equal((await waiting).body.changed.mine.deleted, true);
  await server.close();
});

test("a wait ends when the identity of its client expires", async () => {
  const until = new FakeClock().now() + 3_000;
  const { clock, server, sync } = await setUp(() => ({ keys: true, expiresAt: until }));
  let isOver = false;
  const waiting = sync({ known: { nothing: 0 }, wait: 20_000 }).finally(() => isOver = true);
  await clock.advance(2_999);
  equal(isOver, false);
  await clock.advance(1);
  equal(isOver, true);
  deepEqual((await waiting).body.changed, {});
  await server.close();
});

test("an event stream contains only readable keys, and ends when the identity of its client expires", async () => {
  const until = new FakeClock().now() + 3_000;
  const { clock, server, handler } = await setUp(() => ({ keys: ["mine"], expiresAt: until }));
  const response = await handler(new Request("http://localhost/reality/events?keys=mine&keys=theirs"));
  const reader = response.body!.pipeThrough(new TextDecoderStream()).getReader();
  const first = (await reader.read()).value!;
  match(first, /"key":"mine"/);
  equal(first.includes("theirs"), false);
  const second = reader.read();
  await settle();
  await server.updateNode("theirs", "2");
  await server.updateNode("mine", "2");
  match((await second).value!, /"key":"mine"/);
  const last = reader.read();
  await clock.advance(3_000);
  match((await last).value!, /^retry/);
  equal((await reader.read()).done, true);
  await server.close();
});

test("an event stream of an application's own route also calls authorize, in each framework", async () => {
  const asked: string[] = [];
  const { server } = await setUp((request) => {
    asked.push(`${request.headers.get("cookie")} ${new URL(request.url).pathname}`);
    return false;
  });
  const socket = { once() {}, off() {} };
  const requests = [
    new Request("http://localhost/own", { headers: { cookie: "a=1" } }),
    { headers: { cookie: "a=1", host: "localhost" }, url: "/own", socket },
  ];
  for (const request of requests) {
    const response = await server.handleSSECompat(request, { keys: ["mine"] });
    const reader = response.body!.getReader();
    equal(new TextDecoder().decode((await reader.read()).value).includes("mine"), false);
    await reader.cancel();
  }
  deepEqual(asked, ["a=1 /own", "a=1 /own"]);
  await server.close();
});

test("authorize is also called behind node:http, with the request of the client", async () => {
  const { server } = await setUp(onlyMine);
  const { origin, close } = await listenNode(createNodeHandler(server));
  const response = await fetch(`${origin}/reality/sync`, {
    method: "POST",
    headers: { "content-type": "application/json", "authorization": "me" },
    body: JSON.stringify({ known: { mine: 0, theirs: 0 }, wait: 1_000 }),
  });
  deepEqual(Object.keys((await response.json()).changed), ["mine"]);
  await server.close();
  await close();
});

test("a failure of authorize is a 500 without details, and is reported", async () => {
  const errors: Error[] = [];
  for (
    const authorize of [
      () => {
        throw new Error("secret words");
      },
      () => "yes" as never,
      () => ({ keys: true, expiresAt: "soon" as never }),
    ]
  ) {
    const { server, sync } = await setUp(authorize, { onError: (error) => errors.push(error) });
    const { status, body } = await sync({ known: { mine: 0 } });
    equal(status, 500);
    equal(JSON.stringify(body).includes("secret"), false);
    await server.close();
  }
  equal(errors.length, 3);
});

test("handleSync() does not call authorize unless it is given the request", async () => {
  const { server } = await setUp(() => false);
  const known = { mine: 0 };
  equal((await server.handleSync({ known })).changed.mine?.hash, "1");
  const request = new Request("http://localhost/");
  deepEqual(Object.keys((await server.handleSync({ known }, { request })).changed), []);
  throws(
    () => new RealityServer({ storage: new MemoryStorage(), authorize: true as never }),
    /Option "authorize" is wrong: expected a function/,
  );
  await server.close();
});

test("a refusal by authorize answers a waiting client, and ends a stream without a report", async () => {
  const reports: unknown[] = [];
  let isKnown = true;
  const { server, sync } = await setUp(() => {
    if (isKnown) return true;
    throw new RefusalError("ERR_REALITY_FORBIDDEN", "Cannot read: no more");
  }, { onError: (error) => reports.push(error) });
  const waiting = sync({ known: { nothing: 0 }, wait: 20_000 });
  const request = new Request("http://localhost/events");
  const reader = (await server.handleSSECompat(request, { keys: ["nothing"] })).body!.getReader();
  await reader.read();
  const end = reader.read();
  await settle();
  isKnown = false;
  await server.updateNode("nothing", "1");
  equal((await waiting).status, 403);
  match(new TextDecoder().decode((await end).value), /^retry: \d+\n\n$/);
  equal((await reader.read()).done, true);
  deepEqual(reports, []);
  await server.close();
});

test("recheck() accepts only an array of keys", async () => {
  const { server } = await setUp(() => true);
  for (const keys of ["nothing", null, undefined, [7], new Set(["nothing"])]) {
    throws(() => server.recheck(keys as never), { name: "TypeError", message: /expected an array of keys/ });
  }
  server.recheck([]);
  await server.close();
});

test("a stream does not receive keys whose right was withdrawn between its start and its first read", async () => {
  let isAllowed = true;
  const { server } = await setUp(() => isAllowed);
  await server.updateNode("secret", "1");
  const { body } = await server.handleSSECompat(new Request("http://localhost/"), { keys: ["secret"] });
  isAllowed = false;
  server.recheck(["secret"]);
  const reader = body!.getReader();
  const text = new TextDecoder().decode((await reader.read()).value);
  equal(text.includes("event: update"), false);
  await reader.cancel();
  await server.close();
});
