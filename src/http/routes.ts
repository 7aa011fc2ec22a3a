/**
 * Routes about nodes: sync, events, and the writes.
 *
 * @module
 */
import { RefusalError } from "../errors.ts";
import { type MaybePromise, then } from "../maybe_promise.ts";
import { checkKeys, parseKeys, parseUpdates } from "../parse.ts";
import { toAnswerText } from "../sync/answer_text.ts";
import type { RequestRecord } from "../telemetry/request_record.ts";
import type { RealityNodeMeta, SyncResponse } from "../types.ts";
import type { IncomingRequest, Reply } from "./exchange.ts";
import { emptyReply, eventsReply, postReply } from "./reply.ts";
import type { HandlerDeps, Route } from "./route.ts";
import { pathOf, queryOf } from "./target.ts";

/** Creates the route of sync requests. */
export function createSyncRoute(deps: HandlerDeps): Route {
  const { isPublic } = deps;
  // Not an async function: its frame would stay in memory while the request waits.
  const answer: Route["answer"] = (request, record) =>
    readJSON(request, deps).then((body) => then(deps.syncs.answer(body, request, record), syncReply));
  if (isPublic === undefined) return { name: "sync", methods: "POST", answer };
  return {
    name: "sync",
    methods: "GET, HEAD, POST",
    answer(request, record) {
      if (request.method === "POST") return answer(request, record);
      return import("./cached_sync.ts").then(({ answerCachedSync }) =>
        answerCachedSync(request, record, deps, isPublic)
      );
    },
  };
}

/** Creates the route of event streams. */
export function createEventsRoute(deps: HandlerDeps): Route {
  return {
    name: "events",
    methods: "GET",
    // An EventSource does not reconnect after a refusal, but after the end of a stream.
    whileClosing: true,
    answer(request, record) {
      const query = queryOf(request.url);
      const keys = checkKeys(query.getAll("keys"), deps.admission.limits);
      if (keys.length === 0) {
        throw new RefusalError(
          "ERR_REALITY_BAD_REQUEST",
          'Cannot read "keys": expected one or more in the query',
        );
      }
      record.keys = keys;
      // Clients that cannot send the header, such as event-source-polyfill, send it in the query.
      const lastEventId = request.header("last-event-id") ?? query.get("lastEventId");
      return then(deps.streams.open(keys, lastEventId, request, record), eventsReply);
    },
  };
}

/** Creates the route that updates nodes. */
export function createUpdateRoute(deps: HandlerDeps): Route {
  return {
    name: "update",
    methods: "POST",
    answer: (request, record) =>
      write(deps, request, record, async () => {
        const updates = parseUpdates(await readJSON(request, deps), deps.admission.limits);
        return { keys: updates.map((update) => update.key), run: () => deps.nodes.update(updates) };
      }),
  };
}

/** Creates the route that invalidates nodes. */
export function createInvalidateRoute(deps: HandlerDeps): Route {
  return {
    name: "invalidate",
    methods: "POST",
    answer: (request, record) =>
      write(deps, request, record, async () => {
        const keys = parseKeys(await readJSON(request, deps), deps.admission.limits);
        return { keys, run: () => deps.nodes.invalidate(keys) };
      }),
  };
}

/**
 * Creates the route that deletes a node.
 *
 * @param prefix The path up to the key.
 */
export function createDeleteRoute(deps: HandlerDeps, prefix: string): Route {
  return {
    name: "nodes",
    methods: "DELETE",
    async answer(request, record) {
      const allowed = await deps.access.hasToken(request);
      const [key = ""] = checkKeys(
        [decodeKey(pathOf(request.url).slice(prefix.length))],
        deps.admission.limits,
      );
      record.keys = [key];
      if (!allowed) await deps.access.askWrite(request, record.keys);
      await deps.nodes.delete(key);
      return emptyReply();
    },
  };
}

/** The reply to a sync. If the client has to wait before the next request, a header says so as well. */
function syncReply(answer: SyncResponse): Reply {
  const reply = postReply(toAnswerText(answer));
  if (answer.pause === undefined) return reply;
  return { ...reply, headers: { ...reply.headers, "retry-after": String(Math.ceil(answer.pause / 1_000)) } };
}

/** Answers a write: checks the token, parses the request, asks for permission, then writes. */
async function write(
  deps: HandlerDeps,
  request: IncomingRequest,
  record: RequestRecord,
  parse: () => Promise<{ keys: readonly string[]; run: () => MaybePromise<RealityNodeMeta[]> }>,
): Promise<Reply> {
  const allowed = await deps.access.hasToken(request);
  const { keys, run } = await parse();
  record.keys = keys;
  if (!allowed) await deps.access.askWrite(request, keys);
  const versions: Record<string, number> = Object.create(null);
  for (const meta of await run()) versions[meta.key] = meta.version;
  return postReply(JSON.stringify({ versions, epoch: await deps.nodes.readEpoch() }));
}

function readJSON(
  request: IncomingRequest,
  { admission: { limits, bodies } }: HandlerDeps,
): Promise<unknown> {
  const type = request.header("content-type");
  // Most clients send exactly this.
  if (
    type !== "application/json" &&
    (type === null || !/^application\/(?:[\w.+-]+\+)?json *(?:;|$)/i.test(type))
  ) {
    const found = type === null ? "none" : JSON.stringify(type.slice(0, 100));
    throw new RefusalError(
      "ERR_REALITY_MEDIA_TYPE",
      `Cannot read the body: expected application/json, got ${found}`,
    );
  }
  return request.readJSON(limits.maxBodyBytes, bodies);
}

function decodeKey(segment: string): string {
  try {
    return decodeURIComponent(segment);
  } catch {
    throw new RefusalError(
      "ERR_REALITY_BAD_REQUEST",
      "Cannot read the key in the path: its percent-encoding is broken",
    );
  }
}
