/**
 * DynamoDBStorage: the kit on DynamoDB Local, with both kinds of client.
 *
 * @module
 */
import { type StorageTestOptions, testStorage } from "../../../storage/conformance/mod.ts";
import { test } from "../../harness.ts";
import { testAllBut } from "../kit_titles.ts";
import { type Connect, connectMethods, connectSender, SUPPORTS, Tables } from "./kit.ts";

function createOptions(name: string, connect: Connect): StorageTestOptions {
  const tables = new Tables(connect);
  return {
    name,
    create: () => tables.create(),
    share: (storage) => tables.share(storage),
    destroy: (storage) => tables.destroy(storage),
    elapse: (storage) => tables.elapse(storage),
    test,
    supports: SUPPORTS,
    runs: 8,
  };
}

/** Tests that take long. They test the storage rather than the kind of client, so one client is enough. */
const LONG = [
  "getNodes() accepts as many keys as a sync request",
  "setNode() never replaces a newer node by an older one, in any order",
  "listChangedSince() in pages misses nothing, also where nodes share a version",
  "listChangedSince() keeps its order when nodes come in any order",
  "incrementVersion() called at once gives different numbers, all above those before",
  "incrementVersion() called at once gives different numbers, all above those before, in two processes",
  "setNode() called at once for one key ends at the highest version",
  "setNode() called at once for one key ends at the highest version, in two processes",
  "a reader never sees one version with another's hash, nor a node going back",
  "a reader never sees one version with another's hash, nor a node going back, in two processes",
  "getMaxVersion() never decreases, and the changes up to it are visible",
  "getMaxVersion() never decreases, and the changes up to it are visible, in two processes",
  "applyChanges() called at once never shares a version",
  "applyChanges() called at once never shares a version, in two processes",
  "a reader of the history misses no change while many write",
  "a reader of the history misses no change while many write, in two processes",
  "readNodes() reads one moment: it returns no node above its maxVersion",
  "readNodes() reads one moment: it returns no node above its maxVersion, in two processes",
  "a random run of operations has the same result as on a map",
  "numbers that were reserved before and published in any order are all in a later delta",
  "mergeNodes() accepts as many nodes as applyChanges() accepts changes",
  "two processes that adopt version vectors at once lose nothing",
  "changes and merges at once share no version, and the deltas miss none",
];

testStorage(createOptions("DynamoDBStorage with a DynamoDB", connectMethods));
testAllBut(LONG, createOptions("DynamoDBStorage with a DynamoDBClient", connectSender));
