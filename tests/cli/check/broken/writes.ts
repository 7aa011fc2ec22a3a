/**
 * Servers that break the rules of the write routes: section 7 of the protocol.
 *
 * @module
 */
import { type BrokenServer, TOKEN } from "./broken_server.ts";
import { onUpdates, refuse, withBody, withHeaders } from "./interceptors.ts";

/** The servers. */
export const WRITES: readonly BrokenServer[] = [
  {
    does: "allows writes without a token",
    breaks: ["7.1"],
    answer: async (request, ask) => {
      const response = await ask(request);
      if (response.status !== 401) return response;
      await response.body?.cancel();
      return Response.json({ versions: {}, epoch: "" }, { headers: { "cache-control": "no-store" } });
    },
  },
  {
    does: "sends 401 without WWW-Authenticate",
    breaks: ["7.1"],
    answer: async (request, ask) => withHeaders(await ask(request), { "www-authenticate": null }),
  },
  {
    does: "applies only the first of several updates",
    breaks: ["6.2", "6.3", "6.4", "7.2"],
    answer: onUpdates((updates) => updates.slice(0, new Set(updates.map(({ key }) => key)).size > 1 ? 1 : 9)),
  },
  {
    does: "writes the same hash at each invalidation",
    breaks: ["7.3"],
    answer: async (request, ask) => {
      const isWrite = request.headers.get("authorization") === `Bearer ${TOKEN}` && request.method === "POST";
      if (!isWrite || !request.url.endsWith("/invalidate")) return await ask(request);
      const { keys } = await request.json();
      const body = JSON.stringify({ updates: keys.map((key: string) => ({ key, hash: "same" })) });
      return await ask(withBody(request, body, request.url.replace("/invalidate", "/update")));
    },
  },
  {
    does: "answers a write without the epoch",
    breaks: ["7.4"],
    answer: async (request, ask) => {
      const response = await ask(request);
      if (!/\/(update|invalidate)$/.test(request.url) || response.status !== 200) return response;
      const { versions } = await response.json();
      return Response.json({ versions });
    },
  },
  {
    does: "answers a repeated delete with 404",
    breaks: ["7.5"],
    answer: refuseSecondDelete(),
  },
  {
    does: "does not decode the key in the path",
    breaks: ["7.5"],
    answer: async (request, ask) => {
      if (request.method !== "DELETE" || !request.url.includes("%20")) return await ask(request);
      const url = request.url.replaceAll("%", "%25");
      return await ask(new Request(url, { method: "DELETE", headers: request.headers }));
    },
  },
  {
    does: "keeps the first of several changes of a key",
    breaks: ["7.6"],
    answer: onUpdates((updates) => [
      ...new Map(updates.toReversed().map((update) => [update.key, update])).values(),
    ]),
  },
];

/** Refuses to delete a key that it has deleted before. */
function refuseSecondDelete(): BrokenServer["answer"] {
  const deleted = new Set<string>();
  return async (request, ask) => {
    const key = request.method === "DELETE" ? decodeURIComponent(new URL(request.url).pathname) : "";
    if (request.headers.get("authorization") === `Bearer ${TOKEN}` && deleted.has(key)) {
      return refuse(404, "NOT_FOUND", "No such node");
    }
    const response = await ask(request);
    if (response.status === 204 && key !== "") deleted.add(key);
    return response;
  };
}
