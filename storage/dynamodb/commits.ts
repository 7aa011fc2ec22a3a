/**
 * The last commits as the counter's item stores them. Pure.
 *
 * @module
 */
import { dotFields, type StoredNode, toNode } from "./stored_node.ts";

/** One step that was committed: the nodes that it wrote. */
export interface Commit {
  /** Its place in the order of all commits. */
  readonly revision: number;
  /** The highest visible version before it. */
  readonly before: number;
  /** What it wrote. */
  readonly nodes: readonly StoredNode[];
}

/**
 * The text of the last commits may be so long, in bytes: then the whole item keeps below 1 KB, the unit in
 * which DynamoDB counts what is written, and telling of them costs nothing.
 */
export const MAX_COMMITS_TEXT = 512;

/** Commits as text. */
export function formatCommits(commits: readonly Commit[]): string {
  return JSON.stringify(commits.map(({ revision, before, nodes }) => [
    revision,
    before,
    nodes.map(({ key, version, hash, updatedAt, deleted, until, dotVersion, replicaId, indexPosition }) => {
      const more = [
        deleted ? until ?? 0 : null,
        dotVersion ?? null,
        replicaId ?? null,
        indexPosition ?? null,
      ];
      while (more.at(-1) === null) more.pop();
      return [key, version, hash, updatedAt, ...more];
    }),
  ]));
}

/** A node in the text of commits; what is left out at its end, or null, is not there. */
type NodeText = [
  string,
  number,
  string,
  number,
  (number | null)?,
  (number | null)?,
  (string | null)?,
  number?,
];

/** Commits from their text. */
export function parseCommits(text: string): Commit[] {
  const commits = JSON.parse(text) as [number, number, NodeText[]][];
  return commits.map(([revision, before, nodes]) => ({
    revision,
    before,
    nodes: nodes.map(([key, version, hash, updatedAt, until, dotVersion, replicaId, indexPosition]) => ({
      ...toNode({ key, version, hash, updatedAt }, until ?? undefined),
      ...dotFields(version, { dotVersion, replicaId, indexPosition }),
      revision,
    })),
  }));
}
