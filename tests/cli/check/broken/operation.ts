/**
 * Servers that break the rules of health, CORS, gossip, OpenAPI, metrics and rate limits: sections 8 to 16.
 *
 * @module
 */
import type { BrokenServer } from "./broken_server.ts";
import { onSync, refuse, withBody, withHeaders } from "./interceptors.ts";

/** The servers. */
export const OPERATION: readonly BrokenServer[] = [
  {
    does: "sends its server id in the health check",
    breaks: ["8"],
    answer: async (request, ask) =>
      request.url.endsWith("/health") && request.method === "GET"
        ? Response.json({ status: "ok", serverId: "server-1" })
        : await ask(request),
  },
  {
    does: "allows credentials for every origin",
    breaks: ["9"],
    handler: { cors: { origins: "*" } },
    answer: async (request, ask) =>
      withHeaders(await ask(request), { "access-control-allow-credentials": "true" }),
  },
  {
    does: "allows the same origin whatever the request's origin is",
    breaks: ["9"],
    answer: async (request, ask) =>
      withHeaders(await ask(request), { "access-control-allow-origin": "https://app.example" }),
  },
  {
    does: "does not let other origins read Retry-After",
    breaks: ["9"],
    handler: { cors: { origin: "*" } },
    answer: async (request, ask) =>
      withHeaders(await ask(request), { "access-control-expose-headers": "ratelimit" }),
  },
  {
    does: "sends no Vary: Origin",
    breaks: ["9"],
    handler: { cors: { origins: () => true } },
    answer: async (request, ask) => withHeaders(await ask(request), { vary: null }),
  },
  {
    does: "answers a preflight with 200",
    breaks: ["9"],
    handler: { cors: { origins: "*" } },
    answer: async (request, ask) => {
      const response = await ask(request);
      return request.method === "OPTIONS" ? new Response("", { headers: response.headers }) : response;
    },
  },
  {
    does: "says what is wrong with a gossip token",
    breaks: ["11.1"],
    options: { meshSecret: "a secret of the mesh" },
    answer: onSync(({ body }) => {
      const { token } = body.gossip as { token?: string } ?? {};
      return token === undefined ? undefined : refuse(401, "UNAUTHORIZED", "This token is not known");
    }),
  },
  {
    does: "describes a route that it does not have",
    breaks: ["12.1"],
    answer: async (request, ask) => {
      const response = await ask(request);
      if (!request.url.endsWith("/openapi.json") || request.method !== "GET") return response;
      const document = await response.json();
      return Response.json({ ...document, paths: { ...document.paths, "/versions": {} } });
    },
  },
  {
    does: "sends another word than ready or not ready",
    breaks: ["14.1"],
    answer: async (request, ask) =>
      request.url.endsWith("/ready") && request.method === "GET"
        ? Response.json({ status: "up" })
        : await ask(request),
  },
  {
    does: "labels a metric with a key",
    breaks: ["15.2"],
    answer: countByKey(),
  },
  {
    does: "exposes metrics without its prefix",
    breaks: ["15.1"],
    answer: async (request, ask) => {
      const response = await ask(request);
      if (!request.url.endsWith("/metrics") || request.method !== "GET") return response;
      return new Response(`${await response.text()}http_requests_total 7\n`, { headers: response.headers });
    },
  },
  {
    does: "rate-limits the health check",
    breaks: ["16.3"],
    answer: async (request, ask) =>
      request.url.endsWith("/health")
        ? withHeaders(await ask(request), { "ratelimit": '"default";r=1;t=1' })
        : await ask(request),
  },
  {
    does: "sends a RateLimit header of another form",
    breaks: ["16.4"],
    answer: async (request, ask) =>
      request.url.endsWith("/sync")
        ? withHeaders(await ask(request), { "ratelimit": "limit=100, remaining=50, reset=30" })
        : await ask(request),
  },
];

/** Adds a metric that has the last requested key as a label. */
function countByKey(): BrokenServer["answer"] {
  let lastKey = "";
  return async (request, ask) => {
    if (request.method === "POST") {
      const text = await request.text();
      lastKey = /reality-check:[^"]*/.exec(text)?.[0] ?? lastKey;
      return await ask(withBody(request, text));
    }
    const response = await ask(request);
    if (!request.url.endsWith("/metrics") || request.method !== "GET") return response;
    const name = "reality_syncs_by_key_total";
    const lines = `# TYPE ${name} counter\n${name}{key="${lastKey}"} 1\n`;
    return new Response(await response.text() + lines, { headers: response.headers });
  };
}
