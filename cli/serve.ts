/**
 * A whole server from environment variables, for runtimes that serve a default export with `fetch`:
 * `deno serve -A jsr:@rootlodge/reality-server/serve`.
 *
 * The variables are those of the command `reality-server`, without `HOST` and `PORT`: `REALITY_STORAGE`
 * (`sqlite:./reality.db`, `postgres://…` or `memory:`), `REALITY_WRITE_TOKEN`, `REALITY_JWT_SECRET` and the others of
 * `docs/standalone.md`. A variable that begins with `REALITY_` and is none of them, or has a
 * wrong one ends the process with a message and exit code 1. Port and address are the runtime's business:
 * `deno serve --port 8000 --host 127.0.0.1`.
 *
 * @module
 */
import process from "node:process";
import type { FetchHandler } from "../src/http/fetch.ts";
import { describeSettings, readEnvironment } from "./environment.ts";
import { createFetchHandler } from "../adapters/fetch.ts";
import { Log } from "./log.ts";
import { stopWhenAsked } from "./signals.ts";
import { openStandalone } from "./standalone.ts";

/** How long the last answers may take to leave, in milliseconds. */
const FAREWELL_TIME = 100;

/** What the runtime serves. */
const app: { fetch: FetchHandler } = { fetch: await open() };

export default app;

async function open(): Promise<FetchHandler> {
  try {
    const settings = readEnvironment(process.env);
    const log = new Log(settings.log);
    const standalone = await openStandalone(settings, log);
    for (const line of describeSettings(settings)) log.write("info", line);
    stopWhenAsked(async () => {
      await standalone.close();
      // Whoever waited is answered now; the runtime does not say when the answers are out.
      await new Promise((resolve) => setTimeout(resolve, FAREWELL_TIME));
    });
    return createFetchHandler(standalone.server, settings.handler);
  } catch (error) {
    console.error(error instanceof Error ? error.message : error);
    process.exit(1);
  }
}
