/**
 * No output contains a secret: every option that takes a secret has one, Redis and databases
 * refuse it, and all output is searched.
 *
 * @module
 */
import assert from "node:assert/strict";
import { tmpdir } from "node:os";
import process from "node:process";
import { inspect } from "node:util";
import { SignJWT } from "jose";
import { createPool } from "mysql2/promise";
import { readEnvironment } from "../cli/environment/read_environment.ts";
import { connectRedis } from "../adapters/ioredis.ts";
import { checkServer } from "../cli/check/mod.ts";
import { runTrack } from "../cli/track/command.ts";
import {
  MemoryStorage,
  PeerError,
  RealityServer,
  type RealityServerOptions,
  RelayError,
  StorageError,
} from "../mod.ts";
import { systemClock } from "../src/clock.ts";
import { openPostgres } from "../storage/sql/postgres/postgres_storage.ts";
import { SQLStorage } from "../storage/sql/sql_storage.ts";
import { test } from "./harness.ts";
import { soon } from "./http/client.ts";
import { sharedRedis } from "./redis/kit.ts";
import { libraries } from "./redis/libraries.ts";
import { Child } from "./runtimes/child.ts";
import { testOnEngine } from "./storage/engines.ts";

/** Part of each secret. */
const MARK = "s3cr3t";
/** By how much all time limits are extended, so that refusals are reported and not a slow machine. */
const PATIENCE = 20;
const secret = (name: string) => `${MARK}-of-the-${name}`;

/** The address of a server of this run, with a name and a password that it refuses. */
function withPassword(address: string | undefined, user: string): string {
  const url = new URL(address ?? assert.fail("Cannot test leaks: an address is not set"));
  [url.username, url.password] = [user, secret(url.protocol)];
  return url.href;
}

const REDIS = withPassword(sharedRedis(), "reality_password");
// The private server demands a password of this one: tests/run/databases.ts.
const POSTGRES = withPassword(process.env.REALITY_TEST_POSTGRES, "reality_password");
const MYSQL = withPassword(process.env.REALITY_TEST_MYSQL, "reality_password");
const PEER = `http://127.0.0.1:1/reality/sync?code=${secret("peer")}`;

/** A value as text, printed in every way. */
function look(value: unknown): string {
  const parts = [inspect(value, { depth: Infinity, showHidden: true, maxStringLength: null }), String(value)];
  for (let error = value; error instanceof Error; error = error.cause) {
    parts.push(error.message, error.stack ?? "", JSON.stringify(error), JSON.stringify({ ...error }));
  }
  parts.push(JSON.stringify(value) ?? "");
  return parts.join("\n");
}

function assertHoldsNone(value: unknown, what: string): void {
  const seen = look(value);
  const at = seen.indexOf(MARK);
  assert.equal(at, -1, `${what}: ${seen.slice(Math.max(0, at - 500), at + 200)}`);
}

/** Sends all kinds of requests to a server on which nothing works, and returns all output. */
async function trouble(
  options: Partial<RealityServerOptions>,
  kinds: readonly { readonly name: string }[],
): Promise<unknown[]> {
  const told: unknown[] = [];
  let heardAll = () => {};
  const heard = new Promise<void>((resolve) => heardAll = resolve);
  const missing = new Set(kinds);
  const server = new RealityServer({
    storage: new MemoryStorage(),
    meshSecret: [secret("mesh-new"), secret("mesh-old")],
    meshPeers: [PEER],
    writeTokens: [secret("token")],
    eventKeys: true,
    closeTimeout: 0,
    clock: { ...systemClock, after: (ms, callback) => systemClock.after(ms * PATIENCE, callback) },
    onEvent: (event) => told.push(event),
    onError: (error) => {
      told.push(error);
      missing.delete(error.constructor);
      if (missing.size === 0) heardAll();
    },
    ...options,
  });
  const fetch = server.getFetchHandler();
  const ask = async (path: string, init?: RequestInit) => {
    const response = await fetch(new Request(`http://localhost/reality${path}`, init));
    told.push([...response.headers], await response.text());
  };
  const post = (body: unknown, token: string) => ({
    method: "POST",
    headers: {
      "content-type": "application/json",
      authorization: `Bearer ${token}`,
      cookie: secret("cookie"),
    },
    body: JSON.stringify(body),
  });
  try {
    await ask("/sync", post({ known: { a: 2 ** 50 } }, secret("reader")));
    await ask("/update", post({ key: "a", hash: "1" }, secret("token")));
    await ask("/update", post({ key: "a", hash: "1" }, secret("wrong-token")));
    for (const path of ["/health", "/ready", "/metrics", "/openapi.json"]) await ask(path);
    for (const call of [() => server.updateNode("a", "1"), () => server.getNode("a")]) {
      await call().catch((error: unknown) => told.push(error));
    }
    told.push(await server.getStats());
    await soon(heard, `errors of ${[...missing].map(({ name }) => name)}`);
    told.push(await server.getStats());
  } finally {
    await server.close();
  }
  return told;
}

