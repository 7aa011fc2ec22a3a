/**
 * What a DynamoDB storage does with its table.
 *
 * @module
 */
export { listChangedSince, readChanges, readNodes, readReplicated } from "./node_reads.ts";
export { applyChanges, incrementVersion, setNode } from "./node_writes.ts";
export {
  adoptVector,
  avoidResidues,
  forgetReplicas,
  mergeNodes,
  newEpoch,
  readDelta,
  readReplicaState,
} from "./replication.ts";
export { TableSession } from "./table_session.ts";
