/**
 * Chapter 13 of the protocol: a server that stops.
 *
 * @module
 */
import type { Rule } from "../rule.ts";

/** The rules of chapter 13. */
export const closingRules: readonly Rule[] = [
  ["13.1", "A server that stops refuses requests with 503 CLOSED"],
  ["13.2", "Waiting requests are answered at once when the server stops"],
  ["13.3", "Streams end with a retry when the server stops"],
  ["13.4", "Every answer has Connection: close when the server stops"],
  ["13.5", "Acknowledged changes are in the storage when the server stops"],
].map(([number = "", sentence = ""]) => ({ number, sentence, check: "would require stopping the server" }));
