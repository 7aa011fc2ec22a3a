/**
 * The keys of a simulated history, and which of them a guest may read.
 *
 * @module
 */

/** The `authorize` hook of clusters with read rights. */
export function authorize(request: Request, keys: readonly string[]): true | string[] {
  return request.headers.get("x-user") === "guest" ? keys.filter(mayGuestRead) : true;
}

/** Whether a guest may read a key: the odd ones, and those that are changed to heal the cluster. */
export function mayGuestRead(key: string): boolean {
  return !/[02468]$/.test(key);
}

/** The group of all keys that `keyOf` returns. Not of those that are changed to heal the cluster: they would hide a missed one. */
export const GROUP = "keys*";

/** The option `groups` of servers in clusters with groups. */
export function findGroups(key: string): string[] {
  return isMember(key) ? [GROUP] : [];
}

/** Whether a key is in the group. */
export function isMember(key: string): boolean {
  return key.startsWith("key-");
}

/** Returns the name of a key. */
export function keyOf(number: number): string {
  return `key-${number}`;
}
