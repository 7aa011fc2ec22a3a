/**
 * Chapter 6 of the protocol: server-sent events.
 *
 * @module
 */
import type { RealityNodeMeta, SyncResponse } from "../../../src/types.ts";
import { assertDeleted } from "./comparison.ts";
import type { EventBlock, EventStream } from "../event_stream.ts";
import type { Rule } from "../rule.ts";
import type { CheckedServer } from "../server.ts";
import { assert, format, skip } from "../outcome.ts";

/** The default heartbeat interval of servers, in milliseconds. */
const HEARTBEAT_INTERVAL = 30_000;

/** Time to wait for a heartbeat if the timeout is below the default interval, in milliseconds. */
const SHORT_WAIT = 1_000;

/** The rules of chapter 6. */
export const eventRules: readonly Rule[] = [
  {
    number: "6.1",
    sentence: "A change is sent as update with the meta of the node, a deletion with the meta of rule 4.3",
    async check(server) {
      const key = server.newKey();
      server.authorize([key]);
      await withStream(server, [key], {}, async (stream) => {
        await stream.open();
        const { [key]: version } = await server.update(key);
        const meta = metaOf(await nextUpdate(stream));
        assert(
          meta.key === key && meta.version === version,
          () => `${format(meta)}, expected version ${version}`,
        );
        await server.remove(key);
        assertDeleted(metaOf(await nextUpdate(stream)), key);
      });
    },
  },
  {
    number: "6.2",
    sentence: "A new stream begins with an id, also if no key has a node",
    async check(server) {
      await withStream(server, [server.newKey()], {}, async (stream) => {
        const blocks = await stream.open();
        assert(blocks.every(({ event }) => event === undefined), () => `events in ${format(blocks)}`);
      });
    },
  },
  {
    number: "6.2",
    sentence: "A new stream begins with an update for each of its keys that has a node",
    async check(server) {
      const keys = [server.newKey(), server.newKey()];
      const versions = await server.update(...keys);
      await withStream(server, [...keys, server.newKey()], {}, async (stream) => {
        const metas = (await stream.open()).filter(({ event }) => event === "update").map(metaOf);
        const received = Object.fromEntries(metas.map(({ key, version }) => [key, version]));
        const fits = metas.length === 2 && keys.every((key) => received[key] === versions[key]);
        assert(fits, () => `${format(metas)}, expected versions ${format(versions)}`);
      });
    },
  },
  {
    number: "6.3",
    sentence: "Only the last event of one read has an id",
    async check(server) {
      const keys = [server.newKey(), server.newKey()];
      await server.update(...keys);
      await withStream(server, keys, {}, async (stream) => {
        const updates = (await stream.open()).filter(({ event }) => event === "update");
        assert(updates.length === 2, () => `an id before the last of two updates: ${format(updates)}`);
      });
    },
  },
  {
    number: "6.3",
    sentence: "Heartbeats are comments, and have no id",
    async check(server) {
      const patience = server.timeout > HEARTBEAT_INTERVAL ? server.timeout : SHORT_WAIT;
      await withStream(server, [server.newKey()], {}, async (stream) => {
        await stream.open();
        const block = await stream.next(patience);
        if (block === null) {
          skip(`none came within ${patience} ms: --timeout ${HEARTBEAT_INTERVAL + 10_000} waits for one`);
        }
        assert(
          block.comment !== undefined && block.event === undefined,
          () => `no comment: ${format(block)}`,
        );
        assert(block.id === undefined, () => `an id: ${format(block)}`);
      });
    },
  },
  {
    number: "6.4",
    sentence: "A Last-Event-ID that cannot be resumed gives resync, with the epoch",
    async check(server) {
      for (const id of ["garbage", "another%20epoch:7"]) {
        await withStream(server, [server.newKey()], { "last-event-id": id }, async (stream) => {
          const blocks = await stream.open();
          const resync = blocks.find(({ event }) => event === "resync");
          assert(resync !== undefined, () => `no resync after ${format(id)}: ${format(blocks)}`);
          const { epoch } = JSON.parse(resync.data ?? "null") ?? {};
          assert(typeof epoch === "string", () => `the data of resync is ${format(resync.data)}`);
        });
      }
    },
  },
  {
    number: "6.4",
    sentence: "With Last-Event-ID a stream begins with the changes since then, including deletions",
    async check(server) {
      const keys = [server.newKey(), server.newKey()];
      const [kept = "", gone = ""] = keys;
      await server.update(...keys);
      let id = "";
      await withStream(server, keys, {}, async (stream) => {
        id = (await stream.open()).at(-1)?.id ?? "";
      });
      const { [kept]: version } = await server.update(kept);
      await server.remove(gone);
      await withStream(server, keys, { "last-event-id": id }, async (stream) => {
        const metas = (await stream.open()).filter(({ event }) => event === "update").map(metaOf);
        const isSent = metas.some((meta) => meta.key === kept && meta.version === version);
        assert(isSent, () => `the change is missing in ${format(metas)}`);
        assertDeleted(metas.find((meta) => meta.key === gone), gone);
      });
    },
  },
  {
    number: "6.5",
    sentence: "A slow reader gets the newest state of each key, never a backlog",
    check: "would require more changes than a check should make",
  },
  {
    number: "6.6",
    sentence: "The server ends a stream after its lifetime, and sends retry before",
    check: "would take too long",
  },
  {
    number: "6.7",
    sentence: "text/event-stream, with Cache-Control: no-store, no-transform and X-Accel-Buffering: no",
    async check(server) {
      await withStream(server, [server.newKey()], {}, (stream) => {
        const header = (name: string, expected: RegExp) => {
          const found = stream.headers.get(name);
          assert(expected.test(found ?? ""), () => `${name} is ${format(found)}`);
        };
        header("content-type", /^text\/event-stream\b/);
        header("cache-control", /\bno-store\b/);
        header("cache-control", /\bno-transform\b/);
        // nginx removes this header.
        if (!/nginx/i.test(stream.headers.get("server") ?? "")) header("x-accel-buffering", /^no$/);
        return Promise.resolve();
      });
    },
  },
  {
    number: "6.8",
    sentence: "A stream begins with an event refused for each key that no group has",
    async check(server) {
      const key = `${server.newKey()}:*`;
      const answer = await server.send("POST", "/sync", { body: { known: { [key]: 0 } } });
      if ((answer.json as Partial<SyncResponse>)?.refused === undefined) skip("the server refuses no key");
      await withStream(server, [key], {}, async (stream) => {
        const [block] = (await stream.open()).filter(({ event }) => event === "refused");
        const found = JSON.parse(block?.data ?? "{}");
        assert(
          found.key === key && found.code === "ERR_REALITY_NO_GROUP" && found.message?.includes(key),
          () => `the data of refused is ${format(found)}`,
        );
        assert(block?.id === undefined, () => `refused has the id ${format(block?.id)}`);
      });
    },
  },
];

async function withStream(
  server: CheckedServer,
  keys: readonly string[],
  headers: Record<string, string>,
  use: (stream: EventStream) => Promise<void>,
): Promise<void> {
  const stream = await server.openStream(keys, headers);
  try {
    await use(stream);
  } finally {
    await stream.close();
  }
}

async function nextUpdate(stream: EventStream): Promise<EventBlock> {
  const blocks = await stream.until(({ event }) => event === "update", "update");
  return blocks.at(-1) ?? {};
}

function metaOf({ data = "" }: EventBlock): RealityNodeMeta {
  try {
    return JSON.parse(data);
  } catch {
    assert(false, `the data is not JSON: ${format(data)}`);
  }
}
