/**
 * The last commits as the counter's item stores them. Pure.
 *
 * @module
 */
import { dotFields, type StoredNode, toNode } from "./stored_node.ts";

/** One commit, with the nodes that it wrote. */
export interface Commit {
  /** Its number in the order of all commits. */
  readonly revision: number;
  /** The highest visible version before it. */
  readonly before: number;
  /** The nodes that it wrote. */
  readonly nodes: readonly StoredNode[];
}

/**
 * The longest text of the last commits, in bytes. With it the whole item stays below 1 KB, the unit in which DynamoDB
 * counts writes. So the commits in the item cost nothing.
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

/** A node in the text of commits. Fields that do not exist are null, or left out at the end. */
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
