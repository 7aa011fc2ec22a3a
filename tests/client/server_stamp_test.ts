/*
 * The client with answers that `server.stamp` has stamped.
 */
import assert from "node:assert/strict";
import { joinStamps } from "../../mod.ts";
import { test } from "../harness.ts";
import { Scene } from "./scene.ts";

const URL_OF_DATA = "http://localhost/data";

/** An application with one value. `read` runs after the stamp was made. */
class Application {
  readonly #scene: Scene;
  value = 0;
  loads = 0;
  read = (): Promise<number> => Promise.resolve(this.value);

  constructor(scene: Scene) {
    this.#scene = scene;
  }

  async set(): Promise<void> {
    this.value++;
    await this.#scene.server.invalidate("büro");
  }

  readonly fetch = async (): Promise<Response> => {
    const { server } = this.#scene;
    const stamp = joinStamps(await server.stamp(["other"]), await server.stamp(["büro", "other"]));
    this.loads++;
    return stamp.json(await this.read());
  };
}

test("live() follows the keys that server.stamp() names, and fetches once for each change", async () => {
  await using scene = new Scene();
  const application = new Application(scene);
  const store = scene.client().live<number>(URL_OF_DATA, { fetch: application.fetch });
  const stop = store.subscribe(() => {});
  await scene.clock.advance(30_000);
  assert.equal(application.loads, 1);
  for (const count of [1, 2, 3]) {
    await application.set();
    await scene.clock.advance(1_000);
    assert.deepEqual([store.getSnapshot().data, application.loads], [count, count + 1]);
  }
  stop();
});

test("live() misses no change that comes between the stamp and the data, or before the first sync", async () => {
  for (const isInData of [true, false]) {
    await using scene = new Scene();
    const application = new Application(scene);
    await application.set();
    application.read = async () => {
      const before = application.value;
      if (application.loads === 1) await application.set();
      return application.loads === 1 && !isInData ? before : application.value;
    };
    const store = scene.client().live<number>(URL_OF_DATA, { fetch: application.fetch });
    const stop = store.subscribe(() => {});
    await scene.clock.advance(10_000);
    assert.deepEqual(store.getSnapshot(), { data: 2, error: undefined, state: "live" });
    assert.equal(application.loads, 2);
    stop();
  }
});

test("live() takes over a stamp that travelled inside of a page", async () => {
  await using scene = new Scene();
  const application = new Application(scene);
  await application.set();
  const stamp = await scene.server.stamp(["büro"]);
  const initial = JSON.parse(JSON.stringify({ data: application.value, stamp }));
  const store = scene.client().live<number>(URL_OF_DATA, { fetch: application.fetch, initial });
  const stop = store.subscribe(() => {});
  await scene.clock.advance(30_000);
  assert.deepEqual([store.getSnapshot().data, application.loads], [1, 0]);
  await application.set();
  await scene.clock.advance(1_000);
  assert.deepEqual([store.getSnapshot().data, application.loads], [2, 1]);
  stop();
});
