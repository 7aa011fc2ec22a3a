/**
 * Pure: which address a request came from, when proxies stand before the server and say so.
 *
 * @module
 */

/** An address as numbers: 4 bytes of IPv4, or 8 groups of IPv6; none for a Unix socket. */
type Address = readonly number[];

/** What stands for the address of who connected through a Unix socket, and for all of these among trusted proxies. */
export const UNIX_SOCKET = "unix";

/** Addresses that begin with the same bits. */
export interface Network {
  readonly address: Address;
  /** How many bits count. */
  readonly bits: number;
}

/** Which proxies are believed: so many in a row before the server, or those at these addresses. */
export type TrustedProxies = number | readonly Network[];

/** What proxies said, as the header fields have it; `null` for a field that was not sent. */
export interface ForwardedFields {
  readonly xForwardedFor: string | null;
  readonly forwarded: string | null;
}

/** IPv6 clients get whole networks: these bits of an address are one of them. */
const CLIENT_BITS = 64;

/**
 * Says where a request came from: the first address, from the server's side on, that no trusted proxy has. What
 * stands further left in a field was written by that client itself, and counts for nothing.
 *
 * @param remote The address that connected, as the door knows it; `unix` for a Unix socket, `null` for unknown.
 * @param fields What the proxies say. Where both fields were sent and differ, neither is believed: a proxy that sets
 *   one of them may pass on the other as its client wrote it.
 * @param trusted Which proxies are believed.
 * @returns The address in its one usual form, IPv4 for IPv4 inside IPv6; `null` when it is not known.
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

/** What stands for a client when requests are counted: an IPv4 address, or the network of an IPv6 one. */
export function clientNetwork(address: string): string {
  const parsed = parseAddress(address);
  if (parsed === null || parsed.length === 4) return address;
  return `${parsed.slice(0, CLIENT_BITS / 16).map((group) => group.toString(16)).join(":")}::/${CLIENT_BITS}`;
}

/**
 * Reads an address, a network such as `10.0.0.0/8`, or `unix` for Unix sockets.
 *
 * @returns `null` when the text is none of them.
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
  // Addresses of IPv4 inside IPv6 are looked at as IPv4, so their networks must be, too.
  return address === groups || bits < 96 ? { address: groups, bits } : { address, bits: bits - 96 };
}

/** From the server's side on: the first address without trust, or the last one that can be read. */
function walk(connected: Address | null, hops: Iterable<string>, trusted: TrustedProxies): Address | null {
  let current = connected;
  let passed = 0;
  for (const hop of hops) {
    const goesOn = typeof trusted === "number" ? passed < trusted : isTrusted(current, trusted);
    if (!goesOn) break;
    const next = parseAddress(hop);
    // A proxy that will not say, or says something else: no further than here is known.
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

/** The addresses of `Forwarded`, the last one first; what has none gives a text that is none. */
function* forwardedHops(field: string | null): Generator<string> {
  for (const element of splitFromRight(field ?? "")) yield forIn(element);
}

/**
 * The value of `for` in an element of `Forwarded` (RFC 7239, 4); empty where there is none, or the element is not as the
 * grammar has it. Its parameters are read one after the other: what looks like one inside a quoted value is none.
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
    // A parameter stands once: whoever says two things says nothing.
    if (found !== "") return "";
    found = quoted?.replace(/\\(.)/g, "$1") ?? bare ?? "";
  }
  return found;
}

/**
 * The parts between commas, the last one first. A comma in quotes does not part: and since quotes are looked for from
 * the right, one that a client left open on the left swallows nothing that a proxy has added.
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

/** Whether an odd number of backslashes stands before a place. */
function isEscaped(text: string, place: number): boolean {
  let start = place;
  while (text[start - 1] === "\\") start--;
  return (place - start) % 2 === 1;
}

/** Reads an address, with or without brackets, port and zone; `null` when it is none. */
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
  // A leading zero is octal to some and decimal to others.
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

/** Reads groups of IPv6; the last two may be written as IPv4. */
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

/** IPv4 that is written as IPv6, `::ffff:192.0.2.1`, is IPv4. */
function unmap(groups: Address): Address {
  const isMapped = groups.length === 8 && groups[5] === 0xffff &&
    groups.slice(0, 5).every((group) => group === 0);
  if (!isMapped) return groups;
  return [groups[6]! >> 8, groups[6]! & 255, groups[7]! >> 8, groups[7]! & 255];
}

/** As RFC 5952 writes it: lower case, the longest run of zeros left out. */
function format(address: Address | null): string | null {
  if (address === null || address.length === 0) return null;
  if (address.length === 4) return address.join(".");
  const text = address.map((group) => group.toString(16)).join(":");
  const [longest] = [...text.matchAll(/(?:^|:)0(?::0)+(?=:|$)/g)].sort((a, b) => b[0].length - a[0].length);
  if (longest === undefined) return text;
  const rest = text.slice(longest.index + longest[0].length);
  return text.slice(0, longest.index) + (rest === "" ? "::" : `:${rest}`);
}
