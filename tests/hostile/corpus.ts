/**
 * Hostile input by name: bodies, headers, targets and methods, each of which has broken some server somewhere.
 *
 * @module
 */

/** A body as text, or as the bytes that no text gives. */
export type Body = string | Uint8Array<ArrayBuffer>;

/** A header field: its name and value. */
export type Field = readonly [name: string, value: string];

/** One request, as it goes over the line. */
export interface HostileRequest {
  readonly name: string;
  readonly method: string;
  /** What stands in the first line: path and query, or whatever else. */
  readonly target: string;
  readonly headers: readonly Field[];
  readonly body?: Body;
}

/** How deep the deepest bodies are nested. */
const DEPTH = 100_000;

/** The token that opens the write routes of the servers under test. */
export const TOKEN = "hostile-tests-write-token";

const json = (value: unknown): string => JSON.stringify(value);
const bytes = (...values: number[]): Uint8Array<ArrayBuffer> => Uint8Array.from(values);
const utf8 = (text: string): Uint8Array<ArrayBuffer> => new TextEncoder().encode(text);

/** JSON texts to put in the place of a value; some are invalid. */
export const VALUES: readonly string[] = [
  "null",
  "true",
  "false",
  "0",
  "-0",
  "1",
  "-1",
  "0.1",
  "1e400",
  "-1e400",
  "1e-400",
  "9007199254740991",
  "9007199254740992",
  "9007199254740993",
  "18446744073709551616",
  "4503599627370497",
  "1".repeat(400),
  "0x10",
  "01",
  "+1",
  ".5",
  "1.",
  "NaN",
  "Infinity",
  "-Infinity",
  "undefined",
  '""',
  '"a"',
  '"1"',
  '"NaN"',
  '"__proto__"',
  '"\\u0000"',
  '"\\ud800"',
  '"\\udc00\\ud800"',
  '"\\ud83d\\ude42"',
  '"\\u202e"',
  `"${"x".repeat(513)}"`,
  `"${"é".repeat(257)}"`,
  `"${"x".repeat(70_000)}"`,
  "'a'",
  '"\\x"',
  '"a\nb"',
  "[]",
  "[[]]",
  "[null]",
  '["a"]',
  "{}",
  '{"length":1}',
  '{"then":1}',
  '{"toJSON":1}',
  '{"__proto__":{"known":{"a":0}}}',
  '{"constructor":{"prototype":{"known":{}}}}',
  '{"hasOwnProperty":1}',
  '{"toString":null,"valueOf":null}',
  '{"":0}',
  '{"a":0}',
  '{"a":-0}',
  '{"a":1e400}',
  '{"a":{}}',
  '{"a":"1"}',
  '{"\\ud800":0}',
  '{"a\\u0000":0}',
];

/** The members that the routes look at. */
export const MEMBERS: readonly string[] = [
  "known",
  "epoch",
  "wait",
  "clientId",
  "mode",
  "hint",
  "timestamp",
  "gossip",
  "key",
  "hash",
  "updates",
  "keys",
];

