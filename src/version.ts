/**
 * The package's version, for those who look at a running server. A test holds it to `deno.json`.
 *
 * @module
 */

/** The version of this package. */
export const VERSION = "2.0.0";
