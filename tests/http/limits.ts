/**
 * What every adapter does with too many requests, with clients that send too often, with bodies that do not arrive and with
 * streams that no client reads.
 *
 * @module
 */
import assert from "node:assert/strict";
import { EventReader, RawClient, soon, until } from "./client.ts";
import type { Adapter } from "./adapter.ts";
import type { Client, OnAdapter } from "./adapter_client.ts";
import { RATE, SHARES } from "./scenes.ts";

const JSON_TYPE = { "content-type": "application/json" };

/** Registers tests of the limits that concern an adapter. */
export function testAdmission(onAdapter: OnAdapter, adapter: Adapter): void {
  testRates(onAdapter, adapter);
  testPlaces(onAdapter);
  testShares(onAdapter, adapter);
  // A framework that parses bodies waits for them and decompresses them itself.
  if (!adapter.parsesBodies) testSlowBodies(onAdapter, adapter);
}

/**
 * Registers the slow test: a stream that is not read.
 *
 * @param onAdapter Where the tests are registered.
 */
export function testStalledReader(onAdapter: OnAdapter): void {
  onAdapter("a stream whose reader takes nothing gives its place back", "impatient", async (client) => {
    const keys = Array.from({ length: 60 }, (_, i) => `${i}-`.padEnd(200, "k"));
    const raw = await RawClient.connect(client.url(""));
    try {
      const { pathname } = new URL(client.url("/events"));
      raw.send(`GET ${pathname}?keys=${keys.join("&keys=")} HTTP/1.1\r\nHost: a\r\n\r\n`);
      await raw.receive((text) => text.includes("retry: 500"));
      raw.pause();
      const isOver = async () => {
        // More than the socket buffers hold.
        await client.operate({ do: "update again and again", keys, hash: "h".repeat(250), rounds: 50 });
        return (await client.stats()).streams === 0;
      };
      await until(isOver, "the stream is given up");
      assert.equal((await client.stats()).waiters, 0);
    } finally {
      await raw.close();
    }
    assert.deepEqual(await client.reports(), []);
  });
}

/** Clients that ask too often, and how they are told apart. */
function testRates(onAdapter: OnAdapter, adapter: Adapter): void {
  const ask = async (client: Client, headers: Record<string, string> = {}) => {
    const response = await client.post("/sync", { known: {} }, { ...JSON_TYPE, ...headers });
    await response.body?.cancel();
    return response;
  };

  if (adapter.tellsNoAddress) {
    onAdapter(
      "a client whose address the runtime does not tell is not limited, which is reported",
      "limited",
      async (client) => {
        for (let i = 0; i <= RATE.limit; i++) assert.equal((await ask(client)).status, 200);
        assert.deepEqual(await client.reports(), ["ERR_REALITY_INTERNAL"]);
      },
    );
    return;
  }

  onAdapter("a client is limited by the address that connects", "limited", async (client) => {
    for (let i = 1; i <= RATE.limit; i++) {
      const { status, headers } = await ask(client);
      assert.equal(status, 200);
      assert.equal(headers.get("ratelimit-policy"), `"default";q=${RATE.limit};w=3600`);
      assert.match(headers.get("ratelimit") ?? "", new RegExp(`^"default";r=${RATE.limit - i};t=\\d+$`));
    }
    const refused = await ask(client);
    assert.equal(refused.status, 429);
    const [, renewal] = /t=(\d+)$/.exec(refused.headers.get("ratelimit") ?? "") ?? [];
    const wait = Number(refused.headers.get("retry-after")) - Number(renewal);
    assert.ok(wait >= 0 && wait < 5, `${wait}`);
    const events = await client.get("/events?keys=a");
    // An EventSource would not reconnect after a refusal: it receives a retry delay.
    assert.equal(events.status, 200);
    const [, retry] = /^retry: (\d+)\n\n$/.exec(await events.text()) ?? [];
    assert.ok(Number(retry) >= Number(renewal) * 1_000 - 2_000, `${retry}`);
    for (const path of ["/health", "/ready", "/metrics"]) {
      const response = await client.get(path);
      assert.equal(response.status, 200);
      await response.body?.cancel();
    }
    assert.deepEqual(await client.reports(), []);
  });

  onAdapter(
    "a trusted proxy says whom it asks for, and a client only what counts for nothing",
    "limited",
    async (client) => {
      for (let i = 0; i <= RATE.limit; i++) {
        const forged = { "x-forwarded-for": `198.51.100.${i}, 203.0.113.7` };
        assert.equal((await ask(client, forged)).status, i < RATE.limit ? 200 : 429);
      }
      assert.equal((await ask(client, { "x-forwarded-for": "[2001:db8::1]:4711" })).status, 200);
      assert.equal((await ask(client, { forwarded: 'for="[2001:db8::2]";proto=https' })).status, 200);
      assert.equal((await ask(client, { "x-forwarded-for": "\\\"',;=" })).status, 200);
    },
  );
}

