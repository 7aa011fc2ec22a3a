/**
 * Chapter 7 of the protocol: the write routes.
 *
 * @module
 */
import type { Rule } from "../rule.ts";
import { type Answer, describe, refusalOf, skipIfNotMounted, skipIfRefusedByProxy } from "../server.ts";
import { assert, format, skip } from "../outcome.ts";

/** Requests that change nothing even if they are authorized: their shape is wrong. The key is too long. */
const HARMLESS: readonly [method: string, path: string, body?: unknown][] = [
  ["POST", "/update", {}],
  ["POST", "/invalidate", {}],
  ["DELETE", `/nodes/${"reality-check:".repeat(50)}`],
];

/** The rules of chapter 7. */
export const writeRules: readonly Rule[] = [
  {
    number: "7.1",
    sentence: "Without a valid token the write routes are closed: 401 with WWW-Authenticate, or 403",
    async check(server) {
      const strangers = [{}, { authorization: `Bearer reality-check-${crypto.randomUUID()}` }];
      for (const [method, path, body] of HARMLESS) {
        for (const headers of strangers) {
          assertClosed(await server.send(method, path, { body, headers: { authorization: "", ...headers } }));
        }
      }
    },
  },
  {
    number: "7.2",
    sentence: "POST /update accepts one { key, hash }, or a list of them as updates",
    async check(server) {
      const [one, two, three] = [server.newKey(), server.newKey(), server.newKey()];
      await server.write("/update", [one], { key: one, hash: "1" });
      await server.write("/update", [two, three], {
        updates: [{ key: two, hash: "2" }, { key: three, hash: "3" }],
      });
      const { changed } = await server.sync({ known: { [one]: 0, [two]: 0, [three]: 0 } });
      const hashes = [one, two, three].map((key) => changed[key]?.hash);
      assert(hashes.join() === "1,2,3", () => `hashes ${format(hashes)}, expected 1, 2 and 3`);
    },
  },
  {
    number: "7.3",
    sentence: "POST /invalidate accepts keys, and writes a hash that was never used before",
    async check(server) {
      const key = server.newKey();
      const hashes = new Set<string | undefined>();
      for (let i = 0; i < 3; i++) {
        await server.write("/invalidate", [key], { keys: [key] });
        const { changed } = await server.sync({ known: { [key]: 0 } });
        hashes.add(changed[key]?.hash);
      }
      assert(
        hashes.size === 3 && !hashes.has(undefined),
        () => `hashes ${format([...hashes])} after three times`,
      );
    },
  },
  {
    number: "7.4",
    sentence: "The answer has versions and epoch, and is sent once every request gets the change",
    async check(server) {
      for (const path of ["/update", "/invalidate"]) {
        const key = server.newKey();
        const body = path === "/update" ? { key, hash: "1" } : { keys: [key] };
        const answer = await server.send("POST", path, { body, headers: server.authorize([key]) });
        skipIfNotMounted(answer);
        assert(answer.status === 200, () => describe(answer));
        const { versions, epoch } = answer.json as { versions?: Record<string, number>; epoch?: unknown };
        assert(Number.isSafeInteger(versions?.[key]), () => `versions is ${format(versions)}`);
        const now = await server.sync({ known: { [key]: 0 } });
        assert(epoch === now.epoch, () => `epoch is ${format(epoch)}, and ${format(now.epoch)} at a sync`);
        const found = now.changed[key]?.version;
        assert(found === versions?.[key], () => `a sync says version ${found}, the write ${versions?.[key]}`);
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
        assert(answer.status === 204 && answer.text === "", () => describe(answer));
        const meta = await server.compare(key, 0);
        assert(meta === undefined, () => `it is still there: ${format(meta)}`);
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
      assert(answer.status === 204, () => `${describe(answer)} to the key ${format(key)}`);
      const meta = await server.compare(key, 0);
      assert(meta === undefined, () => `it is still there: ${format(meta)}`);
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
      assert(changed[key]?.hash === "3", () => `${format(changed[key])}, expected the hash 3`);
    },
  },
];

function assertClosed(answer: Answer): void {
  skipIfNotMounted(answer);
  assert(answer.status >= 300, () => `${describe(answer)} without a valid token`);
  const code = refusalOf(answer)?.code;
  skipIfRefusedByProxy(answer);
  if (code === "BAD_REQUEST") skip("authorizeWrite decides, and is called only for valid requests");
  assert([401, 403].includes(answer.status), () => `${describe(answer)}, expected 401 or 403`);
  if (answer.status !== 401) return;
  const found = answer.headers.get("www-authenticate");
  assert(/^Bearer\b/i.test(found ?? ""), () => `WWW-Authenticate is ${format(found)}`);
}
