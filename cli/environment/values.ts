/**
 * Parses the values of environment variables. Pure. An error names the variable, and omits a value that may be secret.
 *
 * @module
 */
import { redactInvalidURL, redactURL } from "../../src/redact.ts";
import type { StorageSetting } from "./settings.ts";

/** The error of a wrong value. Leave out `found` if it may be a secret. */
export function wrong(name: string, expected: string, found?: string): RangeError {
  const end = found === undefined ? "" : `, got ${JSON.stringify(redactURL(found).slice(0, 100))}`;
  return new RangeError(`Cannot use ${name}: expected ${expected}${end}`);
}

/** Runs the check of an option. Its error names the variable instead of the option. */
export function checkAs(name: string, check: () => void): void {
  try {
    check();
  } catch (error) {
    throw new RangeError(`Cannot use ${name}: ${(error as Error).message}`);
  }
}

/** Splits a list at its commas. Empty parts are dropped. */
export function splitList(text: string | undefined): string[] {
  return (text ?? "").split(",").map((part) => part.trim()).filter((part) => part !== "");
}

/** Parses a whole number. */
export function parseNumber(name: string, text: string): number {
  if (!/^\d{1,15}$/.test(text)) throw wrong(name, "a whole number", text);
  return Number(text);
}

/** Parses one of several words, in any case; `undefined` if it is not set. */
export function parseChoice<T extends string>(
  name: string,
  text: string | undefined,
  choices: readonly T[],
): T | undefined {
  if (!text) return undefined;
  const found = choices.find((choice) => choice === text.toLowerCase());
  if (found === undefined) throw wrong(name, choices.join(" or "), text);
  return found;
}

/** Parses an http or https URL. */
export function parseURL(name: string, text: string): string {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  // `fetch` refuses a URL with credentials.
  if (url !== undefined && /^https?:$/.test(url.protocol) && url.username + url.password === "") {
    return url.href;
  }
  throw wrong(name, "an http or https URL without credentials in it", redactInvalidURL(text));
}

/** Parses names of headers or cookies, separated by commas. */
export function parseNames(name: string, text: string | undefined): readonly string[] {
  const names = splitList(text);
  const invalid = names.find((one) => !/^[\w!#$%&'*+.^`|~-]+$/.test(one));
  if (invalid !== undefined) throw wrong(name, "names separated by commas", invalid);
  return names;
}

/** Parses one or two secrets, separated by a comma. */
export function parseSecrets(name: string, text: string | undefined, shortest: number): readonly string[] {
  const secrets = splitList(text);
  if (secrets.length > 2 || secrets.some((secret) => secret.length < shortest)) {
    throw wrong(name, `one secret of ${shortest} characters or more, or two of them`);
  }
  return secrets;
}

/** Parses a port; 8000 if it is not set. */
export function parsePort(text: string | undefined): number {
  if (!text) return 8000;
  const port = Number(text);
  if (!/^\d{1,5}$/.test(text) || port > 65_535) throw wrong("PORT", "a number from 0 to 65535", text);
  return port;
}

/**
 * Parses the address of a storage.
 *
 * @param text The address; the SQLite file `./reality.db` if it is not set.
 * @param name What to call it in an error.
 * @throws {RangeError} If the address is wrong.
 */
export function parseStorage(text: string | undefined, name: string): StorageSetting {
  if (!text) return { kind: "sqlite", path: "./reality.db" };
  if (text === "memory:") return { kind: "memory" };
  const [, path] = /^sqlite:(.+)$/.exec(text) ?? [];
  if (path !== undefined) return { kind: "sqlite", path };
  if (/^postgres(?:ql)?:\/\//.test(text) && URL.canParse(text)) return { kind: "postgres", url: text };
  throw wrong(name, "sqlite:<file>, postgres://<url> or memory:", redactInvalidURL(text));
}

/** Parses a path without a slash at its end; `/reality` if it is not set, and empty for `/`. */
export function parseBasePath(text: string | undefined): string {
  if (!text) return "/reality";
  const path = text.replace(/\/$/, "");
  if (!/^(?:\/[\w.~!$&'()*+,;=:@-]+)*$/.test(path)) {
    throw wrong("REALITY_BASE_PATH", "a path such as /reality, or /", text);
  }
  return path;
}
