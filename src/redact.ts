/**
 * Removes secrets from messages and errors: credentials in addresses, and properties that may hold secrets. Pure.
 *
 * @module
 */

/** Replaces removed text. */
const REDACTED = "***";

/** Values that are nested deeper than this in an error are removed. */
const MAX_DEPTH = 8;

/**
 * Names of properties that may hold a secret: credentials, arguments of commands, and addresses as they were
 * configured.
 */
const SECRET_NAME =
  /pass|pwd|secret|token|authoriz|cookie|credential|api_?key|^(?:auth|args|argv|arguments|params|parameters|input|base)$/i;

/** Redis before version 6, and some proxies, repeat the arguments of an AUTH or HELLO that they do not know. */
const REPEATED_ARGUMENTS = /with args beginning with:.*/gis;

const SCHEME = /^[a-z][a-z0-9+.-]*:/i;

/** Schemes of addresses that are frequent in stack traces. An "@" in their paths precedes a version or a scope. */
const PATH_SCHEMES: readonly string[] = ["file", "http", "https"];

/**
 * Removes the credentials and queries of all addresses in a text, including addresses that cannot be parsed.
 *
 * An address ends at white space. An http or https address that cannot be parsed is not always found. Use {@linkcode
 * redactURL} for a text that is a single address.
 */
export function redactText(text: string): string {
  const shown = text.includes("://") ? text.replace(/\S+/g, redactWord) : text;
  return shown.replace(REPEATED_ARGUMENTS, `with args beginning with: ${REDACTED}`);
}

/**
 * Removes the credentials and the query of an address. Leaves only the scheme if it is unclear which part is a
 * credential.
 */
export function redactURL(text: string): string {
  const [scheme = ""] = SCHEME.exec(text) ?? [];
  if (scheme !== "" && text.startsWith("//", scheme.length) && URL.canParse(text)) {
    const { protocol, host, pathname, search, hash } = new URL(text);
    // A password that is not escaped may extend into the path.
    if (!`${pathname}${search}${hash}`.includes("@")) {
      return `${protocol}//${host}${pathname}${search === "" ? "" : "?…"}`;
    }
  }
  return redactInvalidURL(text);
}

/** Reduces a text that should have been an address to its scheme, unless it can hold no credential. */
export function redactInvalidURL(text: string): string {
  const [scheme = ""] = SCHEME.exec(text) ?? [];
  return /[:@]/.test(text) ? `${scheme}…` : text;
}

/**
 * Removes everything from an error and its causes that may hold a secret: arguments of commands, sockets, clients and
 * other class instances, and credentials in texts.
 *
 * @param value An error, or any other thrown value.
 * @returns The same value if there is nothing to remove, otherwise a copy of the same class.
 */
export function redactError(value: unknown): unknown {
  return redactValue(value, new Map(), 0);
}

/** The message of a cause. */
export function describe(cause: unknown): string {
  return cause instanceof Error ? cause.message : String(cause);
}

function redactWord(word: string): string {
  const [before = "", ...parts] = word.split("://");
  let text = before;
  for (const [i, part] of parts.entries()) {
    const [scheme = ""] = /[a-z][a-z0-9+.-]*$/i.exec(text.slice(-16)) ?? [];
    if (!PATH_SCHEMES.includes(scheme.toLowerCase())) {
      const rest = parts.slice(i).join("://");
      return `${text}://${hideQuery(hideUser(rest))}`;
    }
    const end = part.search(/[/?#]|$/);
    const path = part.slice(end);
    text += `://${hideUser(part.slice(0, end))}${scheme === "file" ? path : hideQuery(path)}`;
  }
  return text;
}

function hideUser(text: string): string {
  const at = text.lastIndexOf("@");
  return at === -1 ? text : `${REDACTED}${text.slice(at)}`;
}

function hideQuery(text: string): string {
  return text.replace(/\?[^\s'"`<>)]+/, `?${REDACTED}`);
}

/** @param seen The objects visited so far and their copies. Objects may refer to each other in a cycle. */
function redactValue(value: unknown, seen: Map<object, unknown>, depth: number): unknown {
  if (typeof value === "string") return redactText(value);
  if (typeof value === "function") return undefined;
  if (typeof value !== "object" || value === null) return value;
  if (seen.has(value)) return seen.get(value);
  if (depth > MAX_DEPTH) return undefined;
  try {
    return redactObject(value, seen, depth);
  } catch {
    // The object cannot be inspected, for example because it is a revoked proxy.
    return undefined;
  }
}

function redactObject(value: object, seen: Map<object, unknown>, depth: number): unknown {
  const prototype = Object.getPrototypeOf(value);
  const isError = value instanceof Error;
  if (!isError && prototype !== Object.prototype && prototype !== Array.prototype && prototype !== null) {
    return undefined;
  }
  const copy: object = isError ? new Error() : Array.isArray(value) ? [] : {};
  seen.set(value, copy);
  let isSame = true;
  for (const name of Reflect.ownKeys(value)) {
    const descriptor = Object.getOwnPropertyDescriptor(value, name)!;
    // V8 may keep the stack behind an accessor.
    const isRead = "value" in descriptor || isError && name === "stack";
    const isSecret = typeof name === "string" && SECRET_NAME.test(name);
    const before = isRead ? (value as Record<PropertyKey, unknown>)[name] : undefined;
    const after = isSecret ? undefined : redactValue(before, seen, depth + 1);
    if (!isRead || after !== before) isSame = false;
    if (name === "length" && Array.isArray(value)) continue;
    const { enumerable = false } = descriptor;
    Object.defineProperty(copy, name, { value: after, enumerable, configurable: true, writable: true });
  }
  if (isSame) {
    seen.set(value, value);
    return value;
  }
  if (isError && !Object.hasOwn(value, "stack")) delete (copy as Error).stack;
  return Object.setPrototypeOf(copy, prototype);
}
