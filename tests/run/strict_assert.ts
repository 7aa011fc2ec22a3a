/**
 * Makes `console.assert` throw, for doc examples: by itself it only prints, and a wrong example would pass.
 *
 * @module
 */
console.assert = (condition, ...data) => {
  if (!condition) throw new Error(["Assertion failed", ...data].join(" "));
};
