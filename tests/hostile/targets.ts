/**
 * The functions that are fuzzed, all of which read outside input, and the invariants of their results.
 *
 * @module
 */
import assert from "node:assert/strict";
import { PeerError, RefusalError } from "../../src/errors.ts";
import { SharedBodyBudget } from "../../src/limits/body_budget.ts";
import { clientAddress, parseNetwork } from "../../src/limits/client_address.ts";
import { type BodyOwner, declaredLength, parseJSON, readBytes } from "../../src/http/read_body.ts";
import { readMessage, writeMessage } from "../../src/mesh/message.ts";
import { postEnvelope } from "../../src/mesh/http_client.ts";
import { hashFault, isVersion, keyFault } from "../../src/store/node.ts";
import { DEFAULT_LIMITS, type Limits } from "../../src/server_limits.ts";
import { parseSync } from "../../src/parse.ts";
import { parseKeys, parseUpdates } from "../../src/parse_keys.ts";
import { cursorFrame, eventFrame, formatCursor, parseCursor } from "../../src/sse/frame.ts";
import { FakeClock } from "../clock.ts";
import type { Target } from "./fuzzer.ts";

type Bytes = Uint8Array<ArrayBuffer>;

/** The files whose blocks are to be reached, by how their paths end. */
export const FILES: readonly string[] = [
  "/src/parse.ts",
  "/src/parse_keys.ts",
  "/src/limits/client_address.ts",
  "/src/store/node.ts",
  "/src/http/read_body.ts",
  "/src/mesh/message.ts",
  "/src/mesh/http_client.ts",
  "/src/sse/frame.ts",
];

const LOW: Limits = { ...DEFAULT_LIMITS, maxKeys: 3, maxKeyBytes: 8, maxHashBytes: 4 };

const decoder = new TextDecoder();

