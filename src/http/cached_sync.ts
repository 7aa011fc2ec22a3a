/**
 * The route of sync requests that HTTP caches may answer: `GET {base}/sync?e=…&k=key:version&w=…` (PROTOCOL 18). This
 * module is loaded only when such a request arrives.
 *
 * @module
 */
import { RefusalError } from "../errors.ts";
import { toETag } from "../etag.ts";
import { keyFault, kindOf } from "../store/node.ts";
import type { Limits } from "../server_limits.ts";
import type { ParsedSync } from "../parse.ts";
import type { RequestRecord } from "../telemetry/request_record.ts";
import type { SyncResponse } from "../types.ts";
import type { IncomingRequest, Reply } from "./exchange.ts";
import type { HandlerDeps } from "./route.ts";

/** The longest query, in characters. Caches and proxies take URLs of 2,000 to 8,000. */
const MAX_QUERY_LENGTH = 8_000;

/** The longest wait in a query, in seconds. `maxWait` reduces it further. */
const MAX_WAIT_SECONDS = 3_600;

/**
 * How long a shared cache may keep an answer, in seconds. An answer that only moves a client forward within its epoch
 * stays right to tell. Any other one may be part of a loop, and an empty one hides the next change.
 */
const FORWARD_SECONDS = 2;
const OTHER_SECONDS = 1;

/** A parsed question. */
interface Question extends ParsedSync {
  /** Its canonical form: equal questions have equal ones. */
  readonly asked: string;
}

/**
 * Answers a sync request by GET or HEAD. The answer depends on the query alone and never on the client.
 *
 * @param isPublic The option `public`.
 * @throws {RefusalError} `BAD_REQUEST` or `TOO_MANY_KEYS` for a wrong query; `FORBIDDEN` for a key that is not public.
 */
export async function answerCachedSync(
  request: IncomingRequest,
  record: RequestRecord,
  deps: HandlerDeps,
  isPublic: (key: string) => boolean,
): Promise<Reply> {
  if (hasBody(request)) throw bad("the body", "expected none with this method; send a POST");
  const { asked, ...question } = parseQuestion(request.url, deps.admission.limits);
  for (const key of question.known.keys) checkPublic(key, isPublic);
  const answer = await deps.syncs.answerPublic(question, request, record);
  const { changed, refused, epoch, serverTime, pause } = answer;
  // A pause is for one moment. If its answer had the tag of another one, a cache would keep it, or lose it.
  const says = JSON.stringify([changed, refused, pause]);
  const etag = await toETag(`${asked};${encode(epoch)};${encode(says)}`);
  const seconds = isForward(question, answer) ? FORWARD_SECONDS : OTHER_SECONDS;
  const headers: Record<string, string> = {
    "content-type": "application/json",
    "cache-control": `public, max-age=0, s-maxage=${seconds}`,
    etag,
    "reality-time": String(serverTime),
  };
  if (pause !== undefined) headers["retry-after"] = String(Math.ceil(pause / 1_000));
  if (isKnown(request.header("if-none-match"), etag)) {
    delete headers["content-type"];
    return { status: 304, headers, body: null, isShared: true };
  }
  return { status: 200, headers, body: JSON.stringify({ ...answer, asked }), isShared: true };
}

/**
 * Whether a body comes with the request. It would not be read, and some hosts do not notice that a client disconnects
 * before its body was read: it would keep its place until the end of its wait (PROTOCOL 5.4).
 */
function hasBody(request: IncomingRequest): boolean {
  return request.header("transfer-encoding") !== null || Number(request.header("content-length")) !== 0;
}

/** Whether an answer moves each key that it names to a newer version of the client's own epoch. */
function isForward({ known, epoch }: ParsedSync, answer: SyncResponse): boolean {
  const { keys, versions } = known;
  let count = 0;
  for (let i = 0; i < keys.length; i++) {
    const meta = Object.hasOwn(answer.changed, keys[i]!) ? answer.changed[keys[i]!] : undefined;
    if (meta === undefined) continue;
    if (versions[i] === 0 || meta.version <= versions[i]!) return false;
    count++;
  }
  return count > 0 && epoch === answer.epoch;
}

