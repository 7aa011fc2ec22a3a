/**
 * Stops the server in order at SIGINT and SIGTERM.
 *
 * @module
 */
import process from "node:process";

/**
 * A terminal sends a signal to all processes, and a runner such as `npx` or `deno task` forwards it. A second signal
 * within this time, in milliseconds, is the same one.
 */
const ECHO_TIME = 500;

/** Interval of the checks whether npm is still running, in milliseconds. */
const PARENT_INTERVAL = 500;

/**
 * Stops at the first SIGINT or SIGTERM and then ends the process with 0. A second signal ends it at once, with 1.
 *
 * @param stop Stops the server. Gets the reason, such as `at SIGTERM`.
 * @param isOfNpm Whether npm started the process, as `npx` does. Then it also stops when npm has ended: npm sends SIGTERM
 *   to a shell in between, which ends without forwarding it, and the port would stay in use.
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
    if (stoppedAt === undefined) begin("because npm has ended");
  }, PARENT_INTERVAL);
  timer.unref();
}