/** All of them. */
export const TARGETS: readonly Target[] = [
  {
    name: "a body",
    seeds: [
      '{"known":{"a":0,"é":7},"epoch":"e","wait":10,"clientId":"c","mode":"m","hint":"h","timestamp":1}',
      '{"updates":[{"key":"a","hash":"1"},{"key":"b","hash":""}]}',
      '{"keys":["a","b","c","d"]}',
      '{"key":"a","hash":"1"}',
      "",
    ],
    async run(input) {
      const owner: BodyOwner = {};
      const body = await allowing(RefusalError, () => parseJSON(input, owner));
      for (const limits of [DEFAULT_LIMITS, LOW]) {
        const known = (await allowing(RefusalError, () => parseSync(body, limits, owner.hasPlainStrings)))
          ?.known;
        const keys = await allowing(RefusalError, () => parseKeys(body, limits));
        const updates = await allowing(RefusalError, () => parseUpdates(body, limits));
        for (const version of known?.versions ?? []) assert.ok(isVersion(version), "no version");
        for (const key of [...known?.keys ?? [], ...keys ?? [], ...updates?.map(({ key }) => key) ?? []]) {
          assert.equal(keyFault(key, limits.maxKeyBytes), undefined, "no key");
        }
        for (const { hash } of updates ?? []) {
          assert.equal(hashFault(hash, limits.maxHashBytes), undefined, "no hash");
        }
      }
    },
  },
  {
    name: "a body in pieces",
    seeds: ['\u0003{"known":{}}', "\u0001abc", ""],
    async run(input) {
      const [size = 1] = input;
      const limit = 64;
      const bodies = new SharedBodyBudget(DEFAULT_LIMITS, new FakeClock());
      // A length may be declared as anything, and counts for nothing but the first look.
      const declared = declaredLength(decoder.decode(input.subarray(0, 8)), Infinity);
      const options = { maxBytes: limit, declared, bodies };
      const bytes = await allowing(RefusalError, () => readBytes(inPieces(input, size % 32 + 1), options));
      const isRefused = input.length > limit || declared > DEFAULT_LIMITS.maxReadingBytes;
      assert.deepEqual(bytes, isRefused ? undefined : input);
      assert.equal(bodies.held, 0);
      await allowing(RefusalError, () => declaredLength(decoder.decode(input), limit));
    },
  },
  {
    name: "a message of a peer",
    seeds: [
      '{"id":"b","run":"r","origin":"o","epoch":"e","peers":{"c":"alive"},"urls":{"c":"http://c"},"pass":["d"],' +
      '"look":{"keys":["a"],"version":3},"seen":{"o":7},"swept":{"p":2},"more":{"after":"a","full":true}}',
      '{"id":"b","run":"r","origin":"o","epoch":"e","peers":{},"seen":{"o":7},"delta":{"base":{"p":2},"full":false,' +
      '"after":null,"next":"k","nodes":[{"key":"k","version":7,"hash":"\\u0001abcdefgh","updatedAt":1,"origin":"o",' +
      '"stamp":8,"deleted":true},{"key":"l","version":7,"hash":"1","updatedAt":1,"origin":"o"}]}}',
      '{"id":"b","run":"r","origin":"","epoch":"","peers":{},"look":{"keys":null,"version":3}}',
    ],
    async run(input) {
      const message = await allowing(RefusalError, () => readMessage(decoder.decode(input)));
      if (message === undefined) return;
      assert.deepEqual(readMessage(writeMessage(message)), message);
      const { delta } = message;
      for (const { key, version, replicaId } of delta?.nodes ?? []) {
        assert.equal(keyFault(key), undefined, "no key");
        assert.ok(isVersion(version) && version > 0 && replicaId !== "", "no stamp");
      }
    },
  },
  {
    name: "an answer of a peer",
    seeds: [
      '\0{"gossip":{"form":1}}',
      '\u0001{"gossip":{}}',
      "\u0002",
      '\u0013{"gossip":1}',
      "\u0004{}",
      "\u0007x",
    ],
    async run(input) {
      const [kind = 0] = input;
      const answer = input.subarray(1);
      const options = {
        clock: new FakeClock(),
        timeout: 10,
        maxBytes: 256,
        fetch: () => answerOf(kind, answer),
      };
      const { signal } = new AbortController();
      const byteCounts = { sentBytes: 0, receivedBytes: 0 };
      await allowing(
        PeerError,
        () => postEnvelope(options, "http://b", { gossip: {}, signal, byteCounts }),
      );
      assert.ok(byteCounts.receivedBytes <= answer.length, "more was counted than came");
    },
  },
  {
    name: "the fields of proxies",
    seeds: [
      'for=192.0.2.1;proto=http, for="[2001:db8::1]:80"',
      "192.0.2.1, 10.0.0.1:80",
      "[::ffff:10.0.0.1]",
      "::1%a",
    ],
    async run(input) {
      const field = decoder.decode(input);
      for (const trusted of [1, 3, [parseNetwork("10.0.0.0/8")!, parseNetwork("fd00::/8")!]]) {
        for (const fields of [[field, null], [null, field], [field, field]] as const) {
          const address = clientAddress(
            "10.0.0.1",
            { xForwardedFor: fields[0], forwarded: fields[1] },
            trusted,
          );
          // The result is an address in its canonical form.
          assert.equal(clientAddress(address, { xForwardedFor: null, forwarded: null }, 0), address);
        }
      }
      await Promise.resolve();
    },
  },
  {
    name: "a cursor and what is sent with it",
    seeds: ["e%20a:17", "a-b_c:9007199254740991", "%ff:1", ":0", "a:b"],
    async run(input) {
      const text = decoder.decode(input);
      const cursor = parseCursor(text);
      if (cursor !== null) assert.deepEqual(parseCursor(formatCursor(cursor)), cursor);
      const frames = eventFrame("update", { key: text }, "id") + cursorFrame("id");
      // One event is one line of data, whatever it holds: a value cannot inject a second event.
      assert.equal(frames.split("\n").filter((line) => line.startsWith("data: ")).length, 1);
      assert.equal(frames.split("\n\n").length, 3);
      await Promise.resolve();
    },
  },
];

/** Runs something that may throw one kind of error; gives nothing when it did. */
async function allowing<T>(
  kind: typeof RefusalError | typeof PeerError,
  run: () => T | Promise<T>,
): Promise<T | undefined> {
  try {
    return await run();
  } catch (error) {
    if (!(error instanceof kind)) throw error;
    const isOverload = error.code === "ERR_REALITY_OVERLOADED";
    assert.ok(
      error instanceof PeerError || isOverload || error.status < 500,
      `the refusal is a ${error.status}`,
    );
    return undefined;
  }
}

function inPieces(bytes: Bytes, size: number): ReadableStream<Uint8Array> {
  let offset = 0;
  return new ReadableStream({
    pull(controller) {
      if (offset >= bytes.length) return controller.close();
      controller.enqueue(bytes.slice(offset, offset += size));
    },
  });
}

const TYPES: readonly string[] = ["application/json", "application/x+json; charset=utf-8", "text/html", ""];
const STATUSES: readonly number[] = [200, 200, 200, 200, 204, 302, 401, 413, 500];

/** An answer whose kind is a number: its status, its type, and whether it comes in pieces, breaks off or lies. */
function answerOf(kind: number, bytes: Bytes): Promise<Response> {
  const status = STATUSES[kind % STATUSES.length]!;
  const headers: Record<string, string> = { "content-type": TYPES[(kind >> 4) % TYPES.length]! };
  if (kind === 255) return Promise.reject(new TypeError("connection refused"));
  if (kind > 200) headers["content-length"] = String(kind * 2);
  return Promise.resolve(
    new Response(status === 204 ? null : inPieces(bytes, kind % 7 + 1), { status, headers }),
  );
}
