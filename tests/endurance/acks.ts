/**
 * The acknowledged changes of each key and their times: what a later sync must answer.
 *
 * @module
 */

/** An acknowledged version of a key. */
interface Update {
  readonly version: number;
  readonly asked: number;
  readonly at: number;
}

/** A deletion. It has no version. */
interface Deletion {
  readonly asked: number;
  /** When it was acknowledged; `Infinity` if it was not: it may have been applied, or may be applied later. */
  at: number;
}

interface Past {
  /** The lowest version first. */
  readonly updates: Update[];
  /** In the order of their requests. */
  readonly deletions: Deletion[];
}

/** How many updates and deletions of a key are kept. */
const MAX_KEPT = 64;

/** The acknowledged changes of all keys. */
export class Acks {
  readonly #pasts = new Map<string, Past>();

  /** All keys with an acknowledged change or a requested deletion. */
  get keys(): readonly string[] {
    return [...this.#pasts.keys()];
  }

  /** Records an acknowledged update. */
  note(key: string, { version, asked, at }: Update): void {
    const { updates } = this.#pastOf(key);
    let place = updates.length;
    while (place > 0 && updates[place - 1]!.version > version) place--;
    updates.splice(place, 0, { version, asked, at });
    if (updates.length > MAX_KEPT) updates.shift();
  }

  /**
   * Records a requested deletion: from now on the key may be gone.
   *
   * @returns a function that records its acknowledgement
   */
  beginDeletion(key: string, asked: number): (at: number) => void {
    const { deletions } = this.#pastOf(key);
    const deletion: Deletion = { asked, at: Infinity };
    deletions.push(deletion);
    if (deletions.length > MAX_KEPT) deletions.shift();
    return (at) => deletion.at = at;
  }

  /**
   * Finds an acknowledged change that an answer lacks.
   *
   * @param held the client's version after the answer; 0 for a key without a node
   * @returns a description of the change; `undefined` if none is missing
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

  /** Whether a deletion of the key was ever requested, so that an answer may report it as gone. */
  mayBeGone(key: string): boolean {
    return (this.#pasts.get(key)?.deletions.length ?? 0) > 0;
  }

  /**
   * When the first change between the client's version and the answered one was acknowledged.
   *
   * @param told the answered version; 0 for a deletion
   * @returns `undefined` if none was acknowledged, or if the client's
   * own version was never acknowledged
   */
  firstNews(key: string, held: number, told: number): number | undefined {
    const { updates, deletions } = this.#pasts.get(key) ?? { updates: [], deletions: [] };
    const own = updates.find(({ version }) => version === held);
    if (held > 0 && own === undefined) return undefined;
    const since = own?.at ?? -Infinity;
    if (told === 0) return least(deletions.filter(({ asked, at }) => asked > since && at < Infinity));
    const until = updates.find(({ version }) => version === told)?.at ?? Infinity;
    // A client without a version has received the last deletion before.
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
