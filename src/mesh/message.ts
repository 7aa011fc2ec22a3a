/**
 * Messages between servers: written and read as JSON text. Pure.
 *
 * @module
 */
import { RefusalError } from "../errors.ts";
import { hashFault, isVersion, keyFault, kindOf, MAX_HASH_BYTES, MAX_KEY_BYTES } from "../store/node.ts";
import { type ReplicatedNode, type VersionVector, withForgotten } from "../store/contract.ts";
import type { PeerState } from "../types.ts";
import { JOIN_MARK } from "./merge.ts";

/** One message: a request or an answer of an exchange, or an update through Redis. */
export interface Message {
  /** The sender's `serverId`. */
  readonly id: string;
  /** Names the sender's process: a server recognizes its own messages by it. */
  readonly incarnation: string;
  /** The replica id of the sender's storage; like the epoch, it is empty for a storage without an identity. */
  readonly replicaId: string;
  readonly epoch: string;
  /** Id → state of the servers that the sender knows. */
  readonly peers: ReadonlyMap<string, PeerState>;
  /** With discovery: id → URL of the peers that the sender reaches. */
  readonly urls?: ReadonlyMap<string, string>;
  /** The invalidation for servers on the same storage. */
  readonly invalidation?: Invalidation;
  /** The ids of the servers that the receiver is asked to tell. */
  readonly forwards?: readonly string[];
  /** The sender's version vector, read before the nodes of `delta`. */
  readonly vector?: VersionVector;
  /** What the sender's storage has merged and forgotten: its version vector does not include it any more. */
  readonly forgotten?: VersionVector;
  /** The dots of tombstones that the sender's storage has collected. */
  readonly collected?: VersionVector;
  /** Nodes that the receiver may lack. */
  readonly delta?: Delta;
  /** Asks for the next page of the receiver's delta. */
  readonly pageRequest?: { readonly after: string; readonly full: boolean };
}

/** What was changed in a storage that sender and receiver share. */
export interface Invalidation {
  /** The keys; `null` for all. */
  readonly keys: readonly string[] | null;
  /** The highest version among the changes: an invalidation is forwarded once per version. */
  readonly version: number;
}

/** One page of a delta. */
export interface Delta {
  /** The nodes are those outside of this version vector; the receiver must cover it. */
  readonly base: VersionVector;
  /** Whether this is everything that the sender has: a full copy, with an empty base. */
  readonly full: boolean;
  /** The cursor of this page: `next` of the page before; `null` on the first. */
  readonly after: string | null;
  /** The cursor of the next page; `null` on the last. */
  readonly next: string | null;
  readonly nodes: readonly ReplicatedNode[];
}

/** The maximum number of nodes in one page. */
export const MAX_PAGE_NODES = 500;

/** The maximum number of keys in one invalidation; for more it names all. */
export const MAX_INVALIDATION_KEYS = 500;

/** The maximum number of servers in one message, and of replica ids in one version vector. */
const MAX_NAMES = 20_000;

/** The maximum length of a cursor, in characters. */
const MAX_CURSOR_LENGTH = 4_096;

/** The highest number that is accepted: 142 years after 2020. Higher ones would use up the counter. */
const MAX_DOT_VERSION = 2 ** 52;

const STATES: readonly unknown[] = ["alive", "suspect", "gone"];

/** All that the sender's storage has merged; undefined if the message does not tell it. */
export function mergedBySender({ vector, forgotten }: Message): VersionVector | undefined {
  return vector && withForgotten({ vector, forgotten });
}

/** Writes a message as JSON text. */
export function writeMessage(message: Message): string {
  const { delta, vector, forgotten, collected, urls } = message;
  return JSON.stringify({
    id: message.id,
    run: message.incarnation,
    origin: message.replicaId,
    epoch: message.epoch,
    peers: Object.fromEntries(message.peers),
    urls: urls && Object.fromEntries(urls),
    look: message.invalidation,
    pass: message.forwards,
    seen: vector && Object.fromEntries(vector),
    forgot: forgotten && Object.fromEntries(forgotten),
    swept: collected && Object.fromEntries(collected),
    delta: delta && {
      ...delta,
      base: Object.fromEntries(delta.base),
      nodes: delta.nodes.map(({ replicaId, dotVersion, ...node }) => ({
        ...node,
        origin: replicaId,
        stamp: dotVersion === node.version ? undefined : dotVersion,
      })),
    },
    more: message.pageRequest,
  });
}

