/**
 * Stopping in order when the process is told to.
 *
 * @module
 */
import process from "node:process";

/** The signals that ask a process to stop. */
export type StopSignal = "SIGINT" | "SIGTERM";

/**
 * A runner such as `npx` or `deno task` passes on the signal that a terminal has sent to everybody already: what comes
 * again within this time, in milliseconds, is the same one.
 */
const ECHO_TIME = 500;

/**
 * Stops at the first SIGINT or SIGTERM and then ends the process with 0; a later one ends it at once, with 1.
 *
 * @param stop Settles when all is brought to its end.
 */
export function stopAtSignals(stop: (signal: StopSignal) => Promise<void>): void {
  let stoppedAt: number | undefined;
  for (const signal of ["SIGINT", "SIGTERM"] as const) {
    process.on(signal, () => {
      if (stoppedAt === undefined) {
        stoppedAt = performance.now();
        void stop(signal).then(() => process.exit(0));
      } else if (performance.now() - stoppedAt > ECHO_TIME) {
        process.exit(1);
      }
    });
  }
}
