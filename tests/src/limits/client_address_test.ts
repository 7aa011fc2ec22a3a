import { equal, notEqual } from "node:assert/strict";
import {
  clientAddress,
  clientNetwork,
  parseNetwork,
  type TrustedProxies,
} from "../../../src/limits/client_address.ts";
import fc from "fast-check";
import { test } from "../../harness.ts";

const PROXY = "10.0.0.1";
const CLIENT = "203.0.113.7";
const V6 = "2001:db8::7";

interface Case {
  title: string;
  remote?: string | null;
  xff?: string;
  forwarded?: string;
  trust?: number | string[];
  address: string | null;
}

/** Unless a case says otherwise, the proxies at 10.0.0.0/8 are trusted, and one of them connects. */
const cases: readonly Case[] = [
  // No proxy is trusted.
  { title: "no proxy is trusted", xff: "1.1.1.1", forwarded: "for=1.1.1.1", trust: 0, address: PROXY },
  { title: "an empty list trusts no proxy", xff: "1.1.1.1", trust: [], address: PROXY },
  {
    title: "a client that bypasses the proxies has its own address",
    remote: CLIENT,
    xff: "1.1.1.1",
    address: CLIENT,
  },
  { title: "an unknown connection is unknown", remote: null, xff: "1.1.1.1", address: null },
  // X-Forwarded-For.
  { title: "a proxy names its client", xff: CLIENT, address: CLIENT },
  { title: "two proxies in a row are skipped", xff: `${CLIENT}, 10.9.9.9`, address: CLIENT },
  { title: "an address that the client wrote is ignored", xff: `1.1.1.1, ${CLIENT}`, address: CLIENT },
  {
    title: "a trusted address that the client wrote is ignored",
    xff: `10.0.0.2, ${CLIENT}, 10.0.0.3`,
    address: CLIENT,
  },
  { title: "garbage that the client wrote is ignored", xff: `"';--,\u0000,,${CLIENT}`, address: CLIENT },
  { title: "only proxies: the farthest one", xff: "10.0.0.3, 10.0.0.2", address: "10.0.0.3" },
  { title: "no field: the proxy itself is the client", address: PROXY },
  { title: "an empty field is ignored", xff: "", address: PROXY },
  { title: "a port is removed", xff: `${CLIENT}:4711`, address: CLIENT },
  { title: "IPv6 as it is", xff: V6, address: V6 },
  { title: "IPv6 in brackets, with a port", xff: `[${V6}]:4711`, address: V6 },
  { title: "IPv6 in its canonical form", xff: "2001:0DB8:0:0:0:0:0:7", address: V6 },
  { title: "IPv6 with a zone", xff: "fe80::1%eth0", address: "fe80::1" },
  { title: "IPv4 inside IPv6", xff: `::ffff:${CLIENT}`, address: CLIENT },
  {
    title: "a proxy that connects by IPv4 inside IPv6",
    remote: `::ffff:${PROXY}`,
    xff: CLIENT,
    address: CLIENT,
  },
  { title: "a proxy of IPv6", remote: "fd00::1", trust: ["fd00::/8"], xff: CLIENT, address: CLIENT },
  { title: "`unknown`: the proxy", xff: "unknown", address: PROXY },
  {
    title: "`unknown` after an address: the last known address",
    xff: "1.1.1.1, unknown, 10.0.0.2",
    address: "10.0.0.2",
  },
  { title: "an invalid address: the proxy", xff: "1.1.1.1, 999.1.1.1", address: PROXY },
  { title: "a leading zero is invalid", xff: "010.0.0.7", address: PROXY },
  { title: "an invalid port", xff: `${CLIENT}:http`, address: PROXY },
  // Forwarded.
  { title: "Forwarded names the client", forwarded: `for=${CLIENT}`, address: CLIENT },
  {
    title: "`for` among other parameters",
    forwarded: `by=10.0.0.1;For="${CLIENT}:80";proto=https`,
    address: CLIENT,
  },
  { title: "IPv6 in quotes", forwarded: `for="[${V6}]:4711"`, address: V6 },
  {
    title: "the last element is the nearest proxy's",
    forwarded: `for=1.1.1.1, for=${CLIENT};by=_a, for=10.0.0.9`,
    address: CLIENT,
  },
  { title: "an open quote hides nothing", forwarded: `for="1.1.1.1, for=${CLIENT}`, address: CLIENT },
  {
    title: "a pair of quotes hides nothing",
    forwarded: `x="a, for=1.1.1.1", for=${CLIENT}`,
    address: CLIENT,
  },
  { title: "a comma in quotes does not split", forwarded: `for=${CLIENT};x="a,b"`, address: CLIENT },
  {
    title: "`for` inside a quoted value is ignored",
    forwarded: `x=";for=1.1.1.1;";for=${CLIENT}`,
    address: CLIENT,
  },
  { title: "`for` inside the only quoted value is ignored", forwarded: `x=";for=1.1.1.1;"`, address: PROXY },
  { title: "two `for` parameters are invalid", forwarded: `for=1.1.1.1;for=${CLIENT}`, address: PROXY },
  {
    title: "text that is not a parameter makes the element invalid",
    forwarded: `for=1.1.1.1 x`,
    address: PROXY,
  },
  { title: "parameters may be empty", forwarded: `;;for=${CLIENT};`, address: CLIENT },
  {
    title: "escaped characters stand for themselves",
    forwarded: `for="${CLIENT.replace(".", "\\.")}"`,
    address: CLIENT,
  },
  { title: "a hidden client: the proxy", forwarded: "for=_hidden", address: PROXY },
  { title: "an element without `for`: the proxy", forwarded: `for=1.1.1.1, proto=https`, address: PROXY },
  { title: "a parameter whose name ends in `for`", forwarded: `xfor=1.1.1.1;for=${CLIENT}`, address: CLIENT },
  { title: "an escaped quote is not an address", forwarded: `for="\\"${CLIENT}"`, address: PROXY },
  // Both.
  { title: "both agree", xff: CLIENT, forwarded: `for=${CLIENT}`, address: CLIENT },
  { title: "both differ: neither is used", xff: CLIENT, forwarded: "for=1.1.1.1", address: PROXY },
  // A number of trusted proxies.
  { title: "one hop", trust: 1, xff: `1.1.1.1, ${CLIENT}`, address: CLIENT },
  { title: "two hops", trust: 2, xff: `1.1.1.1, ${CLIENT}, 192.0.2.9`, address: CLIENT },
  { title: "more hops than addresses", trust: 3, xff: CLIENT, address: CLIENT },
  { title: "a hop without a field", trust: 1, address: PROXY },
  { title: "a hop whose own address is unknown", remote: null, trust: 1, xff: CLIENT, address: CLIENT },
  { title: "a hop without a usable address", remote: null, trust: 1, xff: "unknown", address: null },
];

