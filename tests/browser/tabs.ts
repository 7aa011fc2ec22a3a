/**
 * Tests of several tabs of one browser: they share one waiting request, and lose no change when another tab takes over. Timers
 * of almost a second and longer stand still in the pages, so nothing that is shown depends on them.
 *
 * @module
 */
import assert from "node:assert/strict";
import { test } from "../harness.ts";
import type { Chromium, Tab } from "./chromium.ts";
import { Stage } from "./stage.ts";

/** Registers the tests. */
export function testTabs(chromium: Chromium): void {
  const testStage = (name: string, act: (stage: Stage) => Promise<void>) =>
    test(name, () => Stage.run(chromium, act));

  testStage("seven tabs over HTTP/1.1 share one request, also when its tab goes", async (stage) => {
    const tabs: Tab[] = [];
    for (let i = 0; i < 7; i++) tabs.push(await stage.tab(`${i}`, { key: i < 4 ? "a" : "b" }));
    await stage.settled(...tabs);
    await stage.changeAndSee(...tabs);
    await stage.settled(...tabs);

    const ends: [name: string, end: (tab: Tab) => Promise<void>][] = [
      ["closed", (tab) => tab.close()],
      ["crashed", (tab) => tab.crash()],
      ["frozen", (tab) => tab.freeze()],
      ["hidden", (tab) => tab.hide()],
      ["left", (tab) => tab.goto(stage.emptyPage)],
    ];
    for (const [name, end] of ends) {
      const leader = stage.waiting[0]!;
      const others = [...stage.tabs].filter(([other]) => other !== leader).map(([, tab]) => tab);
      const ended = end(stage.tabs.get(leader)!);
      await stage.changeAndSee(...others);
      await ended;
      stage.tabs.delete(leader);
      await stage.settled(...others);
      assert.notEqual(stage.waiting[0], leader, name);
      await stage.changeAndSee(...others);
      await stage.settled(...others);
    }
  });

  testStage(
    "a leader that returns from the back/forward cache or hangs does not stop the others",
    async (stage) => {
      const tabs = [await stage.tab("a"), await stage.tab("b"), await stage.tab("c")];
      const split = () => {
        const leader = stage.tabs.get(stage.waiting[0]!)!;
        return [leader, tabs.filter((tab) => tab !== leader)] as const;
      };
      await stage.settled(...tabs);
      const [left, others] = split();
      await left.goto(stage.emptyPage);
      // A channel that is open would receive messages of the other tabs, which removes a page from the cache.
      await stage.changeAndSee(...others);
      await stage.changeAndSee(...others);
      assert.equal(await left.back(), true);
      await stage.settled(...tabs);
      await stage.changeAndSee(...tabs);
      await stage.settled(...tabs);

      const [hanging, awake] = split();
      const resume = await hanging.hang();
      await stage.change();
      await Promise.all(awake.map((tab) => tab.run("hurry(true)")));
      await stage.shown(...awake);
      await Promise.all(awake.map((tab) => tab.run("hurry(false)")));
      await resume();
      await stage.shown(...tabs);
      await stage.changeAndSee(...tabs);
    },
  );

  testStage("only clients of the same address and the same user share", async (stage) => {
    const tabs = [
      await stage.tab("page"),
      await stage.tab("relative", { client: { url: "reality" }, path: "" }),
      await stage.tab("other", { client: { url: "reality" }, path: "/other", key: "other" }),
      await stage.tab("user 1", { client: { headers: { "x-user": "1" }, tabs: "1" } }),
      await stage.tab("user 2", { client: { headers: { "x-user": "2" }, tabs: "2" } }),
    ];
    await stage.settledWith(4, ...tabs);
    await stage.changeAndSee(...tabs);
    await stage.settledWith(4, ...tabs);
    const groups = stage.waiting.map((name) => name.replace("relative", "page"));
    assert.deepEqual(groups.sort(), ["other", "page", "user%201", "user%202"]);
  });

  testStage("without Web Locks or BroadcastChannel each tab asks by itself", async (stage) => {
    const deny = `throw new DOMException("Not allowed", "SecurityError")`;
    const tabs = [
      await stage.tab("no locks", { script: "delete Navigator.prototype.locks" }),
      // In sandboxed frames, and where a person forbids a site to store anything.
      await stage.tab("locks denied", { script: `LockManager.prototype.request = async () => { ${deny} }` }),
      await stage.tab("channel denied", { script: `BroadcastChannel = class { constructor() { ${deny} } }` }),
    ];
    await stage.settledWith(3, ...tabs);
    await stage.changeAndSee(...tabs);
    await stage.settledWith(3, ...tabs);
  });
}
