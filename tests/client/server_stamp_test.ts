/*
 * The client with answers that `server.stamp` has stamped.
 */
import assert from "node:assert/strict";
import type { DataStamp } from "../../client/mod.ts";
import { joinStamps } from "../../mod.ts";
import { streamsModule } from "../../src/optional_modules.ts";
import { test } from "../harness.ts";
import { Scene } from "./scene.ts";

const URL_OF_DATA = "http://localhost/data";

/** What an application answers. */
interface Loaded {
  readonly data: number;
  readonly stamp: DataStamp;
}

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

for (const transport of ["wait", "poll", "events"] as const) {
  test(`transport: "${transport}" gets on after a server has lost a change that a stamp names`, async () => {
    await import("../../client/transport_events.ts");
    await streamsModule.load();
    await using scene = new Scene();
    const { server } = scene;
    await server.invalidateMany(["a", "b"]);
    const client = scene.client({ transport });
    let isAhead = false;
    let written = 0;
    let loads = 0;
    const load = async () => {
      loads++;
      const { epoch, versions } = (await server.stamp(["a", "b"])).toJSON();
      return { data: written, stamp: { epoch, versions: isAhead ? { ...versions, a: 1_000 } : versions } };
    };
    const store = client.live<number>(load, {
      select: ({ data }: Loaded) => data,
      stamp: ({ stamp }: Loaded) => stamp,
    });
    const stop = store.subscribe(() => {});
    let shown = 0;
    client.follow(["a", "b"], async () => {
      const { data, stamp } = await load();
      shown = data;
      return stamp;
    });
    await scene.clock.advance(10_000);
    // Another server has a change of "a" that no third one gets.
    for (isAhead of [true, false]) {
      written++;
      await server.invalidate("b");
      await scene.clock.advance(30_000);
    }
    assert.deepEqual([store.getSnapshot().data, store.getSnapshot().state, shown], [2, "live", 2]);
    const before = loads;
    await scene.clock.advance(60_000);
    assert.equal(loads, before);
    stop();
  });
}
