/**
 * The groups that a key is in. A group is a node of its own, whose key ends in `*`; it changes with each of its members.
 *
 * @module
 */
import { type Rights, seesAll } from "../access.ts";
import { RealityError } from "../errors.ts";
import type { GroupsOptions } from "../options.ts";
import type { Limits } from "../server_limits.ts";
import type { KeyRefusal } from "../types.ts";
import type { NodeLookup } from "./contract.ts";
import { keyFault, kindOf } from "./node.ts";

/** The most groups that one key may be in. */
export const MAX_GROUPS = 16;

/** Faults of `isGroup` are reported for this many keys. */
const MAX_REPORTS = 100;

/** Whether a key names a group. Such a key is in no group itself, so a change of a group changes nothing else. */
export function isGroup(key: string): boolean {
  return key.endsWith("*");
}

/** Finds the groups of keys with the functions of the application, and checks what they return. */
export class Groups {
  readonly #options: GroupsOptions;
  readonly #limits: Limits;
  readonly #report: (error: RealityError) => void;
  readonly #reported = new Set<string>();

  /**
   * @param options The functions of the application.
   * @param limits The longest key.
   * @param report Receives faults of `isGroup`, each once.
   */
  constructor(options: GroupsOptions, limits: Limits, report: (error: RealityError) => void) {
    this.#options = options;
    this.#limits = limits;
    this.#report = report;
  }

  /** Whether answers may name the members that changed. */
  get isDetailed(): boolean {
    return this.#options.detail === true;
  }

  /**
   * The groups of a key, each once. A change of a group by itself changes its marker, where answers name members.
   *
   * @throws {TypeError} When the function throws, or returns something else than keys that end in `*`, or too many.
   */
  of(key: string): readonly string[] {
    if (isGroup(key)) {
      const marker = this.isDetailed ? this.markerOf(key) : undefined;
      return marker === undefined ? [] : [marker];
    }
    const groups = this.#call(key);
    if (!Array.isArray(groups)) throw wrongGroups(key, `expected an array of keys, got ${kindOf(groups)}`);
    if (groups.length > MAX_GROUPS) {
      throw wrongGroups(key, `at most ${MAX_GROUPS} groups, got ${groups.length}`);
    }
    for (const group of groups as unknown[]) {
      const fault = keyFault(group, this.#limits.maxKeyBytes);
      if (fault !== undefined) throw wrongGroups(key, fault);
      if (!isGroup(group as string)) {
        throw wrongGroups(key, `expected keys that end in *, got ${quote(group)}`);
      }
      if (!this.#hasGroup(group as string)) {
        this.#reportOnce(
          `Option "groups" is wrong: it makes the group ${quote(group)}, and isGroup denies it`,
        );
      }
    }
    return groups.length > 1 ? [...new Set(groups as string[])] : groups as string[];
  }

  /**
   * The key of a node that changes with each change of a group by itself, and not with its members: it is the group of
   * the group. Undefined for a group that cannot have one.
   */
  markerOf(group: string): string | undefined {
    const marker = `${group}*`;
    return group.endsWith("**") || keyFault(marker, this.#limits.maxKeyBytes) !== undefined
      ? undefined
      : marker;
  }

  /**
   * The keys that no group has, of those that a client follows. A key without `*` is not asked about, nor one with a node:
   * that may change again. A key that the client may not read is not refused either, because the
   * answer would tell whether there is such a group.
   *
   * @returns Key → the refusal; undefined for no key.
   */
  findRefused(
    keys: readonly string[],
    nodes: NodeLookup,
    rights: Rights | undefined,
    now: number,
  ): Record<string, KeyRefusal> | undefined {
    if (this.#options.isGroup === undefined) return undefined;
    let refused: Record<string, KeyRefusal> | undefined;
    for (const key of keys) {
      if (!key.includes("*") || nodes.get(key) !== undefined || !seesAll(rights, [key], now)) continue;
      if (this.#hasGroup(key)) continue;
      refused ??= {};
      refused[key] = {
        code: "ERR_REALITY_NO_GROUP",
        message: `Cannot follow ${quote(key)}: no group has this key`,
      };
    }
    return refused;
  }

  /** Whether there is a group with this key, as far as is known. */
  #hasGroup(key: string): boolean {
    const { isGroup } = this.#options;
    if (isGroup === undefined) return true;
    try {
      const answer: unknown = isGroup(key);
      if (typeof answer === "boolean") return answer;
      this.#reportOnce(
        `Option "groups.isGroup" is wrong for the key ${quote(key)}: expected true or false, got ${
          kindOf(answer)
        }`,
      );
    } catch (cause) {
      this.#reportOnce(
        `Option "groups.isGroup" is wrong for the key ${quote(key)}: ${describe(cause)}`,
        cause,
      );
    }
    return true;
  }

  #reportOnce(message: string, cause?: unknown): void {
    if (this.#reported.has(message) || this.#reported.size >= MAX_REPORTS) return;
    this.#reported.add(message);
    this.#report(new RealityError("ERR_REALITY_HOOK", message, cause === undefined ? {} : { cause }));
  }

  #call(key: string): unknown {
    try {
      return this.#options.of(key);
    } catch (cause) {
      throw wrongGroups(key, describe(cause), cause);
    }
  }
}

function wrongGroups(key: string, fault: string, cause?: unknown): TypeError {
  const message = `Option "groups" is wrong for the key ${quote(key)}: ${fault}`;
  return new TypeError(message, cause === undefined ? {} : { cause });
}

function describe(cause: unknown): string {
  return `it threw ${JSON.stringify(cause instanceof Error ? cause.message : String(cause))}`;
}

function quote(key: unknown): string {
  return JSON.stringify(key);
}
