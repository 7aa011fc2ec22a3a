/**
 * Tests of `GET /health`, `GET /ready` and `GET /metrics`.
 *
 * @module
 */
import { type Exchange, NO_STORE, noBody } from "./exchange.ts";

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
    ...noBody,
    title: "POST /ready is not allowed",
    path: "/ready",
    method: "POST",
    answers: { allow: "GET, HEAD" },
  },
  {
    title: "the numbers are answered as Prometheus has it",
    path: "/metrics",
    method: "GET",
    status: 200,
    answers: { "content-type": "text/plain; version=0.0.4; charset=utf-8", "cache-control": "no-store" },
  },
  {
    title: "the numbers are answered without a body to HEAD",
    path: "/metrics",
    method: "HEAD",
    status: 200,
    json: "",
  },
  {
    ...noBody,
    title: "POST /metrics is not allowed",
    path: "/metrics",
    method: "POST",
    answers: { allow: "GET, HEAD" },
  },
  {
    title: "the numbers are nowhere where they were taken away",
    scene: "closed",
    path: "/metrics",
    method: "GET",
    status: 404,
    code: "NOT_FOUND",
  },
  {
    title: "the numbers are refused to whom the application turns down",
    scene: "hook",
    path: "/metrics",
    method: "GET",
    status: 403,
    code: "FORBIDDEN",
  },
  {
    title: "the numbers are given to whom the application lets in",
    scene: "hook",
    path: "/metrics",
    method: "GET",
    headers: { "x-user": "scraper" },
    status: 200,
  },
];