for (const { title, remote = PROXY, xff, forwarded, trust = ["10.0.0.0/8"], address } of cases) {
  test(`clientAddress(): ${title}`, () => {
    const fields = { xForwardedFor: xff ?? null, forwarded: forwarded ?? null };
    equal(clientAddress(remote, fields, toTrusted(trust)), address);
  });
}

test("clientAddress() accepts any text of any length without throwing", () => {
  const pieces = [
    "1.1.1.1",
    "::1",
    "[",
    "]",
    "%",
    ":",
    ".",
    ",",
    '"',
    "\\",
    ";",
    "for=",
    " ",
    "\u0000",
    "é",
    "::",
  ];
  let seed = 7;
  const next = (size: number) => (seed = (seed * 48_271) % 2_147_483_647) % size;
  for (let i = 0; i < 3_000; i++) {
    const text = Array.from({ length: next(12) }, () => pieces[next(pieces.length)]).join("");
    for (const trusted of [5, toTrusted(["0.0.0.0/0", "::/0"])]) {
      clientAddress(text, { xForwardedFor: text, forwarded: text }, trusted);
      clientAddress(PROXY, { xForwardedFor: text, forwarded: null }, trusted);
      clientAddress(PROXY, { xForwardedFor: null, forwarded: `for=${text}` }, trusted);
    }
  }
  for (const piece of [",", '"', ";", ":", "1.1.1.1,", "for=\t", "0:0"]) {
    const long = piece.repeat(20_000);
    clientAddress(PROXY, { xForwardedFor: long, forwarded: long }, toTrusted(["0.0.0.0/0"]));
  }
});

