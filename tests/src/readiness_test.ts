import "../loaded_mesh.ts";
import { deepEqual, equal, ok } from "node:assert/strict";
import type { RealityServerOptions } from "../../mod.ts";
import { RealityServer } from "../../src/server.ts";
import type { ReplicaState } from "../../src/store/contract.ts";
import { FakeClock, settle } from "../clock.ts";
import { test } from "../harness.ts";
import { HeldStorage } from "../storages.ts";
import { Servers } from "./mesh/servers.ts";

/** A storage whose health a test decides. It counts the health checks. */
class PatientStorage extends HeldStorage {
  asked = 0;
  health: () => Promise<boolean> = () => Promise.resolve(true);
  /** What servers with peers wait for when they read how much the storage has, if anything. */
  reading: Promise<void> | undefined;

  override async readReplicaState(): Promise<ReplicaState> {
    await this.reading;
    return super.readReplicaState();
  }

  override isHealthy(): Promise<boolean> {
    this.asked++;
    return this.health();
  }
}

function setUp(options: Partial<RealityServerOptions> = {}) {
  const clock = new FakeClock();
  const storage = new PatientStorage();
  const reports: string[] = [];
  const server = new RealityServer({
    storage,
    clock,
    onError: (error) => reports.push(error.code),
    ...options,
  });
  return { clock, storage, reports, server, ready: (method?: string) => askReady(server, method) };
}

/** Status and word of an answer. */
async function askReady(server: RealityServer, method = "GET"): Promise<[status: number, word: string]> {
  const request = new Request("http://localhost/reality/ready", { method });
  const response = await server.getFetchHandler()(request);
  equal(response.headers.get("cache-control"), "no-store");
  const text = await response.text();
  if (text === "") return [response.status, ""];
  const { status, ...rest } = JSON.parse(text);
  deepEqual(rest, {});
  return [response.status, status];
}

test("a server on a healthy storage is ready at once", async () => {
  const { server, ready } = setUp();
  deepEqual(await ready(), [200, "ready"]);
  deepEqual(await ready("HEAD"), [200, ""]);
  await server.close();
});

test("a server is not ready while its storage is unhealthy, rejects or throws", async () => {
  const { server, storage, ready } = setUp();
  const moods = [
    () => Promise.resolve(false),
    () => Promise.reject(new Error("password=secret")),
    () => {
      throw new Error("password=secret");
    },
    () => Promise.resolve("yes" as unknown as boolean),
  ];
  for (const health of moods) {
    storage.health = health;
    deepEqual(await ready(), [503, "storage"]);
    deepEqual(await ready("HEAD"), [503, ""]);
  }
  storage.health = () => Promise.resolve(true);
  deepEqual(await ready(), [200, "ready"]);
  await server.close();
});

test("a server is not ready if the health check of its storage takes longer than storageTimeout", async () => {
  const { clock, server, storage, ready } = setUp({ storageTimeout: 700 });
  storage.health = () => new Promise(() => {});
  const answer = ready();
  await settle();
  await clock.advance(699);
  let isAnswered = false;
  void answer.then(() => isAnswered = true);
  await settle();
  equal(isAnswered, false);
  await clock.advance(1);
  deepEqual(await answer, [503, "storage"]);
  await server.close();
});

test("concurrent readiness checks share one health check of the storage", async () => {
  const { server, storage, ready } = setUp();
  let release = (_: boolean) => {};
  storage.health = () => new Promise((resolve) => release = resolve);
  const answers = Array.from({ length: 50 }, () => ready());
  await settle();
  equal(storage.asked, 1);
  release(true);
  for (const answer of await Promise.all(answers)) deepEqual(answer, [200, "ready"]);
  storage.health = () => Promise.resolve(true);
  await ready();
  equal(storage.asked, 2);
  await server.close();
});

