/**
 * What the processes of a race print: a line of JSON for each answer.
 *
 * @module
 */

/** A change that was acknowledged, with the moments before and after, in milliseconds since 1970. */
export interface Acknowledged {
  readonly kind: "acknowledged";
  readonly key: string;
  /** What was asked for: the process's name, a dot, and how many changes it had asked for before. */
  readonly hash: string;
  readonly asked: number;
  readonly answered: number;
  readonly version: number;
  /** What was written: another one when a later change of the same key went in with this one. */
  readonly written: string;
}

/** A change that may or may not be there. */
export interface Failed {
  readonly kind: "failed";
  readonly key: string;
  readonly hash: string;
}

/** A node as a client saw it. */
export type Sight = readonly [key: string, version: number, hash: string];

/** A sync, and what it answered. */
export interface Read {
  readonly kind: "read";
  readonly asked: number;
  /** The keys that were asked for; those without a sight were not there. */
  readonly keys: readonly string[];
  readonly sights: readonly Sight[];
}

/** A page of the history, in order. */
export interface Page {
  readonly kind: "page";
  readonly answered: number;
  readonly sights: readonly Sight[];
}

/** A line. */
export type Entry = Acknowledged | Failed | Read | Page | { readonly kind: "ready" | "done" };

/** The name of the process that asked for a hash, and how many changes it had asked for before. */
export function readHash(hash: string): { readonly name: string; readonly count: number } {
  const [name = "", count] = hash.split(".");
  return { name, count: Number(count) };
}
