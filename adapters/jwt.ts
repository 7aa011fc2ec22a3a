/**
 * Reading rights from JSON Web Tokens, with npm:jose: an `authorize` hook.
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
import { checkNames } from "../src/check.ts";
import { RealityError, RefusalError } from "../src/errors.ts";
import type { ReadingRights } from "../src/options.ts";

export type { AllowedKeys, ReadingRights } from "../src/options.ts";

/** Options of {@linkcode jwtAuthorize}. One of `secret` and `jwksURL` is required. */
export interface JWTOptions {
  /**
   * The secret with which tokens are signed, by HS256, HS384 or HS512: 32 characters or more. Each of several secrets is
   * accepted, so that the secret can be changed without an outage.
   *
   * @default nothing
   */
  secret?: string | readonly string[] | undefined;
  /**
   * The URL of the public keys of the issuer, a JSON Web Key Set. Tokens are signed by RSA, ECDSA or EdDSA. The keys are
   * fetched when they are needed, and again after 10 minutes. For an unknown key they are fetched every 30 seconds at most.
   *
   * @default nothing
   */
  jwksURL?: string | URL | undefined;
  /**
   * The required `iss` of a token.
   *
   * @default any, or none
   */
  issuer?: string | undefined;
  /**
   * The required `aud` of a token, or several of which it must have one.
   *
   * @default any, or none
   */
  audience?: string | readonly string[] | undefined;
  /**
   * The cookie with the token if there is no `Authorization` header. `EventSource` cannot send the header.
   *
   * @default no cookie is used
   */
  cookie?: string | undefined;
}

const SHARED_ALGORITHMS = ["HS256", "HS384", "HS512"];
const PUBLIC_ALGORITHMS = [
  ...["RS256", "RS384", "RS512", "PS256", "PS384", "PS512"],
  ...["ES256", "ES384", "ES512", "EdDSA", "Ed25519"],
];

/** Allowed difference between the clocks of issuer and server, in seconds. */
const CLOCK_TOLERANCE = 5;

/** The shortest secret, in characters: HS256 needs 256 bits. */
const SHORTEST_SECRET = 32;

const OPTIONS: readonly string[] = ["secret", "jwksURL", "issuer", "audience", "cookie"];

/**
 * Creates an `authorize` hook that gets the reading rights of a client from its token.
 *
 * The token is in `Authorization: Bearer <token>` and has the claim
 * `"reality": { "keys": ["user:7"], "prefixes": ["chat:room:"] }`: keys and prefixes of keys that the client may read.
 * `"prefixes": [""]` allows every key. Waits and streams end after the `exp` of the token; clocks may differ by 5 seconds.
 * A request without a valid token is refused with 401. A key that the token does not allow is treated as one without a
 * node.
 *
 * @param options How tokens are verified.
 * @returns The `authorize` hook.
 * @throws {TypeError} If an option is unknown, missing or wrong; the message names it.
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

/** Verifies a token and returns its claims. */
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

/** Fetches the keys, and releases the connection of a failed answer. */
async function fetchKeys(...request: Parameters<typeof fetch>): Promise<Response> {
  const response = await fetch(...request);
  if (response.status !== 200) await response.body?.cancel();
  return response;
}

/** Returns a 401 for a token that is not valid, and a fault of the server if the keys cannot be fetched. */
function refusalOf(error: unknown): RealityError {
  if (error instanceof errors.JWTExpired) return unauthorized("the token has expired");
  if (error instanceof errors.JWTClaimValidationFailed) {
    return unauthorized(`the token has a wrong "${error.claim}"`);
  }
  const isFault = !(error instanceof errors.JOSEError) || error instanceof errors.JWKSTimeout ||
    error instanceof errors.JWKSInvalid || error.code === "ERR_JOSE_GENERIC";
  if (!isFault) return unauthorized("the token is not valid");
  return new RealityError("ERR_REALITY_HOOK", "Cannot fetch the keys that verify tokens", {
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
  if (!isStrings(named) || !isStrings(prefixes)) {
    throw unauthorized('the token\'s "reality" is not { "keys": […], "prefixes": […] } of strings');
  }
  const whole = new Set(named);
  const allowed = keys.filter((key) => whole.has(key) || prefixes.some((prefix) => key.startsWith(prefix)));
  return exp === undefined
    ? allowed
    : { keys: allowed, expiresAt: Math.max(0, Math.floor((exp + CLOCK_TOLERANCE) * 1_000)) };
}

function isStrings(value: unknown): value is readonly string[] {
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
  checkNames("jwtAuthorize", options, OPTIONS);
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
  if (!isStrings(list)) throw wrong(name, "a string, or an array of strings");
  return list;
}

function wrong(name: string, expected: string): TypeError {
  return new TypeError(`Option "${name}" is wrong: expected ${expected}`);
}
