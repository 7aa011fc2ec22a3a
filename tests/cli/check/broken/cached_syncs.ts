/**
 * Servers that break the rules of syncs by GET: section 18.
 *
 * @module
 */
import type { BrokenServer, Handler } from "./broken_server.ts";
import { withHeaders } from "./interceptors.ts";

const options = { public: () => true };

/** Changes the answers to syncs by GET. */
function onGet(
  change: (response: Response, request: Request, ask: Handler) => Response | Promise<Response>,
): BrokenServer["answer"] {
  return async (request, ask) => {
    const response = await ask(request);
    const isSync = request.method === "GET" && new URL(request.url).pathname.endsWith("/sync");
    return isSync ? await change(response, request, ask) : response;
  };
}

/** Changes the bodies of good answers to syncs by GET. */
function onBody(
  change: (body: Record<string, unknown>, request: Request) => unknown,
): BrokenServer["answer"] {
  return onGet(async (response, request) => {
    if (response.status !== 200) return response;
    return Response.json(change(await response.json(), request), { headers: response.headers });
  });
}

/** The servers. */
export const CACHED_SYNCS: readonly BrokenServer[] = [
  {
    does: "repeats a query as it came",
    breaks: ["18.1"],
    options,
    answer: onBody((body, request) => ({ ...body, asked: new URL(request.url).search.slice(1) })),
  },
  {
    does: "ignores parameters that it does not know",
    breaks: ["18.2"],
    options,
    answer: async (request, ask) => {
      const url = new URL(request.url);
      if (request.method !== "GET" || !url.pathname.endsWith("/sync")) return await ask(request);
      return await ask(new Request(request.url.replace(/&v=1/, ""), request));
    },
  },
  {
    does: "takes the first of two versions of a key",
    breaks: ["18.2"],
    options,
    answer: async (request, ask) => {
      const [, kept = "", again = ""] = /^(.*k=([^:]+:[^:]+:[^:]+):0)&k=[^&]+:1$/.exec(request.url) ?? [];
      return await ask(again === "" ? request : new Request(kept, request));
    },
  },
  {
    does: "tells clients with a cookie something else",
    breaks: ["18.4"],
    options,
    answer: onBody((body, request) => request.headers.has("cookie") ? { ...body, changed: {} } : body),
  },
  {
    does: "sends the quota of a client to the cache",
    breaks: ["18.4"],
    options,
    answer: onGet((response) => withHeaders(response, { "ratelimit": '"default";r=1;t=1' })),
  },
  {
    does: "lets caches keep an empty answer for a minute",
    breaks: ["18.5", "18.6"],
    options,
    answer: onGet((response) => {
      const field = response.headers.get("cache-control") ?? "";
      return withHeaders(response, { "cache-control": field.replace(/s-maxage=1$/, "s-maxage=60") });
    }),
  },
  {
    does: "lets caches keep every change for two seconds",
    breaks: ["18.5"],
    options,
    answer: onGet(async (response) => {
      if (response.status !== 200) return response;
      const body = await response.json();
      const isEmpty = Object.keys(body.changed).length === 0;
      const headers = new Headers(response.headers);
      if (!isEmpty) headers.set("cache-control", "public, max-age=0, s-maxage=2");
      return Response.json(body, { headers });
    }),
  },
  {
    does: "has one tag for all questions",
    breaks: ["18.6"],
    options,
    answer: async (request, ask) => {
      const response = await ask(request);
      return response.headers.has("reality-time") ? withHeaders(response, { etag: 'W/"same"' }) : response;
    },
  },
  {
    does: "does not answer with 304",
    breaks: ["18.6"],
    options,
    answer: async (request, ask) => {
      if (!request.headers.has("if-none-match")) return await ask(request);
      return await ask(new Request(request.url));
    },
  },
  {
    does: "sends no Reality-Time with a 304",
    breaks: ["18.7"],
    options,
    answer: onGet((response) =>
      response.status === 304 ? withHeaders(response, { "reality-time": null }) : response
    ),
  },
];
