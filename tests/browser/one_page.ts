/**
 * Tests of a client in one page: hidden, frozen, offline, and restored from the back/forward cache.
 *
 * @module
 */
import assert from "node:assert/strict";
import { test } from "../harness.ts";
import type { Chromium } from "./chromium.ts";
import { Stage } from "./stage.ts";

const MINUTE = 60_000;

/** Registers the tests. */
export function testPage(chromium: Chromium): void {
  const testStage = (name: string, act: (stage: Stage) => Promise<void>) =>
    test(name, () => Stage.run(chromium, act));

  for (const transport of ["wait", "events"] as const) {
    testStage(
      `transport "${transport}": a page shows changes, also when it is restored from the back/forward cache`,
      async (stage) => {
        const tab = await stage.tab("a", { client: { transport } });
        await stage.settled(tab);
        await stage.changeAndSee(tab);

        await tab.goto(stage.emptyPage);
        await stage.until(() => stage.open.size === 0);
        await stage.change();
        assert.equal(await tab.back(), true);
        await stage.shown(tab);
        assert.ok((await tab.run<string[]>("log.events")).includes("pageshow from the cache"));
        await stage.changeAndSee(tab);
      },
    );
  }

  testStage(
    "a hidden page sends nothing, and shows a change made meanwhile when it is shown",
    async (stage) => {
      const tab = await stage.tab("a");
      await stage.settled(tab);
      await tab.hide();
      await stage.until(() => stage.open.size === 0);
      const { length } = stage.asked;
      await stage.change();
      await tab.run(`advance(${MINUTE})`);
      assert.deepEqual([stage.asked.length, await tab.run("log.states.at(-1)")], [length, "hidden"]);
      await tab.show();
      await stage.shown(tab);
      await stage.changeAndSee(tab);
    },
  );

  testStage("a page that was frozen shows a change made meanwhile when it is shown", async (stage) => {
    const tab = await stage.tab("a");
    await stage.settled(tab);
    await tab.freeze();
    await stage.until(() => stage.open.size === 0);
    await stage.change();
    await tab.thaw();
    await stage.shown(tab);
    await stage.changeAndSee(tab);
  });

  testStage("a page that was offline for a minute shows a change made meanwhile", async (stage) => {
    const tab = await stage.tab("a", { host: "app.test" });
    await stage.settled(tab);
    await tab.setOffline(true);
    await tab.run(`state("offline")`);
    await stage.until(() => stage.open.size === 0);
    await stage.change();
    await tab.run(`advance(${MINUTE})`);
    await tab.setOffline(false);
    await stage.shown(tab);
    await stage.changeAndSee(tab);
  });

  testStage("a page of the loopback interface needs no network", async (stage) => {
    const script = `Object.defineProperty(Navigator.prototype, "onLine", { get: () => false })`;
    const tab = await stage.tab("a", { script });
    await stage.settled(tab);
    await stage.changeAndSee(tab);
  });

  testStage("pagehide alone hides a page, until pageshow", async (stage) => {
    const tab = await stage.tab("a");
    await stage.settled(tab);
    await tab.run(`void dispatchEvent(new Event("pagehide"))`);
    await tab.run(`state("hidden")`);
    await stage.until(() => stage.open.size === 0);
    await stage.change();
    await tab.run(`void dispatchEvent(new Event("pageshow"))`);
    await stage.shown(tab);
  });

  testStage("events of the application do not change the state of the page", async (stage) => {
    const tab = await stage.tab("a");
    await stage.settled(tab);
    for (const name of ["freeze", "pagehide", "offline"]) {
      await tab.run(`void document.body.dispatchEvent(new Event("${name}", { bubbles: true }))`);
    }
    assert.equal(await tab.run("log.states.at(-1)"), "live");
    await stage.changeAndSee(tab);
  });
}
