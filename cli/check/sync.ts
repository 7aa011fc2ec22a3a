/**
 * Chapter 3 of the protocol: `POST {base}/sync`.
 *
 * @module
 */
import type { Rule } from "./rule.ts";
import { describe, mustRefuse, refusalOf } from "./server.ts";
import { must, show } from "./verdict.ts";

const HIGHEST = Number.MAX_SAFE_INTEGER;
const LEGACY = { clientId: "reality-check", mode: "native", hint: "focus", timestamp: 1 };

/** The rules of chapter 3. */
export const syncRules: readonly Rule[] = [
  {
    number: "3.1",
    sentence: "Only known is needed; the other fields are optional",
    async check(server) {
      await server.sync({ known: {} });
      await server.sync({ known: { [server.newKey()]: 0 }, epoch: "x", wait: 0, ...LEGACY });
      mustRefuse(await server.ask("POST", "/sync", { body: {} }), 400, "BAD_REQUEST");
    },
  },
  {
    number: "3.2",
    sentence: "The answer has changed, mesh.peers, mesh.serverVersion, epoch and serverTime",
    async check(server) {
      const key = server.newKey();
      const answer = await server.ask("POST", "/sync", { body: { known: { [key]: 1 } } });
      must(answer.status === 200, () => describe(answer));
      const type = answer.headers.get("content-type");
      must(/^application\/json\b/.test(type ?? ""), () => `Content-Type is ${show(type)}`);
      const { changed, mesh, epoch, serverTime } = await server.sync({ known: { [key]: 1 } });
      must(
        Object.keys(changed).every((one) => one === key),
        () => `keys that nobody asked for: ${show(changed)}`,
      );
      must(Array.isArray(mesh?.peers), () => `mesh is ${show(mesh)}`);
      must(isVersion(mesh.serverVersion), () => `mesh.serverVersion is ${show(mesh.serverVersion)}`);
      must(typeof epoch === "string", () => `epoch is ${show(epoch)}`);
      must(Number.isSafeInteger(serverTime), () => `serverTime is ${show(serverTime)}`);
    },
  },
  {
    number: "3.2",
    sentence: "mesh.peers lists ids of other servers, never URLs",
    async check(server) {
      for (const legacy of [{}, LEGACY]) {
        const { mesh } = await server.sync({ known: {}, ...legacy });
        must(!show(mesh).includes("://"), () => `a URL in ${show(mesh)}`);
      }
    },
  },
  {
    number: "3.3",
    sentence: "A request with clientId, mode and hint gets mesh.peers as an object from id to health",
    async check(server) {
      const { mesh } = await server.sync({ known: {}, ...LEGACY });
      const { peers } = mesh;
      must(
        typeof peers === "object" && peers !== null && !Array.isArray(peers),
        () => `peers is ${show(peers)}`,
      );
      const states = Object.values(peers);
      const known = ["healthy", "degraded", "unhealthy", "unknown"];
      must(states.every((state) => known.includes(state)), () => `peers is ${show(peers)}`);
    },
  },
  {
    number: "3.4",
    sentence: "No version that a client sends moves anything in the server",
    async check(server) {
      const key = server.newKey();
      await server.sync({ known: { [key]: HIGHEST } });
      const { changed, mesh } = await server.sync({ known: { [key]: 0 } });
      must(!Object.hasOwn(changed, key), () => `the server took over ${show(changed)}`);
      must(mesh.serverVersion < HIGHEST, () => `serverVersion has become ${mesh.serverVersion}`);
    },
  },
  {
    number: "3.5",
    sentence: "gossip without proof of who is asking is refused with 401 or 403",
    async check(server) {
      for (const gossip of [{ form: 1 }, { form: 1, message: "{}" }]) {
        const answer = await server.ask("POST", "/sync", { body: { known: {}, gossip } });
        const fits = [401, 403].includes(answer.status) && refusalOf(answer) !== undefined;
        must(fits, () => `${describe(answer)} to ${show(gossip)}`);
      }
    },
  },
  {
    number: "3.6",
    sentence: "A server with peers that finds a client ahead of it asks its peers first",
    check: "cannot be seen from outside",
  },
];

function isVersion(value: unknown): boolean {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}
