/**
 * Registers tests on an engine that lives longer than each of them, with threads and timers of its own.
 *
 * @module
 */
import { test } from "../harness.ts";

interface Loose {
  name: string;
  fn: () => void | Promise<void>;
  sanitizeOps: false;
  sanitizeResources: false;
}

const deno = (globalThis as { Deno?: { test: (options: Loose) => void } }).Deno;

/** As `test` of the harness, but without Deno's sanitizers, because the engine has resources of its own. */
export function testOnEngine(name: string, fn: () => void | Promise<void>): void {
  if (deno) deno.test({ name, fn, sanitizeOps: false, sanitizeResources: false });
  else test(name, fn);
}