/** More requests at once than allowed. */
function testPlaces(onAdapter: OnAdapter): void {
  onAdapter("a stream that finds no place tells the present and ends", "crowded", async (client) => {
    await client.operate({ do: "update", key: "a", hash: "1" });
    const first = new EventReader(await client.get("/events?keys=a"));
    await first.nextEvent("update");
    const second = new EventReader(await client.get("/events?keys=a"));
    assert.equal(JSON.parse((await second.nextEvent("update")).data ?? "").hash, "1");
    assert.ok(Number((await second.next())?.retry) >= 500);
    assert.equal(await second.next(), null);
    await first.cancel();
    await client.isLeft("a");
  });
}

/** Clients that use more waiting slots than their share. */
function testShares(onAdapter: OnAdapter, adapter: Adapter): void {
  const of = (client: string) => ({ ...JSON_TYPE, "x-forwarded-for": client });
  const wait = (client: Client, who: string, keys: readonly string[] = ["quiet"]) =>
    client.post("/sync", { known: Object.fromEntries(keys.map((key) => [key, 0])), wait: 20_000 }, of(who));

  onAdapter("pipelined syncs of one connection wait one after the other", "shared", async (client) => {
    const raw = await RawClient.connect(client.url(""));
    const body = '{"known":{"quiet":0},"wait":20000}';
    const one = headOf(client, `Content-Length: ${body.length}`) + body;
    raw.send(one + one + one);
    if (!adapter.losesPipelined) {
      await client.hasWaiters(1);
      await client.operate({ do: "update", key: "quiet", hash: "1" });
      for (let i = 0; i < 3; i++) assert.equal((await raw.receiveAnswer()).status, 200);
    }
    await raw.close();
    await client.hasWaiters(0);
  });

  if (adapter.tellsNoAddress) return;

  onAdapter("a client waits in its share of the places, and others in theirs", "shared", async (client) => {
    const waiting = [wait(client, "203.0.113.1"), wait(client, "203.0.113.1")];
    await client.hasWaiters(SHARES.maxWaitersPerClient);
    const refused = await soon(wait(client, "203.0.113.1"), "an answer without a wait");
    const { changed, pause } = await refused.json();
    assert.deepEqual(changed, {});
    // Without it a client would send the next request at once.
    assert.ok(pause >= 500 && pause < 3_000, `${pause}`);
    assert.equal(refused.headers.get("retry-after"), String(Math.ceil(pause / 1_000)));
    const stream = await client.get("/events?keys=quiet", of("203.0.113.1"));
    assert.match(await soon(stream.text(), "the stream's end"), /retry: \d+\n\n$/);
    waiting.push(wait(client, "203.0.113.2"));
    await client.hasWaiters(3);
    assert.deepEqual(await client.reports(), ["ERR_REALITY_OVERLOADED"]);
    await client.operate({ do: "update", key: "quiet", hash: "1" });
    for (const response of await soon(Promise.all(waiting), "the answers of all that waited")) {
      const { changed, pause } = await response.json();
      assert.equal(changed.quiet.hash, "1");
      assert.equal(pause, undefined);
      assert.equal(response.headers.get("retry-after"), null);
    }
    await client.hasWaiters(0);
  });

  onAdapter(
    "a client's keys fill its share as well, and free it when they are answered",
    "shared",
    async (client) => {
      const many = Array.from({ length: 30 }, (_, i) => `quiet:${i}`);
      const waiting = [wait(client, "203.0.113.1", many)];
      await client.hasWaiters(1);
      const refused = await soon(wait(client, "203.0.113.1", many), "an answer without a wait");
      assert.ok((await refused.json()).pause >= 500);
      waiting.push(wait(client, "203.0.113.2", many));
      await client.hasWaiters(2);
      await client.operate({ do: "update", key: "quiet:7", hash: "1" });
      for (const response of await soon(Promise.all(waiting), "the answers")) await response.body?.cancel();
      await client.hasWaiters(0);
      const again = wait(client, "203.0.113.1", many.slice(8));
      await client.hasWaiters(1);
      await client.operate({ do: "update", key: "quiet:8", hash: "1" });
      await (await again).body?.cancel();
    },
  );
}

