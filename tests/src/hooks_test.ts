/*
 * Hooks of the application that never settle: they use a slot for at most hookTimeout, or until the client
 * disconnects, and delay no other request.
 */
import { deepEqual, equal, match, ok, rejects } from "node:assert/strict";
import type { AbortSignalLike } from "../../src/abort_signal.ts";
import { RealityError } from "../../src/errors.ts";
import { Hooks } from "../../src/hooks.ts";
import { RealityServer } from "../../src/server.ts";
import type { RealityServerOptions } from "../../src/options.ts";
import { MemoryStorage } from "../../storage/memory/memory_storage.ts";
import { FakeClock, settle } from "../clock.ts";
import { test } from "../harness.ts";

/** A server with one slot, and hooks that a test can leave unanswered. */
function setUp(options: Partial<RealityServerOptions> = {}) {
  const clock = new FakeClock();
  const hook = { isLost: true };
  const answer = <T>(value: T): Promise<T> => hook.isLost ? new Promise<T>(() => {}) : Promise.resolve(value);
  const errors: string[] = [];
  const storage = new MemoryStorage();
  const server = new RealityServer({
    storage,
    clock,
    hookTimeout: 1_000,
    limits: { maxRequests: 1 },
    onError: (error) => errors.push(error.message),
    ...options,
  });
  const handler = server.getFetchHandler({ metrics: () => answer(true) });
  const ask = (path: string, body?: unknown, signal?: AbortSignal) => {
    const asked = { status: 0, retryAfter: null as string | null, code: "" };
    const request = new Request(`http://localhost/reality${path}`, {
      method: body === undefined ? "GET" : "POST",
      headers: { "content-type": "application/json" },
      body: body === undefined ? null : JSON.stringify(body),
      ...(signal ? { signal } : {}),
    });
    void handler(request).then(async (response) => {
      asked.status = response.status;
      asked.retryAfter = response.headers.get("retry-after");
      asked.code = response.status === 200 ? "" : (await response.json()).error.code;
    });
    return asked;
  };
  return { clock, hook, answer, errors, server, storage, ask };
}

type SetUp = ReturnType<typeof setUp>;

/** How each hook is configured, and which request calls it. */
const cases: Record<
  string,
  { begin: (more?: Partial<RealityServerOptions>) => SetUp; path: string; body?: unknown }
> = {};

function define(
  name: string,
  path: string,
  body: unknown,
  give: (answer: SetUp["answer"]) => Partial<RealityServerOptions>,
): void {
  const begin = (more: Partial<RealityServerOptions> = {}) => {
    // The hooks answer as the set-up decides, which is created afterwards.
    let found: SetUp | undefined;
    const options = give((value) => found!.answer(value));
    return found = setUp({ ...options, ...more });
  };
  cases[name] = body === undefined ? { begin, path } : { begin, path, body };
}

define("authorize", "/sync", { known: { a: 0 } }, (answer) => ({ authorize: () => answer(true) }));
define("authorizeWrite", "/update", { key: "a", hash: "1" }, (answer) => ({
  authorizeWrite: () => answer(true),
}));
define("rateLimit.key", "/sync", { known: { a: 0 } }, (answer) => ({
  rateLimit: { limit: 10, window: 1_000, key: () => answer("one") },
}));
define("metrics", "/metrics", undefined, () => ({}));

for (const [name, { begin, path, body }] of Object.entries(cases)) {
  test(`${name} that does not answer is given up after hookTimeout with 503, and frees its slot`, async () => {
    const { clock, hook, errors, server, ask } = begin();
    const lost = ask(path, body);
    await settle();
    await clock.advance(999);
    equal(lost.status, 0);
    if (name !== "metrics") {
      const next = ask(path, body);
      await settle();
      equal(next.code, "ERR_REALITY_OVERLOADED");
    }
    await clock.advance(1);
    deepEqual([lost.status, lost.code], [503, "ERR_REALITY_HOOK"]);
    match(lost.retryAfter ?? "", /^[1-5]$/);
    ask(path, body);
    await settle();
    await clock.advance(1_000);
    // It is reported once, until it has answered again.
    deepEqual(errors, [`The hook "${name}" did not answer within hookTimeout (1000 ms)`]);
    hook.isLost = false;
    const next = ask(path, body);
    await settle();
    equal(next.status, 200);
    hook.isLost = true;
    ask(path, body);
    await clock.advance(1_000);
    equal(errors.length, 2);
    await server.close();
    equal(clock.timers, 0);
  });

  test(`${name} that does not answer frees its slot at once when the client disconnects`, async () => {
    const { clock, hook, errors, server, ask } = begin();
    const client = new AbortController();
    ask(path, body, client.signal);
    await settle();
    equal(clock.timers > 0, true);
    client.abort();
    await settle();
    hook.isLost = false;
    const next = ask(path, body);
    await settle();
    equal(next.status, 200);
    deepEqual(errors, []);
    await server.close();
    equal(clock.timers, 0);
  });

  test(`${name} that does not answer does not hold close() for longer than half of closeTimeout`, async () => {
    const { clock, errors, server, ask } = begin({ hookTimeout: 10_000 });
    const lost = ask(path, body);
    await settle();
    let isClosed = false;
    void server.close().then(() => isClosed = true);
    await clock.advance(2_500);
    if (name !== "metrics") deepEqual([lost.status, lost.code], [503, "ERR_REALITY_CLOSED"]);
    equal(isClosed, true);
    deepEqual(errors, []);
  });
}