test("parseNetwork() parses addresses and networks, and nothing else", () => {
  for (
    const text of ["10.0.0.0/8", "192.0.2.1", "::1", "fd00::/8", "::ffff:10.0.0.0/104", "0.0.0.0/0", "::/0"]
  ) {
    notEqual(parseNetwork(text), null, text);
  }
  const wrong = [
    "",
    "/8",
    "10.0.0.0/33",
    "::/129",
    "10.0.0/8",
    "10.0.0.0/-1",
    "10.0.0.0/8/8",
    "localhost",
    "[::1]",
  ];
  for (const text of wrong) equal(parseNetwork(text), null, text);
});

test("a network contains the addresses of its kind that start with the same bits", () => {
  const holds = (network: string, address: string) =>
    clientAddress(address, { xForwardedFor: "1.1.1.1", forwarded: null }, toTrusted([network])) === "1.1.1.1";
  equal(holds("192.0.2.128/25", "192.0.2.128"), true);
  equal(holds("192.0.2.128/25", "192.0.2.127"), false);
  equal(holds("192.0.2.1/24", "192.0.2.254"), true);
  equal(holds("2001:db8:8000::/33", "2001:db8:8fff::1"), true);
  equal(holds("2001:db8:8000::/33", "2001:db8:7fff::1"), false);
  equal(holds("::/0", "2001:db8::1"), true);
  equal(holds("::/0", "192.0.2.1"), false);
  equal(holds("::ffff:10.0.0.0/104", "10.1.2.3"), true);
});

test("clientNetwork() returns the network of an IPv6 address, and an IPv4 address itself", () => {
  equal(clientNetwork("192.0.2.1"), "192.0.2.1");
  equal(clientNetwork("2001:db8:1:2:3::4"), clientNetwork("2001:db8:1:2::ffff"));
  notEqual(clientNetwork("2001:db8:1:2::1"), clientNetwork("2001:db8:1:3::1"));
});

function toTrusted(trust: number | string[]): TrustedProxies {
  return typeof trust === "number" ? trust : trust.map((text) => parseNetwork(text)!);
}

test("clientAddress() reads any field of a million characters within a moment", () => {
  const blanks = " ".repeat(1_000_000);
  for (
    const start of [
      `for=${blanks}a b`,
      `for=${blanks}"`,
      `${blanks}for=`,
      ";".repeat(1_000_000),
      `[${blanks}`,
    ]
  ) {
    for (const name of ["forwarded", "xForwardedFor"] as const) {
      const proxy = name === "forwarded" ? "for=192.0.2.1" : "192.0.2.1";
      const fields = { forwarded: null, xForwardedFor: null, [name]: `${start}, ${proxy}` };
      equal(clientAddress("10.0.0.1", fields, 1), "192.0.2.1");
    }
  }
});

test("clientAddress() finds the `for` parameter of an element as RFC 7239 defines it", () => {
  const token = fc.stringMatching(/^[a-zA-Z][a-zA-Z0-9!#$%&'*+.^_`|~-]{0,8}$/).filter((name) =>
    name.toLowerCase() !== "for"
  );
  const quoted = fc.string({ maxLength: 20 }).map((text) =>
    `"${text.replaceAll(/[^\x20-\x7e]/g, "").replaceAll(/["\\]/g, (character) => `\\${character}`)}"`
  );
  const hostile = fc.constantFrom('";for=1.1.1.1;"', '"for=1.1.1.1"', '"\\";for=1.1.1.1"', '",for=1.1.1.1"');
  const parameter = fc.tuple(token, fc.oneof(token, quoted, hostile)).map(([name, value]) =>
    `${name}=${value}`
  );
  const trusted = toTrusted(["10.0.0.0/8"]);
  fc.assert(fc.property(fc.array(parameter), fc.array(parameter), (before, after) => {
    const forwarded = [...before, `for=${CLIENT}`, ...after].join(";");
    equal(clientAddress(PROXY, { xForwardedFor: null, forwarded }, trusted), CLIENT);
    const without = [...before, ...after].join(";");
    equal(clientAddress(PROXY, { xForwardedFor: null, forwarded: without }, trusted), PROXY);
  }));
});
