/**
 * Chapter 17 of the protocol: the stamp of an answer of the application.
 *
 * @module
 */
import type { Rule } from "../rule.ts";
import { type Answer, type CheckedServer, describe, skipIfNotMounted } from "../server.ts";
import { assert, format, skip } from "../outcome.ts";
import { fetchStamp, fetchStamped, MIXED, parseStampStrictly, type ReadStamp } from "../stamped_answer.ts";

/** The longest field, in bytes. */
const MAX_BYTES = 4096;

/** How often something that may change at any time is looked at, before it is called broken. */
const TRIES = 3;

/** The pause between two looks, in milliseconds. */
const PAUSE = 200;

/** The rules of chapter 17. They need the URL of a stamped answer. */
export const stampRules: readonly Rule[] = [
  {
    number: "17.1",
    sentence: "Reality-Stamp is a dictionary of RFC 9651 with epoch and keys",
    async check(server) {
      parseStampStrictly(await fetchStamped(server));
    },
  },
  {
    number: "17.2",
    sentence: "The epoch of the stamp is that of the server",
    async check(server) {
      let found = "";
      const holds = await looksGood(async () => {
        const stamp = await fetchFitting(server);
        const { epoch } = await server.sync({ known: {} });
        found = `the stamp has ${format(stamp.epoch)}, a sync says ${format(epoch)}`;
        return stamp.epoch === epoch;
      });
      assert(holds, found);
    },
  },
  {
    number: "17.2",
    sentence: "No version of the stamp is above the one that a sync says afterwards",
    async check(server) {
      const { versions, epoch } = await fetchFitting(server);
      const { changed } = await server.sync({ known: Object.fromEntries(versions), epoch });
      for (const [key, { version, deleted }] of Object.entries(changed)) {
        const stamped = versions.get(key) ?? 0;
        assert(
          deleted === true || version >= stamped,
          () => `${format(key)} has version ${stamped} in the stamp, and ${version} in the sync after it`,
        );
      }
    },
  },
  {
    number: "17.3",
    sentence: "A client takes over the versions of a stamp together with the data",
    check: "a rule for clients",
  },
  {
    number: "17.4",
    sentence: "Inside of a page or another answer, a stamp is JSON",
    check: "not visible where it is",
  },
  {
    number: "17.5",
    sentence: "A stamp names only keys that the client may read",
    async check(server) {
      let hidden: string[] = [];
      // A node may be deleted between the stamp and the sync.
      const holds = await looksGood(async () => {
        const { versions, epoch } = await fetchFitting(server);
        const { changed } = await server.sync({ known: Object.fromEntries(versions), epoch });
        hidden = [...versions.keys()].filter((key) => versions.get(key)! > 0 && changed[key]?.deleted);
        return hidden.length === 0;
      });
      assert(holds, () => `a sync says that ${format(hidden)} have no node, or may not be read`);
    },
  },
  {
    number: "17.6",
    sentence: "A stamp of parts that do not fit together has no version 0",
    async check(server) {
      const { epoch, versions } = await fetchStamp(server);
      if (epoch !== MIXED) skip(`the epoch is not "${MIXED}"`);
      const zeros = [...versions].filter(([, version]) => version === 0).map(([key]) => key);
      assert(zeros.length === 0, () => `version 0 of ${format(zeros)}`);
    },
  },
  {
    number: "17.7",
    sentence: "ETag is weak, and If-None-Match with it is answered with 304 and the same headers",
    async check(server) {
      for (let tries = 1; tries <= TRIES; tries++) {
        const { answer } = await fetchStamp(server);
        const tag = readTag(answer);
        const next = await server.sendStamped({ "if-none-match": tag });
        if (next.status === 304) return assertNotModified(answer, next);
        assert(next.status === 200, () => describe(next));
        assert(readTag(next) !== tag, () => `${describe(next)} with the tag ${format(tag)} of If-None-Match`);
      }
      skip("each answer has another ETag");
    },
  },
  {
    number: "17.7",
    sentence: "If-None-Match with another tag is answered with 200",
    async check(server) {
      const tag = readTag((await fetchStamp(server)).answer);
      const others = [`W/"${crypto.randomUUID()}"`, tag.replace(/"$/, 'x"')];
      for (const other of others) {
        const next = await server.sendStamped({ "if-none-match": other });
        assert(next.status === 200, () => `${describe(next)} to If-None-Match: ${other}`);
      }
    },
  },
  {
    number: "17.7",
    sentence: "After a change of a key, If-None-Match is answered with 200 and another tag",
    check: checkChange,
  },
  {
    number: "17.8",
    sentence: `Reality-Stamp is not longer than ${MAX_BYTES} bytes`,
    async check(server) {
      const length = (await fetchStamp(server)).answer.headers.get("reality-stamp")?.length ?? 0;
      assert(length <= MAX_BYTES, `${length} bytes`);
    },
  },
  {
    number: "17.9",
    sentence: "A node that is created and deleted between two answers is not reported",
    check: "not visible to a client",
  },
  {
    number: "17.10",
    sentence: "Cache-Control has no-cache or no-store",
    async check(server) {
      const { answer } = await fetchStamp(server);
      const value = answer.headers.get("cache-control") ?? "";
      assert(/\bno-(?:cache|store)\b/i.test(value), () => `Cache-Control is ${format(value)}`);
    },
  },
  {
    number: "17.11",
    sentence: "A page of another origin that may read the answer may read Reality-Stamp, and Vary has Origin",
    async check(server) {
      const { answer } = await fetchStamp(server, server.pageOrigin);
      const origin = answer.headers.get("access-control-allow-origin");
      if (origin === null) skip(`no CORS for ${server.pageOrigin.origin}`);
      const exposed = answer.headers.get("access-control-expose-headers") ?? "";
      const isCredentialed = answer.headers.get("access-control-allow-credentials") === "true";
      const names = exposed.split(",").map((name) => name.trim().toLowerCase());
      const exposes = names.includes("reality-stamp") || (names.includes("*") && !isCredentialed);
      assert(exposes, () => `Access-Control-Expose-Headers is ${format(exposed)}`);
      if (origin === "*") return;
      const vary = answer.headers.get("vary") ?? "";
      assert(/(?:^|[, ])(?:origin|\*)(?:$|[, ])/i.test(vary), () => `Vary is ${format(vary)}`);
    },
  },
];

/** Invalidates a key of the answer, and asks with the tag from before. */
async function checkChange(server: CheckedServer): Promise<void> {
  const before = await fetchStamp(server);
  // The key belongs to the application: it must not be deleted at the end.
  const headers = server.authorize([]);
  const key = [...before.versions.keys()].find((key) => before.versions.get(key)! > 0);
  if (key === undefined) skip("no key of the answer has a node");
  const write = await server.send("POST", "/invalidate", { body: { keys: [key] }, headers });
  skipIfNotMounted(write);
  if (write.status === 403) skip(`the token may not write ${format(key)}`);
  assert(write.status === 200, () => describe(write));
  const tag = readTag(before.answer);
  let found = "";
  // The application may read the versions from another server, which learns of the change a little later.
  const holds = await looksGood(async () => {
    const next = await server.sendStamped({ "if-none-match": tag });
    found = `${describe(next)}, ETag ${format(next.headers.get("etag"))}`;
    return next.status === 200 && readTag(next) !== tag;
  });
  assert(holds, () => `${found} after a change of ${format(key)}, asked with ${tag}`);
}

/** Fetches a stamp whose parts fit together. Skips the rule if they never do. */
async function fetchFitting(server: CheckedServer): Promise<ReadStamp> {
  for (let tries = 1; tries <= TRIES; tries++) {
    const stamp = await fetchStamp(server);
    if (stamp.epoch !== MIXED) return stamp;
  }
  skip(`the epoch is "${MIXED}"`);
}

/** Looks until it is good, some times. */
async function looksGood(look: () => Promise<boolean>): Promise<boolean> {
  for (let tries = 1;; tries++) {
    if (await look()) return true;
    if (tries === TRIES) return false;
    await new Promise((resolve) => setTimeout(resolve, PAUSE));
  }
}

function readTag(answer: Answer): string {
  const tag = answer.headers.get("etag");
  assert(tag !== null && /^W\/"[!#-~\x80-\xff]*"$/.test(tag), () => `ETag is ${format(tag)}`);
  return tag;
}

function assertNotModified(answer: Answer, next: Answer): void {
  assert(next.text === "", "304 with a body");
  for (const name of ["reality-stamp", "etag", "cache-control", "vary"]) {
    const [before, after] = [answer.headers.get(name), next.headers.get(name)];
    assert(before === after, () => `${name} is ${format(before)} with 200, and ${format(after)} with 304`);
  }
}
