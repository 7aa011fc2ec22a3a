/**
 * Answers the routes that write. Loaded by the first request of one of them.
 *
 * @module
 */
import { RefusalError } from "../errors.ts";
import type { MaybePromise } from "../maybe_promise.ts";
import { checkKeys, parseKeys, parseUpdates } from "../parse_keys.ts";
import { RouteAccess } from "../route_access.ts";
import type { RequestRecord } from "../telemetry/request_record.ts";
import type { RealityNodeMeta } from "../types.ts";
import type { IncomingRequest, Reply } from "./exchange.ts";
import { readJSON } from "./json_body.ts";
import { emptyReply, postReply } from "./reply.ts";
import type { HandlerDeps, Route } from "./route.ts";
import { pathOf } from "./target.ts";

/** The names of the routes that write. */
export type WriteRouteName = "update" | "invalidate" | "nodes";

/** What answers these routes. */
export type WriteAnswers = Readonly<Record<WriteRouteName, Route["answer"]>>;

/** What one write does. */
interface Write {
  readonly keys: readonly string[];
  run(): MaybePromise<RealityNodeMeta[]>;
}

/**
 * Creates what answers the routes that write.
 *
 * @param prefix The path of the route that deletes a node, up to the key.
 */
export function createWriteAnswers(deps: HandlerDeps, prefix: string): WriteAnswers {
  const { admission: { limits }, nodes, config, hooks } = deps;
  const access = new RouteAccess(config.writeTokens, config.authorizeWrite, hooks);

  /** Checks the token, parses the request, asks for permission, then writes. */
  const write = async (
    request: IncomingRequest,
    record: RequestRecord,
    parse: () => Write | Promise<Write>,
  ): Promise<RealityNodeMeta[]> => {
    const allowed = await access.hasToken(request);
    const { keys, run } = await parse();
    record.keys = keys;
    if (!allowed) await access.askWrite(request, keys);
    return await run();
  };

  return {
    async update(request, record) {
      const metas = await write(request, record, async () => {
        const updates = parseUpdates(await readJSON(request, deps), limits);
        return { keys: updates.map((update) => update.key), run: () => nodes.update(updates) };
      });
      return await versionsReply(metas, deps);
    },
    async invalidate(request, record) {
      const metas = await write(request, record, async () => {
        const keys = parseKeys(await readJSON(request, deps), limits);
        return { keys, run: () => nodes.invalidate(keys) };
      });
      return await versionsReply(metas, deps);
    },
    async nodes(request, record) {
      await write(request, record, () => {
        // A framework may have appended a slash (PROTOCOL 2.2). Slashes of the key itself are encoded.
        const segment = pathOf(request.url).slice(prefix.length).replace(/\/$/, "");
        const [key = ""] = checkKeys([decodeKey(segment)], limits);
        return { keys: [key], run: () => nodes.delete(key) };
      });
      return emptyReply();
    },
  };
}

async function versionsReply(metas: readonly RealityNodeMeta[], { nodes }: HandlerDeps): Promise<Reply> {
  const versions: Record<string, number> = Object.create(null);
  for (const meta of metas) versions[meta.key] = meta.version;
  return postReply(JSON.stringify({ versions, epoch: await nodes.readEpoch() }));
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
