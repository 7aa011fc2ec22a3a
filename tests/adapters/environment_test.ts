import assert from "node:assert/strict";
import { type Environment, readEnvironment, type Settings, USAGE } from "../../adapters/environment.ts";
import { test } from "../harness.ts";

const defaults: Settings = {
  port: 8000,
  host: undefined,
  storage: { kind: "sqlite", path: "./reality.db" },
  serverId: undefined,
  meshPeers: [],
  meshSecrets: [],
  redis: undefined,
  writeTokens: [],
  handler: { basePath: "/reality" },
};

test("readEnvironment() fills in what is not set, or empty", () => {
  assert.deepEqual(readEnvironment({}), defaults);
  const empty = Object.fromEntries([...USAGE.matchAll(/^ {2}([A-Z_]+)/gm)].map(([, name]) => [name, ""]));
  assert.equal(Object.keys(empty).length, 10);
  assert.deepEqual(readEnvironment(empty), defaults);
});

test("readEnvironment() reads every variable", () => {
  const cases: [Environment, Partial<Settings>][] = [
    [{ PORT: "0" }, { port: 0 }],
    [{ PORT: "65535" }, { port: 65_535 }],
    [{ HOST: "127.0.0.1" }, { host: "127.0.0.1" }],
    [{ REALITY_STORAGE: "memory:" }, { storage: { kind: "memory" } }],
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
    [{ REALITY_CORS: "*" }, { handler: { basePath: "/reality", cors: { origins: "*" } } }],
    [{ REALITY_CORS: "https://a.example, http://localhost:3000" }, {
      handler: { basePath: "/reality", cors: { origins: ["https://a.example", "http://localhost:3000"] } },
    }],
    [{ REALITY_WRITE_TOKEN: "token-0123456789" }, { writeTokens: ["token-0123456789"] }],
    [{ REALITY_WRITE_TOKEN: "token-0123456789,token-9876543210" }, {
      writeTokens: ["token-0123456789", "token-9876543210"],
    }],
  ];
  for (const [environment, expected] of cases) {
    assert.deepEqual(readEnvironment(environment), { ...defaults, ...expected });
  }
});

test("readEnvironment() names the variable that is wrong, and shows its value unless it is a secret", () => {
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
    [{ REALITY_WRITE_TOKEN: "with a space in it, it is none" }, /REALITY_WRITE_TOKEN/],
    [{ REALITY_PEERS: "server-2" }, /REALITY_PEERS: expected URLs such as [^"]*$/],
    [{ REALITY_PEERS: "http://a,ftp://b" }, /REALITY_PEERS/],
    [{ REALITY_PEERS: "http://me:secret@a" }, /REALITY_PEERS: expected URLs such as [^"]*$/],
    [{ REALITY_MESH_SECRET: "secret" }, /REALITY_MESH_SECRET: expected one secret of 16 [^"]*$/],
    [{ REALITY_MESH_SECRET: Array(3).fill("secret-0123456789").join() }, /REALITY_MESH_SECRET/],
  ];
  for (const [environment, message] of cases) {
    assert.throws(() => readEnvironment(environment), { name: "RangeError", message });
  }
});
