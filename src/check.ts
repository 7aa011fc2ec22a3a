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
  if (typeof options !== "object" || options === null || Array.isArray(options)) {
    throw new TypeError(`Cannot read the options of ${owner}: expected an object, got ${kindOf(options)}`);
  }
  for (const name of Object.keys(options)) {
    if (!names.includes(name)) {
      throw new TypeError(
        `Unknown option "${name}" of ${owner}: known ${names.length === 1 ? "is" : "are"} ${
          names.join(", ")
        }`,
      );
    }
  }
  return options as Record<string, unknown>;
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
