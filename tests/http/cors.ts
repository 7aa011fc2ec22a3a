/**
 * CORS through every adapter: requests with one answer each, and tests of several requests.
 *
 * @module
 */
import assert from "node:assert/strict";
import { EventReader } from "./client.ts";
import type { OnAdapter } from "./adapter_client.ts";
import type { Exchange } from "./exchange.ts";
import { ORIGIN, TOKENS } from "./scenes.ts";

const JSON_TYPE = { "content-type": "application/json" };
const FRIEND = "https://any.friend.example";
const STRANGER = "https://stranger.example";

/** The answer names no origin. */
const CLOSED = { "access-control-allow-origin": null, "access-control-allow-credentials": null };
/** Nor does it for this origin; caches keep it apart from what others are told. */
const STRANGE = { ...CLOSED, vary: /\borigin\b/i };
/** The answer can be read by pages of the list, with credentials. */
const LISTED = {
  "access-control-allow-origin": ORIGIN,
  "access-control-allow-credentials": "true",
  "access-control-expose-headers": /\bretry-after\b/,
  "vary": /\borigin\b/i,
};
/** The answer can be read by pages that the function says yes to, without credentials. */
const FRIENDLY = {
  "access-control-allow-origin": FRIEND,
  "access-control-allow-credentials": null,
  "access-control-expose-headers": /\bretry-after\b/,
  "vary": /\borigin\b/i,
};

/** The answer can be read by every page, without credentials. */
const OPEN = {
  "access-control-allow-origin": "*",
  "access-control-allow-credentials": null,
  "access-control-expose-headers": /\bretry-after\b/,
};

/** A sync from a page, and a preflight for it. */
const sync = (origin: string) => ({ headers: { ...JSON_TYPE, origin }, body: { known: {} }, status: 200 });
const preflight = (origin: string, method = "POST") => ({
  method: "OPTIONS",
  headers: {
    origin,
    "access-control-request-method": method,
    "access-control-request-headers": "content-type",
  },
  status: 204,
});

