/**
 * The version of the package. A test compares it with `deno.json`.
 *
 * @module
 */

/** The version of this package. */
export const VERSION = "2.0.0";
