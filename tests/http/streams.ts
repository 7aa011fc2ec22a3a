/**
 * Tests of `GET /events`: event streams from their opening to their end.
 *
 * @module
 */
import assert from "node:assert/strict";
import { absent, type OnAdapter, STRANGE_KEYS } from "./adapter_client.ts";
import { EventReader, RawClient } from "./client.ts";
import { bad, type Exchange } from "./exchange.ts";

/** Streams that are refused. */
export const streamExchanges: readonly Exchange[] = [
  { ...bad, title: "a stream of nothing is refused", path: "/events", method: "GET", message: /"keys"/ },
  {
    ...bad,
    title: "a stream of an invalid key is refused",
    path: "/events?keys=%00",
    method: "GET",
    message: /"keys\[0\]"/,
  },
  {
    title: "a stream of too many keys is refused",
    scene: "small",
    path: "/events?keys=a&keys=b&keys=c&keys=d",
    method: "GET",
    status: 413,
    code: "TOO_MANY_KEYS",
  },
];

/** Registers tests of event streams. */
export function testStreams(onAdapter: OnAdapter): void {
  onAdapter(
    "a stream sends the current node, then each change, then the deletion",
    "plain",
    async (client) => {
      await client.operate({ do: "update", key: "news", hash: "1" });
      const response = await client.get("/events?keys=news&keys=quiet");
      assert.equal(response.status, 200);
      assert.match(response.headers.get("content-type") ?? "", /^text\/event-stream/);
      assert.equal(response.headers.get("cache-control"), "no-store, no-transform");
      assert.equal(response.headers.get("x-accel-buffering"), "no");
      const events = new EventReader(response);
      const first = await events.nextEvent("update");
      assert.equal(JSON.parse(first.data ?? "").hash, "1");
      assert.ok(first.id);
      await client.operate({ do: "update", key: "news", hash: "2" });
      const second = await events.nextEvent("update");
      assert.equal(JSON.parse(second.data ?? "").hash, "2");
      assert.notEqual(second.id, first.id);
      await client.operate({ do: "delete", key: "news" });
      assert.deepEqual(JSON.parse((await events.nextEvent("update")).data ?? ""), absent("news"));
      await events.cancel();
      await client.isLeft("news");
      assert.deepEqual(await client.reports(), []);
    },
  );

  onAdapter("a stream resumes where it broke off", "plain", async (client) => {
    await client.operate({ do: "update", key: "a", hash: "1" });
    await client.operate({ do: "update", key: "b", hash: "1" });
    const before = new EventReader(await client.get("/events?keys=a&keys=b"));
    await before.nextEvent("update");
    const { id = "" } = await before.nextEvent("update");
    await before.cancel();
    await client.operate({ do: "update", key: "b", hash: "2" });
    // Clients that cannot send headers use the query.
    const query = `&lastEventId=${encodeURIComponent(id)}`;
    const ways: [more: string, headers: Record<string, string>][] = [
      ["", { "last-event-id": id }],
      [query, {}],
      // Some proxies send a header that they copy even if the client did not.
      [query, { "last-event-id": "" }],
    ];
    for (const [more, headers] of ways) {
      const after = new EventReader(await client.get(`/events?keys=a&keys=b${more}`, headers));
      const { key, hash } = JSON.parse((await after.nextEvent("update")).data ?? "");
      assert.deepEqual([key, hash], ["b", "2"]);
      await after.cancel();
    }
    await client.isLeft("a");
  });

  onAdapter(
    "a stream that breaks off within its first read is told of a deletion",
    "plain",
    async (client) => {
      await client.operate({ do: "update", key: "a", hash: "1" });
      await client.operate({ do: "update", key: "b", hash: "1" });
      const before = new EventReader(await client.get("/events?keys=a&keys=b"));
      // What an EventSource keeps of the blocks that arrived.
      let id = "";
      let key = "";
      while (key === "") {
        const frame = await before.next();
        id = frame?.id ?? id;
        if (frame?.event === "update") key = JSON.parse(frame.data ?? "").key;
      }
      await before.cancel();
      await client.operate({ do: "delete", key });
      const headers: Record<string, string> = id === "" ? {} : { "last-event-id": id };
      const after = new EventReader(await client.get("/events?keys=a&keys=b", headers));
      const told = [await after.nextEvent("update"), await after.nextEvent("update")];
      assert.deepEqual(
        told.map(({ data = "" }) => JSON.parse(data)).find((meta) => meta.key === key),
        absent(key),
      );
      await after.cancel();
      await client.isLeft("a");
    },
  );

  onAdapter("a stream that resumes with one more key is sent its node", "plain", async (client) => {
    await client.operate({ do: "update", key: "b", hash: "1" });
    await client.operate({ do: "update", key: "a", hash: "1" });
    const before = new EventReader(await client.get("/events?keys=a"));
    const { id = "" } = await before.nextEvent("update");
    await before.cancel();
    const after = new EventReader(await client.get("/events?keys=a&keys=b", { "last-event-id": id }));
    const told = [await after.nextEvent("update"), await after.nextEvent("update")];
    assert.deepEqual(told.map(({ data = "" }) => JSON.parse(data).key), ["a", "b"]);
    await after.cancel();
    await client.isLeft("a");
  });

  onAdapter("a stream that cannot be resumed sends resync and all nodes", "plain", async (client) => {
    await client.operate({ do: "update", key: "a", hash: "1" });
    for (const id of ["garbage", "another-life:1", "another-life:another-storage:0:1:k", "%:%:0:1:k"]) {
      const events = new EventReader(await client.get("/events?keys=a", { "last-event-id": id }));
      const { data = "" } = await events.nextEvent("resync");
      assert.deepEqual(Object.keys(JSON.parse(data)), ["epoch"]);
      assert.equal(JSON.parse((await events.nextEvent("update")).data ?? "").hash, "1");
      await events.cancel();
    }
    await client.isLeft("a");
  });

  onAdapter(
    "a silent stream sends comments without an id, and ends after its lifetime",
    "fast",
    async (client) => {
      const events = new EventReader(await client.get("/events?keys=quiet"));
      let heartbeats = 0;
      let retry: string | undefined;
      for (let frame = await events.next(); frame !== null; frame = await events.next()) {
        if (frame.retry !== undefined) retry = frame.retry;
        if (frame.comment === undefined) continue;
        heartbeats++;
        assert.deepEqual(frame, { comment: "heartbeat" });
      }
      assert.ok(heartbeats > 0);
      assert.equal(retry, "1750");
      await client.hasWaiters(0);
    },
  );

  onAdapter("streams end when the server stops", "plain", async (client) => {
    const events = new EventReader(await client.get("/events?keys=a"));
    await client.hasWaiters(1);
    await client.operate({ do: "close" });
    let last = await events.next();
    for (let frame = last; frame !== null; frame = await events.next()) last = frame;
    assert.ok(Number(last?.retry) >= 500);
  });

  onAdapter("a client that disconnects ends its stream", "plain", async (client) => {
    const raw = await RawClient.connect(client.url(""));
    const { pathname } = new URL(client.url("/events"));
    raw.send(`GET ${pathname}?keys=a HTTP/1.1\r\nHost: a\r\n\r\n`);
    await raw.receive((text) => text.includes("retry: 500"));
    await client.hasStreams(1);
    await raw.close();
    await client.isLeft("a");
    assert.deepEqual(await client.reports(), []);
  });

  onAdapter("a stream follows strange keys", "plain", async (client) => {
    const query = STRANGE_KEYS.map((key) => `keys=${encodeURIComponent(key)}`).join("&");
    const events = new EventReader(await client.get(`/events?${query}`));
    await client.hasWaiters(1);
    for (const key of STRANGE_KEYS) {
      await client.operate({ do: "update", key, hash: "1" });
      assert.equal(JSON.parse((await events.nextEvent("update")).data ?? "").key, key);
    }
    await events.cancel();
    await client.isLeft("then");
  });
}

/** Registers a test of a stream whose reader is slow. */
export function testBackpressure(onAdapter: OnAdapter): void {
  onAdapter("a slow reader gets the newest state, not a backlog", "plain", async (client) => {
    const keys = Array.from({ length: 60 }, (_, i) => `${i}-`.padEnd(200, "k"));
    const hash = "h".repeat(250);
    const rounds = 600;
    const raw = await RawClient.connect(client.url(""));
    try {
      const { pathname } = new URL(client.url("/events"));
      raw.send(`GET ${pathname}?keys=${keys.join("&keys=")} HTTP/1.1\r\nHost: a\r\n\r\n`);
      await raw.receive((text) => text.includes("retry: 500"));
      raw.pause();
      await client.operate({ do: "update again and again", keys, hash, rounds });
      await client.operate({ do: "update", key: keys[0] ?? "", hash: "the newest" });
      await raw.resumeUntil("the newest");
      // The buffers of the two systems are not under our control, but are far smaller than everything.
      const everything = rounds * keys.length * (200 + hash.length);
      assert.ok(raw.bytes < everything * 0.7, `${raw.bytes} of at least ${everything} bytes were sent`);
    } finally {
      await raw.close();
    }
    await client.isLeft(keys[0] ?? "");
  });
}
