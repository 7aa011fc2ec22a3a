/**
 * Chapter 3 of the protocol: `POST {base}/sync`.
 *
 * @module
 */
import type { Rule } from "../rule.ts";
import { assertRefused, describe, refusalOf } from "../server.ts";
import { assert, format, skip } from "../outcome.ts";

const HIGHEST = Number.MAX_SAFE_INTEGER;
const LEGACY = { clientId: "reality-check", mode: "native", hint: "focus", timestamp: 1 };

/** The rules of chapter 3. */
export const syncRules: readonly Rule[] = [
  {
    number: "3.1",
    sentence: "Only known is required; the other fields are optional",
    async check(server) {
      await server.sync({ known: {} });
      await server.sync({ known: { [server.newKey()]: 0 }, epoch: "x", wait: 0, ...LEGACY });
      assertRefused(await server.send("POST", "/sync", { body: {} }), 400, "BAD_REQUEST");
    },
  },
  {
    number: "3.2",
    sentence: "The answer has changed, mesh.peers, mesh.serverVersion, epoch and serverTime",
    async check(server) {
      const key = server.newKey();
      const answer = await server.send("POST", "/sync", { body: { known: { [key]: 1 } } });
      assert(answer.status === 200, () => describe(answer));
      const type = answer.headers.get("content-type");
      assert(/^application\/json\b/.test(type ?? ""), () => `Content-Type is ${format(type)}`);
      const { changed, mesh, epoch, serverTime } = await server.sync({ known: { [key]: 1 } });
      assert(
        Object.keys(changed).every((one) => one === key),
        () => `keys that were not requested: ${format(changed)}`,
      );
      assert(Array.isArray(mesh?.peers), () => `mesh is ${format(mesh)}`);
      assert(isVersion(mesh.serverVersion), () => `mesh.serverVersion is ${format(mesh.serverVersion)}`);
      assert(typeof epoch === "string", () => `epoch is ${format(epoch)}`);
      assert(Number.isSafeInteger(serverTime), () => `serverTime is ${format(serverTime)}`);
    },
  },
  {
    number: "3.2",
    sentence: "mesh.peers lists ids of other servers, never URLs",
    async check(server) {
      for (const legacy of [{}, LEGACY]) {
        const { mesh } = await server.sync({ known: {}, ...legacy });
        assert(!format(mesh).includes("://"), () => `a URL in ${format(mesh)}`);
      }
    },
  },
  {
    number: "3.3",
    sentence: "A request with clientId, mode and hint gets mesh.peers as an object from id to health",
    async check(server) {
      const { mesh } = await server.sync({ known: {}, ...LEGACY });
      const { peers } = mesh;
      assert(
        typeof peers === "object" && peers !== null && !Array.isArray(peers),
        () => `peers is ${format(peers)}`,
      );
      const states = Object.values(peers);
      const known = ["healthy", "degraded", "unhealthy", "unknown"];
      assert(states.every((state) => known.includes(state)), () => `peers is ${format(peers)}`);
    },
  },
  {
    number: "3.4",
    sentence: "Versions that a client sends change nothing in the server",
    async check(server) {
      const key = server.newKey();
      await server.sync({ known: { [key]: HIGHEST } });
      const { changed, mesh } = await server.sync({ known: { [key]: 0 } });
      assert(!Object.hasOwn(changed, key), () => `the server stored ${format(changed)}`);
      assert(mesh.serverVersion < HIGHEST, () => `serverVersion has become ${mesh.serverVersion}`);
    },
  },
  {
    number: "3.5",
    sentence: "gossip without a valid proof is refused with 401 or 403",
    async check(server) {
      for (const gossip of [{ form: 1 }, { form: 1, message: "{}" }]) {
        const answer = await server.send("POST", "/sync", { body: { known: {}, gossip } });
        const fits = [401, 403].includes(answer.status) && refusalOf(answer) !== undefined;
        assert(fits, () => `${describe(answer)} to ${format(gossip)}`);
      }
    },
  },
  {
    number: "3.6",
    sentence: "A server with peers that finds a client ahead of it asks its peers first",
    check: "not visible to a client",
  },
  {
    number: "3.7",
    sentence:
      "A key that no group has is named in refused, with code and message, and the others are answered",
    async check(server) {
      const [plain, pattern] = [server.newKey(), `${server.newKey()}:*`];
      await server.update(plain);
      const { changed, refused } = await server.sync({ known: { [plain]: 0, [pattern]: 0 } });
      assert(Object.hasOwn(changed, plain), () => `another key is not answered beside ${format(pattern)}`);
      if (refused === undefined) skip("the server refuses no key");
      assert(Object.keys(refused).join() === pattern, () => `refused is ${format(refused)}`);
      const { code, message } = refused[pattern]!;
      assert(code === "ERR_REALITY_NO_GROUP", () => `the code is ${format(code)}`);
      assert(
        message.includes(pattern),
        () => `the message does not name ${format(pattern)}: ${format(message)}`,
      );
    },
  },
  {
    number: "3.7",
    sentence: "A key with a node is not refused",
    async check(server) {
      const key = `${server.newKey()}:*`;
      await server.update(key);
      const { changed, refused } = await server.sync({ known: { [key]: 0 } });
      assert(Object.hasOwn(changed, key), () => `${format(key)} is not told`);
      assert(refused === undefined, () => `refused is ${format(refused)}`);
    },
  },
  {
    number: "3.8",
    sentence: "detail changes nothing else in the answer",
    async check(server) {
      const known = { [server.newKey()]: 0, [server.newKey()]: 1 };
      const [plain, detailed] = [await server.sync({ known }), await server.sync({ known, detail: true })];
      assert(
        JSON.stringify(detailed.changed) === JSON.stringify(plain.changed),
        () => `changed is ${format(detailed.changed)} with detail, and ${format(plain.changed)} without`,
      );
      assert(
        plain.detail === undefined,
        () => `detail is ${format(plain.detail)} without the question for it`,
      );
    },
  },
  {
    number: "3.8",
    sentence: "A group that was changed by itself is all",
    async check(server) {
      const key = `${server.newKey()}:*`;
      const epoch = (await server.sync({ known: {} })).epoch;
      let version = 0;
      for (let i = 0; i < 3; i++) {
        await server.update(key);
        const { changed, detail } = await server.sync({ known: { [key]: version }, epoch, detail: true });
        version = changed[key]?.version ?? version;
        if (detail === undefined) skip("the server names no members");
        assert(detail[key] === "all", () => `detail is ${format(detail)}`);
      }
    },
  },
];

function isVersion(value: unknown): boolean {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}
