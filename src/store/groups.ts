/**
 * The groups that a key is in. A group is a node of its own, whose key ends in `*`; it changes with each of its members.
 *
 * @module
 */
import type { Limits } from "../server_limits.ts";
import { keyFault, kindOf } from "./node.ts";

/** The most groups that one key may be in. */
export const MAX_GROUPS = 16;

/** Whether a key names a group. Such a key is in no group itself, so a change of a group changes nothing else. */
export function isGroup(key: string): boolean {
  return key.endsWith("*");
}

/** Finds the groups of keys with the function of the application, and checks what it returns. */
export class Groups {
  readonly #find: (key: string) => readonly string[];
  readonly #limits: Limits;

  /**
   * @param find The function of the application.
   * @param limits The longest key.
   */
  constructor(find: (key: string) => readonly string[], limits: Limits) {
    this.#find = find;
    this.#limits = limits;
  }

  /**
   * The groups of a key, each once.
   *
   * @throws {TypeError} When the function throws, or returns something else than keys that end in `*`, or too many.
   */
  of(key: string): readonly string[] {
    if (isGroup(key)) return [];
    const groups = this.#call(key);
    if (!Array.isArray(groups)) throw wrongGroups(key, `expected an array of keys, got ${kindOf(groups)}`);
    if (groups.length > MAX_GROUPS) {
      throw wrongGroups(key, `at most ${MAX_GROUPS} groups, got ${groups.length}`);
    }
    for (const group of groups as unknown[]) {
      const fault = keyFault(group, this.#limits.maxKeyBytes);
      if (fault !== undefined) throw wrongGroups(key, fault);
      if (!isGroup(group as string)) {
        throw wrongGroups(key, `expected keys that end in *, got ${JSON.stringify(group)}`);
      }
    }
    return groups.length > 1 ? [...new Set(groups as string[])] : groups as string[];
  }

  #call(key: string): unknown {
    try {
      return this.#find(key);
    } catch (cause) {
      const message = cause instanceof Error ? cause.message : String(cause);
      throw wrongGroups(key, `it threw ${JSON.stringify(message)}`, cause);
    }
  }
}

function wrongGroups(key: string, fault: string, cause?: unknown): TypeError {
  const message = `Option "groups" is wrong for the key ${JSON.stringify(key)}: ${fault}`;
  return new TypeError(message, cause === undefined ? {} : { cause });
}
