/**
 * Chapter 7 of the protocol: the write routes.
 *
 * @module
 */
import type { Rule } from "./rule.ts";
import { type Answer, describe, leaveIfNotThere, leaveIfProxied, refusalOf } from "./server.ts";
import { leave, must, show } from "./verdict.ts";

/** Requests that would change nothing even where they are let in, for their shape. The key is longer than any may be. */
const HARMLESS: readonly [method: string, path: string, body?: unknown][] = [
  ["POST", "/update", {}],
  ["POST", "/invalidate", {}],
  ["DELETE", `/nodes/${"reality-check:".repeat(50)}`],
];

/** The rules of chapter 7. */
export const writes: readonly Rule[] = [
  {
    number: "7.1",
    sentence: "Without a right token the write routes are closed: 401 with WWW-Authenticate, or 403",
    async check(server) {
      const strangers = [{}, { authorization: `Bearer reality-check-${crypto.randomUUID()}` }];
      for (const [method, path, body] of HARMLESS) {
        for (const headers of strangers) {
          mustBeClosed(await server.ask(method, path, { body, headers: { authorization: "", ...headers } }));
        }
      }
    },
  },
  {
    number: "7.2",
    sentence: "POST /update takes one { key, hash }, or a list of them as updates",
    async check(server) {
      const [one, two, three] = [server.newKey(), server.newKey(), server.newKey()];
      await server.write("/update", [one], { key: one, hash: "1" });
      await server.write("/update", [two, three], {
        updates: [{ key: two, hash: "2" }, { key: three, hash: "3" }],
      });
      const { changed } = await server.sync({ known: { [one]: 0, [two]: 0, [three]: 0 } });
      const hashes = [one, two, three].map((key) => changed[key]?.hash);
      must(hashes.join() === "1,2,3", () => `hashes ${show(hashes)}, expected 1, 2 and 3`);
    },
  },
  {
    number: "7.3",
    sentence: "POST /invalidate takes keys, and writes a hash never used before",
    async check(server) {
      const key = server.newKey();
      const hashes = new Set<string | undefined>();
      for (let i = 0; i < 3; i++) {
        await server.write("/invalidate", [key], { keys: [key] });
        const { changed } = await server.sync({ known: { [key]: 0 } });
        hashes.add(changed[key]?.hash);
      }
      must(
        hashes.size === 3 && !hashes.has(undefined),
        () => `hashes ${show([...hashes])} after three times`,
      );
    },
  },
  {
    number: "7.4",
    sentence: "The answer has versions and epoch, and comes once the change is there for every question",
    async check(server) {
      for (const path of ["/update", "/invalidate"]) {
        const key = server.newKey();
        const body = path === "/update" ? { key, hash: "1" } : { keys: [key] };
        const answer = await server.ask("POST", path, { body, headers: server.authorize([key]) });
        leaveIfNotThere(answer);
        must(answer.status === 200, () => describe(answer));
        const { versions, epoch } = answer.json as { versions?: Record<string, number>; epoch?: unknown };
        must(Number.isSafeInteger(versions?.[key]), () => `versions is ${show(versions)}`);
        const now = await server.sync({ known: { [key]: 0 } });
        must(epoch === now.epoch, () => `epoch is ${show(epoch)}, and ${show(now.epoch)} at a sync`);
        const found = now.changed[key]?.version;
        must(found === versions?.[key], () => `a sync says version ${found}, the write ${versions?.[key]}`);
      }
    },
  },
  {
    number: "7.5",
    sentence: "DELETE /nodes/{key} answers 204, also when there was no such node",
    async check(server) {
      const key = server.newKey();
      await server.update(key);
      for (let i = 0; i < 2; i++) {
        const answer = await server.remove(key);
        must(answer.status === 204 && answer.text === "", () => describe(answer));
        const meta = await server.compare(key, 0);
        must(meta === undefined, () => `it is still there: ${show(meta)}`);
      }
    },
  },
  {
    number: "7.5",
    sentence: "The key in the path is percent-encoded",
    async check(server) {
      const key = `${server.newKey()} a/b?c=d&e#f%25 é 🙂`;
      await server.update(key);
      const answer = await server.remove(key);
      must(answer.status === 204, () => `${describe(answer)} to the key ${show(key)}`);
      const meta = await server.compare(key, 0);
      must(meta === undefined, () => `it is still there: ${show(meta)}`);
    },
  },
  {
    number: "7.6",
    sentence: "Several changes of one key in one request may become one: the last",
    async check(server) {
      const key = server.newKey();
      const updates = ["1", "2", "3"].map((hash) => ({ key, hash }));
      await server.write("/update", [key], { updates });
      const { changed } = await server.sync({ known: { [key]: 0 } });
      must(changed[key]?.hash === "3", () => `${show(changed[key])}, expected the hash 3`);
    },
  },
];

function mustBeClosed(answer: Answer): void {
  leaveIfNotThere(answer);
  must(answer.status >= 300, () => `${describe(answer)} without a right token`);
  const code = refusalOf(answer)?.code;
  leaveIfProxied(answer);
  if (code === "BAD_REQUEST") leave("authorizeWrite decides here, and is asked only about what is in order");
  must([401, 403].includes(answer.status), () => `${describe(answer)}, expected 401 or 403`);
  if (answer.status !== 401) return;
  const found = answer.headers.get("www-authenticate");
  must(/^Bearer\b/i.test(found ?? ""), () => `WWW-Authenticate is ${show(found)}`);
}
