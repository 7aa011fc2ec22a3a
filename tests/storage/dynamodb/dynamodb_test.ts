/**
 * DynamoDBStorage: the kit on DynamoDB Local, with both kinds of client.
 *
 * @module
 */
import { type StorageTestOptions, testStorage } from "../../../storage/conformance/mod.ts";
import { test } from "../../harness.ts";
import { type Connect, connectMethods, connectSender, SUPPORTS, Tables } from "./kit.ts";

function testClient(name: string, connect: Connect, more: Partial<StorageTestOptions> = {}): void {
  const tables = new Tables(connect);
  testStorage({
    name,
    create: () => tables.create(),
    share: (storage) => tables.share(storage),
    destroy: (storage) => tables.destroy(storage),
    elapse: (storage) => tables.elapse(storage),
    test,
    supports: SUPPORTS,
    runs: 8,
    ...more,
  });
}

testClient("DynamoDBStorage with a DynamoDB", connectMethods);
// The same storage by another door: what takes long is the storage's, and was tried above.
const long =
  /at once|never sees|never goes back|of one moment|follows the history|random run|in pages|any order|as many/;
testClient("DynamoDBStorage with a DynamoDBClient", connectSender, {
  test: (name, fn) => long.test(name) ? undefined : test(name, fn),
});
