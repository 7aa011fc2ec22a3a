import { RequestRecord } from "../../../src/telemetry/request_record.ts";
import { deepEqual, equal, match, rejects } from "node:assert/strict";
import { ClientLimit, type ClientRequest } from "../../../src/limits/client_limit.ts";
import { parseNetwork, type TrustedProxies } from "../../../src/limits/client_address.ts";
import type { RealityError } from "../../../src/errors.ts";
import type { RateLimitConfig } from "../../../src/check_options.ts";
import { FakeClock } from "../../clock.ts";
import { Hooks } from "../../../src/hooks.ts";
import { test } from "../../harness.ts";

test("clients are told apart by IPv4 address or IPv6 network", async () => {
  const { ask } = setUpLimit({}, []);
  equal((await ask({ address: "192.0.2.1" }))?.isAllowed, true);
  equal((await ask({ address: "::ffff:192.0.2.1" }))?.isAllowed, false);
  equal((await ask({ address: "192.0.2.2" }))?.isAllowed, true);
  equal((await ask({ address: "2001:db8::1" }))?.isAllowed, true);
  equal((await ask({ address: "2001:db8::2" }))?.isAllowed, false);
  equal((await ask({ address: "2001:db8:0:1::1" }))?.isAllowed, true);
});

test("an address that the client claims is ignored, and that of a trusted proxy is used", async () => {
  const { ask } = setUpLimit({}, [parseNetwork("10.0.0.0/8")!]);
  equal((await ask({ address: "192.0.2.1" }))?.isAllowed, true);
  for (const header of ["1.1.1.1", "2.2.2.2"]) {
    equal((await ask({ address: "192.0.2.1", headers: { "x-forwarded-for": header } }))?.isAllowed, false);
    const forged = { "x-forwarded-for": `${header}, 192.0.2.1` };
    equal((await ask({ address: "10.0.0.1", headers: forged }))?.isAllowed, false);
    equal((await ask({ address: "10.0.0.1", headers: { forwarded: `for=${header}` } }))?.isAllowed, true);
  }
});

test("the application can identify clients and exempt some from the limit", async () => {
  const seen: (string | null)[] = [];
  const { ask, reports } = setUpLimit({
    key(request, { address, context }) {
      equal(context, "the context");
      seen.push(address);
      return Promise.resolve(request.headers.get("x-user"));
    },
  });
  equal((await ask({ address: "192.0.2.1", headers: { "x-user": "a" } }))?.isAllowed, true);
  equal((await ask({ address: null, headers: { "x-user": "a" } }))?.isAllowed, false);
  equal(await ask({ address: "192.0.2.1" }), null);
  equal(await ask({ address: null }), null);
  deepEqual(seen, ["192.0.2.1", null, "192.0.2.1", null]);
  deepEqual(reports, []);
});

test("long identifiers are distinguished by all of their characters", async () => {
  const { ask } = setUpLimit({ key: (request) => request.headers.get("x-user") });
  const [one, other] = ["x".repeat(5_000), `${"x".repeat(4_999)}y`];
  equal((await ask({ address: null, headers: { "x-user": one } }))?.isAllowed, true);
  equal((await ask({ address: null, headers: { "x-user": other } }))?.isAllowed, true);
  equal((await ask({ address: null, headers: { "x-user": one } }))?.isAllowed, false);
});

test("an invalid result of the hook is an error that names the option", async () => {
  const { ask } = setUpLimit({ key: (() => undefined) as unknown as () => null });
  await rejects(ask({ address: "192.0.2.1" }), { name: "TypeError", message: /"rateLimit.key"/ });
});

test("clients that reset their connections and have no address any more share one limit", async () => {
  const { ask, reports } = setUpLimit({});
  equal((await ask({ address: "192.0.2.1" }))?.isAllowed, true);
  equal((await ask({ address: null }))?.isAllowed, true);
  equal((await ask({ address: null }))?.isAllowed, false);
  equal((await ask({ address: "192.0.2.2" }))?.isAllowed, true);
  deepEqual(reports, []);
});

test("clients on a Unix socket that is not trusted are not limited, and the report says what to do", async () => {
  const { ask, reports } = setUpLimit({});
  equal((await ask({ address: "192.0.2.1" }))?.isAllowed, true);
  for (let i = 0; i < 3; i++) equal(await ask({ address: "unix" }), null);
  equal(reports.length, 1);
  match(reports[0]?.message ?? "", /Unix socket.*trustProxy/);
});

test("clients without a known address are not limited, which is reported once", async () => {
  const { ask, reports } = setUpLimit({});
  for (let i = 0; i < 3; i++) equal(await ask({ address: null }), null);
  equal(reports.length, 1);
  match(reports[0]?.message ?? "", /address is not known.*"rateLimit.key"/);
});

function setUpLimit(options: Partial<RateLimitConfig>, trusted: TrustedProxies = 0) {
  const reports: RealityError[] = [];
  const config = { limit: 1, window: 60_000, key: undefined, ...options };
  const clock = new FakeClock();
  const limit = new ClientLimit(config, trusted, {
    clock,
    hooks: new Hooks({ clock, timeout: 1_000, report() {} }),
    report: (error) => reports.push(error),
  });
  const ask = ({ address, headers = {} }: { address: string | null; headers?: Record<string, string> }) => {
    const request: ClientRequest = {
      header: (name) => headers[name] ?? null,
      remoteAddress: () => address,
      toRequest: () => new Request("http://localhost/", { headers }),
      getContext: () => "the context",
      getSignal: () => new AbortController().signal,
    };
    return limit.take(request, new RequestRecord(0));
  };
  return { ask, reports };
}
