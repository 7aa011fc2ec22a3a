/**
 * What was acknowledged of each key, and when: what a client that asks afterwards must be told.
 *
 * @module
 */

interface Ack {
  readonly version: number;
  readonly at: number;
}

/** So many acknowledgements of a key are remembered. */
const MAX_KEPT = 64;

/** The acknowledged changes of all keys. */
export class Acks {
  /** By key, the oldest version first. */
  readonly #acks = new Map<string, Ack[]>();

  /** All keys of which something was acknowledged. */
  get keys(): readonly string[] {
    return [...this.#acks.keys()];
  }

  /** Notes a change that was acknowledged. */
  note(key: string, version: number, at: number): void {
    const acks = this.#acks.get(key);
    if (acks === undefined) return void this.#acks.set(key, [{ version, at }]);
    let place = acks.length;
    while (place > 0 && acks[place - 1]!.version > version) place--;
    acks.splice(place, 0, { version, at });
    if (acks.length > MAX_KEPT) acks.shift();
  }

  /** The highest version that was acknowledged before a moment; 0 for none. */
  latest(key: string, before: number = Infinity): number {
    return this.#acks.get(key)?.findLast(({ at }) => at < before)?.version ?? 0;
  }

  /** When the first was acknowledged of the versions above one, up to another; undefined for none. */
  firstBetween(key: string, above: number, upTo: number): number | undefined {
    let first: number | undefined;
    for (const { version, at } of this.#acks.get(key) ?? []) {
      if (version > above && version <= upTo && (first === undefined || at < first)) first = at;
    }
    return first;
  }
}
