/**
 * A rule of the protocol, and its check.
 *
 * @module
 */
import type { CheckedServer } from "./server.ts";
import { BrokenRule, UncheckedRule } from "./outcome.ts";

/** One rule of `src/PROTOCOL.md`, or a part of one. */
export interface Rule {
  /** Its number, such as `4.3`, or the number of a chapter without numbered rules. */
  readonly number: string;
  /** The rule in one sentence. */
  readonly sentence: string;
  /** Checks a server. A string says why the rule cannot be checked from outside. */
  readonly check: string | ((server: CheckedServer) => Promise<void>);
}

/** The result of one rule, or of a part of one. */
export interface RuleResult {
  /** The rule's number in `src/PROTOCOL.md`. */
  rule: string;
  /** The rule in one sentence. */
  sentence: string;
  /** Whether the server keeps the rule. */
  outcome: "ok" | "failed" | "not checked";
  /** What was found instead, or why the rule was not checked. */
  found?: string;
}

/** Checks one rule. Does not reject if the rule is broken. */
export async function checkRule(
  { number, sentence, check }: Rule,
  server: CheckedServer,
): Promise<RuleResult> {
  const rule = { rule: number, sentence };
  if (typeof check === "string") return { ...rule, outcome: "not checked", found: check };
  try {
    await check(server);
    return { ...rule, outcome: "ok" };
  } catch (error) {
    const outcome = error instanceof UncheckedRule ? "not checked" : "failed";
    // Any other error comes from an answer of an unexpected shape.
    const isExpected = error instanceof UncheckedRule || error instanceof BrokenRule;
    const found = isExpected ? error.message : `an answer of an unexpected shape: ${String(error)}`;
    return { ...rule, outcome, found };
  }
}