/**
 * Reads a message. Unknown fields are ignored, so that peers may be newer.
 *
 * @throws {RefusalError} `BAD_REQUEST`, naming the field.
 */
export function readMessage(text: string): Message {
  let body: unknown;
  try {
    body = JSON.parse(text);
  } catch {
    throw badMessage("the message", "not JSON");
  }
  const fields = readObject("the message", body);
  const message: { -readonly [Name in keyof Message]: Message[Name] } = {
    id: readName("id", fields.id),
    incarnation: readName("run", fields.run),
    replicaId: fields.origin === "" ? "" : readName("origin", fields.origin),
    epoch: fields.epoch === "" ? "" : readName("epoch", fields.epoch),
    peers: readMap("peers", fields.peers, (state) => STATES.includes(state) ? state as PeerState : undefined),
  };
  if (fields.urls !== undefined) {
    const isURL = (url: unknown) => typeof url === "string" && url.length <= 2048 ? url : undefined;
    message.urls = readMap("urls", fields.urls, isURL);
  }
  if (fields.look !== undefined) message.invalidation = readInvalidation(fields.look);
  if (fields.pass !== undefined) message.forwards = readNames(fields.pass);
  if (fields.seen !== undefined) {
    if (message.epoch === "") throw badMessage("epoch", 'expected one beside "seen"');
    message.vector = readVector("seen", fields.seen);
  }
  if (fields.forgot !== undefined) message.forgotten = readVector("forgot", fields.forgot);
  if (fields.swept !== undefined) message.collected = readVector("swept", fields.swept);
  if (fields.delta !== undefined) message.delta = readDelta(fields.delta);
  if (fields.more !== undefined) {
    const { after, full } = readObject("more", fields.more);
    message.pageRequest = { after: readCursor("more.after", after), full: full === true };
  }
  return message;
}

function readDelta(value: unknown): Delta {
  const fields = readObject("delta", value);
  if (!Array.isArray(fields.nodes) || fields.nodes.length > MAX_PAGE_NODES) {
    throw badMessage(
      "delta.nodes",
      `expected an array of at most ${MAX_PAGE_NODES}, got ${kindOf(fields.nodes)}`,
    );
  }
  const nodes = fields.nodes.map((node, i) => readNode(`delta.nodes[${i}]`, node));
  if (new Set(nodes.map(({ key }) => key)).size < nodes.length) {
    throw badMessage("delta.nodes", "a key comes twice");
  }
  const full = fields.full === true;
  const base = readVector("delta.base", fields.base);
  if (full && base.size > 0) throw badMessage("delta.base", "expected an empty one in a full copy");
  return {
    base,
    full,
    after: readNullableCursor("delta.after", fields.after),
    next: readNullableCursor("delta.next", fields.next),
    nodes,
  };
}

function readNode(what: string, value: unknown): ReplicatedNode {
  const fields = readObject(what, value);
  const { key, version, hash, updatedAt, stamp: dotVersion = version } = fields;
  const keyWrong = keyFault(key, MAX_KEY_BYTES);
  if (keyWrong !== undefined) throw badMessage(`${what}.key`, keyWrong);
  // A joined node lists its changes behind a mark that no hash of an application has.
  const isJoined = typeof hash === "string" && hash.startsWith(JOIN_MARK);
  const hashWrong = hashFault(
    isJoined ? hash.slice(JOIN_MARK.length) : hash,
    MAX_HASH_BYTES - JOIN_MARK.length * +isJoined,
  );
  if (hashWrong !== undefined) throw badMessage(`${what}.hash`, hashWrong);
  if (!Number.isSafeInteger(updatedAt)) {
    throw badMessage(`${what}.updatedAt`, `expected whole milliseconds, got ${kindOf(updatedAt)}`);
  }
  const node: ReplicatedNode = {
    key: key as string,
    version: readDotVersion(`${what}.version`, version),
    hash: hash as string,
    updatedAt: updatedAt as number,
    replicaId: readName(`${what}.origin`, fields.origin),
    dotVersion: readDotVersion(`${what}.stamp`, dotVersion),
  };
  return fields.deleted === true ? { ...node, deleted: true } : node;
}