/** Whole bodies by name. */
export const BODIES: ReadonlyMap<string, Body> = new Map<string, Body>([
  ["nothing", ""],
  ["a space", " "],
  ["a NUL", "\0"],
  ["a byte order mark alone", bytes(0xef, 0xbb, 0xbf)],
  ["a byte order mark before JSON", utf8('\ufeff{"known":{}}')],
  ["two byte order marks", utf8('\ufeff\ufeff{"known":{}}')],
  ["UTF-16", bytes(0xff, 0xfe, 0x7b, 0x00, 0x7d, 0x00)],
  ["bytes that are no UTF-8", bytes(0x7b, 0x22, 0xc3, 0x28, 0x22, 0x3a, 0x30, 0x7d)],
  ["an overlong encoding of a slash", bytes(0x22, 0xc0, 0xaf, 0x22)],
  ["a surrogate in UTF-8", bytes(0x22, 0xed, 0xa0, 0x80, 0x22)],
  ["a code point past the last", bytes(0x22, 0xf4, 0x90, 0x80, 0x80, 0x22)],
  ["a character cut in half", bytes(0x22, 0xf0, 0x9f, 0x99)],
  ["gzip that says nothing of it", bytes(0x1f, 0x8b, 0x08, 0x00, 0x00, 0x00, 0x00, 0x00)],
  ["random bytes", bytes(...Array.from({ length: 256 }, (_, i) => (i * 167 + 13) & 0xff))],
  ["an open brace", "{"],
  ["a truncated name", '{"kno'],
  ["a truncated value", '{"known":{"a":'],
  ["a truncated number", '{"known":{"a":1'],
  ["a truncated escape", '{"known":{"\\u00'],
  ["a trailing comma", '{"known":{},}'],
  ["a comment", '{"known":{}/*a*/}'],
  ["two documents", '{"known":{}}{"known":{}}'],
  ["a document and a NUL", '{"known":{}}\0'],
  ["a form", "known=a&known[__proto__]=1"],
  ["XML", '<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><a>&b;</a>'],
  ["lists, 100,000 deep", "[".repeat(DEPTH) + "]".repeat(DEPTH)],
  ["lists, 100,000 deep and cut off", "[".repeat(DEPTH)],
  ["objects, 100,000 deep", '{"a":'.repeat(DEPTH) + "0" + "}".repeat(DEPTH)],
  ["objects, 100,000 deep and cut off", '{"a":'.repeat(DEPTH)],
  ["known, 100,000 deep", `{"known":${'{"a":'.repeat(DEPTH)}0${"}".repeat(DEPTH)}}`],
  ["an unknown field, 100,000 deep", `{"known":{},"x":${"[".repeat(DEPTH)}${"]".repeat(DEPTH)}}`],
  ["a list of 100,000 numbers", `[${"1,".repeat(DEPTH)}1]`],
  ["a member twice", '{"known":{"a":0},"known":7}'],
  ["a member a thousand times", `{${'"known":{"a":0},'.repeat(1_000)}"known":{}}`],
  ["a key twice", '{"known":{"a":0,"a":1}}'],
  ["a member that is escaped", '{"\\u006bnown":{"a":0}}'],
  ["__proto__ beside known", '{"__proto__":{"wait":9},"known":{}}'],
  ["known in __proto__", '{"__proto__":{"known":{"a":0}}}'],
  ["known that is called __proto__", '{"known":{"__proto__":0,"constructor":0,"hasOwnProperty":0}}'],
  ["__proto__ in known as object", '{"known":{"__proto__":{"a":1}}}'],
  ["gossip in __proto__", '{"known":{},"__proto__":{"gossip":{"form":1}}}'],
  [
    "11,000 keys",
    json({ known: Object.fromEntries(Array.from({ length: 11_000 }, (_, i) => [`k${i}`, 0])) }),
  ],
  ["a key of 100,000 characters", json({ known: { ["x".repeat(100_000)]: 0 } })],
  ["a body over the limit", json({ known: {}, x: "x".repeat(1_100_000) })],
  ["numbers of 10,000 digits", `{"known":{"a":${"9".repeat(10_000)}}}`],
  ["a wait without end", '{"known":{},"wait":1e400}'],
  ["updates of the same key", json({ updates: Array.from({ length: 50 }, () => ({ key: "d", hash: "1" })) })],
  ["11,000 updates", json({ updates: Array.from({ length: 11_000 }, () => ({ key: "d", hash: "" })) })],
  ["one wrong update among good ones", json({ updates: [{ key: "d", hash: "1" }, { key: "", hash: "1" }] })],
  ["a list with a length", '{"keys":{"length":1e9,"0":"a"}}'],
  ["a list of lists", '{"keys":[["a"]]}'],
  ["gossip of another form", '{"known":{},"gossip":{"form":2}}'],
  ["gossip that says it is from a peer", '{"known":{},"gossip":{"form":1,"id":"server-2","message":"{}"}}'],
  ["a hello without a nonce", '{"known":{},"gossip":{"form":1,"hello":{}}}'],
  ...VALUES.map((value): [string, string] => [`the body ${value.slice(0, 40)}`, value]),
  ...["known", "wait", "epoch", "timestamp", "gossip", "keys", "updates", "key", "hash"].flatMap((member) =>
    VALUES.map((value): [string, string] => {
      const rest = ["known", "key", "hash"].filter((name) => name !== member);
      const members = rest.map((name) => `"${name}":${name === "known" ? "{}" : '"d"'}`);
      return [`${member}: ${value.slice(0, 40)}`, `{"${member}":${value},${members.join()}}`];
    })
  ),
]);

