/**
 * Tests of paths and methods that do not exist.
 *
 * @module
 */
import { type Exchange, withoutBody } from "./exchange.ts";

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
    ...withoutBody,
    title: `${method} /sync is not allowed`,
    method,
    answers: { allow: "POST" },
  })),
  {
    ...withoutBody,
    title: "POST /events is not allowed",
    path: "/events",
    method: "POST",
    answers: { allow: "GET" },
  },
  {
    ...withoutBody,
    title: "GET /update is not allowed",
    path: "/update",
    method: "GET",
    answers: { allow: "POST" },
  },
  {
    ...withoutBody,
    title: "GET /invalidate is not allowed",
    path: "/invalidate",
    method: "GET",
    answers: { allow: "POST" },
  },
  {
    ...withoutBody,
    title: "GET /nodes/a is not allowed",
    path: "/nodes/a",
    method: "GET",
    answers: { allow: "DELETE" },
  },
  {
    ...withoutBody,
    title: "POST /health is not allowed",
    path: "/health",
    method: "POST",
    answers: { allow: "GET, HEAD" },
  },
];
