/**
 * What the latency bench compares: the ways by which a change in one process answers a waiting client at another.
 *
 * @module
 */

/** One way. */
export interface Way {
  readonly name: string;
  /** Where its clients wait in the other process. */
  readonly path: string;
  /** What it needs, beside the two processes. */
  readonly needs?: "redis" | "postgres";
}

/** A message without content, and the answer to a waiting request: the minimum of every way. */
export const BARE: Readonly<Record<"post" | "redis", Way>> = {
  post: { name: "bare POST", path: "/bare/post" },
  redis: { name: "bare publish", path: "/bare/redis", needs: "redis" },
};

/** The name of one of this package's ways. */
export type MeshName = "secret" | "callback" | "redis" | "shared";

/** The ways of this package: the same server, differently joined. */
export const MESHES: Readonly<Record<MeshName, Way>> = {
  secret: { name: "mesh, secret", path: "/secret/sync" },
  callback: { name: "mesh, call-back", path: "/callback/sync" },
  redis: { name: "mesh and Redis", path: "/redis/sync", needs: "redis" },
  shared: { name: "mesh, shared database", path: "/shared/sync", needs: "postgres" },
};

/** The key that changes. */
export const KEY = "chat:room:general";
