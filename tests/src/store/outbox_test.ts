/**
 * The outbox: rows become changes before a question is answered.
 *
 * @module
 */
import { deepEqual, doesNotMatch, equal, match, ok, rejects, throws } from "node:assert/strict";
import { createFetchHandler } from "../../../adapters/fetch.ts";
import { RealityServer } from "../../../mod.ts";
import type { RealityServerOptions } from "../../../mod.ts";
import { FakeClock, settle } from "../../clock.ts";
import { test } from "../../harness.ts";
import type { ChangeListener } from "../../../src/store/contract.ts";
import { MemoryOutbox, OutboxStorage } from "../../outbox_storage.ts";

/** A server on a storage with an outbox. */
function setUp(options: Partial<RealityServerOptions> = {}) {
  const clock = new FakeClock();
  const storage = new OutboxStorage();
  const errors: string[] = [];
  const server = new RealityServer({
    storage,
    clock,
    onError: ({ message }) => void errors.push(message),
    ...options,
  } as RealityServerOptions);
  const ask = async (...keys: string[]) => {
    const known = Object.fromEntries(keys.map((key) => [key, 0]));
    return Object.keys((await server.handleSync({ known })).changed);
  };
  return { clock, storage, outbox: storage.outbox, server, errors, ask };
}

test("a committed row is a change at every server that is asked afterwards, once", async () => {
  const one = setUp();
  const other = new RealityServer({ storage: one.storage });
  for (let round = 0; round < 3; round++) {
    one.outbox.commit("a", { hash: `hash-${round}` });
    const known = { a: (await one.storage.getNode("a"))?.version ?? 0 };
    const servers = round % 2 ? [other, one.server] : [one.server, other];
    const answers = await Promise.all(servers.map((server) => server.handleSync({ known })));
    deepEqual(answers.map(({ changed }) => changed.a?.hash), [`hash-${round}`, `hash-${round}`]);
  }
  equal(await one.storage.getMaxVersion(), 3);
  deepEqual(one.outbox.rows, []);
  await Promise.all([one.server.close(), other.close()]);
});

test("an empty outbox costs no call of the storage", async () => {
  const { storage, outbox, server, ask } = setUp();
  await ask("a");
  const before = storage.reads.length + storage.questions.length;
  for (let i = 0; i < 3; i++) await ask("a");
  equal(storage.reads.length + storage.questions.length - before, 3);
  deepEqual(outbox.reads, []);
  await server.close();
});

test("a row with a lower id that is committed after a higher one is not passed over", async () => {
  const { outbox, server, ask } = setUp();
  const early = outbox.drawId();
  outbox.commit("b");
  deepEqual(await ask("a", "b"), ["b"]);
  outbox.commit("a", { id: early });
  deepEqual(await ask("a"), ["a"]);
  await server.close();
});

test("rows of a key become one change with the last hash; a row without a hash gets a random one", async () => {
  const { storage, outbox, server, ask } = setUp();
  for (const hash of ["1", "2", "3"]) outbox.commit("a", { hash });
  outbox.commit("b");
  outbox.commit("c", { hash: "" });
  deepEqual(await ask("a", "b", "c"), ["a", "b", "c"]);
  equal((await storage.getNode("a"))?.hash, "3");
  match((await storage.getNode("b"))!.hash, /^invalidated-/);
  match((await storage.getNode("c"))!.hash, /^invalidated-/);
  equal(await storage.getMaxVersion(), 3);
  await server.close();
});

test("a question fails if the rows cannot be read, and the next one applies them", async () => {
  const { outbox, server, ask } = setUp();
  outbox.commit("a");
  outbox.failure = new Error("no");
  await rejects(ask("a"), { code: "ERR_REALITY_STORAGE" });
  outbox.failure = undefined;
  deepEqual(await ask("a"), ["a"]);
  await server.close();
});

test("rows whose keys are not valid are set aside, reported once, and block no other row", async () => {
  const { outbox, server, errors, ask } = setUp();
  outbox.commit("");
  outbox.commit(null);
  outbox.commit("a");
  outbox.commit("x".repeat(513));
  deepEqual(await ask("a"), ["a"]);
  deepEqual(await ask("a"), ["a"]);
  deepEqual(outbox.rows.map(({ id }) => id), [-1, -2, -4]);
  equal(errors.length, 3);
  match(errors[2]!, /row 4 of the outbox was set aside: longer than maxKeyBytes \(512\); key "x{60}…"$/);
  await server.close();
});

