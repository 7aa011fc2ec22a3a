#!/usr/bin/env node
/**
 * The command `reality-server`. Without arguments it runs a standalone server whose settings are environment variables,
 * on Node, Deno and Bun. `check URL` checks a running server; `new-epoch URL` gives a storage a new epoch.
 * `track URL` and `untrack URL` install and remove triggers that fill the outbox.
 *
 * @module
 */
import { createServer, type Server } from "node:http";
import process from "node:process";
import { VERSION } from "../src/version.ts";
import { describeSettings } from "./environment/describe_settings.ts";
import { readEnvironment } from "./environment/read_environment.ts";
import type { Settings } from "./environment/settings.ts";
import { USAGE } from "./environment/variables.ts";
import { Log } from "./log.ts";
import { createNodeHandler, listenerLimits } from "../adapters/node.ts";
import { stopWhenAsked } from "./signals.ts";
import { openStandalone, type Standalone } from "./standalone.ts";

/** Time for the last answers to be sent before connections are closed, in milliseconds. */
const CLOSE_TIMEOUT = 3_000;

const [command, ...args] = process.argv.slice(2);
if (command === undefined) {
  try {
    const settings = readEnvironment(process.env);
    const log = new Log(settings.log);
    start(settings, await openStandalone(settings, log), log);
  } catch (error) {
    fail(error instanceof Error ? error.message : String(error));
  }
} else if (command === "check") {
  const { runCheck } = await import("./check/command.ts");
  process.exitCode = await runCheck(args, console);
} else if (command === "new-epoch") {
  const { runNewEpoch } = await import("./new_epoch.ts");
  process.exitCode = await runNewEpoch(args, process.env, console);
} else if (command === "track" || command === "untrack") {
  const { runTrack } = await import("./track/command.ts");
  process.exitCode = await runTrack(command, args, console);
} else if (command === "--version" || command === "-v") {
  console.log(VERSION);
} else {
  const asked = command === "--help" || command === "-h";
  if (!asked) {
    console.error(
      `Cannot read the argument "${command}": expected check, new-epoch, track, untrack, --help or --version\n`,
    );
  }
  console.log(USAGE);
  process.exit(asked ? 0 : 1);
}

function start(settings: Settings, standalone: Standalone, log: Log): void {
  const { port, host, handler } = settings;
  const listener = createServer(listenerLimits, createNodeHandler(standalone.server, handler));
  listener.on("error", (error: NodeJS.ErrnoException) => {
    if (error.code === "EADDRINUSE") {
      fail(`Cannot use PORT: ${port} is in use, choose another: PORT=${port + 1}`);
    }
    if (error.code === "EACCES") {
      fail(`Cannot use PORT: ${port} needs more permissions, choose one above 1023`);
    }
    fail(`Cannot listen at HOST ${host ?? "(all)"}, PORT ${port}: ${error.message}`);
  });
  listener.listen(port, host, () => {
    const address = listener.address();
    const found = typeof address === "object" && address !== null ? address.port : port;
    const { serverId } = standalone.server;
    for (const line of describeSettings(settings)) log.write("info", line);
    // The last line: scripts wait for it.
    log.write("info", `Reality server ${serverId} is at ${urlOf(host, found)}${handler.basePath}`);
  });
  stopWhenAsked(async (reason) => {
    log.write("info", `Stopping ${reason}: waiting requests are answered; a second signal stops at once`);
    await stop(listener, standalone);
  }, process.env.npm_command !== undefined);
}

/** Accepts no new connection, answers waiting requests, and closes connections once the answers are sent. */
async function stop(listener: Server, standalone: Standalone): Promise<void> {
  const closed = new Promise((resolve) => listener.close(resolve));
  await standalone.close();
  // Node keeps a connection open after an answer: close those that are idle.
  const idle = setInterval(() => listener.closeIdleConnections(), 20);
  const deadline = setTimeout(() => listener.closeAllConnections(), CLOSE_TIMEOUT);
  await closed;
  clearInterval(idle);
  clearTimeout(deadline);
}

function urlOf(host: string | undefined, port: number): string {
  const everywhere = host === undefined || host === "0.0.0.0" || host === "::";
  const name = everywhere ? "localhost" : host.includes(":") ? `[${host}]` : host;
  return `http://${name}:${port}`;
}

function fail(message: string): never {
  console.error(message);
  process.exit(1);
}
