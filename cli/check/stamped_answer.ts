/**
 * A stamped answer of the application, as the check reads it.
 *
 * @module
 */
import { assert, BrokenRule, format, skip } from "./outcome.ts";
import { type Answer, type CheckedServer, describe } from "./server.ts";
import { type Item, type Member, parseDictionary } from "./structured_field.ts";

/** What `Reality-Stamp` says. */
export interface ReadStamp {
  readonly epoch: string;
  /** Key → version. Of a key that is there twice, the lower one that is not 0. */
  readonly versions: ReadonlyMap<string, number>;
}

/** The epoch of a joined stamp whose parts do not fit together (PROTOCOL 17.6). */
export const MIXED = "mixed";

/** Fetches the stamped answer. Skips the rule if no URL was given. The status must be 200. */
export async function fetchStamped(
  server: CheckedServer,
  headers: Record<string, string> = {},
): Promise<Answer> {
  const answer = await server.sendStamped(headers);
  assert(answer.status === 200, () => `${describe(answer)}, expected 200`);
  return answer;
}

/**
 * Parses the field strictly (PROTOCOL 17.1).
 *
 * @throws {BrokenRule} If it is absent or breaks the rule. The message says how.
 */
export function parseStampStrictly({ headers, request }: Answer): ReadStamp {
  const field = headers.get("reality-stamp");
  assert(field !== null, () => `${request} has no Reality-Stamp`);
  let members: ReadonlyMap<string, Member>;
  try {
    members = parseDictionary(field);
  } catch (error) {
    throw new BrokenRule(`not a dictionary: ${(error as Error).message}`);
  }
  const [first] = members.keys();
  assert(first === "epoch", () => `the first member is ${format(first)}, expected "epoch"`);
  const epoch = members.get("epoch")!;
  assert("type" in epoch && epoch.type === "string", () => `epoch is not a String in ${format(field)}`);
  const keys = members.get("keys");
  assert(keys !== undefined && !("type" in keys), () => `keys is not an inner list in ${format(field)}`);
  const versions = new Map<string, number>();
  for (const item of keys) {
    const version = readVersion(item);
    const other = versions.get(item.value) || version;
    versions.set(item.value, version === 0 ? other : Math.min(version, other));
  }
  return { epoch: epoch.value, versions };
}

function readVersion({ type, value, parameters }: Item): number {
  const expected = /^[ -~]*$/.test(value) ? "string" : "display string";
  assert(type === expected, () => `the key ${format(value)} is a ${type}, expected a ${expected}`);
  const v = parameters.get("v");
  const number = Number(v?.value);
  const fits = v?.type === "string" && /^\d{1,16}$/.test(v.value) && Number.isSafeInteger(number);
  assert(
    fits,
    () => `v of the key ${format(value)} is ${format(v?.value)}, expected a String with a version`,
  );
  return number;
}

/** Fetches the answer and its stamp. Skips the rule if there is no valid stamp: rule 17.1 says why. */
export async function fetchStamp(
  server: CheckedServer,
  headers: Record<string, string> = {},
): Promise<ReadStamp & { readonly answer: Answer }> {
  const answer = await fetchStamped(server, headers).catch(skipBroken);
  try {
    return { ...parseStampStrictly(answer), answer };
  } catch (error) {
    return skipBroken(error);
  }
}

/** What other rules need is missing: only rule 17.1 fails. */
function skipBroken(error: unknown): never {
  if (error instanceof BrokenRule) skip(`needs a valid stamp: ${error.message}`);
  throw error;
}
