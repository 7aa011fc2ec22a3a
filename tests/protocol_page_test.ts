/**
 * Runs the curl commands of docs/protocol.md, one after the other on one server, and compares the answers.
 *
 * @module
 */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createFetchHandler, MemoryStorage, RealityServer } from "../mod.ts";
import { test } from "./harness.ts";

/** A command, and the answer that the page shows; empty for an answer without a body. */
interface Step {
  readonly command: string;
  readonly shown: string;
}

function readSteps(page: string): Step[] {
  const sessions = [...page.matchAll(/^```console\n([^]*?)^```/gm)].map(([, text = ""]) => text);
  return sessions.flatMap((session) =>
    session.replaceAll(/\\\n\s*/g, "").split(/^\$ /m).slice(1).map((step) => {
      const [command = "", ...shown] = step.trimEnd().split("\n");
      return { command, shown: shown.join("\n") };
    })
  );
}

/** The request that a curl command sends. */
function readCurl(command: string): Request {
  const [, address = ""] = /\b(localhost:8000\S*)/.exec(command) ?? [];
  const headers = [...command.matchAll(/-H '([^:']+): ([^']+)'/g)]
    .map(([, name = "", value = ""]) => [name, value]);
  const [, body = null] = /-d '([^']+)'/.exec(command) ?? [];
  const [, method = body === null ? "GET" : "POST"] = /-X (\w+)/.exec(command) ?? [];
  return new Request(`http://${address}`, { method, headers: Object.fromEntries(headers), body });
}

/** Replaces the values that differ from run to run by their kinds. */
function mask(text: string): string {
  return text.replaceAll(/"(updatedAt|serverTime)":[1-9]\d*/g, '"$1":0')
    .replaceAll(/(?<=:)[1-9]\d{14,15}\b/g, '"a version"')
    .replaceAll(/(?<="epoch":)"[0-9a-z]{9}-[0-9a-z]{8}"/g, '"an epoch"');
}

test("the curl commands of docs/protocol.md get the answers that the page shows", async () => {
  const steps = readSteps(readFileSync("docs/protocol.md", "utf8"));
  assert.equal(steps.length, 6);
  const server = new RealityServer({ storage: new MemoryStorage(), writeTokens: ["a-long-random-token"] });
  const handler = createFetchHandler(server);
  /** Versions and epochs of the page → those of this run. */
  const actual = new Map<string, string>();
  for (const { command, shown } of steps) {
    let sent = command;
    for (const [from, to] of actual) sent = sent.replaceAll(from, to);
    const response = await handler(readCurl(sent));
    const found = await response.text();
    assert.equal(mask(found), mask(shown), command);
    const names = /[1-9]\d{14,15}\b|[0-9a-z]{9}-[0-9a-z]{8}/g;
    const values = found.match(names) ?? [];
    for (const [i, name] of (shown.match(names) ?? []).entries()) actual.set(name, values[i]!);
    assert.equal(response.status, shown === "" ? 204 : shown.startsWith('{"error"') ? 400 : 200, command);
  }
  await server.close();
});
