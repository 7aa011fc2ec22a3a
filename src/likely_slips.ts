/**
 * Errors for calls that are easily written wrong, where JavaScript alone would give no error or an unclear one.
 *
 * @module
 */
import { kindOf } from "./store/node.ts";

/** Names that a server does not have, and the methods that do the work. */
const RIGHT_NAMES = [
  ["update", "updateNode"],
  ["updateNodes", "updateMany"],
  ["invalidateNode", "invalidate"],
  ["invalidateNodes", "invalidateMany"],
] as const;

/** Makes calls of methods that do not exist name the right ones. They are in no type and in no loop. */
export function defineMisnamedMethods(prototype: object): void {
  for (const [name, right] of RIGHT_NAMES) {
    Object.defineProperty(prototype, name, {
      configurable: true,
      value() {
        throw new TypeError(`There is no ${name}(): call ${right}()`);
      },
    });
  }
}

/**
 * Checks that a list is an array.
 *
 * @throws {TypeError} When it is not. The message says what it must contain.
 */
export function checkList(list: unknown, items: string): void {
  if (Array.isArray(list)) return;
  throw new TypeError(`Cannot change nodes: expected an array of ${items}, got ${kindOf(list)}`);
}

/**
 * Checks that a method that takes one key got no second one. Without this check it would ignore it, and clients would not
 * be told.
 *
 * @throws {TypeError} When there are several keys.
 */
export function checkSingle(call: string, keys: ArrayLike<unknown>): void {
  if (typeof keys[1] !== "string") return;
  throw new TypeError(`Cannot take ${keys.length} keys at once: call ${call}`);
}
