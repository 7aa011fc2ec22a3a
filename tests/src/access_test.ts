import { equal, rejects } from "node:assert/strict";
import { RouteAccess } from "../../src/route_access.ts";
import { Hooks } from "../../src/hooks.ts";
import { FakeClock } from "../clock.ts";
import { test } from "../harness.ts";

const tokens = ["first-token-0123456789", "second-token-0123456789"];

function request(authorization?: string) {
  const init = authorization === undefined ? {} : { headers: { authorization } };
  const original = new Request("http://localhost/reality/update", init);
  return {
    header: (name: string) => original.headers.get(name),
    toRequest: () => original,
    getContext: () => undefined,
    getSignal: () => original.signal,
  };
}

const hooks = new Hooks({ clock: new FakeClock(), timeout: 1_000, report() {} });

test("RouteAccess refuses every request without tokens and hook", async () => {
  const access = new RouteAccess([], undefined, hooks);
  await rejects(access.hasToken(request(`Bearer ${tokens[0]}`)), { code: "ERR_REALITY_FORBIDDEN" });
});

test("RouteAccess accepts each of its tokens and no other", async () => {
  const access = new RouteAccess(tokens, undefined, hooks);
  equal(await access.hasToken(request(`Bearer ${tokens[0]}`)), true);
  equal(await access.hasToken(request(`bearer  ${tokens[1]} `)), true);
  const others = [
    undefined,
    "",
    "Bearer",
    "Bearer ",
    `Basic ${tokens[0]}`,
    `Bearer ${tokens[0]}x`,
    tokens[0],
  ];
  for (const other of [...others, `Bearer ${tokens[0]?.slice(1)}`, `Bearer ${"x".repeat(2000)}`]) {
    await rejects(access.hasToken(request(other)), { code: "ERR_REALITY_UNAUTHORIZED" }, other);
  }
});

test("RouteAccess calls the hook only if no token matches, and accepts only true", async () => {
  let answer: unknown = true;
  const asked: string[] = [];
  const access = new RouteAccess(tokens, (request, keys) => {
    asked.push(`${request.method} ${keys}`);
    return answer as boolean;
  }, hooks);
  equal(await access.hasToken(request(`Bearer ${tokens[0]}`)), true);
  equal(await access.hasToken(request()), false);
  await access.askWrite(request(), ["a", "b"]);
  equal(asked.join(), "GET a,b");
  for (answer of [false, undefined, 1, "yes", Promise.resolve(false)]) {
    await rejects(access.askWrite(request(), ["a"]), { code: "ERR_REALITY_FORBIDDEN" });
  }
});