test("a row whose hash or format is not valid is a change with a random hash, and reported", async () => {
  const { storage, outbox, server, errors, ask } = setUp({ groups: () => ["all:*"] });
  outbox.commit("a", { hash: "x".repeat(257) });
  outbox.commit("b", { hash: '{\n"state": 1}' });
  outbox.commit("c", { hash: "of format 2", format: 2 });
  outbox.commit("d", { hash: "right" });
  // The last row of a key decides.
  outbox.commit("e", { hash: "\0" });
  outbox.commit("e", { hash: "right" });
  deepEqual(await ask("a", "b", "c", "d", "e", "all:*"), ["a", "b", "c", "d", "e", "all:*"]);
  deepEqual(outbox.rows, []);
  for (const key of ["a", "b", "c"]) match((await storage.getNode(key))!.hash, /^invalidated-/);
  for (const key of ["d", "e"]) equal((await storage.getNode(key))?.hash, "right");
  deepEqual(errors.map((error) => error.replace(/^.*?: /, "")), [
    'row 1 of the outbox got a random hash: longer than maxHashBytes (256); key "a"',
    'row 2 of the outbox got a random hash: control characters and lone surrogates are not allowed; key "b"',
    'row 3 of the outbox got a random hash: expected format 1, got 2; key "c"',
    'row 5 of the outbox got a random hash: control characters and lone surrogates are not allowed; key "e"',
  ]);
  await server.close();
});

test("a client that waits is told of a row that is committed meanwhile", async () => {
  const { clock, outbox, server } = setUp();
  const answer = server.handleSync({ known: { a: 0 }, wait: 20_000 });
  await settle();
  outbox.commit("b");
  await clock.advance(100);
  outbox.commit("a");
  await clock.advance(600);
  deepEqual(Object.keys((await answer).changed), ["a"]);
  await server.close();
});

test("while many rows are pending, a question waits for those of its keys and the rest follows", async () => {
  const { clock, storage, outbox, server, ask } = setUp();
  for (let i = 0; i < 3000; i++) outbox.commit(`key:${i}`);
  deepEqual(await ask("key:2900", "key:2999", "other"), ["key:2900", "key:2999"]);
  equal(outbox.rows.length, 2498);
  deepEqual(outbox.reads, ["all", "keys"]);
  // A second question does not wait for a piece of the rest.
  deepEqual(await ask("key:2800"), ["key:2800"]);
  equal(outbox.reads.at(-1), "keys");
  await clock.advance(100);
  deepEqual(outbox.rows, []);
  equal((await storage.listChangedSince(0)).length, 3000);
  await server.close();
});

test("a node in memory is not served while more than a piece of rows is pending", async () => {
  const { clock, outbox, server, ask } = setUp();
  deepEqual(await ask("a"), []);
  for (let i = 0; i < 1000; i++) outbox.commit("busy");
  outbox.commit("a");
  deepEqual(await ask("a"), ["a"]);
  await clock.advance(100);
  deepEqual(outbox.rows, []);
  await server.close();
});

test("a client that waits is told of a row behind thousands of others", async () => {
  const { clock, outbox, server } = setUp();
  const answer = server.handleSync({ known: { "key:4000": 0 }, wait: 20_000 });
  await settle();
  for (let i = 0; i < 5000; i++) outbox.commit(`key:${i}`);
  await clock.advance(1000);
  deepEqual(Object.keys((await answer).changed), ["key:4000"]);
  await server.close();
});

test("close() ends the drain of the rest", async () => {
  const { clock, outbox, server, ask } = setUp();
  for (let i = 0; i < 3000; i++) outbox.commit(`key:${i}`);
  await ask("key:0");
  const closing = server.close();
  await clock.advance(10_000);
  await closing;
  equal(clock.timers, 0);
  ok(outbox.rows.length > 0);
});

test("a server whose requests may not wait for each other applies rows in each request", async () => {
  const { clock, storage, outbox, server, ask } = setUp({ requestScopedIO: true });
  for (let i = 0; i < 1200; i++) outbox.commit(`key:${i}`);
  deepEqual(await ask("key:1199"), ["key:1199"]);
  await clock.advance(1000);
  equal(outbox.rows.length, 699);
  for (let i = 0; i < 2; i++) await ask("other");
  deepEqual(outbox.rows, []);
  equal((await storage.listChangedSince(0)).length, 1200);
  await server.close();
});

