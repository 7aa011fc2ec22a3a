/**
 * Chapter 12 of the protocol: `GET /openapi.json`.
 *
 * @module
 */
import { assert, format } from "../outcome.ts";
import type { Rule } from "../rule.ts";
import { assertHead, describe, skipIfNotMounted, skipIfRefusedByProxy } from "../server.ts";

/** The rules of chapter 12. */
export const openAPIRules: readonly Rule[] = [
  {
    number: "12.1",
    sentence: "GET /openapi.json describes the routes, in OpenAPI 3.1, and names the base path",
    async check(server) {
      const answer = await server.send("GET", "/openapi.json");
      skipIfNotMounted(answer);
      assert(answer.status === 200, () => describe(answer));
      const { openapi, servers, paths } = answer.json as Record<string, unknown> ?? {};
      assert(/^3\.1\./.test(String(openapi)), () => `openapi is ${format(openapi)}`);
      assert(typeof paths === "object" && paths !== null, () => `paths is ${format(paths)}`);
      const [first] = servers as { url?: string }[] ?? [];
      const found = new URL(first?.url ?? "", `${server.base}/`).pathname.replace(/\/$/, "");
      // A proxy in front may remove a part of the path.
      assert(new URL(server.base).pathname.endsWith(found), () => `servers is ${format(servers)}`);
      for (const path of Object.keys(paths)) {
        const answerOfPath = await server.send("PATCH", path.replaceAll(/\{\w+\}/g, "x"));
        // The metrics may be disabled.
        const isDisabled = path === "/metrics" && answerOfPath.status === 404;
        if (!isDisabled) skipIfRefusedByProxy(answerOfPath);
        assert(answerOfPath.status === 405 || isDisabled, () => `${describe(answerOfPath)}, expected 405`);
      }
    },
  },
  {
    number: "12.1",
    sentence: "HEAD /openapi.json answers without a body",
    check: async (server) => await assertHead(server, "/openapi.json"),
  },
  {
    number: "12.2",
    sentence: "The document is the same for every server of one version",
    check: "would require a second server",
  },
];
