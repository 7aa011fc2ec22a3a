/**
 * The client: follows keys of a Reality server, and says what to fetch again.
 *
 * ```ts
 * import { createClient } from "@rootlodge/reality-server/client";
 *
 * const reality = createClient({ url: "https://example.org/reality" });
 * const stop = reality.follow(["chat:general"], async (changed, { signal }) => {
 *   for (const key of changed.keys()) await fetch(`https://example.org/data/${key}`, { signal });
 * });
 * stop();
 * reality.close();
 * ```
 *
 * @module
 */
export { createClient, createFollowClient, type RealityClient } from "./client.ts";
export type { ClientClock } from "./clock.ts";
export type { FetchContext, Live, LiveOptions, LiveSnapshot, LiveSource, LiveState } from "./live.ts";
export type { PageState, PageTabs } from "./page_state.ts";
export { parseStamp } from "./stamp.ts";
export type {
  ClientOptions,
  ClientState,
  DataStamp,
  FollowClient,
  FollowContext,
  FollowListener,
  FollowOptions,
  KeyChange,
  TransportName,
} from "./types.ts";
