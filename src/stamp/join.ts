/**
 * Joins the stamps of one answer.
 *
 * @module
 */
import { kindOf } from "../store/node.ts";
import { joinETags } from "./etag.ts";
import { createStamp, partsOf, type Stamp } from "./stamp.ts";

/** The epoch of a joined stamp whose parts do not fit together. No storage has it, so the next sync tells every key. */
const NO_EPOCH = "mixed";

/**
 * Joins the stamps of one answer, for example of several resolvers. For a key in several of them, the joined stamp has
 * the lowest version. If they have different epochs, or one has a node that another has not, the joined stamp fits no
 * state of the server: a client that follows the answer fetches it again.
 *
 * @param stamps One stamp or more, of the same server.
 * @returns A stamp whose `ETag` stands for all of them.
 * @throws {TypeError} If no stamp is given, or a value was not made by `server.stamp`.
 *
 * @example
 * ```ts
 * import { joinStamps, MemoryStorage, RealityServer } from "@rootlodge/reality-server";
 *
 * const server = new RealityServer({ storage: new MemoryStorage() });
 * const stamp = joinStamps(await server.stamp(["user:1"]), await server.stamp(["messages:general"]));
 * console.assert(Object.keys(stamp.toJSON().versions).length === 2);
 * await server.close();
 * ```
 */
export function joinStamps(...stamps: readonly Stamp[]): Stamp {
  const all = stamps.map((stamp) => {
    const parts = partsOf(stamp);
    if (parts === undefined) {
      throw new TypeError(`Cannot join stamps: expected results of server.stamp(), got ${kindOf(stamp)}`);
    }
    return parts;
  });
  if (all.length === 0) throw new TypeError("Cannot join stamps: expected at least one");
  const versions = new Map<string, number>();
  let fits = all.every(({ epoch }) => epoch === all[0]!.epoch);
  for (const [key, version] of all.flatMap((parts) => Object.entries(parts.versions))) {
    const other = versions.get(key) ?? version;
    // It is not known whether the node was created or deleted in between. Neither version tells the client in both cases.
    if ((other === 0) !== (version === 0)) fits = false;
    versions.set(key, other === 0 || version === 0 ? Math.max(other, version) : Math.min(other, version));
  }
  // A key without a node is told only to a client that holds a version of it.
  if (!fits) { for (const [key, version] of versions) versions.set(key, version || 1); }
  return createStamp({
    epoch: fits ? all[0]!.epoch : NO_EPOCH,
    versions: Object.fromEntries(versions),
    etag: joinETags(all.map(({ etag }) => etag)),
    cacheControl: union(all.map(({ cacheControl }) => cacheControl)),
    vary: union(all.map(({ vary }) => vary)),
  });
}

/** Joins lists of a header, without repetitions. */
function union(values: readonly string[]): string {
  return [...new Set(values.flatMap((value) => value.split(",")).map((item) => item.trim()))].join(", ");
}
