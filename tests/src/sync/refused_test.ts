import { deepEqual, equal, match } from "node:assert/strict";
import { type GroupsOptions, MemoryStorage, RealityServer, type RealityServerOptions } from "../../../mod.ts";
import { test } from "../../harness.ts";
import { SeededRandom } from "../../random.ts";

const SEED = Math.floor(Math.random() * 2 ** 32);

/** "chat:1" is in "chat:*", which is the only group. */
const GROUPS: GroupsOptions = {
  of: (key) => key.startsWith("chat:") ? ["chat:*"] : [],
  isGroup: (key) => key === "chat:*",
};

function serve(groups: RealityServerOptions["groups"] = GROUPS, more: Partial<RealityServerOptions> = {}) {
  const errors: string[] = [];
  const onError = (error: Error) => errors.push(error.message);
  return { errors, server: new RealityServer({ storage: new MemoryStorage(), groups, onError, ...more }) };
}

/** Sends a request to the handler of a server. */
async function send(server: RealityServer, path: string, body?: unknown): Promise<Response> {
  const headers = { "content-type": "application/json" };
  const init = body === undefined ? {} : { method: "POST", headers, body: JSON.stringify(body) };
  return await server.getFetchHandler()(new Request(`http://localhost/reality${path}`, init));
}

test("a key that no group has is refused with words, and the other keys are answered", async () => {
  const { server } = serve();
  await server.updateNode("chat:1", "1");
  const response = await send(server, "/sync", { known: { "chat:*": 0, "chats:*": 0, "other": 0 } });
  equal(response.status, 200);
  const { changed, refused } = await response.json();
  deepEqual(Object.keys(changed), ["chat:*"]);
  deepEqual(refused, {
    "chats:*": { code: "ERR_REALITY_NO_GROUP", message: 'Cannot follow "chats:*": no group has this key' },
  });
  await server.close();
});

test("an answer that is empty otherwise has the refusals too, and one without a refusal has no field for them", async () => {
  const { server } = serve();
  const { refused, changed } = await (await send(server, "/sync", { known: { "a*b": 0 } })).json();
  deepEqual([Object.keys(refused), changed], [["a*b"], {}]);
  equal("refused" in await (await send(server, "/sync", { known: { "chat:*": 0 } })).json(), false);
  await server.close();
});

test("a function as groups, and an object without isGroup, refuse nothing", async () => {
  for (const groups of [GROUPS.of, { of: GROUPS.of }]) {
    const { server } = serve(groups);
    equal("refused" in await server.handleSync({ known: { "chats:*": 0 } }), false);
    await server.close();
  }
});

test("a group without members is not refused, and its first change is told", async () => {
  const { server } = serve();
  const waiting = server.handleSync({ known: { "chat:*": 0 }, wait: 20_000 });
  await server.updateNode("chat:1", "1");
  const { changed, refused } = await waiting;
  deepEqual([Object.keys(changed), refused], [["chat:*"], undefined]);
  await server.close();
});

test("a refused key is still followed: a request that waits is told when it gets a node, and it is not refused then", async () => {
  const { server } = serve();
  const waiting = server.handleSync({ known: { "own*": 0 }, wait: 20_000 });
  await server.updateNode("own*", "1");
  const { changed, refused } = await waiting;
  deepEqual([Object.keys(changed), refused], [["own*"], undefined]);
  await server.deleteNode("own*");
  const gone = await server.handleSync({ known: { "own*": changed["own*"]!.version } });
  deepEqual([gone.changed["own*"]?.deleted, Object.keys(gone.refused ?? {})], [true, ["own*"]]);
  await server.close();
});

test("an answer does not tell a client whether a group exists that it may not read", async () => {
  const groups = { of: () => [], isGroup: (key: string) => key === "secret:*" };
  const { server } = serve(groups, { authorize: (_request, keys) => keys.filter((key) => key === "mine:*") });
  const known = { "secret:*": 0, "secrets:*": 0, "mine:*": 0 };
  const { refused } = await (await send(server, "/sync", { known })).json();
  deepEqual(Object.keys(refused), ["mine:*"]);
  await server.close();
});

test("a stream begins with an event for each refused key", async () => {
  const { server } = serve();
  await server.updateNode("chat:1", "1");
  const response = await send(server, "/events?keys=chat:*&keys=chats:*&keys=other");
  const reader = response.body!.pipeThrough(new TextDecoderStream()).getReader();
  const { value } = await reader.read();
  const events = [...value!.matchAll(/event: (.*)\ndata: (.*)\n/g)].map(([, event, data]) => [event, data]);
  deepEqual(events.map(([event]) => event), ["refused", "update"]);
  deepEqual(JSON.parse(events[0]![1]!), {
    key: "chats:*",
    code: "ERR_REALITY_NO_GROUP",
    message: 'Cannot follow "chats:*": no group has this key',
  });
  await reader.cancel();
  await server.close();
});