test("authorize has the same time limit when it is called again after a wake, and the waiting sync is answered", async () => {
  const { clock, hook, server, ask } = cases.authorize!.begin();
  hook.isLost = false;
  const waiting = ask("/sync", { known: { a: 0 }, wait: 20_000 });
  await clock.advance(100);
  hook.isLost = true;
  await server.updateNode("a", "1");
  await clock.advance(999);
  equal(waiting.status, 0);
  await clock.advance(1);
  deepEqual([waiting.status, waiting.code], [503, "ERR_REALITY_HOOK"]);
  equal((await server.getStats()).waiters, 0);
  await server.close();
});

test("a stream ends if authorize does not answer at its start or after a wake", async () => {
  const { clock, hook, server } = cases.authorize!.begin();
  const open = async () => {
    const response = await server.handleSSECompat(new Request("http://localhost/"), { keys: ["a"] });
    const texts: string[] = [];
    const reader = response.body!.getReader();
    void (async () => {
      for (let read = await reader.read(); !read.done; read = await reader.read()) {
        texts.push(new TextDecoder().decode(read.value));
      }
      texts.push("end");
    })();
    return texts;
  };
  // The hook is called before the stream is opened, so that it can refuse the request.
  const opening = open();
  await clock.advance(1_000);
  const lost = await opening;
  await clock.advance(1_000);
  deepEqual([lost.length, lost.at(-1)], [2, "end"]);
  hook.isLost = false;
  const woken = await open();
  await clock.advance(100);
  equal(woken.length, 1);
  hook.isLost = true;
  await server.updateNode("a", "1");
  await clock.advance(1_000);
  deepEqual([woken.length, woken.at(-1)], [3, "end"]);
  ok(!woken.join("").includes("event: update"));
  equal((await server.getStats()).streams, 0);
  await server.close();
});

test("Hooks.call() returns or throws what a hook does, and sets no timer for one that answers at once", async () => {
  const clock = new FakeClock();
  let timers = 0;
  const after = clock.after.bind(clock);
  clock.after = (...args) => {
    timers++;
    return after(...args);
  };
  const hooks = new Hooks({ clock, timeout: 1_000, report() {} });
  equal(hooks.call("a", () => 7), 7);
  equal(await hooks.call("a", () => Promise.resolve(7)), 7);
  await rejects(async () => await hooks.call("a", () => Promise.reject(new Error("no"))), /no/);
  equal(timers, 0);
  let answer = (_: number) => {};
  const slow = hooks.call("a", () => new Promise<number>((resolve) => answer = resolve));
  await settle();
  equal(clock.timers, 1);
  answer(8);
  equal(await slow, 8);
  equal(clock.timers, 0);
  hooks.close();
  await rejects(async () => await hooks.call("a", () => 7), { code: "ERR_REALITY_CLOSED" });
});

test("Hooks.call() stops listening to the client when a hook answers, fails, is late, or the server closes", async () => {
  const clock = new FakeClock();
  const create = () => new Hooks({ clock, timeout: 1_000, report: () => {} });
  const listen = () => {
    const listeners = new Set<() => void>();
    const signal: AbortSignalLike = {
      aborted: false,
      throwIfAborted() {},
      addEventListener: (_, listener) => void listeners.add(listener),
      removeEventListener: (_, listener) => void listeners.delete(listener),
    };
    return { listeners, signal };
  };
  const ends: Record<
    string,
    (hooks: Hooks, resolve: (value: boolean) => void, reject: (error: Error) => void) => unknown
  > = {
    answers: (_, resolve) => resolve(true),
    fails: (_hooks, _resolve, reject) => reject(new Error("down")),
    "is late": () => clock.advance(1_000),
    "the server closes": (hooks) => hooks.close(),
  };
  for (const [name, end] of Object.entries(ends)) {
    const hooks = create();
    const { listeners, signal } = listen();
    const { promise, resolve, reject } = Promise.withResolvers<boolean>();
    const called = Promise.resolve(hooks.call("authorize", () => promise, () => signal)).catch(() => {});
    await settle();
    equal(listeners.size, 1, name);
    await end(hooks, resolve, reject);
    await called;
    equal(listeners.size, 0, name);
  }
  equal(clock.timers, 0);
});

test("a hook that throws ERR_REALITY_HOOK is reported once by syncs and streams, until it answers", async () => {
  let isDown = true;
  const { ask, errors, server } = setUp({
    authorize: async () => {
      await null;
      if (isDown) throw new RealityError("ERR_REALITY_HOOK", "Cannot ask who may read");
      return true;
    },
  });
  for (const [path, body] of [["/sync", { known: { a: 0 } }], ["/events?keys=a"]] as const) {
    for (let i = 0; i < 2; i++) {
      const asked = ask(path, body);
      await settle();
      equal(asked.code, path === "/sync" ? "ERR_REALITY_HOOK" : "");
    }
  }
  deepEqual(errors, ["Cannot ask who may read"]);
  isDown = false;
  equal(
    (await server.handleSync({ known: { a: 0 } }, { request: new Request("http://localhost") })).epoch !== "",
    true,
  );
  isDown = true;
  ask("/sync", { known: { a: 0 } });
  await settle();
  deepEqual(errors, ["Cannot ask who may read", "Cannot ask who may read"]);
  await server.close();
});
