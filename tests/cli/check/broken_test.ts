import assert from "node:assert/strict";
import { checkRule, type Rule } from "../../../cli/check/rule.ts";
import { RULES } from "../../../cli/check/rules.ts";
import { CheckedServer } from "../../../cli/check/server.ts";
import { createFetchHandler, MemoryStorage, RealityServer } from "../../../mod.ts";
import { test } from "../../harness.ts";
import { listenFetch } from "../../runtimes/fetch.ts";
import { type BrokenServer, TOKEN } from "./broken/broken_server.ts";
import { CACHED_SYNCS } from "./broken/cached_syncs.ts";
import { OPERATION } from "./broken/operation.ts";
import { REQUESTS } from "./broken/requests.ts";
import { SYNCS } from "./broken/syncs.ts";
import { WAITS_AND_STREAMS } from "./broken/waits_and_streams.ts";
import { WRITES } from "./broken/writes.ts";

/** A rule that a server breaks, and what shows it. */
interface Finding {
  readonly number: string;
  readonly sentence: string;
  readonly found: string | undefined;
}

const broken: readonly BrokenServer[] = [
  ...REQUESTS,
  ...SYNCS,
  ...WAITS_AND_STREAMS,
  ...WRITES,
  ...OPERATION,
  ...CACHED_SYNCS,
];

/**
 * How many servers are checked at the same time. More would save little, and hold up each other's requests on a busy
 * machine: some rules have a time limit of a second.
 */
const GROUP_SIZE = 5;

/** The check waits for its time limits at servers that break rules of waiting and streaming: these come together. */
const makesWait = ({ breaks }: BrokenServer) => breaks.some((rule) => /^[56]\./.test(rule));
const ordered = [...broken.filter(makesWait), ...broken.filter((server) => !makesWait(server))];

for (let i = 0; i < ordered.length; i += GROUP_SIZE) {
  const group = ordered.slice(i, i + GROUP_SIZE);
  const found = new Map<BrokenServer, Finding[]>();
  test(`servers ${i + 1} to ${i + group.length} are checked at the same time, each in full`, async () => {
    await Promise.all(group.map(async (server) => found.set(server, await findBroken(server))));
  });
  for (const server of group) {
    test(`the check finds a server that ${server.does}, by rule ${server.breaks.join(", ")}`, async () => {
      // A filter can choose this test without the one before it.
      const findings = found.get(server) ?? await findBroken(server);
      const numbers = [...new Set(findings.map(({ number }) => number))];
      assert.deepEqual(numbers, server.breaks, JSON.stringify(findings, null, 2));
    });
  }
}

/**
 * Checks the rules at a server and returns the broken ones. Two rules take a second each at a good server: they are
 * checked only if the server breaks a rule with the same number.
 */
async function findBroken({ answer, breaks, options, handler }: BrokenServer): Promise<Finding[]> {
  const server = new RealityServer({ storage: new MemoryStorage(), writeTokens: [TOKEN], ...options });
  const ask = createFetchHandler(server, handler);
  const { origin, close } = await listenFetch((request) => answer(request, ask));
  const isSlow = ({ number, sentence }: Rule) => number === "5.3" || sentence.startsWith("Heartbeats");
  const rules = RULES.filter((rule) => !isSlow(rule) || breaks.includes(rule.number));
  try {
    const checked = new CheckedServer(`${origin}/reality`, {
      writeToken: TOKEN,
      headers: {},
      timeout: 3_000,
    });
    const found = [];
    for (const rule of rules) {
      const { outcome, found: what } = await checkRule(rule, checked);
      if (outcome === "failed") found.push({ number: rule.number, sentence: rule.sentence, found: what });
    }
    return found;
  } finally {
    await server.close();
    await close();
  }
}