/** Whether the cache that sends the request holds this answer already. Compares as RFC 9110, 13.1.2 says: weakly. */
function isKnown(field: string | null, etag: string): boolean {
  if (field === null) return false;
  return field.split(",").some((one) =>
    one.trim() === "*" || one.trim().replace(/^W\//, "") === etag.slice(2)
  );
}

function checkPublic(key: string, isPublic: (key: string) => boolean): void {
  const answer: unknown = isPublic(key);
  if (typeof answer !== "boolean") {
    throw new TypeError(`Cannot read the answer of "public": expected true or false, got ${kindOf(answer)}`);
  }
  if (answer) return;
  throw new RefusalError(
    "ERR_REALITY_FORBIDDEN",
    `Cannot read ${quote(key)} by GET: it is not public; send a POST`,
  );
}

/**
 * Reads a query. A plus sign is a space, as in forms.
 *
 * @throws {RefusalError} Naming the parameter and its fault.
 */
function parseQuestion(url: string, limits: Limits): Question {
  const query = url.includes("?") ? url.slice(url.indexOf("?") + 1).split("#", 1)[0]! : "";
  if (query.length > MAX_QUERY_LENGTH) {
    throw bad("the query", `longer than ${MAX_QUERY_LENGTH} characters; send a POST, or fewer keys`);
  }
  const known = new Map<string, number>();
  let epoch: string | undefined;
  let seconds: number | undefined;
  for (const part of query.split("&")) {
    if (part === "") continue;
    const [name, value] = splitParameter(part);
    if (name === "k") readKnown(value, known, limits);
    else if (name === "e" && epoch === undefined) epoch = readEpoch(value);
    else if (name === "w" && seconds === undefined) seconds = readWait(value);
    else {
      const fault = name === "e" || name === "w" ? "expected once, got it twice" : "expected e, k or w";
      throw bad(`the parameter ${quote(name)}`, fault);
    }
  }
  if (known.size === 0) throw bad('the parameter "k"', "expected one or more, got none");
  const request: ParsedSync = { known: { keys: [...known.keys()], versions: [...known.values()] } };
  if (epoch !== undefined) request.epoch = epoch;
  if (seconds !== undefined) request.wait = seconds * 1_000;
  const parts = [...known].map(([key, version]) => `k=${encode(key)}:${version}`).sort();
  if (epoch !== undefined) parts.unshift(`e=${encode(epoch)}`);
  if (seconds !== undefined) parts.push(`w=${seconds}`);
  return { ...request, asked: parts.join("&") };
}

function splitParameter(part: string): [name: string, value: string] {
  const equals = part.indexOf("=");
  const texts = equals === -1 ? [part, ""] : [part.slice(0, equals), part.slice(equals + 1)];
  try {
    const [name = "", value = ""] = texts.map((text) => decodeURIComponent(text.replaceAll("+", " ")));
    return [name, value];
  } catch {
    throw bad(`the parameter ${quote(texts[0]!)}`, "its percent-encoding is broken");
  }
}

/** A key may contain colons: the version follows the last one. */
function readKnown(value: string, known: Map<string, number>, limits: Limits): void {
  const colon = value.lastIndexOf(":");
  const [key, version] = [value.slice(0, Math.max(colon, 0)), value.slice(colon + 1)];
  if (colon === -1) throw bad('the parameter "k"', `expected key:version, got ${quote(value)}`);
  const fault = keyFault(key, limits.maxKeyBytes);
  if (fault !== undefined) throw bad('the parameter "k"', `${fault}, at ${quote(value)}`);
  if (!isWhole(version)) {
    throw bad(
      'the parameter "k"',
      `expected a version from 0 to 2^53 - 1 after the last colon, got ${quote(value)}`,
    );
  }
  if (known.has(key)) throw bad('the parameter "k"', `expected each key once, got ${quote(key)} twice`);
  known.set(key, Number(version));
  if (known.size <= limits.maxKeys) return;
  throw new RefusalError(
    "ERR_REALITY_TOO_MANY_KEYS",
    `Cannot take so many parameters "k" in one request: more than maxKeys (${limits.maxKeys})`,
  );
}

function readEpoch(value: string): string {
  if (value.length > 128) throw bad('the parameter "e"', "longer than 128 characters");
  return value;
}

function readWait(value: string): number {
  if (isWhole(value) && Number(value) >= 1 && Number(value) <= MAX_WAIT_SECONDS) return Number(value);
  throw bad('the parameter "w"', `expected whole seconds from 1 to ${MAX_WAIT_SECONDS}, got ${quote(value)}`);
}

/** Whether a text is a safe integer in its only form: without sign, fraction and leading zeros. */
function isWhole(text: string): boolean {
  return /^(?:0|[1-9]\d{0,15})$/.test(text) && Number.isSafeInteger(Number(text));
}

/** Percent-encodes everything but `A–Z a–z 0–9 - . _ ~ :`. A browser encodes some of what `encodeURIComponent` leaves. */
function encode(text: string): string {
  return encodeURIComponent(text).replaceAll("%3A", ":").replace(
    /[!'()*]/g,
    (found) => `%${found.charCodeAt(0).toString(16).toUpperCase()}`,
  );
}

function bad(what: string, found: string): RefusalError {
  return new RefusalError("ERR_REALITY_BAD_REQUEST", `Cannot read ${what}: ${found}`);
}

/** A text for a message: quoted, escaped and shortened. */
function quote(text: string): string {
  return JSON.stringify(text.length > 60 ? `${text.slice(0, 60)}…` : text);
}
