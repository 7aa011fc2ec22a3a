/**
 * A standalone server whose settings are environment variables, for runtimes that serve a default export with `fetch`:
 * `deno serve -A jsr:@rootlodge/reality-server/serve`.
 *
 * The variables are those of the command `reality-server`, without `HOST` and `PORT`: `REALITY_STORAGE`
 * (`sqlite:./reality.db`, `postgres://…` or `memory:`), `REALITY_WRITE_TOKEN`, `REALITY_JWT_SECRET` and the others of
 * `docs/standalone.md`. If a variable has a wrong value, or begins with `REALITY_` and is unknown, the process ends with a
 * message and exit code 1. The runtime sets port and address: `deno serve --port 8000 --host 127.0.0.1`.
 *
 * @module
 */
import process from "node:process";
import type { FetchHandler } from "../src/http/fetch.ts";
import { describeSettings } from "./environment/describe_settings.ts";
import { readEnvironment } from "./environment/read_environment.ts";
import { createFetchHandler } from "../adapters/fetch.ts";
import { Log } from "./log.ts";
import { stopWhenAsked } from "./signals.ts";
import { openStandalone } from "./standalone.ts";

/** Time for the last answers to be sent, in milliseconds. */
const CLOSE_TIMEOUT = 100;

/** The default export that the runtime serves. */
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
      // Waiting requests are answered now. The runtime does not tell when the answers are sent.
      await new Promise((resolve) => setTimeout(resolve, CLOSE_TIMEOUT));
    });
    return createFetchHandler(standalone.server, settings.handler);
  } catch (error) {
    console.error(error instanceof Error ? error.message : error);
    process.exit(1);
  }
}