test("rows that another server applies at the same moment are waited for", async () => {
  const { storage, outbox, server, ask } = setUp();
  outbox.commit("a");
  outbox.commit("b");
  const { applyRows } = MemoryOutbox.prototype;
  // The other server is quicker once.
  outbox.applyRows = async (changes) => {
    outbox.applyRows = applyRows;
    await applyRows.call(outbox, changes);
    return 0;
  };
  deepEqual(await ask("a", "b"), ["a", "b"]);
  equal(await storage.getMaxVersion(), 2);
  // Nothing was written, and the rows are still there.
  outbox.commit("c");
  outbox.applyRows = () => {
    outbox.applyRows = applyRows;
    return Promise.resolve(0);
  };
  deepEqual(await ask("c"), ["c"]);
  // Rows that stay fail the question.
  outbox.commit("d");
  outbox.applyRows = () => Promise.resolve(0);
  await rejects(ask("d"), { code: "ERR_REALITY_STORAGE", message: /row 4 cannot be removed/ });
  await server.close();
});

test("the metrics count the rows of the outbox, and leave them out if the storage fails", async () => {
  const { storage, outbox, server } = setUp();
  const handler = createFetchHandler(server, { metrics: true });
  const scrape = async () => await (await handler(new Request("http://localhost/reality/metrics"))).text();
  outbox.commit("a");
  outbox.commit("b");
  await outbox.setAside(outbox.rows.slice(0, 1));
  outbox.summarize = async (limit) => ({
    ...await MemoryOutbox.prototype.summarize.call(outbox, limit),
    oldestAge: 1500,
  });
  const text = await scrape();
  match(text, /^reality_outbox_rows 1$/m);
  match(text, /^reality_outbox_oldest_seconds 1.5$/m);
  match(text, /^reality_outbox_set_aside_rows 1$/m);
  outbox.summarize = () => Promise.reject(new Error("no"));
  doesNotMatch(await scrape(), /reality_outbox/);
  equal(storage.reads.length, 0);
  await server.close();
});

test("updateIn() runs its statements on the caller's transaction, and checks them first", async () => {
  const { server } = setUp();
  const sent: [string, unknown[]][] = [];
  const query = (text: string, params: unknown[]) => void sent.push([text, params]);
  equal(server.updateIn(query, [{ key: "a", hash: "1" }, { key: "b", hash: "" }]), undefined);
  deepEqual(sent.splice(0), [["insert", ["a", "1", "b", ""]]]);
  equal(server.invalidateIn(query, ["a"]), undefined);
  deepEqual(sent.splice(0), [["insert", ["a", ""]]]);
  server.invalidateIn(query, Array.from({ length: 1500 }, (_, i) => `key:${i}`));
  deepEqual(sent.splice(0).map(([, params]) => params.length), [2000, 1000]);
  server.invalidateIn(query, []);
  for (const wrong of ["", "x".repeat(513), 1, undefined]) {
    throws(
      () => server.updateIn(query, [{ key: "a", hash: "" }, { key: wrong as string, hash: "" }]),
      /Cannot take this key/,
    );
  }
  throws(() => server.updateIn(query, [{ key: "a", hash: "x".repeat(257) }]), RangeError);
  throws(() => server.invalidateIn(query, "a" as never), TypeError);
  throws(
    () => server.invalidateIn({} as never, ["a"]),
    /expected a function that runs a statement, got an object/,
  );
  throws(() =>
    server.invalidateIn(() => {
      throw new Error("no");
    }, ["a"]), /no/);
  deepEqual(sent, []);
  await server.close();
  throws(() => server.invalidateIn(query, ["a"]), { code: "ERR_REALITY_CLOSED" });
});

test("updateIn() runs one statement after the other, and rejects as the driver does", async () => {
  const { server } = setUp();
  const sent: number[] = [];
  let running = 0;
  const query = async (_text: string, params: unknown[]) => {
    equal(++running, 1);
    await settle();
    running--;
    sent.push(params.length);
    if (sent.length === 3) throw new Error("no");
  };
  const keys = Array.from({ length: 2500 }, (_, i) => `key:${i}`);
  await rejects(async () => await server.invalidateIn(query, keys), /no/);
  deepEqual(sent, [2000, 2000, 1000]);
  await server.close();
});

test("updateIn() needs a storage with an outbox", async () => {
  const { server } = setUp();
  await server.close();
  const plain = new RealityServer({ storage: Object.assign(new OutboxStorage(), { outbox: undefined }) });
  throws(
    () => plain.invalidateIn(() => {}, ["a"]),
    /This storage has no outbox: give it the option outbox: true/,
  );
  await plain.close();
});

