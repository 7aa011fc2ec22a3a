/**
 * How a DynamoDB storage reads nodes, and the moment that a reading belongs to.
 *
 * @module
 */
import type {
  ReplicatedNode,
  StorageChanges,
  StorageMoment,
  StorageReading,
} from "../../src/store/contract.ts";
import type { RealityNodeMeta } from "../../src/types.ts";
import { collectedVersionAt } from "./expiry.ts";
import { recentAt, type State } from "./state.ts";
import { toMeta, toReplicated } from "./stored_node.ts";
import type { TableSession } from "./table_session.ts";

/** The nodes of these keys, without tombstones, with their moment. */
export async function readNodes(
  table: TableSession,
  operation: string,
  keys: readonly string[],
): Promise<StorageReading & { readonly nodes: Map<string, RealityNodeMeta> }> {
  return await table.calls.run(operation, async (call) => {
    const { state, nodes: stored, isInconsistent } = await table.reader.readNodes(call, keys);
    const nodes = new Map<string, RealityNodeMeta>();
    for (const node of stored.values()) if (!node.deleted) nodes.set(node.key, toMeta(node));
    const reading = { nodes, ...momentOf(table, state) };
    return isInconsistent ? { ...reading, newest: null } : reading;
  });
}

/** The changes after a version, with their moment. */
export async function readChanges(
  table: TableSession,
  version: number,
  limit: number,
): Promise<StorageChanges> {
  return await table.calls.run("readChanges", async (call) => {
    const { state, nodes } = await table.reader.readHistory(call, version, limit);
    return { nodes: nodes.map(toMeta), ...momentOf(table, state) };
  });
}

/** The history after a version. */
export async function listChangedSince(
  table: TableSession,
  version: number,
  limit: number,
): Promise<RealityNodeMeta[]> {
  return await table.calls.run("listChangedSince", async (call) => {
    return (await table.reader.readHistory(call, version, limit)).nodes.map(toMeta);
  });
}

/** The nodes and tombstones of these keys, with their dots. */
export async function readReplicated(
  table: TableSession,
  keys: readonly string[],
): Promise<Map<string, ReplicatedNode>> {
  if (keys.length === 0) return new Map();
  return await table.calls.run("readReplicated", async (call) => {
    const { state, nodes } = await table.reader.readNodes(call, keys);
    return new Map([...nodes].map(([key, node]) => [key, toReplicated(node, state.replicaId)]));
  });
}

function momentOf({ clock }: TableSession, state: State): StorageMoment {
  const { maxVersion, epoch, replicaId, late } = state;
  const collectedVersion = collectedVersionAt(state, clock.late);
  return { maxVersion, epoch, replicaId, collectedVersion, late, recent: recentAt(state) };
}
