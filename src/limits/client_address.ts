/**
 * Finds the address of a client behind proxies. Pure.
 *
 * @module
 */

/** An address as numbers: 4 bytes of IPv4, or 8 groups of IPv6; empty for a Unix socket. */
type Address = readonly number[];

/** The address of a client on a Unix socket, and the name of all Unix sockets among trusted proxies. */
export const UNIX_SOCKET = "unix";

/** Addresses that start with the same bits. */
export interface Network {
  readonly address: Address;
  /** The number of significant bits. */
  readonly bits: number;
}

/** The trusted proxies: the number of proxies in front of the server, or their networks. */
export type TrustedProxies = number | readonly Network[];

/** The header fields that proxies add; `null` for a field that was not sent. */
export interface ForwardedFields {
  readonly xForwardedFor: string | null;
  readonly forwarded: string | null;
}

/** An IPv6 client has a whole network: addresses with the same first bits. */
const CLIENT_BITS = 64;

/**
 * Finds the address of a client: the first address, starting at the server, that is not a trusted proxy. Addresses
 * further left in a field were written by that client itself and are ignored.
 *
 * @param remote The address of the connection, as the adapter reports it; `unix` for a Unix socket, `null` if
 *   unknown.
 * @param fields The header fields of proxies. If both are sent and differ, neither is trusted: a proxy that sets one
 *   of them may forward the other as the client wrote it.
 * @param trusted The trusted proxies.
 * @returns The address in its canonical form, IPv4 for IPv4 inside IPv6; `null` if it is unknown.
 */
export function clientAddress(
  remote: string | null,
  { xForwardedFor, forwarded }: ForwardedFields,
  trusted: TrustedProxies,
): string | null {
  const connected = remote === null ? null : remote === UNIX_SOCKET ? [] : parseAddress(remote);
  if (typeof trusted === "object" && !isTrusted(connected, trusted) || trusted === 0) {
    return format(connected);
  }
  if (xForwardedFor === null || forwarded === null) {
    const hops = xForwardedFor === null ? forwardedHops(forwarded) : splitFromRight(xForwardedFor);
    return format(walk(connected, hops, trusted));
  }
  const one = format(walk(connected, splitFromRight(xForwardedFor), trusted));
  const other = format(walk(connected, forwardedHops(forwarded), trusted));
  return one === other ? one : format(connected);
}

/** Identifies a client for rate limits: an IPv4 address, or the network of an IPv6 address. */
export function clientNetwork(address: string): string {
  const parsed = parseAddress(address);
  if (parsed === null || parsed.length === 4) return address;
  return `${parsed.slice(0, CLIENT_BITS / 16).map((group) => group.toString(16)).join(":")}::/${CLIENT_BITS}`;
}

/**
 * Parses an address, a network such as `10.0.0.0/8`, or `unix` for Unix sockets.
 *
 * @returns `null` for any other text.
 */
export function parseNetwork(text: string): Network | null {
  if (text === UNIX_SOCKET) return { address: [], bits: 0 };
  const [, name = "", suffix] = /^([^/]*)(?:\/(\d{1,3}))?$/.exec(text) ?? [];
  const groups = name.includes(":") ? parseIPv6(name) : parseIPv4(name);
  if (groups === null) return null;
  const width = groups.length === 4 ? 32 : 128;
  const bits = suffix === undefined ? width : Number(suffix);
  if (bits > width) return null;
  const address = unmap(groups);
  // IPv4 addresses inside IPv6 are compared as IPv4, so their networks are converted too.
  return address === groups || bits < 96 ? { address: groups, bits } : { address, bits: bits - 96 };
}

/**
 * Follows the proxies, starting at the server, to the first address that is not trusted, or the last one that can be
 * parsed.
 */
function walk(connected: Address | null, hops: Iterable<string>, trusted: TrustedProxies): Address | null {
  let current = connected;
  let passed = 0;
  for (const hop of hops) {
    const goesOn = typeof trusted === "number" ? passed < trusted : isTrusted(current, trusted);
    if (!goesOn) break;
    const next = parseAddress(hop);
    // The proxy hides the address, or sends something else. Stop at the last known address.
    if (next === null) break;
    current = next;
    passed++;
  }
  return current;
}

function isTrusted(address: Address | null, networks: readonly Network[]): boolean {
  return address !== null && networks.some((network) => contains(network, address));
}

function contains({ address: network, bits }: Network, address: Address): boolean {
  if (network.length !== address.length) return false;
  const size = network.length === 4 ? 8 : 16;
  for (let i = 0, left = bits; left > 0; i++, left -= size) {
    const ignored = Math.max(0, size - left);
    if (network[i]! >> ignored !== address[i]! >> ignored) return false;
  }
  return true;
}

/**
 * The addresses of `Forwarded`, last one first. An element without an address yields a text that is not an address.
 */
function* forwardedHops(field: string | null): Generator<string> {
  for (const element of splitFromRight(field ?? "")) yield forIn(element);
}

/**
 * The value of `for` in an element of `Forwarded` (RFC 7239, 4); empty if there is none, or if the element does not
 * follow the grammar. Parameters are parsed one after the other, so that text inside a quoted value is not taken for
 * a parameter.
 */