/** "chat:1" is in the group "chat:*". */
const groups = (key: string) => {
  if (key === "bad") throw new Error("no room");
  return key.startsWith("chat:") ? ["chat:*"] : [];
};

test("a row changes the groups of its key in the same commit, and a row whose groups cannot be found changes its key", async () => {
  const { storage, outbox, server, errors, ask } = setUp({ groups });
  outbox.commit("chat:1");
  outbox.commit("bad");
  outbox.commit("chat:2");
  deepEqual(await ask("chat:*", "chat:1"), ["chat:*", "chat:1"]);
  deepEqual(storage.commits.map((commit) => commit.map(({ key }) => key)), [[
    "chat:1",
    "bad",
    "chat:2",
    "chat:*",
  ]]);
  match(errors.join(), /Option "groups" is wrong for the key "bad": it threw "no room"/);
  const known = { "chat:*": (await storage.getNode("chat:*"))!.version };
  outbox.commit("chat:*", { hash: "own" });
  outbox.commit("chat:3");
  equal((await server.handleSync({ known })).changed["chat:*"]?.hash, "own");
  await server.close();
});

test("each row is first in the change of its own key, also beside groups of groups", async () => {
  const of = (key: string) => key.startsWith("chat:") ? ["chat:*", "chat:**"] : [];
  const { outbox, server, ask } = setUp({ groups: { of, detail: true } });
  for (const key of ["chat:*", "chat:1", "chat:**", "user:1"]) outbox.commit(key);
  const owners = new Map(outbox.rows.map(({ id, key }) => [id, key]));
  const { applyRows } = MemoryOutbox.prototype;
  const found = new Map<number, unknown>();
  outbox.applyRows = (changes) => {
    for (const { key, rows } of changes) for (const id of rows) if (!found.has(id)) found.set(id, key);
    return applyRows.call(outbox, changes);
  };
  deepEqual(await ask("chat:*", "chat:1", "user:1"), ["chat:*", "chat:1", "user:1"]);
  deepEqual([...found].sort(), [...owners].sort());
  await server.close();
});

test("a question for a group waits for the rows of all keys, also where many are pending", async () => {
  const { clock, storage, outbox, server, ask } = setUp({ groups });
  await server.updateNode("chat:1", "1");
  const known = { "chat:*": (await storage.getNode("chat:*"))!.version };
  for (let i = 0; i < 2500; i++) outbox.commit(`other:${i}`);
  outbox.commit("chat:2");
  const answer = server.handleSync({ known });
  await clock.advance(100);
  ok("chat:*" in (await answer).changed);
  deepEqual(await ask("chat:2"), ["chat:2"]);
  const closing = server.close();
  await clock.advance(10_000);
  await closing;
});

/** Makes each commit of rows take this many milliseconds, and counts how many run at once. */
function slowDown({ clock, outbox }: ReturnType<typeof setUp>, ms: number): { most: number } {
  const count = { most: 0 };
  let running = 0;
  outbox.applyRows = async (changes) => {
    count.most = Math.max(count.most, ++running);
    await new Promise<void>((resolve) => void clock.after(ms, resolve));
    running--;
    return await MemoryOutbox.prototype.applyRows.call(outbox, changes);
  };
  return count;
}

test("while many rows are pending, each question reads the changes since the one before it, once", async () => {
  const scene = setUp();
  const { clock, storage, outbox, server, ask } = scene;
  await ask("a");
  for (let i = 0; i < 5000; i++) outbox.commit(`key:${i}`);
  slowDown(scene, 100);
  const before = storage.questions.length;
  for (let i = 0; i < 4; i++) {
    const answer = ask("other");
    await clock.advance(250);
    deepEqual(await answer, []);
  }
  const asked = storage.questions.slice(before);
  equal(asked.length, 4);
  ok(asked[1]! < asked[2]! && asked[2]! < asked[3]!, `${asked}`);
  const closing = server.close();
  await clock.advance(10_000);
  await closing;
});

