/**
 * Reading rights out of JSON Web Tokens, over npm:jose: a server's `authorize` option.
 *
 * @module
 */
import {
  createRemoteJWKSet,
  customFetch,
  errors,
  type JWTPayload,
  jwtVerify,
  type JWTVerifyGetKey,
} from "jose";
import { RealityError, RefusalError } from "../src/errors.ts";
import type { ReadingRights } from "../src/options.ts";

export type { AllowedKeys, ReadingRights } from "../src/options.ts";

/** How tokens are verified. One of `secret` and `jwksURL` is needed. */
export interface JWTOptions {
  /**
   * What tokens are signed with, by HS256, HS384 or HS512: 32 characters or more. Of several, each is believed, so that
   * the secret can be changed without an outage.
   *
   * @default nothing
   */
  secret?: string | readonly string[] | undefined;
  /**
   * Where the public keys of the issuer are, as a JSON Web Key Set: tokens are signed by RSA, ECDSA or EdDSA. The keys are
   * fetched when they are needed, and again after 10 minutes, or for a key that is not known at most every 30 seconds.
   *
   * @default nothing
   */
  jwksURL?: string | URL | undefined;
  /**
   * The `iss` that a token must have.
   *
   * @default any, or none
   */
  issuer?: string | undefined;
  /**
   * The `aud` that a token must have; of several, one of them.
   *
   * @default any, or none
   */
  audience?: string | readonly string[] | undefined;
  /**
   * The cookie that has the token where there is no `Authorization` header. `EventSource` cannot send the header.
   *
   * @default none is looked at
   */
  cookie?: string | undefined;
}

const SHARED_ALGORITHMS = ["HS256", "HS384", "HS512"];
const PUBLIC_ALGORITHMS = [
  ...["RS256", "RS384", "RS512", "PS256", "PS384", "PS512"],
  ...["ES256", "ES384", "ES512", "EdDSA", "Ed25519"],
];

/** How far the clocks of issuer and server may be apart, in seconds. */
const CLOCK_TOLERANCE = 5;

/** The shortest secret, in characters: HS256 needs 256 bits. */
const SHORTEST_SECRET = 32;

const OPTIONS: readonly string[] = ["secret", "jwksURL", "issuer", "audience", "cookie"];

/**
 * Makes an `authorize` that reads what a client may read out of its token.
 *
 * The token stands in `Authorization: Bearer <token>` and has the claim
 * `"reality": { "keys": ["user:7"], "prefixes": ["chat:room:"] }`: keys that may be read, and what such keys begin with;
 * `"prefixes": [""]` is every key. After its `exp` waits and streams end; 5 seconds are allowed for clocks that differ.
 * A request without a valid token is refused with 401; keys that the token does not name look like ones that are not
 * there.
 *
 * @param options How tokens are verified.
 * @returns What a server takes as `authorize`.
 * @throws {TypeError} For an option that is unknown, missing or wrong; names it.
 *
 * @example
 * ```ts
 * import { SignJWT } from "jose";
 * import { MemoryStorage, RealityServer } from "@rootlodge/reality-server";
 * import { jwtAuthorize } from "@rootlodge/reality-server/jwt";
 *
 * const secret = "32 random characters, or many more";
 * const server = new RealityServer({ storage: new MemoryStorage(), authorize: jwtAuthorize({ secret }) });
 *
 * // In the application, for a user who has logged in:
 * const token = await new SignJWT({ reality: { keys: ["user:7"], prefixes: ["chat:room:"] } })
 *   .setProtectedHeader({ alg: "HS256" }).setExpirationTime("10m").sign(new TextEncoder().encode(secret));
 *
 * const response = await server.getFetchHandler()(
 *   new Request("http://localhost/reality/sync", {
 *     method: "POST",
 *     headers: { "content-type": "application/json", authorization: `Bearer ${token}` },
 *     body: JSON.stringify({ known: { "user:7": 0 } }),
 *   }),
 * );
 * console.assert(response.status === 200);
 * await server.close();
 * ```
 */
export function jwtAuthorize(
  options: JWTOptions,
): (request: Request, keys: readonly string[]) => Promise<ReadingRights> {
  const { secrets, jwksURL, issuer, audience, cookie } = checkOptions(options);
  const claims = {
    clockTolerance: CLOCK_TOLERANCE,
    ...(issuer === undefined ? {} : { issuer }),
    ...(audience.length === 0 ? {} : { audience: [...audience] }),
  };
  const verify = jwksURL === undefined
    ? bySecrets(secrets, { ...claims, algorithms: SHARED_ALGORITHMS })
    : byKeys(createRemoteJWKSet(jwksURL, { [customFetch]: fetchKeys }), {
      ...claims,
      algorithms: PUBLIC_ALGORITHMS,
    });
  return async (request, keys) => {
    const token = tokenOf(request.headers, cookie);
    if (token === undefined) throw unauthorized("expected Authorization: Bearer and a token");
    return rightsOf(await verify(token), keys);
  };
}

/** Gives the claims of a token that is valid. */
type Verify = (token: string) => Promise<JWTPayload>;

type VerifyOptions = Parameters<typeof jwtVerify>[2];

