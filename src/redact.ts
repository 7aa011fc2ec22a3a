/**
 * Takes secrets out of what is told to people: credentials in addresses, and what hangs on errors. Pure.
 *
 * @module
 */

/** Stands where something was left out. */
const REDACTED = "***";

/** What is nested deeper than this in an error is left out. */
const MAX_DEPTH = 8;

/** Properties that may hold a secret: credentials, arguments of commands, and addresses as they were given. */
const SECRET_NAME =
  /pass|pwd|secret|token|authoriz|cookie|credential|api_?key|^(?:auth|args|argv|arguments|params|parameters|input|base)$/i;

/** Redis before version 6, and some proxies, repeat the arguments of an AUTH or HELLO that they do not know. */
const REPEATED_ARGUMENTS = /with args beginning with:.*/gis;

const SCHEME = /^[a-z][a-z0-9+.-]*:/i;

/** Schemes of addresses that stacks are full of. An "@" in their paths stands before a version or a scope. */
const PATH_SCHEMES: readonly string[] = ["file", "http", "https"];

/**
 * Leaves out the credentials and queries of the addresses in a text, also of those that cannot be parsed.
 *
 * An address ends at white space. One of http or https that cannot be parsed is not always found:
 * {@linkcode redactURL} is for a text that is one address.
 */
export function redactText(text: string): string {
  const shown = text.includes("://") ? text.replace(/\S+/g, redactWord) : text;
  return shown.replace(REPEATED_ARGUMENTS, `with args beginning with: ${REDACTED}`);
}

/**
 * Names an address without credentials and query; by its scheme alone where it cannot be told what in it is a credential.
 */
export function redactURL(text: string): string {
  const [scheme = ""] = SCHEME.exec(text) ?? [];
  if (scheme !== "" && text.startsWith("//", scheme.length) && URL.canParse(text)) {
    const { protocol, host, pathname, search, hash } = new URL(text);
    // A password that is not escaped may reach into the path.
    if (!`${pathname}${search}${hash}`.includes("@")) {
      return `${protocol}//${host}${pathname}${search === "" ? "" : "?…"}`;
    }
  }
  return redactInvalidURL(text);
}

/** Names a text that was meant to be an address: by its scheme alone, unless it can hold no credential. */
export function redactInvalidURL(text: string): string {
  const [scheme = ""] = SCHEME.exec(text) ?? [];
  return /[:@]/.test(text) ? `${scheme}…` : text;
}

/**
 * Leaves out of an error, and of its causes, what may hold a secret: arguments of commands, sockets, clients and other
 * objects with a class, and credentials in texts.
 *
 * @param value An error, or whatever else was thrown.
 * @returns The same value where there is nothing to leave out, else a copy of the same class.
 */
export function redactError(value: unknown): unknown {
  return redactValue(value, new Map(), 0);
}

/** What a cause says, for a message. */
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

/** @param seen What has become of the objects that were met; they may refer to each other in a circle. */
function redactValue(value: unknown, seen: Map<object, unknown>, depth: number): unknown {
  if (typeof value === "string") return redactText(value);
  if (typeof value === "function") return undefined;
  if (typeof value !== "object" || value === null) return value;
  if (seen.has(value)) return seen.get(value);
  if (depth > MAX_DEPTH) return undefined;
  try {
    return redactObject(value, seen, depth);
  } catch {
    // Something that cannot be looked at, such as a revoked proxy.
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
