/**
 * Stopping in order when the process is told to.
 *
 * @module
 */
import process from "node:process";

/**
 * A runner such as `npx` or `deno task` passes on the signal that a terminal has sent to everybody already: what comes
 * again within this time, in milliseconds, is the same one.
 */
const ECHO_TIME = 500;

/** How often to look whether npm is still there, in milliseconds. */
const PARENT_INTERVAL = 500;

/**
 * Stops at the first SIGINT or SIGTERM and then ends the process with 0; a later one ends it at once, with 1.
 *
 * @param stop Settles when all is brought to its end. It is told why: `at SIGTERM`.
 * @param isOfNpm Whether npm has started the process, as `npx` does: then it also stops when npm is gone. npm hands a
 *   SIGTERM to a shell in between, which ends without passing it on, so that the port would stay taken.
 */
export function stopWhenAsked(stop: (reason: string) => Promise<void>, isOfNpm: boolean = false): void {
  let stoppedAt: number | undefined;
  const begin = (reason: string) => {
    stoppedAt = performance.now();
    void stop(reason).then(() => process.exit(0));
  };
  for (const signal of ["SIGINT", "SIGTERM"] as const) {
    process.on(signal, () => {
      if (stoppedAt === undefined) begin(`at ${signal}`);
      else if (performance.now() - stoppedAt > ECHO_TIME) process.exit(1);
    });
  }
  if (!isOfNpm) return;
  const parent = process.ppid;
  const timer = setInterval(() => {
    if (process.ppid === parent) return;
    clearInterval(timer);
    if (stoppedAt === undefined) begin("since npm is gone");
  }, PARENT_INTERVAL);
  timer.unref();
}
