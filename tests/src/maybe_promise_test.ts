import { equal, rejects } from "node:assert/strict";
import { attempt, isThenable, then } from "../../src/maybe_promise.ts";
import { test } from "../harness.ts";

test("then() returns the result of a value without a promise, and of a promise with one", async () => {
  equal(then(1, (value) => value + 1), 2);
  const later = then(Promise.resolve(1), (value) => value + 1);
  equal(later instanceof Promise, true);
  equal(await later, 2);
});

test("attempt() returns a value as it is, a thenable as a promise, and an exception as a rejection", async () => {
  equal(attempt(() => 1), 1);
  const query: PromiseLike<number> = Promise.resolve(2);
  const foreign = { then: query.then.bind(query) } as unknown as Promise<number>;
  equal(isThenable(foreign), true);
  equal(attempt(() => foreign) instanceof Promise, true);
  equal(await attempt(() => foreign), 2);
  const failed = attempt((): number => {
    throw new Error("no");
  });
  await rejects(async () => await failed, /no/);
});