/** Bodies that stall, or arrive in an invalid way. */
function testSlowBodies(onAdapter: OnAdapter, adapter: Adapter): void {
  onAdapter(
    "a body that stops coming is given up, and the connection with it",
    "impatient",
    async (client) => {
      for (const header of ["Content-Length: 1000", "Content-Length: 100000", "Transfer-Encoding: chunked"]) {
        const raw = await RawClient.connect(client.url(""));
        raw.send(`${headOf(client, header)}5\r\n{"kno`);
        const received = await raw.receive((text) => text.includes("bodyTimeout"));
        assert.match(received, /^HTTP\/1\.1 408 /);
        assert.match(received, /ERR_REALITY_TIMEOUT.*bodyTimeout \(100 ms\)/);
        if (adapter.keepsConnection) await raw.close();
        else await raw.closed();
      }
      await client.isWell();
      assert.deepEqual(await client.reports(), []);
    },
  );

  onAdapter("a body that comes drop by drop is given up as well", "impatient", async (client) => {
    const raw = await RawClient.connect(client.url(""));
    raw.send(headOf(client, "Content-Length: 1000"));
    const drops = setInterval(() => raw.send("x"), 10);
    try {
      assert.match(await raw.receive((text) => text.includes("bodyTimeout")), /^HTTP\/1\.1 408 /);
    } finally {
      clearInterval(drops);
      await raw.close();
    }
  });

  onAdapter(
    "a request that finds too many is turned away, until there is a place again",
    "crowded",
    async (client) => {
      const takePlace = async () => {
        const raw = await RawClient.connect(client.url(""));
        raw.send(headOf(client, "Content-Length: 1000"));
        return raw;
      };
      let raw = await takePlace();
      let last: Response | undefined;
      await until(async () => {
        await last?.body?.cancel();
        // It may have arrived while there was no slot, since another request was being answered.
        if (raw.received !== "") {
          await raw.close();
          raw = await takePlace();
        }
        last = await client.post("/sync", { known: {} });
        return last.status !== 200;
      }, "there is no place left");
      assert.equal(last?.status, 503);
      assert.match(last?.headers.get("retry-after") ?? "", /^[1-5]$/);
      assert.equal((await last?.json()).error.code, "ERR_REALITY_OVERLOADED");
      const events = await soon(client.get("/events?keys=a"), "an answer");
      assert.match(await events.text(), /^retry: \d+\n\n$/);
      await client.isWell();
      await raw.close();
      await until(async () => {
        const response = await client.post("/sync", { known: {} });
        await response.body?.cancel();
        return response.status === 200;
      }, "there is a place again");
    },
  );

  onAdapter("a compressed body is refused, and says how it is taken", "plain", async (client) => {
    const body = new Uint8Array([31, 139, 8, 0, 0, 0, 0, 0, 0, 3, 1, 0, 0, 255, 255, 0, 0, 0, 0, 0, 0, 0, 0]);
    const response = await client.post("/sync", body, { ...JSON_TYPE, "content-encoding": "gzip" });
    assert.equal(response.status, 415);
    assert.equal(response.headers.get("accept-encoding"), "identity");
    assert.equal((await response.json()).error.code, "ERR_REALITY_MEDIA_TYPE");
  });
}

/** The head of a sync whose body is sent by hand. */
function headOf(client: Client, header: string): string {
  return `POST ${new URL(client.url("/sync")).pathname} HTTP/1.1\r\nHost: a\r\n` +
    `Content-Type: application/json\r\n${header}\r\n\r\n`;
}