/** Every request of a page of another origin that one answer settles. */
export const corsExchanges: readonly Exchange[] = [
  { title: "without CORS no origin is named", ...sync(ORIGIN), answers: CLOSED },
  {
    title: "without CORS a preflight is refused",
    ...preflight(ORIGIN),
    status: 405,
    code: "METHOD",
    answers: CLOSED,
  },
  // A list.
  {
    title: "an origin of the list may read, with credentials",
    scene: "cors",
    ...sync(ORIGIN),
    answers: LISTED,
  },
  ...[
    `${ORIGIN}.evil.example`,
    ORIGIN.replace("https:", "http:"),
    `${ORIGIN}:8443`,
    ORIGIN.toUpperCase(),
    "null",
    STRANGER,
  ].map((origin) => ({
    title: `${origin} is not of the list and may not read`,
    scene: "cors" as const,
    ...sync(origin),
    answers: STRANGE,
  })),
  {
    title: "a request without an origin is answered as one that may not read",
    scene: "cors",
    body: { known: {} },
    status: 200,
    answers: STRANGE,
  },
  {
    title: "a preflight of an origin of the list is answered",
    scene: "cors",
    ...preflight(ORIGIN),
    json: "",
    answers: {
      ...LISTED,
      "access-control-allow-methods": /POST/,
      "access-control-allow-headers":
        /^authorization, content-type, last-event-id, traceparent, tracestate, baggage, x-api-key$/,
      "access-control-expose-headers": /, retry-after, x-request-id$/,
      "access-control-max-age": "60",
    },
  },
  {
    title: "a preflight of a path that is not under the base path is not answered",
    scene: "cors",
    ...preflight(ORIGIN),
    path: "/elsewhere",
    whole: true,
    status: 404,
    code: "NOT_FOUND",
  },
  {
    title: "a preflight of a deletion is answered where the node's path is",
    scene: "cors",
    ...preflight(ORIGIN, "DELETE"),
    path: "/nodes/a%2Fb",
    answers: { ...LISTED, "access-control-allow-methods": /DELETE/ },
  },
  {
    title: "a preflight of another origin names none",
    scene: "cors",
    ...preflight(STRANGER),
    answers: { ...STRANGE, "access-control-allow-methods": null, "access-control-allow-headers": null },
  },
  // Refusals: a page that may read must be able to read why, and a cache must not give one page another's.
  ...[ORIGIN, STRANGER].flatMap((origin) => {
    const answers = origin === ORIGIN ? LISTED : STRANGE;
    const who = origin === ORIGIN ? "an origin of the list" : "another origin";
    const refusal = { scene: "cors" as const, headers: { ...JSON_TYPE, origin }, answers };
    return [
      { ...refusal, title: `a 400 to ${who} varies`, body: {}, status: 400 },
      { ...refusal, title: `a 401 to ${who} varies`, path: "/update", body: {}, status: 401 },
      { ...refusal, title: `a 405 to ${who} varies`, method: "PUT", body: {}, status: 405 },
      {
        ...refusal,
        title: `a 400 of a stream to ${who} varies`,
        path: "/events",
        method: "GET",
        status: 400,
      },
      {
        ...refusal,
        title: `a 415 to ${who} varies`,
        headers: { "content-type": "text/plain", origin },
        body: "{}",
        status: 415,
        bytes: true as const,
      },
    ];
  }),
  {
    title: "a deletion can be read by an origin of the list",
    scene: "cors",
    method: "DELETE",
    path: "/nodes/never",
    headers: { origin: ORIGIN, authorization: `Bearer ${TOKENS[0]}` },
    status: 204,
    answers: LISTED,
  },
  // A function.
  { title: "an origin that the function knows may read", scene: "asked", ...sync(FRIEND), answers: FRIENDLY },
  { title: "one that it does not know may not", scene: "asked", ...sync(STRANGER), answers: STRANGE },
  {
    title: "a preflight is answered by the function",
    scene: "asked",
    ...preflight(FRIEND),
    answers: { ...FRIENDLY, "access-control-max-age": "600" },
  },
  {
    title: "one that the function fails at may not read, and is answered",
    scene: "asked",
    ...sync("null"),
    answers: STRANGE,
  },
  {
    title: "a preflight that the function fails at names no origin",
    scene: "asked",
    ...preflight("null"),
    answers: { ...STRANGE, "access-control-allow-methods": null },
  },
  // Every origin.
  {
    title: "every origin may read, without credentials",
    scene: "everyOrigin",
    ...sync(STRANGER),
    answers: OPEN,
  },
  {
    title: "a refusal can be read by every origin",
    scene: "everyOrigin",
    ...sync(STRANGER),
    body: {},
    status: 400,
    answers: OPEN,
  },
];

/** What one answer does not settle. */
export function testCors(onAdapter: OnAdapter): void {
  onAdapter("a stream can be read by an origin of the list, and by no other", "cors", async (client) => {
    for (const [origin, expected] of [[ORIGIN, LISTED], [STRANGER, STRANGE]] as const) {
      const response = await client.get("/events?keys=a", { origin });
      assert.equal(response.status, 200);
      for (const [name, value] of Object.entries(expected)) {
        const found = response.headers.get(name);
        if (value instanceof RegExp) assert.match(found ?? "", value, name);
        else assert.equal(found, value, name);
      }
      const events = new EventReader(response);
      await events.next();
      await events.cancel();
    }
    await client.isLeft("a");
  });

  onAdapter("a function that fails at an origin is reported", "asked", async (client) => {
    const response = await client.post("/sync", { known: {} }, { ...JSON_TYPE, origin: "null" });
    assert.equal(response.status, 200);
    await response.body?.cancel();
    assert.deepEqual(await client.reports(), ["ERR_REALITY_INTERNAL"]);
  });
}
