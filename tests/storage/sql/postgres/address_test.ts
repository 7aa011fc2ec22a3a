import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { inspect } from "node:util";
import { openPostgres } from "../../../../storage/sql/postgres/postgres_storage.ts";
import { type PostgresAddress, readAddress } from "../../../../storage/sql/postgres/address.ts";
import { test } from "../../../harness.ts";

const BASE = "postgresql://me:secret@db.example:5432/app";
const plain: PostgresAddress = {
  address: BASE,
  settings: {},
  isPooler: false,
  maxConnections: undefined,
  warnings: [],
};

test("readAddress() takes addresses as Neon, Supabase, Prisma and libpq give them", () => {
  const cases: [string, Partial<PostgresAddress>][] = [
    ["", {}],
    // Neon
    ["?sslmode=require", { settings: { ssl: "require" } }],
    ["?sslmode=verify-full&channel_binding=require", { settings: { ssl: "verify-full" } }],
    ["?sslmode=require&channel_binding=prefer", { settings: { ssl: "require" } }],
    ["?options=endpoint%3Dep-a&sslmode=require", {
      address: `${BASE}?options=endpoint%3Dep-a`,
      settings: { ssl: "require" },
    }],
    // Supabase
    ["?pgbouncer=true&connection_limit=1", {
      settings: { prepare: false },
      isPooler: true,
      maxConnections: 1,
    }],
    ["?sslmode=require&supa=base-pooler.x", { settings: { ssl: "require" } }],
    ["?sslmode=require&workaround=supabase-pooler.vercel", { settings: { ssl: "require" } }],
    // Prisma
    ["?schema=public&connection_limit=5&pool_timeout=2&socket_timeout=3&connect_timeout=30", {
      address: `${BASE}?search_path=%22public%22`,
      maxConnections: 5,
    }],
    ['?schema=a"b', { address: `${BASE}?search_path=%22a%22%22b%22` }],
    ["?statement_cache_size=0", { settings: { prepare: false } }],
    ["?pgbouncer=true&statement_cache_size=0", { settings: { prepare: false }, isPooler: true }],
    ["?sslmode=require&sslaccept=strict", { settings: { ssl: "verify-full" } }],
    ["?sslmode=require&sslaccept=accept_invalid_certs", { settings: { ssl: "require" } }],
    ["?host=/run/postgresql", { settings: { host: "/run/postgresql" } }],
    // libpq
    ["?keepalives=1&keepalives_idle=30&keepalives_interval=5&keepalives_count=3&tcp_user_timeout=9", {}],
    ["?connect_timeout=10&application_name=a%20b&client_encoding=UTF8", {
      address: `${BASE}?application_name=a+b`,
    }],
    ["?target_session_attrs=any&load_balance_hosts=random&gssencmode=prefer", {}],
    ["?target_session_attrs=read-write", { address: `${BASE}?target_session_attrs=read-write` }],
    ["?sslmode=verify-full&sslrootcert=system", { settings: { ssl: "verify-full" } }],
    ["?sslmode=require&sslrootcert=system", { settings: { ssl: "verify-full" } }],
    ["?sslmode=disable&sslcertmode=allow", { settings: { ssl: false } }],
    ["?host=a,b&port=1,2&user=u&password=p&dbname=d", {
      settings: { host: ["a", "b"], port: [1, 2], user: "u", password: "p", database: "d" },
    }],
    ["?host=a,b&port=7", { settings: { host: ["a", "b"], port: [7, 7] } }],
    // node-postgres and npm:postgres
    ["?sslmode=no-verify&uselibpqcompat=true", { settings: { ssl: "require" } }],
    ["?ssl=true", { settings: { ssl: "verify-full" } }],
    ["?ssl=false&prepare=false#x", { address: `${BASE}?prepare=false`, settings: { ssl: false } }],
    // The server says what it makes of these.
    ["?statement_timeout=5s", { address: `${BASE}?statement_timeout=5s` }],
  ];
  for (const [query, expected] of cases) {
    assert.deepEqual(readAddress(BASE + query), { ...plain, ...expected }, query);
  }
  assert.equal(readAddress("postgres://a:1,b:2/app").address, "postgres://a:1,b:2/app");
});

