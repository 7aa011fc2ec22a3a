/**
 * Chapter 4 of the protocol: what is changed.
 *
 * @module
 */
import type { RealityNodeMeta } from "../../src/types.ts";
import type { Rule } from "./rule.ts";
import type { CheckedServer } from "./server.ts";
import { must, show } from "./verdict.ts";

const OTHER_EPOCH = "reality-check: an epoch of nobody";

/** The rules of chapter 4. */
export const comparison: readonly Rule[] = [
  {
    number: "4.1",
    sentence: "In another epoch, a key whose version is 0 on both sides is quiet",
    async check(server) {
      mustBeQuiet(await server.compare(server.newKey(), 0, OTHER_EPOCH));
    },
  },
  {
    number: "4.1",
    sentence: "In another epoch, the client's version is changed, though it is the server's",
    async check(server) {
      const { key, version } = await write(server);
      mustBeTold(await server.compare(key, version, OTHER_EPOCH), version);
      mustBeTold(await server.compare(key, version + 1, OTHER_EPOCH), version);
    },
  },
  {
    number: "4.2",
    sentence: "Nothing here, 0 there: quiet",
    async check(server) {
      mustBeQuiet(await server.compare(server.newKey(), 0));
    },
  },
  {
    number: "4.3",
    sentence: "Nothing here, more than 0 there: changed, with version 0 and deleted",
    async check(server) {
      const key = server.newKey();
      mustBeGone(await server.compare(key, 1), key);
    },
  },
  {
    number: "4.3",
    sentence: "A node that was deleted is told so to a client that had it, and quiet to others",
    async check(server) {
      const { key, version } = await write(server);
      await server.remove(key);
      mustBeGone(await server.compare(key, version), key);
      mustBeQuiet(await server.compare(key, 0));
    },
  },
  {
    number: "4.4",
    sentence: "A version above the client's: changed",
    async check(server) {
      const { key, version } = await write(server);
      mustBeTold(await server.compare(key, 0), version);
      const { [key]: newer = 0 } = await server.update(key);
      must(newer > version, () => `version ${newer} came after ${version}`);
      mustBeTold(await server.compare(key, version), newer);
    },
  },
  {
    number: "4.5",
    sentence: "The client's version: quiet",
    async check(server) {
      const { key, version, epoch } = await write(server);
      mustBeQuiet(await server.compare(key, version));
      mustBeQuiet(await server.compare(key, version, epoch));
    },
  },
  {
    number: "4.6",
    sentence: "A version below the client's: changed, with what there is",
    async check(server) {
      const { key, version, epoch } = await write(server);
      mustBeTold(await server.compare(key, version + 1_000, epoch), version);
    },
  },
];

async function write(server: CheckedServer): Promise<{ key: string; version: number; epoch: string }> {
  const key = server.newKey();
  const { [key]: version = 0 } = await server.update(key);
  const { epoch } = await server.sync({ known: {} });
  return { key, version, epoch };
}

function mustBeQuiet(meta: RealityNodeMeta | undefined): void {
  must(meta === undefined, () => `changed: ${show(meta)}`);
}

function mustBeTold(meta: RealityNodeMeta | undefined, version: number): void {
  must(meta !== undefined, "quiet (may this client read what it writes?)");
  must(meta.version === version, () => `${show(meta)}, expected version ${version}`);
}

/** Requires the meta of a node that is gone. */
export function mustBeGone(meta: RealityNodeMeta | undefined, key: string): void {
  const isGone = meta?.key === key && meta.version === 0 && meta.hash === "" && meta.updatedAt === 0 &&
    meta.deleted === true;
  must(isGone, () => meta === undefined ? "quiet" : `changed: ${show(meta)}`);
}
