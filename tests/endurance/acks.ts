/**
 * What was acknowledged of each key, and when: what a client that asks afterwards must be told.
 *
 * @module
 */

/** A version of a key that was acknowledged. */
interface Update {
  readonly version: number;
  readonly asked: number;
  readonly at: number;
}

/** A deletion. It has no version. */
interface Deletion {
  readonly asked: number;
  /** When it was acknowledged; `Infinity` for one that may be there, or still come to be. */
  at: number;
}

interface Past {
  /** The lowest version first. */
  readonly updates: Update[];
  /** The one asked for first comes first. */
  readonly deletions: Deletion[];
}

/** So many updates and so many deletions of a key are remembered. */
const MAX_KEPT = 64;

/** The acknowledged changes of all keys. */
export class Acks {
  readonly #pasts = new Map<string, Past>();

  /** All keys of which something was acknowledged, or that somebody asked to delete. */
  get keys(): readonly string[] {
    return [...this.#pasts.keys()];
  }

  /** Notes an update that was acknowledged. */
  note(key: string, { version, asked, at }: Update): void {
    const { updates } = this.#pastOf(key);
    let place = updates.length;
    while (place > 0 && updates[place - 1]!.version > version) place--;
    updates.splice(place, 0, { version, asked, at });
    if (updates.length > MAX_KEPT) updates.shift();
  }

  /**
   * Notes a deletion that is asked for: from now on the key may be gone.
   *
   * @returns Notes that it was acknowledged.
   */
  beginDeletion(key: string, asked: number): (at: number) => void {
    const { deletions } = this.#pastOf(key);
    const deletion: Deletion = { asked, at: Infinity };
    deletions.push(deletion);
    if (deletions.length > MAX_KEPT) deletions.shift();
    return (at) => deletion.at = at;
  }

  /**
   * What somebody who asked at a moment was not told of.
   *
   * @param held The version that it was left with; 0 for a key that is not there.
   * @returns The change that was acknowledged before, in words; undefined when nothing is wrong.
   */
  untold(key: string, held: number, asked: number = Infinity): string | undefined {
    const past = this.#pasts.get(key);
    const newest = past?.updates.findLast(({ at }) => at < asked);
    if (past === undefined || newest === undefined) return undefined;
    if (held === 0) {
      const mayBeGone = past.deletions.some(({ at }) => at >= newest.asked);
      return mayBeGone ? undefined : `${newest.version} was acknowledged`;
    }
    if (held < newest.version) return `${newest.version} was acknowledged`;
    const own = past.updates.find(({ version }) => version === held);
    const isDeleted = own !== undefined &&
      past.deletions.some((deletion) => deletion.asked > own.at && deletion.at < asked);
    return isDeleted ? "its deletion was acknowledged" : undefined;
  }

  /** Whether somebody ever asked to delete a key: then it may be told as gone. */
  mayBeGone(key: string): boolean {
    return (this.#pasts.get(key)?.deletions.length ?? 0) > 0;
  }

  /**
   * When the first change was acknowledged that makes news for who holds a version, up to what it is told.
   *
   * @param told The version that it is told; 0 for a deletion.
   * @returns undefined where none of them was acknowledged, or where it is not known since when the client holds its
   *   version, since that was never acknowledged.
   */
  firstNews(key: string, held: number, told: number): number | undefined {
    const { updates, deletions } = this.#pasts.get(key) ?? { updates: [], deletions: [] };
    const own = updates.find(({ version }) => version === held);
    if (held > 0 && own === undefined) return undefined;
    const since = own?.at ?? -Infinity;
    if (told === 0) return least(deletions.filter(({ asked, at }) => asked > since && at < Infinity));
    const until = updates.find(({ version }) => version === told)?.at ?? Infinity;
    // Who holds nothing was told of the last deletion before.
    const deleted = held > 0
      ? -Infinity
      : deletions.findLast(({ asked }) => asked < until)?.asked ?? -Infinity;
    return least(updates.filter(({ version, at }) => version > held && version <= told && at > deleted));
  }

  #pastOf(key: string): Past {
    let past = this.#pasts.get(key);
    if (past === undefined) this.#pasts.set(key, past = { updates: [], deletions: [] });
    return past;
  }
}

function least(all: readonly { readonly at: number }[]): number | undefined {
  return all.length === 0 ? undefined : Math.min(...all.map(({ at }) => at));
}
