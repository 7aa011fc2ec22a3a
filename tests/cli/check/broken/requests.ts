/**
 * Servers that break the rules of requests, bodies and refusals: section 2 of the protocol.
 *
 * @module
 */
import type { BrokenServer } from "./broken_server.ts";
import { onAnswer, onSync, readJSON, refuse, withBody, withHeaders } from "./interceptors.ts";

/** The servers. */
export const REQUESTS: readonly BrokenServer[] = [
  {
    does: "answers a body that is not JSON with 500",
    breaks: ["2.1"],
    answer: (request, ask) =>
      readJSON(request, ask, (body) => body === undefined && new Response("", { status: 500 })),
  },
  {
    does: "accepts a body of any media type",
    breaks: ["2.1"],
    answer: async (request, ask) => {
      if (request.method !== "POST") return await ask(request);
      const copy = withBody(request, await request.text());
      copy.headers.set("content-type", "application/json");
      return await ask(copy);
    },
  },
  {
    does: "refuses unknown fields",
    breaks: ["2.2"],
    answer: onSync(({ body }) =>
      Object.hasOwn(body, "reality-check") ? refuse(400, "BAD_REQUEST", "What is this?") : undefined
    ),
  },
  {
    does: "ignores a wait that is not a number",
    breaks: ["2.2"],
    answer: onSync(({ body, ask }) => typeof body.wait === "string" ? ask({ ...body, wait: 0 }) : undefined),
  },
  {
    does: "does not name the invalid field",
    breaks: ["2.2"],
    answer: async (request, ask) => {
      const response = await ask(request);
      if (response.status !== 400) return response;
      await response.body?.cancel();
      return refuse(400, "BAD_REQUEST", "Something is wrong with maxKeyBytes");
    },
  },
  {
    does: "loses keys that are names of Object.prototype",
    breaks: ["2.3"],
    answer: onAnswer(({ answer }) => {
      for (const key of ["__proto__", "constructor"]) delete answer.changed[key];
    }),
  },
  {
    does: "sends refusals as plain text",
    breaks: ["2.4", "3.5"],
    answer: async (request, ask) => {
      const response = await ask(request);
      if (response.status < 400 || request.method !== "POST") return response;
      const { error } = await response.json();
      return new Response(error.message, { status: response.status, headers: response.headers });
    },
  },
  {
    does: "sends stack traces",
    breaks: ["2.4"],
    answer: async (request, ask) => {
      const response = await ask(request);
      if (response.status !== 400) return response;
      const { error } = await response.json();
      return refuse(400, "BAD_REQUEST", `${error.message}\n    at parse (file:///app/src/parse.ts:7:9)`);
    },
  },
  {
    does: "allows caches to store answers",
    breaks: ["2.5"],
    answer: async (request, ask) =>
      request.method === "POST"
        ? withHeaders(await ask(request), { "cache-control": "max-age=60" })
        : await ask(request),
  },
  {
    does: "lets caches decide about refusals",
    breaks: ["2.5"],
    answer: async (request, ask) => {
      const response = await ask(request);
      const isRefusal = request.method === "POST" && response.status >= 400;
      return isRefusal ? withHeaders(response, { "cache-control": null }) : response;
    },
  },
  {
    does: "answers unknown paths with 200",
    breaks: ["2.6"],
    answer: async (request, ask) => {
      const response = await ask(request);
      if (response.status !== 404) return response;
      await response.body?.cancel();
      return Response.json({});
    },
  },
  {
    does: "sends 405 without Allow",
    breaks: ["2.6"],
    answer: async (request, ask) => withHeaders(await ask(request), { allow: null }),
  },
  {
    does: "drops keys above a limit silently",
    breaks: ["2.7"],
    answer: onSync(({ body, ask }) => {
      const keys = Object.entries(body.known);
      return keys.length > 1000 ? ask({ known: Object.fromEntries(keys.slice(0, 1000)) }) : undefined;
    }),
  },
  {
    does: "does not name the limit in a 413",
    breaks: ["2.7"],
    answer: async (request, ask) => {
      const response = await ask(request);
      if (response.status !== 413) return response;
      const { error } = await response.json();
      const { status, headers } = response;
      return Response.json({ error: { ...error, message: "Too much" } }, { status, headers });
    },
  },
  {
    does: "reads a compressed body as plain text",
    breaks: ["2.8"],
    answer: async (request, ask) => {
      if (!request.headers.has("content-encoding")) return await ask(request);
      const copy = withBody(request, await request.text());
      copy.headers.delete("content-encoding");
      return await ask(copy);
    },
  },
];