/** Targets of a request line, whole ones among them. */
export const TARGETS: readonly string[] = [
  "/",
  "//",
  "///reality/sync",
  "/reality",
  "/reality/",
  "/reality/sync/",
  "/reality//sync",
  "/reality/./sync",
  "/reality/../reality/sync",
  "/reality/%2e%2e/sync",
  "/reality/s%79nc",
  "/reality/sync%00",
  "/reality/sync%",
  "/reality/sync?%",
  "/reality/sync?a=%zz&a=%ff",
  "/reality/sync;a=b",
  "/REALITY/SYNC",
  "/reality/__proto__",
  "/reality/constructor",
  "/reality/hasOwnProperty",
  "/reality/nodes",
  "/reality/nodes/",
  "/reality/nodes/%",
  "/reality/nodes/%zz",
  "/reality/nodes/%c3%28",
  "/reality/nodes/%ed%a0%80",
  "/reality/nodes/%00",
  "/reality/nodes/%0d%0aX-Injected:%201",
  "/reality/nodes/__proto__",
  "/reality/nodes/..%2f..%2fetc%2fpasswd",
  `/reality/nodes/${"x".repeat(600)}`,
  `/reality/nodes/${"%F0%9F%99%82".repeat(200)}`,
  "/reality/events",
  "/reality/events?",
  "/reality/events?keys",
  "/reality/events?keys=",
  "/reality/events?keys=%",
  "/reality/events?keys=%00",
  "/reality/events?keys=%ed%a0%80",
  "/reality/events?keys[]=a&keys[__proto__]=b",
  `/reality/events?${"keys=a&".repeat(900)}`,
  `/reality/sync?${"a".repeat(7_000)}`,
  `/${"a/".repeat(3_500)}`,
  `/reality/sync?${"a=%".repeat(2_000)}`,
  "/reality/sync?k=a:0",
  "/reality/sync?k=a:0&w=1",
  "/reality/sync?e=%ff&k=a:1",
  `/reality/sync?e=${"e".repeat(129)}&k=a:1`,
  "/reality/sync?k=%ed%a0%80:0",
  "/reality/sync?k=%00:0&k=+:0",
  "/reality/sync?k=__proto__:0&k=constructor:7&k=hasOwnProperty:0",
  "/reality/sync?k=a:9007199254740993",
  "/reality/sync?k=a:-0&w=1e400",
  "/reality/sync?k=:::0&w=0&w=1",
  "/reality/sync?k=private:0",
  `/reality/sync?${"k=a:0&".repeat(1_000)}`,
  "*",
  "http://example.com/reality/sync",
  "http://[/reality/sync",
  "http://user:password@example.com/reality/sync",
  "http://example.com:99999/reality/sync",
  "http://example.com?x=/reality/sync",
  "http://example.com#/reality/sync",
  "http:///reality/sync",
  "http:/reality/sync",
  "javascript://reality/sync",
  "file:///reality/sync",
  "://reality/sync",
  "reality/sync",
];

/** Targets that no server takes in, since they are too long; the adapter may close the connection. */
export const OVERLONG_TARGETS: readonly string[] = [
  `/reality/sync?${"a".repeat(100_000)}`,
  `/reality/nodes/${"%41".repeat(50_000)}`,
];