function bySecrets(secrets: readonly string[], options: VerifyOptions): Verify {
  const keys = secrets.map((secret) => new TextEncoder().encode(secret));
  return async (token) => {
    for (const [i, key] of keys.entries()) {
      try {
        return (await jwtVerify(token, key, options)).payload;
      } catch (error) {
        const isOther = error instanceof errors.JWSSignatureVerificationFailed && i + 1 < keys.length;
        if (!isOther) throw refusalOf(error);
      }
    }
    throw unauthorized("the token is not valid");
  };
}

function byKeys(keys: JWTVerifyGetKey, options: VerifyOptions): Verify {
  return async (token) => {
    try {
      return (await jwtVerify(token, keys, options)).payload;
    } catch (error) {
      throw refusalOf(error);
    }
  };
}

/** The runtime's own, which lets go of an answer that is not read. */
async function fetchKeys(...request: Parameters<typeof fetch>): Promise<Response> {
  const response = await fetch(...request);
  if (response.status !== 200) await response.body?.cancel();
  return response;
}

/** What is wrong with a token is the client's matter; that keys cannot be had is the server's. */
function refusalOf(error: unknown): RealityError {
  if (error instanceof errors.JWTExpired) return unauthorized("the token has expired");
  if (error instanceof errors.JWTClaimValidationFailed) {
    return unauthorized(`the token's "${error.claim}" is not as it has to be`);
  }
  const isFault = !(error instanceof errors.JOSEError) || error instanceof errors.JWKSTimeout ||
    error instanceof errors.JWKSInvalid || error.code === "ERR_JOSE_GENERIC";
  if (!isFault) return unauthorized("the token is not valid");
  return new RealityError("ERR_REALITY_HOOK", "The keys by which tokens are verified cannot be had", {
    cause: error,
  });
}

function unauthorized(why: string): RefusalError {
  return new RefusalError("ERR_REALITY_UNAUTHORIZED", `Cannot read: ${why}`);
}

function tokenOf(headers: Headers, cookie: string | undefined): string | undefined {
  const authorization = headers.get("authorization");
  if (authorization !== null) return /^Bearer +(\S+) *$/i.exec(authorization)?.[1];
  if (cookie === undefined) return undefined;
  const pairs = (headers.get("cookie") ?? "").split(";").map((pair) => pair.trim());
  return pairs.find((pair) => pair.startsWith(`${cookie}=`))?.slice(cookie.length + 1);
}

function rightsOf({ reality, exp }: JWTPayload, keys: readonly string[]): ReadingRights {
  if (typeof reality !== "object" || reality === null) throw unauthorized('the token has no claim "reality"');
  const { keys: named = [], prefixes = [] } = reality as { keys?: unknown; prefixes?: unknown };
  if (!isTexts(named) || !isTexts(prefixes)) {
    throw unauthorized('the token\'s "reality" is not { "keys": […], "prefixes": […] } of texts');
  }
  const whole = new Set(named);
  const allowed = keys.filter((key) => whole.has(key) || prefixes.some((prefix) => key.startsWith(prefix)));
  return exp === undefined
    ? allowed
    : { keys: allowed, expiresAt: Math.max(0, Math.floor((exp + CLOCK_TOLERANCE) * 1_000)) };
}

function isTexts(value: unknown): value is readonly string[] {
  return Array.isArray(value) && value.every((one) => typeof one === "string");
}

interface CheckedOptions {
  readonly secrets: readonly string[];
  readonly jwksURL: URL | undefined;
  readonly issuer: string | undefined;
  readonly audience: readonly string[];
  readonly cookie: string | undefined;
}

function checkOptions(options: JWTOptions): CheckedOptions {
  const unknown = Object.keys(options).find((name) => !OPTIONS.includes(name));
  if (unknown !== undefined) {
    throw new TypeError(`Unknown option "${unknown}" of jwtAuthorize: known are ${OPTIONS.join(", ")}`);
  }
  const { secret, jwksURL, issuer, audience, cookie } = options;
  const secrets = listOf("secret", secret);
  if ((secrets.length === 0) === (jwksURL === undefined)) {
    throw new TypeError("Cannot make jwtAuthorize: expected one of the options secret and jwksURL");
  }
  if (secrets.some((one) => one.length < SHORTEST_SECRET)) {
    throw new TypeError(`Option "secret" is wrong: expected ${SHORTEST_SECRET} characters or more`);
  }
  for (const [name, value] of Object.entries({ issuer, cookie })) {
    if (value !== undefined && typeof value !== "string") throw wrong(name, "a string");
  }
  if (jwksURL !== undefined && !URL.canParse(jwksURL)) throw wrong("jwksURL", "a URL");
  return {
    secrets,
    jwksURL: jwksURL === undefined ? undefined : new URL(jwksURL),
    issuer,
    audience: listOf("audience", audience),
    cookie,
  };
}

function listOf(name: string, value: string | readonly string[] | undefined): readonly string[] {
  const list: readonly unknown[] = value === undefined ? [] : Array.isArray(value) ? value : [value];
  if (!isTexts(list)) throw wrong(name, "a string, or an array of strings");
  return list;
}

function wrong(name: string, expected: string): TypeError {
  return new TypeError(`Option "${name}" is wrong: expected ${expected}`);
}
