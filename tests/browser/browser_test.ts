/**
 * The client in a real Chromium.
 *
 * @module
 */
import { Chromium } from "./chromium.ts";
import { testPage } from "./one_page.ts";
import { testTabs } from "./tabs.ts";

const chromium = await Chromium.start();
Deno.test.afterAll(() => chromium.close());
testPage(chromium);
testTabs(chromium);
