import assert from "node:assert/strict";
import { inspect } from "node:util";
import { RelayError, StorageError } from "../../mod.ts";
import { redactError, redactInvalidURL, redactText, redactURL } from "../../src/redact.ts";
import { test } from "../harness.ts";

test("redactURL() removes credentials and queries, and all but the scheme if they cannot be recognized", () => {
  const cases: [string, string][] = [
    ["http://me:secret@a:1/b?key=secret#secret", "http://a:1/b?…"],
    ["postgres://me:secret@[::1]:5432/db", "postgres://[::1]:5432/db"],
    ["http://a/b", "http://a/b"],
    ["http://me:sec@ret@a", "http://a/"],
    ["postgres://me:sec/ret@a/b", "postgres:…"],
    ["redis://sec/ret@a", "redis:…"],
    ["redis://sec#ret@a", "redis:…"],
    ["postgres://me:secret@[a/b", "postgres:…"],
    ["http:me:secret@a", "http:…"],
    ["me:secret@a", "me:…"],
    ["secret@a:6379", "…"],
    [":secret@a", "…"],
    ["localhost", "localhost"],
    ["./nodes.db", "./nodes.db"],
  ];
  for (const [text, expected] of cases) assert.equal(redactURL(text), expected);
  assert.equal(redactInvalidURL("http://a"), "http:…");
});

test("redactText() removes the credentials and queries of every address in a text", () => {
  const cases: [string, string][] = [
    ["Invalid URL: 'redis://me:secret@[a'", "Invalid URL: 'redis://***@[a'"],
    ["Invalid URL: 'redis://me:sec/r@et?@a/1'", "Invalid URL: 'redis://***@a/1'"],
    ["sending for url (https://me:secret@a/b?k=secret): no", "sending for url (https://***@a/b?***): no"],
    ['["http://a/b","http://me:secret@b"]', '["http://a/b","http://***@b"]'],
    ['["redis://a","redis://:secret@b"]', '["redis://***@b"]'],
    ["HTTP://me:secret@a", "HTTP://***@a"],
    ["at f (file:///n/@x/y@1.0/z.ts:1:2)", "at f (file:///n/@x/y@1.0/z.ts:1:2)"],
    ["at https://jsr.io/@scope/name/1.0.0/mod.ts:1:2", "at https://jsr.io/@scope/name/1.0.0/mod.ts:1:2"],
    [
      "ERR unknown command `HELLO`, with args beginning with: `3` `secret` ",
      "ERR unknown command `HELLO`, with args beginning with: ***",
    ],
    ["mail me@a", "mail me@a"],
  ];
  for (const [text, expected] of cases) assert.equal(redactText(text), expected);
  const long = "x://".repeat(100_000);
  assert.equal(redactText(long), long);
});

test("redactError() returns the same error if there is nothing to remove", () => {
  const error = Object.assign(new TypeError("no", { cause: new Error("why") }), {
    code: "ECONNREFUSED",
    errors: [new Error("one")],
    $metadata: { requestId: "1", attempts: 2 },
  });
  assert.equal(redactError(error), error);
  for (const value of [undefined, null, 1, "words"]) assert.equal(redactError(value), value);
  assert.equal(new StorageError("getNode", error).cause, error);
});

test("redactError() removes properties of errors at any depth, and keeps their classes and messages", () => {
  class ReplyError extends Error {
    override readonly name: string = "ReplyError";
  }
  class Client {
    options = { url: "secret" };
  }
  const reply = Object.assign(new ReplyError("WRONGPASS"), {
    command: { name: "auth", args: ["me", "secret"] },
    client: new Client(),
    input: "secret",
    retry: () => "secret",
  });
  Object.defineProperty(reply, "parameters", { value: ["secret"] });
  Object.defineProperty(reply, "lazy", { get: () => "secret", enumerable: true });
  const outer = new AggregateError([reply], "redis://me:secret@a cannot be reached", { cause: reply });
  Object.assign(outer, { self: outer, [Symbol("url")]: "redis://me:secret@a" });
  const error = redactError(outer) as AggregateError;
  assert.ok(error instanceof AggregateError && error !== outer);
  assert.equal(error.message, "redis://***@a cannot be reached");
  assert.ok(error.cause instanceof ReplyError);
  assert.equal(error.errors[0], error.cause);
  assert.equal(error.cause.message, "WRONGPASS");
  assert.equal((error.cause as typeof reply).command.name, "auth");
  assert.match(error.cause.stack ?? "", /redact_test/);
  assert.equal((error as unknown as { self: unknown }).self, error);
  assert.doesNotMatch(inspect(error, { depth: Infinity, showHidden: true }), /secret/);
  assert.match(inspect(outer, { depth: Infinity }), /secret/, "what was given is left as it was");
});

test("an error of the package contains no secret of its cause, which may be any value", () => {
  for (const thrown of ["redis://me:secret@a", { args: ["secret"] }, new Error("redis://me:secret@a")]) {
    for (const error of [new RelayError(thrown), new StorageError("getNode", thrown)]) {
      assert.doesNotMatch(inspect(error, { depth: Infinity, showHidden: true }), /secret/);
    }
  }
  const { proxy, revoke } = Proxy.revocable(new Error("gone"), {});
  revoke();
  assert.equal(redactError(proxy), undefined);
});