test("readAddress() reads the certificates that an address names", () => {
  const folder = mkdtempSync(join(tmpdir(), "reality-address-"));
  try {
    const path = (name: string) => {
      writeFileSync(join(folder, name), name);
      return encodeURIComponent(join(folder, name));
    };
    const client = `sslcert=${path("cert")}&sslkey=${path("key")}&sslpassword=p`;
    const query = `?sslmode=verify-ca&sslrootcert=${path("root")}&${client}&ssl_min_protocol_version=TLSv1.3`;
    assert.deepEqual(readAddress(BASE + query).settings, {
      ssl: {
        ...{ ca: "root", cert: "cert", key: "key", passphrase: "p", minVersion: "TLSv1.3" },
        rejectUnauthorized: true,
      },
    });
    assert.deepEqual(readAddress(`${BASE}?sslmode=require&${client}`).settings, {
      ssl: { cert: "cert", key: "key", passphrase: "p", rejectUnauthorized: false },
    });
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test("openPostgres() refuses by name what says whom to trust or where to go and cannot be followed", () => {
  const cases: [string, RegExp][] = [
    ["sslcrl=/a", /the parameter "sslcrl" in its address: it is not supported$/],
    ["require_auth=scram-sha-256", /"require_auth"/],
    ["gssencmode=require", /"gssencmode"/],
    ["hostaddr=10.0.0.1", /"hostaddr"/],
    ["service=app", /"service"/],
    ["client_encoding=latin1", /"client_encoding"/],
    ["sslidentity=a.p12", /"sslidentity"/],
    ["sslmode=requrie", /"sslmode".*expected one of disable, allow, /],
    ["ssl=maybe", /"ssl".*expected one of/],
    ["sslaccept=no", /"sslaccept"/],
    ["sslcert=/none", /"sslcert".* named by sslrootcert$/],
    ["sslkey=/none", /"sslkey"/],
    ["sslrootcert=/none/at/all", /"sslrootcert".*cannot be read \(ENOENT\)$/],
    ["schema=a&search_path=b", /"schema"/],
    ["host=a,b&port=1,2,3", /"port"/],
    ["target_session_attrs=mine", /target_session_attrs mine is not supported$/],
  ];
  for (const [query, message] of cases) {
    assert.throws(() => openPostgres(`${BASE}?${query}`), (error) => {
      assert.ok(error instanceof TypeError);
      assert.match(error.message, message);
      return !inspect(error, { depth: Infinity }).includes("secret");
    });
  }
});

test("openPostgres() says that channel binding is not there, unless the certificate is checked", async () => {
  const heard: string[] = [];
  const onWarning = (message: string) => void heard.push(message);
  for (
    const query of ["sslmode=require&channel_binding=require", "sslmode=verify-full&channel_binding=require"]
  ) {
    await openPostgres(`${BASE}?${query}`, { onWarning }).close();
  }
  assert.equal(heard.length, 1);
  assert.match(heard[0]!, /^openPostgres: channel_binding=require is not supported: sslmode=verify-full /);
  assert.throws(() => openPostgres(BASE, { onWarning: "loud" as never }), /"onWarning" is wrong/);
});

test("openPostgres() refuses an address that cannot be read, without saying it", () => {
  const wrong = [
    ...["postgres://me:secret@[host/app", "postgres://me:sec%ret@host/app"],
    ...["secret@host", "me:secret", "http://me:secret@host"],
  ];
  for (const address of wrong) {
    assert.throws(() => openPostgres(address), (error) => {
      assert.ok(error instanceof TypeError);
      assert.match(
        error.message,
        /^Cannot open Postgres: expected an address such as postgres:\/\/user:password@/,
      );
      assert.doesNotMatch(inspect(error, { depth: Infinity, showHidden: true }), /secret|sec%ret/);
      return true;
    });
  }
});
