/**
 * Chapters 8, 12 and 13 of the protocol: for those who run a server.
 *
 * @module
 */
import type { Rule } from "./rule.ts";
import { type CheckedServer, describe, leaveIfNotThere, leaveIfProxied } from "./server.ts";
import { must, show } from "./verdict.ts";

/** The rules of chapter 8. */
export const operation: readonly Rule[] = [
  {
    number: "8",
    sentence: 'GET /health answers { "status": "ok" }, and names nothing',
    async check(server) {
      const answer = await server.ask("GET", "/health");
      leaveIfNotThere(answer);
      must(answer.status === 200, () => describe(answer));
      must(JSON.stringify(answer.json) === '{"status":"ok"}', () => `the body is ${show(answer.text)}`);
    },
  },
  {
    number: "8",
    sentence: "HEAD /health answers without a body",
    check: async (server) => await mustHaveHead(server, "/health"),
  },
];

/** The rules of chapter 12. */
export const openAPI: readonly Rule[] = [
  {
    number: "12.1",
    sentence: "GET /openapi.json describes the routes, in OpenAPI 3.1, and names the base path",
    async check(server) {
      const answer = await server.ask("GET", "/openapi.json");
      leaveIfNotThere(answer);
      must(answer.status === 200, () => describe(answer));
      const { openapi, servers, paths } = answer.json as Record<string, unknown> ?? {};
      must(/^3\.1\./.test(String(openapi)), () => `openapi is ${show(openapi)}`);
      must(typeof paths === "object" && paths !== null, () => `paths is ${show(paths)}`);
      const [first] = servers as { url?: string }[] ?? [];
      const found = new URL(first?.url ?? "", `${server.base}/`).pathname.replace(/\/$/, "");
      // A proxy in front may take a part of the path away.
      must(new URL(server.base).pathname.endsWith(found), () => `servers is ${show(servers)}`);
      for (const path of Object.keys(paths)) {
        const there = await server.ask("PATCH", path.replaceAll(/\{\w+\}/g, "x"));
        // Numbers that are not for everybody may have been taken away.
        const isAway = path === "/metrics" && there.status === 404;
        if (!isAway) leaveIfProxied(there);
        must(there.status === 405 || isAway, () => `${describe(there)}, expected 405`);
      }
    },
  },
  {
    number: "12.1",
    sentence: "HEAD /openapi.json answers without a body",
    check: async (server) => await mustHaveHead(server, "/openapi.json"),
  },
  {
    number: "12.2",
    sentence: "The document is the same for every server of one version",
    check: "takes another server to compare with",
  },
];

/** The rules of chapter 13. */
export const stopping: readonly Rule[] = [
  ["13.1", "A server that stops turns requests down with 503 CLOSED"],
  ["13.2", "Who waits is answered at once when it stops"],
  ["13.3", "Streams end with a retry when it stops"],
  ["13.4", "Every answer has Connection: close when it stops"],
  ["13.5", "What was acknowledged is in the storage when it stops"],
].map(([number = "", sentence = ""]) => ({ number, sentence, check: "takes stopping the server" }));

async function mustHaveHead(server: CheckedServer, path: string): Promise<void> {
  const answer = await server.ask("HEAD", path);
  leaveIfNotThere(answer);
  must(answer.status === 200 && answer.text === "", () => describe(answer));
}
