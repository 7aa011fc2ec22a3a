/**
 * Tests of paths and methods that do not exist.
 *
 * @module
 */
import { type Exchange, noBody } from "./exchange.ts";

/** Unknown paths, and known ones with other methods. */
export const pathExchanges: readonly Exchange[] = [
  ...[
    "/reality",
    "/reality/",
    "/reality/nope",
    "/reality/sync//",
    "/reality/sync/x",
    "/realitysync",
    "/",
    "/sync",
  ]
    .map((path) => ({
      title: `${path} is not there`,
      path,
      whole: true as const,
      body: { known: {} },
      status: 404,
      code: "NOT_FOUND",
    })),
  ...["GET", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS"].map((method) => ({
    ...noBody,
    title: `${method} /sync is not allowed`,
    method,
    answers: { allow: "POST" },
  })),
  {
    ...noBody,
    title: "POST /events is not allowed",
    path: "/events",
    method: "POST",
    answers: { allow: "GET" },
  },
  {
    ...noBody,
    title: "GET /update is not allowed",
    path: "/update",
    method: "GET",
    answers: { allow: "POST" },
  },
  {
    ...noBody,
    title: "GET /invalidate is not allowed",
    path: "/invalidate",
    method: "GET",
    answers: { allow: "POST" },
  },
  {
    ...noBody,
    title: "GET /nodes/a is not allowed",
    path: "/nodes/a",
    method: "GET",
    answers: { allow: "DELETE" },
  },
  {
    ...noBody,
    title: "POST /health is not allowed",
    path: "/health",
    method: "POST",
    answers: { allow: "GET, HEAD" },
  },
];
