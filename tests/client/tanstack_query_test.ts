import assert from "node:assert/strict";
import { stamped, type StampedData } from "../../client/tanstack_query.ts";
import { test } from "../harness.ts";
import { QueryScene, type Values, versions } from "./query_scene.ts";

/** Returns a promise, and the function that settles it. */
function gate(): { readonly promise: Promise<void>; open(): void } {
  const { promise, resolve } = Promise.withResolvers<void>();
  return { promise, open: resolve };
}

test("the lowest and the newest version 5 of TanStack Query are installed", () => {
  const names = versions.map(({ name }) => name);
  assert.ok(names.length >= 2 && names[0] === "query-core@5.0.0", names.join());
});

test("stamped() reads data and stamp, and refuses other statuses", async () => {
  const headers = { "reality-stamp": 'epoch="e", keys=("a";v="6")' };
  assert.deepEqual(await stamped(Response.json([1], { headers })), {
    data: [1],
    stamp: { epoch: "e", versions: { a: 6 } },
  });
  assert.deepEqual(await stamped(Response.json([1])), { data: [1], stamp: null });
  await assert.rejects(stamped(new Response("no", { status: 404 })), { status: 404 });
});

for (const { name, core } of versions) {
  const testQueries = (title: string, fn: () => Promise<void>) =>
    test(`followQueries, ${name}: ${title}`, fn);

  testQueries("a query with stamped data is fetched once, and once after each change", async () => {
    await using scene = new QueryScene(core);
    await scene.set("a");
    const shown = scene.show(scene.stamped(["a"]));
    await scene.clock.advance(60_000);
    assert.deepEqual(scene.loads, ["a"]);
    for (const value of [2, 3]) {
      await scene.set("a");
      await scene.clock.advance(1_000);
      assert.deepEqual((shown.data as { data: Values }).data, { a: value });
      assert.equal(scene.loads.length, value);
    }
    await scene.set("b");
    await scene.clock.advance(60_000);
    assert.equal(scene.loads.length, 3);
  });

  testQueries("a change is fetched after the delay of refetchJitter", async () => {
    await using scene = new QueryScene(core, {}, { refetchJitter: 10_000 });
    await scene.set("a");
    scene.show(scene.stamped(["a"]));
    await scene.clock.advance(6_000);
    assert.equal(scene.loads.length, 1);
    scene.clock.randomValue = 0.5;
    await scene.set("a");
    await scene.clock.advance(4_999);
    assert.equal(scene.loads.length, 1);
    await scene.clock.advance(10);
    assert.equal(scene.loads.length, 2);
    // Its stamp is that of the newest data: nothing is fetched twice.
    await scene.clock.advance(60_000);
    assert.equal(scene.loads.length, 2);
  });

  testQueries("the keys are those of the newest stamp", async () => {
    await using scene = new QueryScene(core);
    await scene.server.invalidateMany(["a", "b", "c"]);
    let keys = ["a", "b"];
    scene.show(scene.stamped(() => keys, "list"));
    await scene.clock.advance(100);
    assert.deepEqual(scene.asked, ["a", "b"]);
    keys = ["a", "c"];
    await scene.set("a");
    await scene.clock.advance(1_000);
    assert.deepEqual(scene.asked, ["a", "c"]);
    await scene.set("b");
    await scene.clock.advance(1_000);
    assert.equal(scene.loads.length, 2);
    await scene.set("c");
    await scene.clock.advance(1_000);
    assert.equal(scene.loads.length, 3);
  });

  testQueries("meta.reality names keys, or is a function of the query", async () => {
    await using scene = new QueryScene(core);
    const shown = scene.show(scene.named("a"));
    scene.show({
      ...scene.named("b"),
      meta: { reality: ({ queryKey }: { queryKey: unknown[] }) => [`${queryKey[1]}`] },
    });
    await scene.clock.advance(100);
    assert.deepEqual(scene.asked, ["a", "b"]);
    // The first data may be older than what the server told, so it is fetched twice.
    assert.deepEqual(scene.loads, ["a", "b", "a", "b"]);
    await scene.set("a");
    await scene.clock.advance(1_000);
    assert.deepEqual(scene.loads.slice(4), ["a"]);
    assert.deepEqual(shown.data, { a: 1 });
  });

  testQueries("the option keys names the keys of all other queries", async () => {
    await using scene = new QueryScene(core, { keys: ({ queryKey }) => [queryKey.join(":")] });
    await scene.set("x");
    scene.show({ queryKey: ["a", 5], queryFn: () => Promise.resolve(1) });
    scene.show(scene.named("b"));
    scene.show(scene.stamped(["x"]));
    await scene.clock.advance(1_000);
    assert.deepEqual(scene.asked, ["a:5", "b", "x"]);
  });

  testQueries("only queries that are shown and enabled are followed", async () => {
    await using scene = new QueryScene(core);
    await scene.queryClient.prefetchQuery({ ...scene.named("hidden") });
    const disabled = scene.show({ ...scene.named("disabled"), enabled: false });
    const shown = scene.show(scene.named("shown"));
    await scene.clock.advance(1_000);
    assert.deepEqual(scene.asked, ["shown"]);
    disabled.observer.setOptions({ ...scene.named("disabled"), enabled: true } as never);
    await scene.clock.advance(1_000);
    assert.deepEqual(scene.asked, ["disabled", "shown"]);
    shown.hide();
    await scene.clock.advance(1_000);
    assert.deepEqual(scene.asked, ["disabled"]);
    disabled.hide();
    const before = scene.questions.length;
    await scene.clock.advance(60_000);
    assert.equal(scene.questions.length, before);
  });

  testQueries("queries that were in the cache before are followed", async () => {
    await using scene = new QueryScene(core);
    scene.stop();
    await scene.set("a");
    const shown = scene.show(scene.stamped(["a"]));
    await scene.clock.advance(100);
    assert.equal(scene.questions.length, 0);
    const { followQueries } = await import("../../client/tanstack_query.ts");
    const stop = followQueries(scene.queryClient, scene.reality);
    await scene.set("a");
    await scene.clock.advance(100);
    assert.deepEqual((shown.data as { data: Values }).data, { a: 2 });
    stop();
    await scene.set("a");
    await scene.clock.advance(1_000);
    assert.equal(scene.loads.length, 2);
  });

  testQueries("a component that replaces another one changes nothing", async () => {
    await using scene = new QueryScene(core);
    const query = { ...scene.named("a"), staleTime: Infinity };
    const shown = scene.show(query);
    await scene.clock.advance(1_000);
    const [loads, questions] = [scene.loads.length, scene.questions.length];
    shown.hide();
    scene.show(query);
    await scene.clock.advance(1_000);
    assert.deepEqual([scene.loads.length, scene.questions.length], [loads, questions]);
  });

  testQueries(
    "a change during the first fetch is fetched again, and the first data is shown before",
    async () => {
      await using scene = new QueryScene(core);
      await scene.set("a");
      // Without a stamp a change that is told between the two fetches causes a third.
      for (const [query, fetches] of [[scene.stamped(["a"]), 1], [scene.named("a"), 2]] as const) {
        const { promise, open } = gate();
        scene.gate = promise;
        const shown = scene.show(query);
        await scene.clock.advance(1_000);
        const before = scene.loads.length;
        await scene.set("a");
        await scene.clock.advance(1_000);
        assert.equal(scene.loads.length, before);
        scene.gate = undefined;
        open();
        await scene.clock.advance(1_000);
        assert.equal(scene.loads.length, before + fetches);
        assert.match(JSON.stringify(shown.data), new RegExp(`"a":${scene.values["a"]}`));
        shown.hide();
      }
      assert.ok(scene.signals.every(({ aborted }) => !aborted));
    },
  );

  testQueries("a change during a fetch of the application's own is fetched again", async () => {
    await using scene = new QueryScene(core);
    await scene.set("a");
    for (const [query, fetches] of [[scene.stamped(["a"]), 1], [scene.named("a"), 2]] as const) {
      const shown = scene.show(query);
      await scene.clock.advance(1_000);
      const { promise, open } = gate();
      scene.gate = promise;
      void shown.observer.refetch();
      await scene.clock.advance(0);
      const before = scene.loads.length;
      await scene.set("a");
      await scene.set("a");
      await scene.clock.advance(1_000);
      assert.equal(scene.loads.length, before);
      scene.gate = undefined;
      open();
      await scene.clock.advance(1_000);
      assert.equal(scene.loads.length, before + fetches);
      assert.match(JSON.stringify(shown.data), new RegExp(`"a":${scene.values["a"]}`));
      shown.hide();
    }
  });

  testQueries("a change during the fetch that a change caused is fetched again", async () => {
    await using scene = new QueryScene(core);
    for (const query of [scene.stamped(["a"]), scene.named("a")]) {
      await scene.set("a");
      const shown = scene.show(query);
      await scene.clock.advance(1_000);
      const { promise, open } = gate();
      scene.gate = promise;
      await scene.set("a");
      await scene.clock.advance(1_000);
      const before = scene.loads.length;
      await scene.set("a");
      await scene.clock.advance(1_000);
      scene.gate = undefined;
      open();
      await scene.clock.advance(1_000);
      assert.equal(scene.loads.length, before + 1);
      assert.match(JSON.stringify(shown.data), new RegExp(`"a":${scene.values["a"]}`));
      shown.hide();
    }
  });

  testQueries(
    "a query that is shown again is fetched if something changed, although its data never gets stale",
    async () => {
      await using scene = new QueryScene(core);
      await scene.set("a");
      const query = { ...scene.stamped(["a"]), staleTime: Infinity };
      for (const [loads, isChanged] of [[1, false], [1, false], [2, true], [2, false]] as const) {
        if (isChanged) await scene.set("a");
        const shown = scene.show(query);
        await scene.clock.advance(1_000);
        assert.equal(scene.loads.length, loads);
        assert.deepEqual((shown.data as { data: Values }).data, scene.values);
        shown.hide();
      }
      const named = { ...scene.named("a"), staleTime: Infinity };
      scene.show(named).hide();
      await scene.clock.advance(1_000);
      await scene.set("a");
      const shown = scene.show(named);
      await scene.clock.advance(1_000);
      assert.deepEqual(shown.data, scene.values);
    },
  );

  testQueries("a fetch that fails is repeated until it succeeds", async () => {
    await using scene = new QueryScene(core);
    await scene.set("a");
    for (const query of [scene.stamped(["a"]), scene.named("a")]) {
      const shown = scene.show(query);
      await scene.clock.advance(1_000);
      scene.isDown = true;
      const before = scene.loads.length;
      await scene.set("a");
      await scene.clock.advance(20_000);
      const failed = scene.loads.length - before;
      assert.ok(failed >= 4 && failed <= 7, `${failed} fetches in 20 s`);
      scene.isDown = false;
      await scene.clock.advance(30_000);
      assert.equal(scene.loads.length, before + failed + 1);
      assert.match(JSON.stringify(shown.data), new RegExp(`"a":${scene.values["a"]}`));
      shown.hide();
    }
  });

  testQueries("removed queries are not followed, and those that take their place are", async () => {
    await using scene = new QueryScene(core);
    const shown = scene.show(scene.named("a"));
    scene.show(scene.named("b"));
    await scene.clock.advance(1_000);
    scene.queryClient.removeQueries({ queryKey: ["named", "a"] });
    await scene.clock.advance(1_000);
    assert.deepEqual(scene.asked, ["b"]);
    scene.queryClient.clear();
    const before = scene.questions.length;
    await scene.clock.advance(60_000);
    assert.equal(scene.questions.length, before);
    shown.observer.setOptions(scene.named("a") as never);
    await scene.clock.advance(1_000);
    await scene.set("a");
    await scene.clock.advance(1_000);
    assert.deepEqual(shown.data, { a: 1 });
  });

  testQueries("a query that is reset is followed again", async () => {
    await using scene = new QueryScene(core);
    await scene.set("a");
    const shown = scene.show(scene.stamped(["a"]));
    await scene.clock.advance(1_000);
    await scene.queryClient.resetQueries();
    await scene.set("a");
    await scene.clock.advance(1_000);
    assert.deepEqual((shown.data as { data: Values }).data, { a: 2 });
  });

  testQueries(
    "equal data with a newer stamp stays the same object, and its change is fetched once",
    async () => {
      await using scene = new QueryScene(core);
      await scene.set("a");
      const shown = scene.show(scene.stamped(["a"]));
      await scene.clock.advance(1_000);
      const { data } = shown.data as { data: Values };
      await scene.server.invalidate("a");
      await scene.clock.advance(1_000);
      assert.equal((shown.data as { data: Values }).data, data);
      await scene.clock.advance(60_000);
      assert.equal(scene.loads.length, 2);
      await scene.set("a");
      await scene.clock.advance(1_000);
      assert.deepEqual((shown.data as { data: Values }).data, { a: 2 });
      assert.equal(scene.loads.length, 3);
    },
  );

  testQueries("all pages of an infinite query are fetched again when one of them changes", async () => {
    await using scene = new QueryScene(core);
    await scene.server.invalidateMany(["0", "1", "2"]);
    const observer = new core.InfiniteQueryObserver<StampedData<Values>>(scene.queryClient, {
      queryKey: ["pages"],
      queryFn: async ({ pageParam }) => await stamped<Values>(await scene.load([`${pageParam}`])),
      initialPageParam: 0,
      getNextPageParam: (_page: unknown, _pages: unknown, last: unknown) => Number(last) + 1,
    });
    const hide = observer.subscribe(() => {});
    const values = () => observer.getCurrentResult().data!.pages.map(({ data }) => Object.values(data)[0]);
    await scene.clock.advance(1_000);
    await observer.fetchNextPage();
    await scene.clock.advance(1_000);
    assert.deepEqual(scene.asked, ["0", "1"]);
    assert.deepEqual(scene.loads, ["0", "1"]);
    await scene.set("1");
    await scene.clock.advance(1_000);
    assert.deepEqual(values(), [0, 1]);
    assert.deepEqual(scene.loads, ["0", "1", "0", "1"]);

    // A change while a page is added does not cancel that.
    const { promise, open } = gate();
    scene.gate = promise;
    const added = observer.fetchNextPage();
    await scene.clock.advance(0);
    await scene.set("0");
    await scene.clock.advance(1_000);
    scene.gate = undefined;
    open();
    await added;
    await scene.clock.advance(1_000);
    assert.deepEqual(values(), [1, 1, 0]);
    assert.deepEqual(scene.asked, ["0", "1", "2"]);
    assert.deepEqual(scene.loads.slice(4), ["2", "0", "1", "2"]);
    hide();
  });

  testQueries("pages whose stamps contradict each other are fetched again", async () => {
    await using scene = new QueryScene(core);
    await scene.set("a");
    await scene.set("a");
    const { stamp } = await stamped(await scene.answer(["a"]));
    const version = stamp!.versions["a"]!;
    const [older, noNode] = [{ ...stamp!, versions: { a: version - 1 } }, {
      ...stamp!,
      versions: { gone: 0 },
    }];
    const deleted = { ...stamp!, versions: { gone: version } };
    for (
      const stamps of [
        [stamp!, { epoch: "old", versions: { a: version } }],
        [stamp!, { ...stamp!, versions: { a: 0 } }],
        [older, stamp!],
        [noNode, deleted],
      ]
    ) {
      const key = JSON.stringify(stamps);
      const pages = stamps.map((stamp) => ({ data: {}, stamp }));
      const shown = scene.show({
        ...scene.stamped(["a"], key),
        staleTime: Infinity,
        initialData: { pages, pageParams: [0, 1] },
      });
      const before = scene.loads.length;
      await scene.clock.advance(1_000);
      assert.equal(scene.loads.length, before + 1);
      shown.hide();
    }
  });

  testQueries("a fetch that is paused without a network is enough for a change before it", async () => {
    await using scene = new QueryScene(core);
    await scene.set("a");
    const shown = scene.show(scene.stamped(["a"]));
    await scene.clock.advance(1_000);
    core.onlineManager.setOnline(false);
    void shown.observer.refetch();
    await scene.set("a");
    await scene.clock.advance(100);
    assert.equal(shown.observer.getCurrentResult().fetchStatus, "paused");
    await scene.set("a");
    await scene.clock.advance(10_000);
    assert.equal(scene.loads.length, 1);
    core.onlineManager.setOnline(true);
    await scene.clock.advance(60_000);
    assert.deepEqual((shown.data as { data: Values }).data, { a: 3 });
    assert.equal(scene.loads.length, 2);
  });

  testQueries("a fetch that the application cancels for an optimistic update is repeated", async () => {
    await using scene = new QueryScene(core);
    await scene.set("a");
    const queries = [scene.stamped(["a"]), scene.named("a")];
    for (const [query, isAwaited] of queries.flatMap((query) => [[query, true], [query, false]] as const)) {
      const { queryKey } = query;
      const shown = scene.show(query);
      await scene.clock.advance(1_000);
      const { promise, open } = gate();
      scene.gate = promise;
      await scene.set("a");
      await scene.clock.advance(1_000);
      const cancelled = scene.queryClient.cancelQueries({ queryKey });
      if (isAwaited) await cancelled;
      scene.queryClient.setQueryData<unknown>(queryKey, (data: unknown) => ({ ...Object(data), draft: 1 }));
      scene.gate = undefined;
      open();
      await scene.clock.advance(60_000);
      assert.match(JSON.stringify(shown.data), new RegExp(`"a":${scene.values["a"]}`));
      assert.equal(Object(shown.data).draft, undefined);
      shown.hide();
    }
  });

  testQueries("a fetch that never ends is given up after refetchTimeout", async () => {
    await using scene = new QueryScene(core, {}, { refetchTimeout: 5_000 });
    await scene.set("a");
    for (const query of [scene.stamped(["a"]), scene.named("a")]) {
      const shown = scene.show(query);
      await scene.clock.advance(1_000);
      scene.gate = new Promise(() => {});
      void shown.observer.refetch().catch(() => {});
      await scene.clock.advance(0);
      scene.gate = undefined;
      await scene.set("a");
      await scene.clock.advance(7_000);
      assert.match(JSON.stringify(shown.data), new RegExp(`"a":${scene.values["a"]}`));
      shown.hide();
    }
  });

  testQueries("older data of a replica that lags is fetched again after growing pauses", async () => {
    await using scene = new QueryScene(core);
    await scene.set("a");
    const shown = scene.show(scene.stamped(["a"]));
    await scene.clock.advance(1_000);
    const old = await scene.answer(["a"]);
    await scene.set("a");
    await scene.clock.advance(1_000);
    assert.equal(scene.loads.length, 2);
    scene.replica = () => old;
    // The application fetches, for example since the window has the focus again.
    await shown.observer.refetch();
    await scene.clock.advance(20_000);
    const loads = scene.loads.length;
    assert.ok(loads >= 6 && loads <= 12, `${loads} fetches`);
    scene.replica = undefined;
    await scene.clock.advance(30_000);
    assert.deepEqual((shown.data as { data: Values }).data, { a: 2 });
    assert.equal(scene.loads.length, loads + 1);
  });

  testQueries("a replica that catches up step by step is asked after growing pauses", async () => {
    await using scene = new QueryScene(core);
    await scene.set("a");
    scene.show(scene.stamped(["a"]));
    await scene.clock.advance(1_000);
    const answers: Response[] = [];
    for (let i = 0; i < 10; i++) {
      answers.push(await scene.answer(["a"]));
      await scene.set("a");
    }
    scene.replica = () => answers.length > 1 ? answers.shift()! : answers[0]!;
    await scene.clock.advance(5_000);
    assert.ok(scene.loads.length >= 3 && scene.loads.length <= 8, `${scene.loads.length} fetches in 5 s`);
  });

  testQueries("a query whose keys changed counts as invalidated until it was fetched", async () => {
    await using scene = new QueryScene(core);
    await scene.set("a");
    const shown = scene.show({ ...scene.stamped(["a"]), staleTime: Infinity });
    await scene.clock.advance(1_000);
    const isInvalidated = () => shown.observer.getCurrentQuery().state.isInvalidated;
    assert.equal(isInvalidated(), false);
    const [own, next] = [gate(), gate()];
    scene.gate = own.promise;
    void shown.observer.refetch();
    await scene.clock.advance(0);
    await scene.set("a");
    await scene.clock.advance(1_000);
    assert.equal(isInvalidated(), true);
    scene.gate = next.promise;
    own.open();
    await scene.clock.advance(1_000);
    assert.equal(isInvalidated(), true);
    next.open();
    await scene.clock.advance(1_000);
    assert.equal(isInvalidated(), false);
    assert.equal(scene.loads.length, 3);
  });

  testQueries("a query that is hidden during a fetch gets its data", async () => {
    await using scene = new QueryScene(core);
    const shown = scene.show(scene.named("a"));
    await scene.clock.advance(1_000);
    const { promise, open } = gate();
    scene.gate = promise;
    await scene.set("a");
    await scene.clock.advance(1_000);
    shown.hide();
    await scene.clock.advance(1_000);
    open();
    await scene.clock.advance(1_000);
    assert.deepEqual(shown.data, { a: 1 });
  });

  testQueries("data that was restored with its stamp is neither fetched nor missed", async () => {
    await using scene = new QueryScene(core);
    await scene.set("a");
    const query = { ...scene.stamped(["a"]), staleTime: Infinity };
    const restored = JSON.parse(JSON.stringify(await stamped(await scene.answer(["a"]))));
    scene.queryClient.setQueryData(query.queryKey, restored);
    const shown = scene.show(query);
    await scene.clock.advance(60_000);
    assert.deepEqual(scene.loads, []);
    await scene.set("a");
    await scene.clock.advance(1_000);
    assert.deepEqual((shown.data as { data: Values }).data, { a: 2 });
  });

  testQueries("data that the application sets is not fetched again, and is followed", async () => {
    await using scene = new QueryScene(core);
    await scene.set("a");
    const query = scene.stamped(["a"]);
    const shown = scene.show(query);
    await scene.clock.advance(1_000);
    scene.queryClient.setQueryData<unknown>(
      query.queryKey,
      (before: unknown) => ({ ...Object(before), data: {} }),
    );
    await scene.clock.advance(60_000);
    assert.equal(scene.loads.length, 1);
    await scene.set("a");
    await scene.clock.advance(1_000);
    assert.deepEqual((shown.data as { data: Values }).data, { a: 2 });
  });

  testQueries("after the data of the server was erased everything is fetched again", async () => {
    await using scene = new QueryScene(core);
    await scene.set("a");
    scene.show(scene.stamped(["a"]));
    scene.show(scene.named("a"));
    await scene.clock.advance(1_000);
    const before = scene.loads.length;
    await using other = new QueryScene(core);
    await other.set("a");
    scene.intercept = ({ body }) =>
      other.server.handleSync({ ...body, wait: 0 }).then((answer) => Response.json(answer));
    scene.reality.nudge();
    await scene.clock.advance(300);
    assert.ok(scene.loads.length >= before + 2);
  });

  testQueries("queries that cannot be followed are reported, and others go on", async () => {
    await using scene = new QueryScene(core);
    const fetchOne = () => Promise.resolve(1);
    scene.show({ queryKey: [1], queryFn: fetchOne, meta: { reality: "a" } });
    scene.show({
      queryKey: [2],
      queryFn: fetchOne,
      meta: {
        reality: () => {
          throw new Error("In the application");
        },
      },
    });
    scene.show({ queryKey: [3], queryFn: () => stamped(Response.json(1)) });
    scene.show({ queryKey: [4], queryFn: () => Promise.resolve({ stamp: null }) });
    scene.show({ queryKey: [5], queryFn: fetchOne, meta: { reality: ["a\0b"] } });
    scene.show(scene.named("b"));
    await scene.clock.advance(1_000);
    const messages = new Set(scene.problems.map((problem) => (problem as Error).message));
    assert.deepEqual([...messages].sort(), [
      'Cannot follow "a\\u0000b": expected 1 to 512 bytes, no control characters',
      "Cannot follow the query [3]: expected Reality-Stamp in the answer",
      "Cannot use meta.reality of the query [1]: expected an array of keys",
      "In the application",
    ]);
    assert.equal(scene.problems.filter((problem) => `${problem}`.includes("[3]")).length, 1);
    assert.deepEqual(scene.asked, ["b"]);
  });

  testQueries("the keys of earlier data are followed while an answer has no stamp", async () => {
    await using scene = new QueryScene(core);
    await scene.set("a");
    const shown = scene.show(scene.stamped(["a"]));
    await scene.clock.advance(1_000);
    scene.replica = () => Response.json({ a: 2 });
    await scene.set("a");
    await scene.clock.advance(1_000);
    assert.equal((shown.data as StampedData<Values>).stamp, null);
    scene.replica = undefined;
    await scene.set("a");
    await scene.clock.advance(1_000);
    assert.deepEqual((shown.data as StampedData<Values>).data, { a: 3 });
    assert.equal(scene.problems.length, 1);
    shown.hide();
    await scene.clock.advance(1_000);
    assert.equal(scene.reality.state, "idle");
  });

  testQueries("nothing is followed after the client was closed, and no fetch is cancelled", async () => {
    await using scene = new QueryScene(core);
    await scene.set("a");
    scene.show(scene.stamped(["a"]));
    await scene.clock.advance(1_000);
    const { promise, open } = gate();
    scene.gate = promise;
    await scene.set("a");
    await scene.clock.advance(1_000);
    scene.reality.close();
    scene.show(scene.named("b"));
    await scene.clock.advance(1_000);
    assert.ok(scene.signals.every(({ aborted }) => !aborted));
    open();
    await scene.clock.advance(1_000);
    assert.deepEqual(scene.problems, []);
    assert.equal(scene.clock.timers, 0);
  });
}