test("an invalid address is named without its password, in every option", async () => {
  const password = secret("address");
  const addresses = [
    `http://me:${password}@[host`,
    `http://me:${password}@host`,
    `redis://me:${password}@[host`,
    `postgres://me:${password}/x@host/app`,
    `me:${password}@host:port`,
    `${password}@host:80:80`,
    `//me:${password}@host`,
    `http//:me:${password}@host`,
  ];
  const storage = new MemoryStorage();
  const variables = [
    "REALITY_STORAGE",
    "REDIS_URL",
    "REALITY_PEERS",
    "REALITY_CORS",
    "PORT",
    "REALITY_BASE_PATH",
    "REALITY_JWKS_URL",
    "REALITY_AUTHORIZE_URL",
    "REALITY_TRUST_PROXY",
    "REALITY_RATE_LIMIT",
  ];
  for (const address of addresses) {
    const places: (() => unknown)[] = [
      () => new RealityServer({ storage, meshPeers: [address] }).close(),
      () => new RealityServer({ storage }).getFetchHandler({ cors: { origin: [address] } }),
      () => new RealityServer({ storage, trustProxy: [address] }),
      () => openPostgres(`${address}?sslmode=${password}`),
      () => connectRedis(address.replace(/^redis:/, "rediss-")),
      () => checkServer(address.replace(/^http:/, "")),
      ...variables.map((name) => () => readEnvironment({ [name]: address })),
    ];
    for (const place of places) {
      await (async () => await place())().then(
        () => {},
        (error: unknown) => assertHoldsNone(error, `${place} of ${address}`),
      );
    }
  }
});

test("the command prints no secret if Redis, peers and a database refuse it", async () => {
  const env = {
    PORT: "0",
    HOST: "127.0.0.1",
    REDIS_URL: REDIS,
    REALITY_PEERS: PEER,
    REALITY_MESH_SECRET: `${secret("mesh-new")},${secret("mesh-old")}`,
    REALITY_WRITE_TOKEN: secret("token"),
    REALITY_JWT_SECRET: secret("signature-of-many-letters"),
    REALITY_LOG_LEVEL: "debug",
  };
  const token = await new SignJWT({ reality: { prefixes: [""] }, sub: secret("claim") })
    .setProtectedHeader({ alg: "HS256" }).sign(new TextEncoder().encode(env.REALITY_JWT_SECRET));
  const served = Child.run("cli/bin.ts", { ...env, REALITY_STORAGE: "memory:" }, tmpdir());
  const ended = Child.run("cli/bin.ts", { ...env, REALITY_STORAGE: POSTGRES }, tmpdir());
  try {
    // No request has been sent yet.
    await served.printed(/Redis failed: .*WRONGPASS/);
    const [, url = ""] = await served.printed(/ is at (http:\S+)\n/);
    const headers = { "content-type": "application/json", authorization: `Bearer ${token}` };
    await fetch(`${url}/sync`, { method: "POST", headers, body: '{"known":{"a":9}}' })
      .then((response) => response.body?.cancel());
    await served.printed(/Cannot exchange with peer http:\/\/127\.0\.0\.1:1/);
    assert.equal(await ended.ended(), 1);
    assert.match(ended.output, /^Cannot use REALITY_STORAGE, postgres:…: .*password authentication failed/);
    served.signal("SIGTERM");
    assert.equal(await served.ended(), 0);
    assert.doesNotMatch(served.output + ended.output, new RegExp(`${MARK}|${token}`));
  } finally {
    await Promise.all([served.kill(), ended.kill()]);
  }
});

testOnEngine("a server reports no secret if Redis refuses its clients, with each library", async () => {
  await Promise.all(libraries.map(async ({ name, open }) => {
    const { publisher, subscriber, connect, end } = await open(REDIS);
    const refused = connect().catch((error: unknown) => error);
    try {
      const told = await trouble({ redis: { publisher, subscriber } }, [RelayError, PeerError]);
      assertHoldsNone(told, name);
      const relay = told.find((item) => item instanceof RelayError);
      assert.match(String(relay), /WRONGPASS|invalid username-password/);
    } finally {
      await end();
      await refused;
    }
  }));
});

testOnEngine(
  "a server reports no secret if its database refuses it, with openPostgres and mysql2",
  async () => {
    const pool = createPool(MYSQL);
    const query = async (sql: string, params: readonly unknown[]) => {
      const [rows] = await pool.query({ sql, values: [...params] });
      return rows as object[];
    };
    const storages = [openPostgres(POSTGRES), new SQLStorage({ dialect: "mysql", query })];
    await Promise.all(storages.map(async (storage) => {
      const told = await trouble({ storage }, [StorageError]);
      assertHoldsNone(told, "what was told");
      const failure = told.find((item) => item instanceof StorageError);
      assert.match(String(failure), /password authentication failed|Access denied for user/);
      await storage.close();
    }));
    await pool.end();
    for (const url of [POSTGRES, MYSQL]) {
      const told: string[] = [];
      const print = (line: string) => void told.push(line);
      await runTrack("track", [url, "--table", "t", "--keys", "a", "--apply"], { log: print, error: print });
      assert.match(told.join("\n"), /password authentication failed|Access denied for user/);
      assertHoldsNone(told, "what track --apply printed");
    }
  },
);
