/**
 * Tests of `GET /health`, `GET /ready` and `GET /metrics`.
 *
 * @module
 */
import { type Exchange, NO_STORE, withoutBody } from "./exchange.ts";

/** Health, readiness and metrics, and who may read them. */
export const healthExchanges: readonly Exchange[] = [
  {
    title: "health is answered",
    path: "/health",
    method: "GET",
    status: 200,
    json: { status: "ok" },
    answers: NO_STORE,
  },
  {
    title: "health is answered without a body to HEAD",
    path: "/health",
    method: "HEAD",
    status: 200,
    json: "",
  },
  {
    title: "health is answered while the storage fails",
    scene: "broken",
    path: "/health",
    method: "GET",
    status: 200,
  },
  {
    title: "a server that is ready says so",
    path: "/ready",
    method: "GET",
    status: 200,
    json: { status: "ready" },
    answers: NO_STORE,
  },
  {
    title: "readiness is answered without a body to HEAD",
    path: "/ready",
    method: "HEAD",
    status: 200,
    json: "",
  },
  {
    title: "a server is not ready while its storage is not well",
    scene: "unwell",
    path: "/ready",
    method: "GET",
    status: 503,
    json: { status: "storage" },
    answers: NO_STORE,
  },
  {
    ...withoutBody,
    title: "POST /ready is not allowed",
    path: "/ready",
    method: "POST",
    answers: { allow: "GET, HEAD" },
  },
  {
    title: "the metrics are sent in the format of Prometheus",
    path: "/metrics",
    method: "GET",
    status: 200,
    answers: { "content-type": "text/plain; version=0.0.4; charset=utf-8", "cache-control": "no-store" },
  },
  {
    title: "the metrics are sent without a body to HEAD",
    path: "/metrics",
    method: "HEAD",
    status: 200,
    json: "",
  },
  {
    ...withoutBody,
    title: "POST /metrics is not allowed",
    path: "/metrics",
    method: "POST",
    answers: { allow: "GET, HEAD" },
  },
  {
    title: "the metrics have no route if they are disabled",
    scene: "closed",
    path: "/metrics",
    method: "GET",
    status: 404,
    code: "NOT_FOUND",
  },
  {
    title: "the metrics are refused to clients that the application refuses",
    scene: "hook",
    path: "/metrics",
    method: "GET",
    status: 403,
    code: "FORBIDDEN",
  },
  {
    title: "the metrics are sent to clients that the application allows",
    scene: "hook",
    path: "/metrics",
    method: "GET",
    headers: { "x-user": "scraper" },
    status: 200,
  },
];
