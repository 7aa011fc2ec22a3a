/**
 * Packages that are loaded only when a setting asks for them.
 *
 * @module
 */
import { describe } from "../src/redact.ts";

/**
 * Loads a module that needs a package.
 *
 * @param name The package.
 * @param module Imports the module.
 * @throws {Error} When the package is missing; says the command that brings it.
 */
export async function loadWith<T>(name: string, module: () => Promise<T>): Promise<T> {
  try {
    return await module();
  } catch (cause) {
    const words = describe(cause);
    const isMissing = words.includes(name) && /not (?:find|found|resolve|a dependency)/i.test(words);
    if (!isMissing) throw cause;
    throw new Error(
      `the package ${name} is missing: npm install ${name}, ` +
        `or npx --package=@rootlodge/reality-server --package=${name} reality-server`,
    );
  }
}
