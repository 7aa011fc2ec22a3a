/**
 * How a DynamoDB storage writes changes of its own.
 *
 * @module
 */
import type { AppliedMeta, NodeChange } from "../../src/store/contract.ts";
import type { RealityNodeMeta } from "../../src/types.ts";
import { checkChanges, checkMeta } from "../validate.ts";
import type { Call } from "./call.ts";
import { MAX_CHANGES } from "./client.ts";
import { toMeta } from "./stored_node.ts";
import { fitsTable, MAX_KEY_BYTES } from "./table.ts";
import type { TableSession } from "./table_session.ts";

/** Reserves the next version. */
export async function incrementVersion(table: TableSession): Promise<number> {
  return await table.calls.run("incrementVersion", async (call) => {
    await table.ensureResidue(call);
    return await table.writer.increment(call, (state) => table.numbering.next(state));
  });
}

/** Publishes a node unless a newer one is stored. */
export async function setNode(table: TableSession, key: string, meta: RealityNodeMeta): Promise<void> {
  await table.calls.run("setNode", async (call) => {
    checkMeta(key, meta);
    checkKey(key);
    await table.ensureResidue(call);
    await table.writer.commit(call, async () => {
      const reading = await table.reader.readNodes(call, [key]);
      return [reading.state, table.drafts.draftNode(meta, reading)];
    });
  });
}

/** Makes changes with one transaction. */
export async function applyChanges(
  table: TableSession,
  operation: string,
  changes: readonly NodeChange[],
): Promise<AppliedMeta[]> {
  return await table.calls.run(operation, async (call) => {
    checkChanges(changes, MAX_CHANGES);
    for (const { key } of changes) checkKey(key);
    if (changes.length === 0) return [];
    await table.ensureResidue(call);
    if (changes.some(({ unless }) => unless !== undefined)) {
      return await applyConditionally(table, call, changes);
    }
    const written = await table.writer.commit(call, async () => {
      const state = table.reader.last ?? await table.reader.readState(call);
      return [state, table.drafts.draftChanges(changes, state)];
    });
    return written.map(toMeta);
  });
}

/**
 * Makes those changes that `unless` lets through. The transaction fails if the counter's item changed since the nodes
 * were read, and is planned again.
 */
async function applyConditionally(
  table: TableSession,
  call: Call,
  changes: readonly NodeChange[],
): Promise<AppliedMeta[]> {
  const keys = changes.flatMap(({ key, unless = [] }) => [key, ...unless.map((node) => node.key)]);
  let unchanged = new Map<string, AppliedMeta>();
  const written = await table.writer.commit(call, async () => {
    const reading = await table.reader.readNodes(call, keys);
    unchanged = table.drafts.findUnchanged(changes, reading);
    const left = changes.filter(({ key }) => !unchanged.has(key));
    return [reading.state, left.length > 0 ? table.drafts.draftChanges(left, reading.state) : undefined];
  });
  const metas = new Map([...unchanged, ...written.map((node) => [node.key, toMeta(node)] as const)]);
  return changes.map(({ key }) => metas.get(key) as AppliedMeta);
}

/**
 * Checks the length of a key.
 *
 * @throws {RangeError} When it has more than 1024 bytes.
 */
export function checkKey(key: string): void {
  if (fitsTable(key)) return;
  throw new RangeError(
    `Cannot write a node: expected a key of at most ${MAX_KEY_BYTES} bytes, the longest sort key, got ${key.length} characters`,
  );
}
