import assert from "node:assert/strict";
import { describeSettings } from "../../cli/environment/describe_settings.ts";
import { readEnvironment } from "../../cli/environment/read_environment.ts";
import type { Settings } from "../../cli/environment/settings.ts";
import { type Environment, USAGE } from "../../cli/environment/variables.ts";
import { DEFAULT_LIMITS } from "../../src/server_limits.ts";
import { test } from "../harness.ts";

const defaults: Settings = {
  port: 8000,
  host: undefined,
  storage: { kind: "sqlite", path: "./reality.db" },
  outbox: undefined,
  serverId: undefined,
  meshPeers: [],
  meshSecrets: [],
  redis: undefined,
  writeTokens: [],
  readers: { kind: "everybody" },
  limits: {},
  rateLimit: undefined,
  trustProxy: undefined,
  log: { level: "info", format: "text" },
  handler: { basePath: "/reality" },
};

const SECRET = "32 characters or more for HS256!";
const JWT = {
  kind: "jwt" as const,
  secrets: [],
  jwksURL: undefined,
  issuer: undefined,
  audience: [],
  cookie: undefined,
};

test("readEnvironment() uses the default of a variable that is not set or empty", () => {
  assert.deepEqual(readEnvironment({}), defaults);
  const empty = Object.fromEntries([...USAGE.matchAll(/^ {2}([A-Z_]+)/gm)].map(([, name]) => [name, ""]));
  assert.equal(Object.keys(empty).length, 22 + Object.keys(DEFAULT_LIMITS).length);
  assert.deepEqual(readEnvironment(empty), defaults);
});

test("readEnvironment() reads every variable", () => {
  const cases: [Environment, Partial<Settings>][] = [
    [{ PORT: "0" }, { port: 0 }],
    [{ PORT: "65535" }, { port: 65_535 }],
    [{ HOST: "127.0.0.1" }, { host: "127.0.0.1" }],
    [{ REALITY_STORAGE: "memory:" }, { storage: { kind: "memory" } }],
    [{ REALITY_OUTBOX: "reality_outbox" }, { outbox: "reality_outbox" }],
    [{ REALITY_STORAGE: "sqlite:/var/lib/a b.db" }, { storage: { kind: "sqlite", path: "/var/lib/a b.db" } }],
    [{ REALITY_STORAGE: "postgres://me:secret@host/db" }, {
      storage: { kind: "postgres", url: "postgres://me:secret@host/db" },
    }],
    [{ REALITY_STORAGE: "postgresql://host/db" }, {
      storage: { kind: "postgres", url: "postgresql://host/db" },
    }],
    [{ REALITY_SERVER_ID: "server-1" }, { serverId: "server-1" }],
    [{ REALITY_PEERS: "http://b:3000, https://c/live/sync" }, {
      meshPeers: ["http://b:3000/reality/sync", "https://c/live/sync"],
    }],
    [{ REALITY_PEERS: "http://b", REALITY_BASE_PATH: "/live" }, {
      meshPeers: ["http://b/live/sync"],
      handler: { basePath: "/live" },
    }],
    [{ REALITY_MESH_SECRET: "secret-0123456789, secret-9876543210" }, {
      meshSecrets: ["secret-0123456789", "secret-9876543210"],
    }],
    [{ REDIS_URL: "redis://localhost:6379/0" }, { redis: "redis://localhost:6379/0" }],
    [{ REDIS_URL: "rediss://me:secret@host" }, { redis: "rediss://me:secret@host" }],
    [{ REALITY_BASE_PATH: "/" }, { handler: { basePath: "" } }],
    [{ REALITY_BASE_PATH: "/api/v1/" }, { handler: { basePath: "/api/v1" } }],
    [{ REALITY_CORS: "*" }, { handler: { basePath: "/reality", cors: { origin: "*" } } }],
    [{ REALITY_CORS: "https://a.example, http://localhost:3000" }, {
      handler: { basePath: "/reality", cors: { origin: ["https://a.example", "http://localhost:3000"] } },
    }],
    [{ REALITY_WRITE_TOKEN: "token-0123456789" }, { writeTokens: ["token-0123456789"] }],
    [{ REALITY_WRITE_TOKEN: "token-0123456789,token-9876543210" }, {
      writeTokens: ["token-0123456789", "token-9876543210"],
    }],
    [{ REALITY_JWT_SECRET: `${"a".repeat(32)}, ${"b".repeat(32)}` }, {
      readers: { ...JWT, secrets: ["a".repeat(32), "b".repeat(32)] },
    }],
    [{
      REALITY_JWKS_URL: "https://id.example/keys",
      REALITY_JWT_ISSUER: "https://id.example",
      REALITY_JWT_AUDIENCE: "app, pages",
      REALITY_JWT_COOKIE: "reality",
    }, {
      readers: {
        ...{ ...JWT, jwksURL: "https://id.example/keys", issuer: "https://id.example" },
        ...{ audience: ["app", "pages"], cookie: "reality" },
      },
    }],
    [{ REALITY_AUTHORIZE_URL: "http://app/rights", REALITY_AUTHORIZE_HEADERS: "X-Tenant, x-user" }, {
      readers: { kind: "url", url: "http://app/rights", headers: ["x-tenant", "x-user"] },
    }],
    [{ REALITY_MAX_BODY_BYTES: "10", REALITY_MAX_WAIT: "0", REALITY_STALL_TIMEOUT: "100" }, {
      limits: { maxBodyBytes: 10, maxWait: 0, stallTimeout: 100 },
    }],
    [{ REALITY_RATE_LIMIT: "600/60" }, { rateLimit: { limit: 600, window: 60_000 } }],
    [{ REALITY_TRUST_PROXY: "2" }, { trustProxy: 2 }],
    [{ REALITY_TRUST_PROXY: "10.0.0.0/8, ::1" }, { trustProxy: ["10.0.0.0/8", "::1"] }],
    [{ REALITY_LOG_LEVEL: "DEBUG", REALITY_LOG_FORMAT: "json" }, { log: { level: "debug", format: "json" } }],
  ];
  for (const [environment, expected] of cases) {
    assert.deepEqual(readEnvironment(environment), { ...defaults, ...expected });
  }
});

