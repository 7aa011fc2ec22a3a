/**
 * Checks of options that all modules share.
 *
 * @module
 */
import { kindOf } from "./store/node.ts";

/**
 * Checks that a value is an object without other properties than the named options.
 *
 * @throws {TypeError} When it is not an object, or has another property. The message names it.
 */
export function checkNames(
  owner: string,
  options: unknown,
  names: readonly string[],
): Readonly<Record<string, unknown>> {
  if (
    typeof options !== "object" || options === null || Array.isArray(options) || options instanceof Promise
  ) {
    throw new TypeError(`Cannot read the options of ${owner}: expected an object, got ${kindOf(options)}`);
  }
  for (const name of Object.keys(options)) {
    if (!names.includes(name)) {
      throw new TypeError(
        `Unknown option "${name}" of ${owner}: known ${names.length === 1 ? "is" : "are"} ${
          names.join(", ")
        }${suggest(name, names)}`,
      );
    }
  }
  return options as Record<string, unknown>;
}

/** Suggests where an option belongs, or the name that a misspelled one is most similar to, if there is one. */
function suggest(name: string, names: readonly string[]): string {
  if (/^(basePath|cors|metrics)$/.test(name)) return "; give it to the handler";
  let best = "";
  let most = 0.6;
  for (const known of names) {
    const similar = similarity(name.toLowerCase(), known.toLowerCase());
    if (similar > most) [best, most] = [known, similar];
  }
  return best && `; did you mean "${best}"?`;
}

/** The part of the shorter of two texts that begins or ends the other one as well, from 0 to 1; a little less if one is longer. */
function similarity(a: string, b: string): number {
  const shorter = Math.min(a.length, b.length);
  let before = 0;
  while (before < shorter && a[before] === b[before]) before++;
  let after = 0;
  while (after < shorter - before && a.at(-1 - after) === b.at(-1 - after)) after++;
  return (before + after) / shorter - Math.abs(a.length - b.length) / 1e3;
}

/**
 * Checks that a value is a server, before a handler is made of it.
 *
 * @throws {TypeError} When it is not. The message says what to write.
 */
export function checkServer(server: { getRequestHandler?: unknown } | undefined): void {
  if (typeof server?.getRequestHandler === "function") return;
  throw new TypeError(`Cannot create a handler: expected a RealityServer, got ${kindOf(server)}`);
}

/**
 * Checks an integer option against its range.
 *
 * @throws {TypeError} When it is not an integer.
 * @throws {RangeError} When it is out of range.
 */
export function checkInteger(
  name: string,
  value: unknown,
  [lowest, highest]: readonly [number, number],
): number {
  if (!Number.isSafeInteger(value)) throw wrongOption(name, "an integer", value);
  const number = value as number;
  if (number < lowest || number > highest) {
    throw new RangeError(`Option "${name}" is out of range: expected ${lowest} to ${highest}, got ${number}`);
  }
  return number;
}

/** The error for an option of the wrong type. It names the option, what was expected and what was found. */
export function wrongOption(name: string, expected: string, value: unknown): TypeError {
  return optionError(name, expected, kindOf(value));
}

/** The error for a wrong option whose value `found` describes. */
export function optionError(name: string, expected: string, found: string): TypeError {
  return new TypeError(`Option "${name}" is wrong: expected ${expected}, got ${found}`);
}
