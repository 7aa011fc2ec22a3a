/**
 * How the check of a rule ends, if not well.
 *
 * @module
 */

/** A rule is broken; the message says what was found. */
export class BrokenRule extends Error {}

/** A rule cannot be checked at this server, or in this run; the message says why. */
export class UncheckedRule extends Error {}

/** Says that a rule is broken unless something holds. */
export function must(holds: boolean, found: string | (() => string)): asserts holds {
  if (!holds) throw new BrokenRule(typeof found === "string" ? found : found());
}

/** Leaves a rule unchecked. */
export function leave(reason: string): never {
  throw new UncheckedRule(reason);
}

/** A value as it can stand in a report: JSON, and not too long. */
export function show(value: unknown): string {
  const text = JSON.stringify(value) ?? String(value);
  return text.length > 200 ? `${text.slice(0, 200)}…` : text;
}