test("an error of readEnvironment() names the variable, and shows its value unless it is a secret", () => {
  const cases: [Environment, RegExp][] = [
    [{ PORT: "http" }, /^Cannot use PORT: expected a number from 0 to 65535, got "http"$/],
    [{ PORT: "65536" }, /PORT.*"65536"$/],
    [{ PORT: "-1" }, /PORT/],
    [{ PORT: "8e3" }, /PORT/],
    [
      { REALITY_STORAGE: "./reality.db" },
      /REALITY_STORAGE: expected sqlite:<file>, postgres:\/\/<url> or memory:, got "\.\/reality.db"$/,
    ],
    [{ REALITY_STORAGE: "sqlite:" }, /REALITY_STORAGE/],
    [
      { REALITY_OUTBOX: "a b" },
      /REALITY_OUTBOX: expected the name of a table, such as reality_outbox, got "a b"$/,
    ],
    [
      { REALITY_STORAGE: "memory:", REALITY_OUTBOX: "a" },
      /REALITY_OUTBOX: expected a REALITY_STORAGE that is a database, got "memory:…"$/,
    ],
    [{ REALITY_STORAGE: "mysql://me:secret@host/db" }, /REALITY_STORAGE.*got "mysql:…"$/],
    [{ REALITY_STORAGE: "postgres://me:secret@[host/db" }, /REALITY_STORAGE.*got "postgres:…"$/],
    [{ REALITY_SERVER_ID: "a b" }, /REALITY_SERVER_ID.*"a b"$/],
    [{ REALITY_SERVER_ID: "x".repeat(129) }, /REALITY_SERVER_ID/],
    [{ REDIS_URL: "localhost" }, /REDIS_URL: expected redis:\/\/<url> or rediss:\/\/<url>, got "localhost"$/],
    [{ REDIS_URL: "http://me:secret@host" }, /REDIS_URL.*got "http:…"$/],
    [{ REDIS_URL: "redis://me:secret@[host" }, /REDIS_URL.*got "redis:…"$/],
    [
      { REALITY_BASE_PATH: "reality" },
      /REALITY_BASE_PATH: expected a path such as \/reality, or \/, got "reality"$/,
    ],
    [{ REALITY_BASE_PATH: "/a//b" }, /REALITY_BASE_PATH/],
    [{ REALITY_BASE_PATH: "/a b" }, /REALITY_BASE_PATH/],
    [{ REALITY_CORS: "app.example" }, /REALITY_CORS: expected \* or origins such as .*, got "app.example"$/],
    [{ REALITY_CORS: "https://a.example/" }, /REALITY_CORS/],
    [{ REALITY_CORS: "https://a.example,*" }, /REALITY_CORS.*"\*"$/],
    [
      { REALITY_WRITE_TOKEN: "short" },
      /^Cannot use REALITY_WRITE_TOKEN: expected tokens of 16 to 1024 [\w ]*$/,
    ],
    [{ REALITY_WRITE_TOKEN: "a token with spaces is not valid" }, /REALITY_WRITE_TOKEN/],
    [{ REALITY_PEERS: "server-2" }, /REALITY_PEERS: expected URLs such as [^"]*$/],
    [{ REALITY_PEERS: "http://a,ftp://b" }, /REALITY_PEERS/],
    [{ REALITY_PEERS: "http://me:secret@a" }, /REALITY_PEERS: expected URLs such as [^"]*$/],
    [{ REALITY_MESH_SECRET: "secret" }, /REALITY_MESH_SECRET: expected one secret of 16 [^"]*$/],
    [{ REALITY_MESH_SECRET: Array(3).fill("secret-0123456789").join() }, /REALITY_MESH_SECRET/],
    [{ REALITY_JWT_SECRET: "too-short-a-secret" }, /REALITY_JWT_SECRET: expected one secret of 32 [^"]*$/],
    [{ REALITY_JWKS_URL: "http://me:secret@host" }, /REALITY_JWKS_URL: expected an http.* got "http:…"$/],
    [{ REALITY_AUTHORIZE_URL: "app/rights" }, /REALITY_AUTHORIZE_URL/],
    [
      { REALITY_JWT_SECRET: SECRET, REALITY_AUTHORIZE_URL: "http://app" },
      /^Cannot use REALITY_JWT_SECRET and REALITY_AUTHORIZE_URL together/,
    ],
    [{ REALITY_JWT_ISSUER: "me" }, /^Cannot use REALITY_JWT_… alone/],
    [{ REALITY_AUTHORIZE_HEADERS: "x-user" }, /^Cannot use REALITY_AUTHORIZE_HEADERS alone/],
    [
      { REALITY_AUTHORIZE_URL: "http://app", REALITY_AUTHORIZE_HEADERS: "a b" },
      /REALITY_AUTHORIZE_HEADERS.*"a b"$/,
    ],
    [{ REALITY_MAX_KEYS: "many" }, /^Cannot use REALITY_MAX_KEYS: expected a whole number, got "many"$/],
    [{ REALITY_MAX_KEYS: "0" }, /^Cannot use REALITY_MAX_KEYS: .* expected 1 to 1000000, got 0$/],
    [
      { REALITY_RATE_LIMIT: "600" },
      /REALITY_RATE_LIMIT: expected requests and seconds, such as 600\/60, got "600"$/,
    ],
    [{ REALITY_RATE_LIMIT: "0/60" }, /^Cannot use REALITY_RATE_LIMIT: /],
    [{ REALITY_TRUST_PROXY: "proxy" }, /^Cannot use REALITY_TRUST_PROXY: .*"proxy"/],
    [
      { REALITY_LOG_LEVEL: "loud" },
      /REALITY_LOG_LEVEL: expected error or warn or info or debug, got "loud"$/,
    ],
    [
      { REALITY_PEER: "http://a" },
      /^Cannot use REALITY_PEER: there is no such variable: did you mean REALITY_PEERS\?$/,
    ],
    [{ REALITY_JWT_SECRETS: "a-secret" }, /REALITY_JWT_SECRETS: .*did you mean REALITY_JWT_SECRET\?$/],
    [
      { REALITY_SOMETHING_ELSE: "a-secret" },
      /^Cannot use REALITY_SOMETHING_ELSE: there is no such variable: --help/,
    ],
  ];
  for (const [environment, message] of cases) {
    assert.throws(() => readEnvironment(environment), { name: "RangeError", message });
  }
});

test("describeSettings() describes the storage, the peers and what is open, without secrets", () => {
  const open = describeSettings(readEnvironment({ REALITY_STORAGE: "memory:", REALITY_CORS: "*" }));
  assert.deepEqual(open, [
    "Storage: memory; nodes are lost when the process ends",
    "Reads: open to all clients; set REALITY_JWT_SECRET, REALITY_JWKS_URL or REALITY_AUTHORIZE_URL to restrict them",
    "Writes: closed; set REALITY_WRITE_TOKEN to open the write routes",
    "Metrics: /reality/metrics is open to all clients; close it in a proxy",
    "CORS: every origin may read",
  ]);
  const closed = describeSettings(readEnvironment({
    REALITY_STORAGE: "postgres://me:secret@db:5432/app",
    REDIS_URL: "redis://me:secret@redis:6379",
    REALITY_PEERS: "http://server-2:8000,http://server-3/sync?code=secret",
    REALITY_MESH_SECRET: "secret-0123456789",
    REALITY_WRITE_TOKEN: "secret-0123456789",
    REALITY_JWT_SECRET: `secret-${SECRET}`,
  }));
  assert.deepEqual(closed.slice(0, 5), [
    "Storage: PostgreSQL at db:5432",
    "Redis: redis:6379",
    "Peers: http://server-2:8000/reality/sync, http://server-3/sync?…, signed with REALITY_MESH_SECRET",
    "Reads: open to clients with a token that is signed with REALITY_JWT_SECRET",
    "Writes: open to clients with a REALITY_WRITE_TOKEN",
  ]);
  assert.doesNotMatch(closed.join(), /secret/);
});

test("the help text lists every limit with its default", () => {
  for (const limit of Object.keys(DEFAULT_LIMITS)) {
    const name = `REALITY_${limit.replace(/[A-Z]/g, (letter) => `_${letter}`).toUpperCase()}`;
    assert.match(USAGE, new RegExp(`^  ${name} +\\d+$`, "m"));
  }
});
