/**
 * Faults put into the sources by hand, to see whether the simulation notices: a test of the test.
 *
 * @module
 */
import { cp, mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { pathToFileURL } from "node:url";
import { LONG_SEEDS } from "./history.ts";

/** One line of the sources, and what stands there instead. */
export interface Edit {
  readonly file: string;
  /** A text that the file has once. */
  readonly find: string;
  readonly put: string;
}

/** A fault, and how soon it must be noticed. */
export interface SourceFault {
  readonly name: string;
  readonly edits: readonly Edit[];
  /** The maximum number of histories until one fails. */
  readonly histories: number;
  /** The seed of the first history. @default {1} */
  readonly first?: number;
}

const OLD_REPLICAS = "src/mesh/old_replicas.ts";

/**
 * Limits so low that a short history reaches them: version vectors with more than 14 entries are shortened to 9, within
 * seconds.
 */
export const LOW_LIMITS: readonly Edit[] = [
  { file: OLD_REPLICAS, find: "MAX_REPLICAS = 1000", put: "MAX_REPLICAS = 14" },
  { file: OLD_REPLICAS, find: "KEPT_REPLICAS = 500", put: "KEPT_REPLICAS = 9" },
  { file: OLD_REPLICAS, find: "LONGEST_DELAY_MS = 300_000", put: "LONGEST_DELAY_MS = 1_000" },
  { file: OLD_REPLICAS, find: "const SPREAD_MS = 600_000", put: "const SPREAD_MS = 2_000" },
  { file: OLD_REPLICAS, find: "LONGEST_SPREAD_MS = 3_600_000", put: "LONGEST_SPREAD_MS = 15_000" },
  { file: "src/store/version_vector.ts", find: "MAX_FORGOTTEN = 1000", put: "MAX_FORGOTTEN = 30" },
];

const DELTA = "src/mesh/merge.ts";
const PAGES = "src/mesh/anti_entropy.ts";
const LAZY_MESH = "src/mesh/lazy_mesh.ts";
const MEMORY = "storage/memory/memory_storage.ts";
const NUMBERING = "storage/memory/numbering.ts";
const STORAGE = "src/store/contract.ts";
const KEEP_APART =
  '    if (sharesResidue(mine, known)) await callStorage("avoidResidues", () => storage.avoidResidues(known));\n';
const CASE_4 = "  // 4. Neither knew of the other.";

/** Mistakes, each against one rule of `src/mesh/README.md`. */
export const FAULTS: readonly SourceFault[] = [
  {
    name: "two changes that did not know of each other are left as they are",
    edits: [{ file: DELTA, find: CASE_4, put: `  if (true) return null;\n${CASE_4}` }],
    histories: 100,
  },
  {
    name: "of two such changes the one with the higher version wins",
    edits: [{
      file: DELTA,
      find: CASE_4,
      put: `  if (true) return isAhead(theirs, mine) ? { node: theirs, replaces: own } : null;\n${CASE_4}`,
    }],
    histories: 100,
  },
  {
    name: "of two deletions the one with the higher version is kept, and not joined",
    edits: [{
      file: DELTA,
      find: CASE_4,
      put: "  if (mine.deleted && theirs.deleted) " +
        `return isAhead(theirs, mine) ? { node: theirs, replaces: own } : null;\n${CASE_4}`,
    }],
    histories: 500,
  },
  {
    name: "a storage beside others counts 1, 2, 3",
    edits: [
      { file: LAZY_MESH, find: "    if (isMeshStorage(storage)) storage.countByClock();\n", put: "" },
      {
        file: NUMBERING,
        find: "this.#kind = kind;",
        put: 'this.#kind = "sequential";',
      },
    ],
    histories: 500,
  },
  {
    name: "storages that have met number with one residue",
    edits: [
      { file: STORAGE, find: "[...Array(RESIDUES).keys()]", put: "[7]" },
      { file: PAGES, find: KEEP_APART, put: "" },
    ],
    histories: 100,
  },
  {
    name: "a storage draws no other residue when it meets one that has the same",
    edits: [
      { file: STORAGE, find: "[...Array(RESIDUES).keys()]", put: "[...Array(8).keys()]" },
      { file: PAGES, find: KEEP_APART, put: "" },
    ],
    histories: 300,
  },
  {
    name: "what a sender has seen is adopted before its last page",
    edits: [{
      file: PAGES,
      find: "    if (delta.next !== null) {\n",
      put:
        '    if (delta.next !== null) {\n      await callStorage("adoptVector", () => storage.adoptVector(adopt, message.epoch));\n',
    }],
    histories: 100,
  },
  {
    name: "a number that was reserved and is published late counts as seen",
    edits: [{
      file: MEMORY,
      find:
        "const dotVersion = meta.version <= this.#numbering.maxDotVersion || !isOwn ? next : meta.version;",
      put: "const dotVersion = meta.version;",
    }],
    histories: 200,
  },
  {
    name: "a server keeps quiet when its version is lower than the client's",
    edits: [{
      file: "src/sync/compare.ts",
      find: "if (stored === version && (sameEpoch",
      put: "if (stored <= version! && (sameEpoch",
    }],
    histories: 500,
  },
  {
    name: "the counter is not raised to what is taken in",
    edits: [
      {
        file: MEMORY,
        find:
          '      this.#numbering.raise("replicaId" in node ? Math.max(node.version, node.dotVersion) : above);\n',
        put: "",
      },
      { file: MEMORY, find: "      this.#numbering.raise(dotVersion);\n", put: "" },
      {
        file: MEMORY,
        find: "    this.#numbering.raise(Math.max(at.version, at.dotVersion));\n",
        put: "",
      },
    ],
    histories: 500,
  },
  {
    name: "a sync reads before it registers its waiter",
    edits: [
      {
        file: "src/sync/sync.ts",
        find: "  const waiter = wait > 0 &&",
        put:
          "  let early = wait > 0 ? await readCaughtUp(request, deps, undefined) : undefined;\n  const waiter = wait > 0 &&",
      },
      {
        file: "src/sync/sync.ts",
        find: "let reading: StorageReading | undefined = await readCaughtUp(request, deps, rights);",
        put:
          "let reading: StorageReading | undefined = early ?? await readCaughtUp(request, deps, rights);\n" +
          "      early = undefined;",
      },
    ],
    histories: 1000,
  },
  {
    name: "a storage counts a node that it takes as seen, whatever came before it",
    edits: [{
      file: MEMORY,
      find: "      return this.#nodes.metaAt(this.#write(node, node));\n",
      put:
        "      this.#vector.set(node.replicaId, Math.max(node.dotVersion, this.#vector.get(node.replicaId) ?? 0));\n" +
        "      return this.#nodes.metaAt(this.#write(node, node));\n",
    }],
    histories: 100,
  },
  {
    name: "servers on the same storage do not look again when they are told to",
    edits: [{
      file: "src/mesh/responder.ts",
      find: "      if (invalidation !== undefined) wake(invalidation.keys);\n",
      put: "",
    }],
    histories: 500,
  },
  {
    name: "a message is accepted from any sender",
    edits: [{
      file: "src/mesh/callback_proof.ts",
      find: "    if (url === undefined || !peers.includes(url)) throw unauthorized();\n",
      put: "",
    }],
    histories: 2000,
  },
  {
    name: "an unsigned message on Redis is accepted",
    edits: [{
      file: "src/mesh/redis_updates.ts",
      find: "isSigned ? await replication.merge(undefined, message, true) : UNMERGED",
      put: "await replication.merge(undefined, message, true)",
    }],
    histories: 500,
  },
  {
    name: "a client is told what it may not read",
    edits: [{
      file: "src/access.ts",
      find: "allowed?.has(key) ? nodes.get(key) : undefined",
      put: "nodes.get(key)",
    }],
    histories: 100,
  },
  {
    name: "a client is not told what it may read",
    edits: [{
      file: "src/access.ts",
      find: "allowed?.has(key) ? nodes.get(key) : undefined",
      put: "undefined",
    }],
    histories: 100,
  },
  {
    name: "nodes that the version vector does not include are not written again",
    edits: [{
      file: "src/mesh/node_rewriter.ts",
      find: "? rejoinNode(own) : null",
      put: "&& false ? rejoinNode(own) : null",
    }],
    histories: 1,
    first: 3114441,
  },
  {
    name: "old replicas are forgotten, and their nodes are not written again",
    edits: [
      ...LOW_LIMITS,
      { file: OLD_REPLICAS, find: "(node) => includesDot(replicas, dotOf(node))", put: "() => false" },
    ],
    histories: 200,
    first: LONG_SEEDS,
  },
  {
    name: "collected tombstones of forgotten replicas are forgotten, and nothing stands for them",
    edits: [
      ...LOW_LIMITS,
      {
        file: "src/store/version_vector.ts",
        find: "    collected.set(own.replicaId, Math.max(own.version, collected.get(own.replicaId) ?? 0));\n",
        put: "",
      },
    ],
    histories: 500,
    first: LONG_SEEDS,
  },
];

/**
 * Examines the sources with a fault in them, in a copy.
 *
 * @returns The first seed that fails, if one does.
 */
export async function examineFault(
  { edits, histories, first = 1 }: SourceFault,
): Promise<number | undefined> {
  return await withEdits(edits, async (folder) => {
    const examiner: typeof import("./examine.ts") = await import(`${folder}/examine.ts`);
    return await examiner.findFailure(first, histories);
  });
}

/**
 * Edits a copy of the sources.
 *
 * @param use Is given the URL of `tests/mesh/` in the copy, which is removed afterwards.
 * @throws {Error} When a text to be replaced is not there, or twice: then the edit has to be made elsewhere.
 */
export async function withEdits<T>(edits: readonly Edit[], use: (folder: string) => Promise<T>): Promise<T> {
  const folder = await mkdtemp(join(tmpdir(), "reality-fault-"));
  try {
    const parts = [
      "src",
      "storage",
      "tests/loaded_mesh.ts",
      "tests/random.ts",
      "tests/network.ts",
      "tests/sim_clock.ts",
      "tests/mesh",
    ];
    for (const part of parts) {
      await mkdir(dirname(join(folder, part)), { recursive: true });
      await cp(part, join(folder, part), { recursive: true });
    }
    for (const edit of edits) await apply(folder, edit);
    return await use(pathToFileURL(join(folder, "tests/mesh")).href);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

async function apply(folder: string, { file, find, put }: Edit): Promise<void> {
  const path = join(folder, file);
  const parts = (await readFile(path, "utf8")).split(find);
  if (parts.length !== 2) {
    throw new Error(
      `Cannot put a fault into ${file}: found ${JSON.stringify(find)} ${parts.length - 1} times`,
    );
  }
  await writeFile(path, parts.join(put));
}