test("a storage whose health check passes and whose calls fail is not reported as recovered", async () => {
  const { server, storage, reports, ready } = setUp();
  storage.failure = new Error("away");
  for (let i = 0; i < 3; i++) {
    await server.getNode("a").catch(() => {});
    await ready();
  }
  deepEqual(reports, ["ERR_REALITY_STORAGE"]);
  await server.close();
});

test("a server with an empty storage is ready after the catch-up round with its peers", async () => {
  const servers = new Servers(["a", "b"], { meshSecret: "a secret of the mesh" });
  await servers.get("b").updateNode("key", "1");
  await servers.rest();
  // It starts with an empty storage, and no peer contacts it before its first request.
  const newcomer = servers.start("a");
  let [status, word] = await askReady(newcomer);
  for (let i = 0; status !== 200; i++) {
    deepEqual([status, word], [503, "starting"]);
    ok(i < 1_000);
    await settle();
    [status, word] = await askReady(newcomer);
  }
  equal(word, "ready");
  equal((await newcomer.getNode("key"))?.hash, "1");
  await servers.close();
});

test("a server whose peers do not answer is ready after the timeout", async () => {
  const { clock, server, ready } = setUp({
    meshPeers: ["http://peer-1:3000"],
    mesh: { timeout: 2_000, fetch: () => new Promise(() => {}) },
  });
  deepEqual(await ready(), [503, "starting"]);
  for (let i = 0; (await ready())[0] !== 200; i++) {
    ok(i < 100);
    await clock.advance(100);
  }
  await server.close();
});

test("a server with peers on a storage that is not empty is ready at its first request, which waits for the storage", async () => {
  const { clock, server, storage, ready } = setUp({
    meshPeers: ["http://peer-1:3000"],
    mesh: { fetch: () => Promise.reject(new TypeError("connection refused")) },
  });
  await storage.applyChanges([{ key: "key", hash: "1", updatedAt: clock.now() }]);
  let release = () => {};
  storage.reading = new Promise((resolve) => release = resolve);
  const answers = [ready(), ready("HEAD")];
  await settle();
  release();
  deepEqual(await Promise.all(answers), [[200, "ready"], [200, ""]]);
  await server.close();
});

test("a server with peers whose storage cannot tell what it has is ready if its health check passes", async () => {
  const { server, storage, ready } = setUp({ meshPeers: ["http://peer-1:3000"] });
  storage.reading = Promise.reject(new Error("away"));
  deepEqual(await ready(), [200, "ready"]);
  storage.health = () => Promise.resolve(false);
  deepEqual(await ready(), [503, "storage"]);
  await server.close();
});

test("a server that closes while it reads what its storage has is not ready", async () => {
  const { server, storage, ready } = setUp({ meshPeers: ["http://peer-1:3000"] });
  let release = () => {};
  storage.reading = new Promise((resolve) => release = resolve);
  const answer = ready();
  await settle();
  const closing = server.close();
  release();
  deepEqual(await answer, [503, "closing"]);
  await closing;
});

test("a closing or closed server is not ready, makes no storage call, and is still healthy", async () => {
  const { server, storage, ready } = setUp();
  const release = storage.hold();
  const change = server.updateNode("a", "1");
  await settle();
  const closing = server.close();
  deepEqual(await ready(), [503, "closing"]);
  release();
  await Promise.all([change, closing]);
  deepEqual(await ready(), [503, "closing"]);
  equal(storage.asked, 0);
  const health = await server.getFetchHandler()(new Request("http://localhost/reality/health"));
  deepEqual([health.status, await health.json()], [200, { status: "ok" }]);
});

test("a server that closes during a health check is not ready", async () => {
  const { server, storage, ready } = setUp();
  let release = (_: boolean) => {};
  storage.health = () => new Promise((resolve) => release = resolve);
  const answer = ready();
  await settle();
  const closing = server.close();
  release(true);
  deepEqual(await answer, [503, "closing"]);
  await closing;
});
