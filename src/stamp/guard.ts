/**
 * Promises of stamps that name the missing `await`.
 *
 * @module
 */
import type { Stamp } from "./stamp.ts";

/** The prototype of promises of stamps. */
let unawaited: object | undefined;

/** Makes a promise of a stamp throw an error when it is used in place of the stamp. */
export function guardStamp(promise: Promise<Stamp>): Promise<Stamp> {
  unawaited ??= Object.create(
    Promise.prototype,
    Object.fromEntries(
      "etag headers isFresh notModified json toJSON".split(" ").map((name) => [name, {
        get() {
          throw new TypeError(`Cannot read ${name} of a promise: await server.stamp(keys) first`);
        },
      }]),
    ),
  );
  return Object.setPrototypeOf(promise, unawaited!);
}
