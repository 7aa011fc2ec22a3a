/**
 * Reads which clients may read.
 *
 * @module
 */
import type { ReaderSetting } from "./settings.ts";
import { parseNames, parseSecrets, parseURL, splitList } from "./values.ts";
import type { Environment } from "./variables.ts";

/** The shortest secret of tokens, in characters: HS256 needs 256 bits. */
const SHORTEST_SECRET = 32;

/**
 * Reads which clients may read.
 *
 * @param environment The variables.
 * @throws {RangeError} If a variable is wrong, or variables are set that exclude or need each other.
 */
export function readReaders(environment: Environment): ReaderSetting {
  const { REALITY_JWT_SECRET: secret, REALITY_JWKS_URL: jwks, REALITY_AUTHORIZE_URL: url } = environment;
  checkCombination(environment);
  if (url) {
    return {
      kind: "url",
      url: parseURL("REALITY_AUTHORIZE_URL", url),
      headers: parseNames("REALITY_AUTHORIZE_HEADERS", environment.REALITY_AUTHORIZE_HEADERS)
        .map((name) => name.toLowerCase()),
    };
  }
  if (!secret && !jwks) return { kind: "everybody" };
  return {
    kind: "jwt",
    secrets: secret ? parseSecrets("REALITY_JWT_SECRET", secret, SHORTEST_SECRET) : [],
    jwksURL: jwks ? parseURL("REALITY_JWKS_URL", jwks) : undefined,
    issuer: environment.REALITY_JWT_ISSUER || undefined,
    audience: splitList(environment.REALITY_JWT_AUDIENCE),
    cookie: parseNames("REALITY_JWT_COOKIE", environment.REALITY_JWT_COOKIE)[0],
  };
}

/** Refuses two ways to restrict reading, and options of a way that is not chosen. */
function checkCombination(environment: Environment): void {
  const ways = ["REALITY_JWT_SECRET", "REALITY_JWKS_URL", "REALITY_AUTHORIZE_URL"].filter((name) =>
    environment[name]
  );
  if (ways.length > 1) throw new RangeError(`Cannot use ${ways.join(" and ")} together: choose one`);
  const { REALITY_JWT_ISSUER: issuer, REALITY_JWT_AUDIENCE: audience, REALITY_JWT_COOKIE: cookie } =
    environment;
  const [way = ""] = ways;
  if (!/_JW/.test(way) && (issuer || audience || cookie)) {
    throw new RangeError(
      "Cannot use REALITY_JWT_… alone: expected REALITY_JWT_SECRET or REALITY_JWKS_URL as well",
    );
  }
  if (way !== "REALITY_AUTHORIZE_URL" && environment.REALITY_AUTHORIZE_HEADERS) {
    throw new RangeError(
      "Cannot use REALITY_AUTHORIZE_HEADERS alone: expected REALITY_AUTHORIZE_URL as well",
    );
  }
}
