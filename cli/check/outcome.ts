/**
 * Outcomes of a check: a broken rule, or a rule that cannot be checked.
 *
 * @module
 */

/** A rule is broken. The message says what was found. */
export class BrokenRule extends Error {}

/** A rule cannot be checked on this server or in this run. The message says why. */
export class UncheckedRule extends Error {}

/** Throws {@linkcode BrokenRule} unless the condition holds. */
export function assert(holds: boolean, found: string | (() => string)): asserts holds {
  if (!holds) throw new BrokenRule(typeof found === "string" ? found : found());
}

/** Skips a rule: it counts as not checked. */
export function skip(reason: string): never {
  throw new UncheckedRule(reason);
}

/** Formats a value for a report: JSON, shortened to 200 characters. */
export function format(value: unknown): string {
  const text = JSON.stringify(value) ?? String(value);
  return text.length > 200 ? `${text.slice(0, 200)}…` : text;
}