test("a question for a key with too many rows to wait for is told of a change that was written after it", async () => {
  const scene = setUp();
  const { clock, outbox, server } = scene;
  slowDown(scene, 3000);
  for (let i = 0; i < 20_000; i++) outbox.commit(i % 2 === 0 ? "busy" : "busier");
  let known: Record<string, number> = { busy: 0, busier: 0, quiet: 0 };
  for (let asked = 0; asked < 2; asked++) {
    let changed: Record<string, { version: number }> | undefined;
    void server.handleSync({ known }).then((answer) => changed = answer.changed);
    await clock.advance(9999);
    deepEqual(Object.keys(changed ?? {}), ["busy", "busier"], `question ${asked}`);
    known = { busy: changed!.busy!.version, busier: changed!.busier!.version, quiet: 0 };
  }
  ok(outbox.rows.length > 0, "the rest was not waited for");
  await clock.advance(200_000);
  deepEqual(outbox.rows, []);
  await server.close();
});

test("questions for a group behind very many rows fail in time, apply nothing twice, and delay no other question", async () => {
  const scene = setUp({ groups });
  const { clock, outbox, server } = scene;
  await server.updateNode("chat:1", "1");
  for (let i = 0; i < 20_000; i++) outbox.commit(`other:${i}`);
  outbox.commit("chat:2");
  const count = slowDown(scene, 1000);
  const ask = (key: string) => {
    const startedAt = clock.elapsed();
    return server.handleSync({ known: { [key]: 1 } })
      .then(({ changed }) => key in changed ? "told" : "not told", ({ code }) => code as string)
      .then((outcome) => ({ outcome, ms: clock.elapsed() - startedAt }));
  };
  const ofGroup = [];
  const ofKeys = [];
  for (let i = 0; i < 20; i++) {
    ofGroup.push(ask("chat:*"));
    ofKeys.push(ask(`other:${15_000 + i}`));
    await clock.advance(1000);
  }
  await clock.advance(12_000);
  for (const { outcome, ms } of await Promise.all(ofGroup)) {
    equal(outcome, "ERR_REALITY_STORAGE");
    // The time limit of the read, after a tenth of it for the cache.
    ok(ms <= 11_000, `${ms}`);
  }
  for (const { outcome, ms } of await Promise.all(ofKeys)) {
    equal(outcome, "told");
    ok(ms <= 4000, `${ms}`);
  }
  ok(count.most <= 5, `${count.most} commits of rows at once`);
  await clock.advance(100_000);
  deepEqual(outbox.rows, []);
  equal((await ask("chat:*")).outcome, "told");
  await server.close();
});

test("a question for a group is answered once the rows before it are applied, and fails with a drain that fails", async () => {
  const scene = setUp({ groups });
  const { clock, outbox, server } = scene;
  slowDown(scene, 100);
  for (let i = 0; i < 3000; i++) outbox.commit(`other:${i}`);
  outbox.commit("chat:1");
  const outcomes: string[] = [];
  const ask = () =>
    void server.handleSync({ known: { "chat:*": 0 } })
      .then(({ changed }) => outcomes.push(Object.keys(changed).join()), ({ code }) => outcomes.push(code));
  ask();
  await clock.advance(150);
  for (let i = 0; i < 20_000; i++) outbox.commit(`later:${i}`);
  await clock.advance(3000);
  deepEqual(outcomes, ["chat:*"]);
  ok(outbox.rows.length > 10_000);
  ask();
  await clock.advance(150);
  outbox.failure = new Error("no");
  await clock.advance(1000);
  deepEqual(outcomes, ["chat:*", "ERR_REALITY_STORAGE"]);
  outbox.failure = undefined;
  ask();
  await clock.advance(150);
  const closing = server.close();
  await clock.advance(1000);
  await closing;
  equal(clock.timers, 0);
});

/** A storage that announces changes of nodes. */
class AnnouncingStorage extends OutboxStorage {
  listener: ChangeListener | undefined;

  subscribe(listener: ChangeListener): Promise<() => Promise<void>> {
    this.listener = listener;
    return Promise.resolve(() => Promise.resolve());
  }
}

for (const isAnnounced of [false, true]) {
  const when = isAnnounced ? "at once if it is announced" : "within half a second if it is not announced";
  test(`a client that waits at a storage with announcements is told of a row ${when}`, async () => {
    const storage = new AnnouncingStorage();
    const { clock, server } = setUp({ storage });
    let told: string[] | undefined;
    void server.handleSync({ known: { a: 0 }, wait: 25_000 }).then(({ changed }) =>
      told = Object.keys(changed)
    );
    await clock.advance(15_000);
    storage.outbox.commit("a");
    if (isAnnounced) storage.listener!(null);
    await clock.advance(isAnnounced ? 1 : 600);
    deepEqual(told, ["a"]);
    await server.close();
  });
}