function forIn(element: string): string {
  const parameter =
    /[ \t]*(?:([!#$%&'*+.^_`|~\w-]+)[ \t]*=[ \t]*(?:"((?:[^"\\]|\\.)*)"|([^;" \t]+))[ \t]*)?(?:;|$)/y;
  let found = "";
  while (parameter.lastIndex < element.length) {
    const match = parameter.exec(element);
    if (match === null) return "";
    const [, name, quoted, bare] = match;
    if (name?.toLowerCase() !== "for") continue;
    // A parameter occurs once. An element that repeats it is invalid.
    if (found !== "") return "";
    found = quoted?.replace(/\\(.)/g, "$1") ?? bare ?? "";
  }
  return found;
}

/**
 * The parts between commas, last one first. A comma in quotes does not split. Quotes are matched from the right, so
 * that a quote that a client left open on the left cannot hide what a proxy has appended.
 */
function* splitFromRight(field: string): Generator<string> {
  let end = field.length;
  let inQuotes = false;
  for (let i = end - 1; i >= 0; i--) {
    if (field[i] === '"' && !isEscaped(field, i)) inQuotes = !inQuotes;
    if (field[i] !== "," || inQuotes) continue;
    yield field.slice(i + 1, end).trim();
    end = i;
  }
  yield field.slice(0, end).trim();
}

/** Whether an odd number of backslashes precedes an index. */
function isEscaped(text: string, place: number): boolean {
  let start = place;
  while (text[start - 1] === "\\") start--;
  return (place - start) % 2 === 1;
}

/** Parses an address with or without brackets, port and zone; `null` if it is invalid. */
function parseAddress(text: string): Address | null {
  const [, inBrackets] = /^\[([^\]]*)\](?::\d{1,5})?$/.exec(text) ?? [];
  if (inBrackets !== undefined) return parseZoned(inBrackets);
  const colon = text.indexOf(":");
  if (colon === -1) return parseIPv4(text);
  if (colon !== text.lastIndexOf(":")) return parseZoned(text);
  return /^\d{1,5}$/.test(text.slice(colon + 1)) ? parseIPv4(text.slice(0, colon)) : null;
}

function parseZoned(text: string): Address | null {
  const zone = text.indexOf("%");
  const groups = parseIPv6(zone === -1 ? text : text.slice(0, zone));
  return groups && unmap(groups);
}

function parseIPv4(text: string): Address | null {
  // Some parsers read a leading zero as octal, others as decimal.
  if (!/^(?:(?:0|[1-9]\d{0,2})(?:\.(?!$)|$)){4}$/.test(text)) return null;
  const bytes = text.split(".").map(Number);
  return bytes.every((byte) => byte <= 255) ? bytes : null;
}

function parseIPv6(text: string): Address | null {
  if (text.length > 45) return null;
  const halves = text.split("::");
  if (halves.length > 2) return null;
  const [head, tail] = halves.map((half, i) => parseGroups(half, i === halves.length - 1));
  if (head === undefined || head === null || tail === null) return null;
  if (tail === undefined) return head.length === 8 ? head : null;
  const missing = 8 - head.length - tail.length;
  return missing < 1 ? null : [...head, ...new Array<number>(missing).fill(0), ...tail];
}

/** Parses groups of IPv6. The last two may be written as IPv4. */
function parseGroups(text: string, isLast: boolean): number[] | null {
  if (text === "") return [];
  const parts = text.split(":");
  const groups: number[] = [];
  for (const [i, part] of parts.entries()) {
    if (isLast && i === parts.length - 1 && part.includes(".")) {
      const [a = 0, b = 0, c = 0, d = 0] = parseIPv4(part) ?? [NaN];
      if (Number.isNaN(a)) return null;
      groups.push(a * 256 + b, c * 256 + d);
    } else if (/^[\da-f]{1,4}$/i.test(part)) {
      groups.push(parseInt(part, 16));
    } else return null;
  }
  return groups;
}

/** IPv4 written as IPv6, `::ffff:192.0.2.1`, is IPv4. */
function unmap(groups: Address): Address {
  const isMapped = groups.length === 8 && groups[5] === 0xffff &&
    groups.slice(0, 5).every((group) => group === 0);
  if (!isMapped) return groups;
  return [groups[6]! >> 8, groups[6]! & 255, groups[7]! >> 8, groups[7]! & 255];
}

/** Formats an address as RFC 5952 says: lower case, without the longest run of zeros. */
function format(address: Address | null): string | null {
  if (address === null || address.length === 0) return null;
  if (address.length === 4) return address.join(".");
  const text = address.map((group) => group.toString(16)).join(":");
  const [longest] = [...text.matchAll(/(?:^|:)0(?::0)+(?=:|$)/g)].sort((a, b) => b[0].length - a[0].length);
  if (longest === undefined) return text;
  const rest = text.slice(longest.index + longest[0].length);
  return text.slice(0, longest.index) + (rest === "" ? "::" : `:${rest}`);
}