/** Header fields, each sent beside those that a good sync has, or in their place. */
export const HEADERS: readonly Field[] = [
  ["Host", ""],
  ["Host", "user:password@example.com"],
  ["Host", "a/b?c#d"],
  ["Host", "[::1"],
  ["Host", "a b"],
  ["Host", "x".repeat(2_000)],
  ["Host", "localhost:99999"],
  ["Origin", "null"],
  ["Origin", ""],
  ["Origin", "not a URL"],
  ["Origin", "https://app.example, https://evil.example"],
  ["Origin", "https://app.example.evil.example"],
  ["Origin", "\u00ff\u00fe"],
  ["Content-Type", ""],
  ["Content-Type", "application/json; charset=utf-7"],
  ["Content-Type", "application/json; charset=%"],
  ["Content-Type", "text/plain, application/json"],
  ["Content-Type", `application/${"+".repeat(4_000)}json`],
  ["Content-Type", "application/json" + " ".repeat(4_000) + "x"],
  ["Content-Type", "multipart/form-data; boundary="],
  ["Content-Type", "__proto__"],
  ["Content-Encoding", "gzip"],
  ["Content-Encoding", "br, br, br"],
  ["Content-Encoding", "__proto__"],
  ["Content-Encoding", "identity"],
  ["Accept", "x".repeat(4_000)],
  ["Accept-Encoding", "*;q=NaN"],
  ["Authorization", ""],
  ["Authorization", "Bearer"],
  ["Authorization", "Bearer " + " ".repeat(4_000) + "x y"],
  ["Authorization", "Bearer " + "x".repeat(4_000)],
  ["Authorization", "Basic %%%"],
  ["Cookie", "a=b; __proto__=c; " + "d=e; ".repeat(500)],
  ["Last-Event-ID", "%:1"],
  ["Last-Event-ID", "a:" + "9".repeat(400)],
  ["Last-Event-ID", "%ed%a0%80:1"],
  ["Last-Event-ID", "\u00ff:1"],
  ["X-Forwarded-For", "127.0.0.1, , \u00ff, [::1, 999.999.999.999, " + "1.2.3.4,".repeat(300)],
  ["X-Forwarded-Host", "evil.example"],
  ["X-Forwarded-Proto", "javascript"],
  ["Forwarded", `for="[::1";by=_,for=;for="\\"";${"for=a,".repeat(300)}`],
  ["X-HTTP-Method-Override", "DELETE"],
  ["Range", "bytes=0-,-1"],
  ["If-None-Match", "*"],
  ["Expect", "the unexpected"],
  ["Upgrade", "websocket"],
  ["Upgrade", "h2c"],
  ["Connection", "upgrade, host, content-length"],
  ["TE", "trailers"],
  ["Trailer", "Host"],
  ["Access-Control-Request-Method", "\u00ff"],
  ["Access-Control-Request-Headers", "__proto__"],
  ["__proto__", "1"],
  ["constructor", "1"],
  ["X-Long", "x".repeat(7_000)],
];

/** Methods without a route. */
export const METHODS: readonly string[] = [
  "GET",
  "HEAD",
  "PUT",
  "PATCH",
  "DELETE",
  "OPTIONS",
  "PROPFIND",
  "PURGE",
  "QUERY",
];

const JSON_TYPE: Field = ["Content-Type", "application/json"];
const HOST: Field = ["Host", "localhost"];
const WRITER: Field = ["Authorization", `Bearer ${TOKEN}`];

/** Every request of the corpus. */
export const REQUESTS: readonly HostileRequest[] = [
  ...["sync", "update", "invalidate"].flatMap((route) =>
    [...BODIES].map(([name, body]): HostileRequest => ({
      name: `/${route} with ${name}`,
      method: "POST",
      target: `/reality/${route}`,
      headers: route === "sync" ? [HOST, JSON_TYPE] : [HOST, JSON_TYPE, WRITER],
      body,
    }))
  ),
  ...TARGETS.flatMap((target) =>
    ["GET", "POST", "DELETE"].map((method): HostileRequest => ({
      name: `${method} ${target.slice(0, 80)}`,
      method,
      target,
      headers: method === "POST" ? [HOST, JSON_TYPE] : [HOST],
      ...(method === "POST" ? { body: '{"known":{"a":0}}' } : {}),
    }))
  ),
  ...HEADERS.flatMap(([name, value]) =>
    ([["POST", "sync"], ["POST", "update"], ["GET", "events?keys=a"], ["GET", "sync?k=a:0"]] as const).map(
      ([method, path]): HostileRequest => ({
        name: `${method} ${path} with ${name}: ${value.slice(0, 60)}`,
        method,
        target: `/reality/${path}`,
        headers: [HOST, ...(method === "POST" ? [JSON_TYPE] : [])]
          .filter(([other]) => other !== name).concat([[name, value]]),
        ...(method === "POST" ? { body: '{"known":{"a":0},"key":"d","hash":"1"}' } : {}),
      }),
    )
  ),
  ...METHODS.flatMap((method) =>
    ["sync", "sync?k=a:0", "update", "events?keys=a", "health", "nodes/d", "openapi.json", "metrics", "ready"]
      .map(
        (path): HostileRequest => ({
          name: `${method} /${path}`,
          method,
          target: `/reality/${path}`,
          headers: [HOST],
        }),
      )
  ),
];
