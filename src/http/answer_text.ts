/**
 * The text of a sync's answer. Pure.
 *
 * @module
 */
import type { AnswerForm, SyncAnswer } from "../answer.ts";
import { metaOf } from "../compare.ts";
import type { RealityNodeMeta } from "../types.ts";

/**
 * Answers as JSON, as `JSON.stringify` would write them. That takes several times as long for an object whose keys are
 * never the same twice, such as `changed`.
 */
export const asText: AnswerForm<string> = {
  toClient({ changed, nodes, mesh, epoch, serverTime }: SyncAnswer): string {
    let metas = "";
    for (const key of changed) {
      const name = quote(key);
      const separator = metas === "" ? "" : ",";
      metas += `${separator}${name}:${writeMeta(name, metaOf(nodes, key))}`;
    }
    const rest = JSON.stringify({ mesh, epoch, serverTime });
    return `{"changed":{${metas}},${rest.slice(1)}`;
  },
  toPeer: (answer) => JSON.stringify(answer),
};

/** Writes a meta, given its key as JSON. */
function writeMeta(name: string, meta: RealityNodeMeta): string {
  const { version, hash, updatedAt, deleted } = meta;
  // A storage of the application's own may give anything.
  const isPlain = Number.isFinite(version) && Number.isFinite(updatedAt) && typeof hash === "string";
  if (!isPlain) return JSON.stringify(meta);
  const end = deleted === undefined ? "}" : `,"deleted":${deleted}}`;
  return `{"key":${name},"version":${version},"hash":${quote(hash)},"updatedAt":${updatedAt}${end}`;
}

/** Visible ASCII that stands in JSON as it is: most keys and hashes are made of nothing else. */
const PLAIN = /^[ !#-[\]-~]*$/;

function quote(text: string): string {
  return PLAIN.test(text) ? `"${text}"` : JSON.stringify(text);
}
