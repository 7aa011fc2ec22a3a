/**
 * Runs the command as a process, with a folder and a client for it.
 *
 * @module
 */
import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { skip, test } from "../harness.ts";
import { Child } from "../runtimes/child.ts";

export const TOKEN = "token-of-the-command";
/** Only root may create a namespace. */
export const testInNamespace: typeof test = process.platform === "linux" && process.getuid?.() === 0
  ? test
  : skip;

export const MEMORY = { PORT: "0", HOST: "127.0.0.1", REALITY_STORAGE: "memory:" };

export async function withFolder(run: (folder: string) => Promise<void>): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), "reality-command-"));
  try {
    await run(folder);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** Runs the command, and ends it with a signal. */
export async function withCommand<T>(
  env: Record<string, string>,
  folder: string,
  run: (child: Child, url: string) => Promise<T>,
): Promise<T> {
  const child = Child.run("cli/bin.ts", env, folder);
  try {
    const result = await run(child, await urlOf(child));
    child.signal("SIGINT");
    assert.equal(await child.ended(), 0);
    return result;
  } finally {
    await child.kill();
  }
}

/** Returns the URL that it logs. */
export async function urlOf(child: Child): Promise<string> {
  const [, url = ""] = await child.printed(/ is at (http:\S+)\n/);
  return url;
}

export function sync(url: string, body: unknown): Promise<Response> {
  return fetch(`${url}/sync`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(body),
  });
}

export async function statusOf(response: Promise<Response>): Promise<number> {
  const { status, body } = await response;
  await body?.cancel();
  return status;
}

export async function write(url: string, key: string): Promise<Response> {
  const response = await fetch(`${url}/update`, {
    method: "POST",
    headers: { "content-type": "application/json", authorization: `Bearer ${TOKEN}` },
    body: JSON.stringify({ key, hash: "1" }),
  });
  return new Response(await response.text(), response);
}
