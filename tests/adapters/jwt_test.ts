import assert from "node:assert/strict";
import { exportJWK, generateKeyPair, type JWTPayload, SignJWT, UnsecuredJWT } from "jose";
import { jwtAuthorize, type JWTOptions } from "../../adapters/jwt.ts";
import { MemoryStorage, RealityServer } from "../../mod.ts";
import { test } from "../harness.ts";
import { listenNode } from "../runtimes/node.ts";

const SECRET = "a secret of the test, 32 or more";
const CLAIM = { reality: { keys: ["user:7"], prefixes: ["chat:"] } };

async function sign(payload: JWTPayload, secret = SECRET, alg = "HS256"): Promise<string> {
  return await new SignJWT(payload).setProtectedHeader({ alg }).sign(new TextEncoder().encode(secret));
}

/** Returns the keys that a client with this header may read, or why it is refused. */
async function askWith(options: JWTOptions, headers: Record<string, string>): Promise<string> {
  const server = new RealityServer({ storage: new MemoryStorage(), authorize: jwtAuthorize(options) });
  const keys = ["user:7", "user:70", "chat:1", "other"];
  await server.updateMany(keys.map((key) => ({ key, hash: "1" })));
  const response = await server.getFetchHandler()(
    new Request("http://localhost/reality/sync", {
      method: "POST",
      headers: { "content-type": "application/json", ...headers },
      body: JSON.stringify({ known: Object.fromEntries(keys.map((key) => [key, 0])) }),
    }),
  );
  const body = await response.json();
  await server.close();
  return response.status === 200
    ? Object.keys(body.changed).join()
    : `${response.status} ${body.error.message}`;
}

const ask = (options: JWTOptions, token: string) => askWith(options, { authorization: `Bearer ${token}` });

test("jwtAuthorize() allows the keys and prefixes of the token", async () => {
  const cases: [JWTPayload, string][] = [
    [CLAIM, "user:7,chat:1"],
    [{ reality: { keys: ["other"] } }, "other"],
    [{ reality: { prefixes: ["user:7"] } }, "user:7,user:70"],
    [{ reality: { prefixes: [""] } }, "user:7,user:70,chat:1,other"],
    [{ reality: {} }, ""],
    [{}, '401 Cannot read: the token has no claim "reality"'],
    [
      { reality: { keys: "user:7" } },
      '401 Cannot read: the token\'s "reality" is not { "keys": […], "prefixes": […] } of strings',
    ],
    [
      { reality: { prefixes: [7] } },
      '401 Cannot read: the token\'s "reality" is not { "keys": […], "prefixes": […] } of strings',
    ],
  ];
  for (const [payload, expected] of cases) {
    assert.equal(await ask({ secret: SECRET }, await sign(payload)), expected);
  }
});

test("jwtAuthorize() refuses an invalid token and a missing one", async () => {
  const now = Math.floor(Date.now() / 1000);
  const invalid = "401 Cannot read: the token is not valid";
  const options: JWTOptions = { secret: SECRET, issuer: "me", audience: ["app", "page"] };
  const whole = { ...CLAIM, iss: "me", aud: "page" };
  const cases: [string, string][] = [
    [await sign(whole), "user:7,chat:1"],
    [await sign(whole, SECRET, "HS512"), "user:7,chat:1"],
    [await sign({ ...whole, exp: now + 60 }), "user:7,chat:1"],
    [await sign({ ...whole, exp: now - 60 }), "401 Cannot read: the token has expired"],
    [await sign({ ...whole, nbf: now + 60 }), '401 Cannot read: the token has a wrong "nbf"'],
    [await sign({ ...whole, iss: "you" }), '401 Cannot read: the token has a wrong "iss"'],
    [await sign({ ...CLAIM, iss: "me" }), '401 Cannot read: the token has a wrong "aud"'],
    [await sign(whole, "another secret of 32 characters!"), invalid],
    [`${(await sign(whole)).slice(0, -4)}AAAA`, invalid],
    [new UnsecuredJWT(whole).encode(), invalid],
    ["nothing", invalid],
    ["a.b.c", invalid],
  ];
  for (const [token, expected] of cases) assert.equal(await ask(options, token), expected, token);
  for (const headers of [{}, { authorization: "Basic abc" }, { cookie: `token=${await sign(whole)}` }]) {
    assert.equal(
      await askWith(options, headers as Record<string, string>),
      "401 Cannot read: expected Authorization: Bearer and a token",
    );
  }
});

test("jwtAuthorize() accepts two secrets, and a token in a cookie with the option cookie", async () => {
  const old = "the secret of before, 32 or more";
  const options = { secret: [SECRET, old], cookie: "reality" };
  assert.equal(await ask(options, await sign(CLAIM, old)), "user:7,chat:1");
  const cookie = `a=1; reality=${await sign(CLAIM)}; b=2`;
  assert.equal(await askWith(options, { cookie }), "user:7,chat:1");
  // The header takes precedence over the cookie.
  assert.match(await askWith(options, { cookie, authorization: "Bearer x" }), /^401/);
});

test("jwtAuthorize() ends waits and streams with the token", async () => {
  const authorize = jwtAuthorize({ secret: SECRET });
  const exp = Math.floor(Date.now() / 1000) + 60;
  const headers = { authorization: `Bearer ${await sign({ ...CLAIM, exp })}` };
  const rights = await authorize(new Request("http://localhost", { headers }), ["user:7", "other"]);
  assert.deepEqual(rights, { keys: ["user:7"], expiresAt: (exp + 5) * 1000 });
});

test("jwtAuthorize() verifies with the keys at a URL, and then accepts no shared secret", async () => {
  const { publicKey, privateKey } = await generateKeyPair("ES256");
  const jwk = { ...await exportJWK(publicKey), kid: "1", alg: "ES256" };
  let status = 200;
  const { origin, close } = await listenNode((_request, response) => {
    response.writeHead(status, { "content-type": "application/json" });
    response.end(JSON.stringify({ keys: [jwk] }));
  });
  try {
    const options = { jwksURL: `${origin}/keys` };
    const signed = await new SignJWT(CLAIM).setProtectedHeader({ alg: "ES256", kid: "1" }).sign(privateKey);
    assert.equal(await ask(options, signed), "user:7,chat:1");
    // Signed with the public key as a secret: everyone knows it.
    assert.equal(
      await ask(options, await sign(CLAIM, JSON.stringify(jwk))),
      "401 Cannot read: the token is not valid",
    );
    status = 500;
    assert.match(await ask(options, signed), /^503 /);
  } finally {
    await close();
  }
});

test("jwtAuthorize() refuses wrong options and names them", () => {
  const cases: [unknown, RegExp][] = [
    [{}, /expected one of the options secret and jwksURL/],
    [{ secret: SECRET, jwksURL: "http://a" }, /expected one of the options/],
    [{ secret: "short" }, /^Option "secret" is wrong: expected 32 characters or more$/],
    [{ secret: 7 }, /"secret"/],
    [{ jwksURL: "keys" }, /"jwksURL" is wrong: expected a URL/],
    [{ secret: SECRET, issuer: 7 }, /"issuer"/],
    [{ secret: SECRET, audience: [7] }, /"audience"/],
    [{ secret: SECRET, algorithms: ["none"] }, /^Unknown option "algorithms" of jwtAuthorize/],
  ];
  for (const [options, message] of cases) {
    assert.throws(() => jwtAuthorize(options as JWTOptions), { name: "TypeError", message });
  }
});
