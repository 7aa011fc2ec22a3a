/**
 * Loads packages that only some settings need.
 *
 * @module
 */
import { describe } from "../src/redact.ts";

/**
 * Imports a module that needs a package.
 *
 * @param name The package.
 * @param module Imports the module.
 * @throws {Error} If the package is missing; the message has the command that installs it.
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