function readVector(what: string, value: unknown): VersionVector {
  return readMap(
    what,
    value,
    (dotVersion) => isVersion(dotVersion) && dotVersion <= MAX_DOT_VERSION ? dotVersion : undefined,
  );
}

function readMap<T>(what: string, value: unknown, read: (value: unknown) => T | undefined): Map<string, T> {
  const entries = Object.entries(readObject(what, value));
  if (entries.length > MAX_NAMES) throw badMessage(what, `more than ${MAX_NAMES} names`);
  return new Map(entries.map(([name, item]) => {
    const found = read(item);
    if (found === undefined) throw badMessage(`a value of ${what}`, `got ${kindOf(item)}`);
    return [readName(`a name of ${what}`, name), found];
  }));
}

function readInvalidation(value: unknown): Invalidation {
  const { keys, version } = readObject("look", value);
  if (!isVersion(version)) throw badMessage("look.version", `expected a version, got ${kindOf(version)}`);
  if (keys === null) return { keys, version };
  if (!Array.isArray(keys) || keys.length > MAX_INVALIDATION_KEYS) {
    throw badMessage(
      "look.keys",
      `expected null or an array of at most ${MAX_INVALIDATION_KEYS}, got ${kindOf(keys)}`,
    );
  }
  keys.forEach((key, i) => {
    const fault = keyFault(key, MAX_KEY_BYTES);
    if (fault !== undefined) throw badMessage(`look.keys[${i}]`, fault);
  });
  return { keys, version };
}

function readNames(value: unknown): string[] {
  if (!Array.isArray(value) || value.length > MAX_NAMES) {
    throw badMessage("pass", `expected an array of at most ${MAX_NAMES} ids, got ${kindOf(value)}`);
  }
  return value.map((id, i) => readName(`pass[${i}]`, id));
}

function readNullableCursor(what: string, value: unknown): string | null {
  return value === null ? null : readCursor(what, value);
}

function readDotVersion(what: string, value: unknown): number {
  if (isVersion(value) && value > 0 && value <= MAX_DOT_VERSION) return value;
  throw badMessage(what, `expected an integer from 1 to 2^52, got ${kindOf(value)}`);
}

/** Reads an id, an incarnation, a replica id or an epoch. */
function readName(what: string, value: unknown): string {
  if (typeof value === "string" && /^[\x21-\x7e]{1,128}$/.test(value)) return value;
  throw badMessage(what, `expected 1 to 128 visible characters of ASCII, got ${kindOf(value)}`);
}

/** Reads a storage's cursor. Characters that no key can have are refused: a database might fail on them. */
function readCursor(what: string, value: unknown): string {
  const isText = typeof value === "string" && value.length <= MAX_CURSOR_LENGTH &&
    !/[\p{Cc}\p{Cs}]/u.test(value);
  if (isText) return value;
  throw badMessage(
    what,
    `expected a text of at most ${MAX_CURSOR_LENGTH} characters, none of them a control character`,
  );
}

function readObject(what: string, value: unknown): Readonly<Record<string, unknown>> {
  if (typeof value === "object" && value !== null && !Array.isArray(value)) {
    return value as Record<string, unknown>;
  }
  throw badMessage(what, `expected an object, got ${kindOf(value)}`);
}

function badMessage(what: string, fault: string): RefusalError {
  return new RefusalError("ERR_REALITY_BAD_REQUEST", `Cannot read "gossip", ${what}: ${fault}`);
}
