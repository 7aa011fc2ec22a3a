/**
 * What a rule of the protocol is to the check.
 *
 * @module
 */
import type { CheckedServer } from "./server.ts";
import { BrokenRule, UncheckedRule } from "./verdict.ts";

/** One rule of `src/PROTOCOL.md`, or a part of one. */
export interface Rule {
  /** Its number there, such as `4.3`; of a chapter without numbers, the chapter's. */
  readonly number: string;
  /** What must be so. */
  readonly sentence: string;
  /** Finds out; for what cannot be seen from outside: why not. */
  readonly check: string | ((server: CheckedServer) => Promise<void>);
}

/** What became of one rule, or of a part of one. */
export interface RuleResult {
  /** The rule's number in `src/PROTOCOL.md`. */
  rule: string;
  /** What must be so. */
  sentence: string;
  /** Whether it is. */
  outcome: "ok" | "failed" | "not checked";
  /** What was found instead, or why it was not checked. */
  found?: string;
}

/** Checks one rule; rejects for nothing that it finds. */
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
    // What a check trips over is an answer of a shape that nobody thought of.
    const isExpected = error instanceof UncheckedRule || error instanceof BrokenRule;
    const found = isExpected ? error.message : `an answer that cannot be read: ${String(error)}`;
    return { ...rule, outcome, found };
  }
}
