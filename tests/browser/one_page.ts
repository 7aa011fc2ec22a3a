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
      `transport "${transport}": a page shows changes, also those made while it rested`,
      async (stage) => {
        const tab = await stage.tab("a", { client: { transport } });
        await stage.settled(tab);
        await stage.changeAndSee(tab);
        const rest = async (begin: () => Promise<unknown>, end: () => Promise<unknown>) => {
          await stage.settled(tab);
          await begin();
          await stage.until(() => stage.open.size === 0);
          const { length } = stage.asked;
          await stage.change();
          if (begin === hide) {
            await tab.run(`advance(${MINUTE})`);
            assert.equal(await tab.run("log.states.at(-1)"), "hidden");
          }
          assert.equal(stage.asked.length, length);
          await end();
          await stage.shown(tab);
          await stage.changeAndSee(tab);
        };
        const hide = () => tab.hide();
        await rest(hide, () => tab.show());
        await rest(() => tab.freeze(), () => tab.thaw());
        await rest(() => tab.goto(stage.emptyPage), async () => assert.equal(await tab.back(), true));
        assert.ok((await tab.run<string[]>("log.events")).includes("pageshow from the cache"));
        // Some browsers hide a page that is left without visibilitychange.
        await rest(() => tab.run(dispatch("pagehide")), () => tab.run(dispatch("pageshow")));
      },
    );
  }

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

  testStage(
    "a loopback page needs no network, and elements may have events named as those of pages",
    async (stage) => {
      const script = `Object.defineProperty(Navigator.prototype, "onLine", { get: () => false })`;
      const tab = await stage.tab("a", { script });
      await stage.settled(tab);
      for (const name of ["freeze", "pagehide", "offline"]) await tab.run(dispatch(name, "document.body."));
      assert.equal(await tab.run("log.states.at(-1)"), "live");
      await stage.changeAndSee(tab);
    },
  );
}

function dispatch(name: string, target = ""): string {
  return `void ${target}dispatchEvent(new Event("${name}", { bubbles: true }))`;
}
