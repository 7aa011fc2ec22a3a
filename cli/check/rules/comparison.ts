/**
 * Chapter 4 of the protocol: the comparison.
 *
 * @module
 */
import type { RealityNodeMeta } from "../../../src/types.ts";
import type { Rule } from "../rule.ts";
import type { CheckedServer } from "../server.ts";
import { assert, format } from "../outcome.ts";

const OTHER_EPOCH = "reality-check: an unknown epoch";

/** The rules of chapter 4. */
export const comparisonRules: readonly Rule[] = [
  {
    number: "4.1",
    sentence: "In another epoch, a key whose version is 0 on both sides is not changed",
    async check(server) {
      assertUnchanged(await server.compare(server.newKey(), 0, OTHER_EPOCH));
    },
  },
  {
    number: "4.1",
    sentence: "In another epoch, a key is changed although both sides have the same version",
    async check(server) {
      const { key, version } = await write(server);
      assertChanged(await server.compare(key, version, OTHER_EPOCH), version);
      assertChanged(await server.compare(key, version + 1, OTHER_EPOCH), version);
    },
  },
  {
    number: "4.2",
    sentence: "No node, client has 0: not changed",
    async check(server) {
      assertUnchanged(await server.compare(server.newKey(), 0));
    },
  },
  {
    number: "4.3",
    sentence: "No node, client has more than 0: changed, with version 0 and deleted",
    async check(server) {
      const key = server.newKey();
      assertDeleted(await server.compare(key, 1), key);
    },
  },
  {
    number: "4.3",
    sentence: "A deleted node is changed for a client that had it, and not changed for others",
    async check(server) {
      const { key, version } = await write(server);
      await server.remove(key);
      assertDeleted(await server.compare(key, version), key);
      assertUnchanged(await server.compare(key, 0));
    },
  },
  {
    number: "4.4",
    sentence: "Server has a higher version: changed",
    async check(server) {
      const { key, version } = await write(server);
      assertChanged(await server.compare(key, 0), version);
      const { [key]: newer = 0 } = await server.update(key);
      assert(newer > version, () => `version ${newer} came after ${version}`);
      assertChanged(await server.compare(key, version), newer);
    },
  },
  {
    number: "4.5",
    sentence: "Server has the same version: not changed",
    async check(server) {
      const { key, version, epoch } = await write(server);
      assertUnchanged(await server.compare(key, version));
      assertUnchanged(await server.compare(key, version, epoch));
    },
  },
  {
    number: "4.6",
    sentence: "Server has a lower version: changed, with the meta of the server",
    async check(server) {
      const { key, version, epoch } = await write(server);
      assertChanged(await server.compare(key, version + 1_000, epoch), version);
    },
  },
];

async function write(server: CheckedServer): Promise<{ key: string; version: number; epoch: string }> {
  const key = server.newKey();
  const { [key]: version = 0 } = await server.update(key);
  const { epoch } = await server.sync({ known: {} });
  return { key, version, epoch };
}

function assertUnchanged(meta: RealityNodeMeta | undefined): void {
  assert(meta === undefined, () => `changed: ${format(meta)}`);
}

function assertChanged(meta: RealityNodeMeta | undefined, version: number): void {
  assert(meta !== undefined, "not changed (may this client read the key?)");
  assert(meta.version === version, () => `${format(meta)}, expected version ${version}`);
}

/** Requires the meta of a node that does not exist. */
export function assertDeleted(meta: RealityNodeMeta | undefined, key: string): void {
  const isDeleted = meta?.key === key && meta.version === 0 && meta.hash === "" && meta.updatedAt === 0 &&
    meta.deleted === true;
  assert(isDeleted, () => meta === undefined ? "not changed" : `changed: ${format(meta)}`);
}
