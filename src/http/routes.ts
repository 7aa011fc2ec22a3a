/**
 * Routes about nodes: sync, events, and the writes.
 *
 * @module
 */
import { LazyModule } from "../lazy_module.ts";
import { then } from "../maybe_promise.ts";
import { toAnswerText } from "../sync/answer_text.ts";
import type { SyncResponse } from "../types.ts";
import type { Reply } from "./exchange.ts";
import { readJSON } from "./json_body.ts";
import { eventsReply, postReply } from "./reply.ts";
import type { HandlerDeps, Route } from "./route.ts";
import type { WriteAnswers, WriteRouteName } from "./write_routes.ts";

/** Servers without public keys do not load it. */
const cachedSync = new LazyModule(() => import("./cached_sync.ts"));

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
      return cachedSync.use(({ answerCachedSync }) => answerCachedSync(request, record, deps, isPublic));
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
    answer: (request, record) => then(deps.streams.open(request, record), eventsReply),
  };
}

/**
 * Creates the routes that write. What answers them is loaded by the first request of one of them.
 *
 * @param prefix The path of the route that deletes a node, up to the key.
 */
export function createWriteRoutes(deps: HandlerDeps, prefix: string): Record<WriteRouteName, Route> {
  let answers: WriteAnswers | undefined;
  const create = (name: WriteRouteName, methods: string): Route => ({
    name,
    methods,
    async answer(request, record) {
      answers ??= (await import("./write_routes.ts")).createWriteAnswers(deps, prefix);
      return await answers[name](request, record);
    },
  });
  return {
    update: create("update", "POST"),
    invalidate: create("invalidate", "POST"),
    nodes: create("nodes", "DELETE"),
  };
}

/** The reply to a sync. If the client has to wait before the next request, a header says so as well. */
function syncReply(answer: SyncResponse): Reply {
  const reply = postReply(toAnswerText(answer));
  if (answer.pause === undefined) return reply;
  return { ...reply, headers: { ...reply.headers, "retry-after": String(Math.ceil(answer.pause / 1_000)) } };
}
