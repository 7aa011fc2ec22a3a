/**
 * Metrics and events through every adapter: counts of requests, and no keys.
 *
 * @module
 */
import assert from "node:assert/strict";
import { EventReader, soon, until } from "./client.ts";
import type { Client, OnAdapter } from "./adapter_client.ts";
import { TOKENS } from "./scenes.ts";
import { readMetrics, valueOf } from "../prometheus.ts";

const JSON_TYPE = { "content-type": "application/json" };
const WRITE = { ...JSON_TYPE, authorization: `Bearer ${TOKENS[0]}` };

/** Keys that would break out of a label, or could be told from their encoding. */
const KEYS: readonly string[] = [
  'zebra"} 1',
  "zebra\\",
  'zebra{le="+Inf"} 7',
  "zebra # HELP zebra",
  "zebra 🦓 ключ",
  "__proto__zebra",
  "http://zebra.example/?token=zebra",
];

/** Registers tests of telemetry behind an adapter. */
export function testWatching(onAdapter: OnAdapter, noticesLate = false): void {
  onAdapter("/metrics counts the requests through the adapter", "plain", async (client) => {
    await client.sync({ known: { a: 0 } });
    await client.operate({ do: "update", key: "a", hash: "1" });
    await client.sync({ known: { a: 0, b: 0 } });
    await ask(client, "POST", "/sync", { known: 7 });
    await ask(client, "POST", "/update", { key: "b", hash: "1" }, WRITE);
    await ask(client, "GET", "/health");
    const families = await scrape(client);
    const requests = (route: string, status: string) =>
      valueOf(families, "reality_http_requests_total", { route, status });
    assert.deepEqual(
      [
        requests("sync", "200"),
        requests("sync", "400"),
        requests("update", "200"),
        requests("health", "200"),
      ],
      [2, 1, 1, 1],
    );
    assert.equal(valueOf(families, "reality_refusals_total", { code: "ERR_REALITY_BAD_REQUEST" }), 1);
    assert.equal(valueOf(families, "reality_sync_keys_sum"), 3);
    assert.equal(valueOf(families, "reality_changed_keys_total"), 1);
    assert.equal(valueOf(families, "reality_changes_total"), 2);
    assert.equal(valueOf(families, "reality_http_request_duration_seconds_count", { route: "sync" }), 3);
  });

  onAdapter("/metrics tells how waits and streams ended", "plain", async (client) => {
    await client.operate({ do: "update", key: "a", hash: "1" });
    const { changed } = await client.sync({ known: { a: 0 } });
    const wait = client.sync({ known: { a: changed.a?.version ?? 0 }, wait: 20_000 });
    await client.hasWaiters(1);
    await until(async () => await count(client, "reality_waits_begun_total") === 1, "it waits");
    const events = new EventReader(await soon(client.get("/events?keys=a"), "a stream"));
    await events.nextEvent("update");
    assert.equal(await count(client, "reality_streams"), 1);
    await client.operate({ do: "update", key: "a", hash: "2" });
    await wait;
    await events.nextEvent("update");
    assert.equal(await count(client, "reality_waits_ended_total", { outcome: "wake" }), 1);
    await events.cancel();
    await client.isLeft("a");
    await until(async () => await count(client, "reality_streams_ended_total") === 1, "the stream has ended");
    if (noticesLate) return;
    assert.equal(await count(client, "reality_streams_ended_total", { reason: "gone" }), 1);
    const away = new AbortController();
    const leaving = client.sync({ known: { b: 0 }, wait: 20_000 }, away.signal);
    await until(async () => await count(client, "reality_waits_begun_total") === 2, "it waits");
    away.abort();
    await assert.rejects(leaving);
    const isGone = async () => await count(client, "reality_waits_ended_total", { outcome: "gone" }) === 1;
    await until(isGone, "the client that went away is counted");
    const route = { route: "sync", status: "499" };
    await until(
      async () => await count(client, "reality_http_requests_total", route) === 1,
      "and its request",
    );
  });

  onAdapter("no key comes to /metrics, /ready, /health", "plain", async (client) => {
    for (const key of KEYS) {
      const encoded = encodeURIComponent(key);
      await client.operate({ do: "update", key, hash: "zebra" });
      await client.sync({ known: { [key]: 0 }, epoch: "zebra", clientId: "zebra" });
      await ask(client, "POST", "/sync", { known: { [key]: -1 } });
      await ask(client, "POST", "/update", { key, hash: "zebra" }, WRITE);
      await ask(client, "POST", "/update", { key, hash: 7 }, WRITE);
      await ask(client, "POST", "/invalidate", { keys: [key] }, WRITE);
      await ask(client, "DELETE", `/nodes/${encoded}`, undefined, WRITE);
      await ask(client, "GET", `/nodes/${encoded}`);
      await ask(client, "GET", `/zebra/${encoded}?${encoded}`);
      await ask(client, "GET", `/health?keys=${encoded}`, undefined, { "x-zebra": encoded });
      const events = new EventReader(await soon(client.get(`/events?keys=${encoded}`), "a stream"));
      await events.next();
      await events.cancel();
      await client.isLeft(key);
    }
    for (const path of ["/metrics", "/ready", "/health"]) {
      const text = await (await client.get(path)).text();
      assert.doesNotMatch(text, /zebra|🦓|ключ|kit-token/i, path);
      if (path === "/metrics") readMetrics(text);
    }
  });
}

async function ask(
  client: Client,
  method: string,
  path: string,
  body?: unknown,
  headers: Record<string, string> = body === undefined ? {} : JSON_TYPE,
): Promise<void> {
  const response = await soon(client.send(method, path, body, headers), "an answer");
  await response.body?.cancel();
}

async function scrape(client: Client): Promise<ReturnType<typeof readMetrics>> {
  return readMetrics(await (await client.get("/metrics")).text());
}

async function count(client: Client, name: string, labels: Record<string, string> = {}): Promise<number> {
  return valueOf(await scrape(client), name, labels);
}