test("a cached sync has the refusals, and another tag once a key is no longer refused", async () => {
  let isGroup = false;
  const { server } = serve({ of: () => [], isGroup: () => isGroup }, { public: () => true });
  const first = await send(server, "/sync?k=new:%2A:0");
  deepEqual(Object.keys((await first.json()).refused), ["new:*"]);
  isGroup = true;
  const second = await send(server, "/sync?k=new:%2A:0");
  equal("refused" in await second.json(), false);
  equal(first.headers.get("etag") === second.headers.get("etag"), false);
  await server.close();
});

const WRONG: [string, () => unknown, RegExp][] = [
  ["throws", () => {
    throw new Error("no list");
  }, /^Option "groups.isGroup" is wrong for the key "chat:\*": it threw "no list"$/],
  [
    "returns nothing",
    () => undefined,
    /^Option "groups.isGroup" is wrong for the key "chat:\*": expected true or false, got nothing$/,
  ],
];

for (const [title, isGroup, message] of WRONG) {
  test(`an isGroup that ${title} refuses nothing and holds up no change, and is reported once for a key`, async () => {
    const { server, errors } = serve({ of: GROUPS.of, isGroup: isGroup as () => boolean });
    for (let i = 0; i < 3; i++) {
      equal("refused" in await server.handleSync({ known: { "chat:*": 0 } }), false);
      await server.updateNode("chat:1", `${i}`);
    }
    equal(errors.length, 1);
    match(errors[0]!, message);
    equal((await server.getNode("chat:*")) !== null, true);
    await server.close();
  });
}

test("a group that isGroup denies changes with its members and is told, and the fault is reported once", async () => {
  const { server, errors } = serve({ of: GROUPS.of, isGroup: () => false });
  await server.updateNode("chat:1", "1");
  const { changed } = await server.handleSync({ known: { "chat:*": 0 } });
  const known = { "chat:*": changed["chat:*"]!.version };
  await server.updateNode("chat:1", "2");
  const answer = await server.handleSync({ known });
  deepEqual([Object.keys(answer.changed), answer.refused], [["chat:*"], undefined]);
  deepEqual(errors, ['Option "groups" is wrong: it makes the group "chat:*", and isGroup denies it']);
  await server.close();
});

test("an option groups of a wrong form is refused", () => {
  const wrong: [unknown, RegExp][] = [
    [["a:*"], /Option "groups" is wrong: expected a function or an object, got an array/],
    ["a:*", /Option "groups" is wrong: expected a function or an object, got a string/],
    [{}, /Option "groups.of" is wrong: expected a function, got nothing/],
    [{ of: () => [], isGroup: true }, /Option "groups.isGroup" is wrong: expected a function/],
    [{ of: () => [], has: () => true }, /Unknown option "has" of groups: known are of, isGroup/],
  ];
  for (const [groups, message] of wrong) {
    let error: unknown;
    try {
      serve(groups as GroupsOptions);
    } catch (thrown) {
      error = thrown;
    }
    match(String(error), message);
  }
});

test(`whatever is refused, each change is told as by a server that refuses nothing (seed ${SEED})`, async () => {
  const random = new SeededRandom(SEED);
  const keys = ["a", "a*b", "x:*", "y:*", "*", "x:1", "y:1"];
  for (let history = 0; history < 200; history++) {
    const groups = new Set(keys.filter(() => random.happens(0.4)));
    const members = new Map(
      keys.map((key) => [key, keys.filter((group) => group.endsWith("*") && random.happens(0.3))]),
    );
    const of = (key: string) => members.get(key) ?? [];
    const isGroup = (key: string) => groups.has(key);
    const storage = new MemoryStorage({ counter: "sequential" });
    const servers = [{ of, isGroup }, of].map((option) => new RealityServer({ storage, groups: option }));
    const [strict, plain] = servers as [RealityServer, RealityServer];
    for (let i = 0; i < 20; i++) {
      const server = random.pick(servers);
      const key = random.pick(keys);
      if (random.happens(0.7)) await server.updateNode(key, `${i}`);
      else await server.deleteNode(key);
      const asked = keys.filter(() => random.happens(0.6));
      const known = Object.fromEntries(
        asked.map((one) => [one, random.happens(0.5) ? 0 : random.between(1, 20)]),
      );
      const [answer, expected] = await Promise.all([
        strict.handleSync({ known }),
        plain.handleSync({ known }),
      ]);
      deepEqual(answer.changed, expected.changed);
      const absent = new Set<string>();
      for (const one of asked) if (await plain.getNode(one) === null) absent.add(one);
      deepEqual(
        Object.keys(answer.refused ?? {}),
        asked.filter((one) => one.includes("*") && !groups.has(one) && absent.has(one)),
      );
    }
    await Promise.all(servers.map((server) => server.close()));
  }
});
