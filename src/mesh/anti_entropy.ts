/**
 * Deltas, page by page: giving another storage what it lacks, and taking in what it has.
 *
 * @module
 */
import {
  coversSeen,
  isSameStamp,
  joinSeen,
  type MeshStorage,
  type NodeTake,
  RESIDUES,
  type Seen,
  type StampedNode,
  stampOf,
  type StorageSeen,
} from "../store/contract.ts";
import type { RealityNodeMeta } from "../types.ts";
import { judge, judgeMissing, type Knowledge } from "./merge.ts";
import type { Delta, Message } from "./message.ts";

/** Says what becomes of a node of another storage, given the one that is here; and which sweeps it knows of. */
interface PreparedJudge {
  readonly judge: (theirs: StampedNode, mine: StampedNode | undefined) => NodeTake | null;
  readonly swept?: Seen;
}

/** What the pages ask of the other rooms. */
export interface PageRooms {
  readonly storage: MeshStorage;
  /** Asks something of the storage: with its time limit, and reported when it fails. */
  ask<T>(operation: string, call: () => Promise<T>): Promise<T>;
  /**
   * Takes in nodes by the one way in. Says which were written as they were there, and what was made instead.
   */
  take(
    nodes: readonly StampedNode[],
    prepare: (isMissing: boolean) => PreparedJudge | Promise<PreparedJudge>,
  ): Promise<{ readonly taken: readonly string[]; readonly made: readonly RealityNodeMeta[] }>;
  /** Wakes who waits for these keys; `null` for all. */
  wake(keys: readonly string[] | null): void;
}

/** A delta that has come in part: what its next page continues. */
export interface Incoming {
  /** What the sender had seen before its first page: adopted after the last, and not sooner. */
  readonly adopt: Seen;
  readonly full: boolean;
  /** In a full copy: the keys of nodes, not of tombstones, that it has brought so far. */
  readonly keys: Set<string>;
  /** Names the page that is still to come. */
  readonly next: string;
}

/** What became of a page. */
export interface Taken {
  /** Whether it followed on what is here, and was taken in. */
  readonly isTaken: boolean;
  /**
   * The keys of nodes that were written here as they were there, and of those that were deleted since a full copy lacks
   * them: whoever gets the same copy finds out the same.
   */
  readonly written: readonly string[];
  /** Changes of this storage's own that were made instead: news to everybody. */
  readonly made: readonly RealityNodeMeta[];
  /** What the next page continues; undefined when none is to come. */
  readonly incoming: Incoming | undefined;
}

/** What a peer is given: what this storage has seen, and a page of what the peer lacks. */
export interface Given {
  readonly state: StorageSeen;
  readonly delta: Delta | undefined;
  /** With the first page of a full copy: what the peer lacks that only such a copy can tell it. */
  readonly reason?: string;
}

/** A page that was left aside. */
export const UNTAKEN: Taken = { isTaken: false, written: [], made: [], incoming: undefined };

const EMPTY: Seen = new Map();

/** Gives and takes pages for one storage. It keeps nothing between them. */
export class Pages {
  readonly #rooms: PageRooms;
  /** The delta that is taken in now, or was last. */
  #turn: Promise<unknown> = Promise.resolve();

  /** @param rooms The storage, and the way in. */
  constructor(rooms: PageRooms) {
    this.#rooms = rooms;
  }

  /**
   * A page of what a peer lacks.
   *
   * @param theirs What it has seen; undefined when that is not known, and then it is given nothing.
   * @param limit How many nodes at most.
   * @param more The page it asks for, if not the first.
   * @param mayCopy Whether it may be given a full copy for this reason, where a delta loses nothing either.
   */
  async give(
    theirs: Seen | undefined,
    limit: number,
    more?: Message["more"],
    mayCopy: (reason: string) => boolean = () => true,
  ): Promise<Given> {
    const { storage, ask } = this.#rooms;
    if (theirs === undefined) {
      return { state: await ask("readSeen", () => storage.readSeen()), delta: undefined };
    }
    const read = async (base: Seen): Promise<Given> => {
      const { nodes, next, ...state } = await ask(
        "readDelta",
        () => storage.readDelta(base, limit, more?.after),
      );
      const full = base === EMPTY;
      return { state, delta: { base, full, after: more?.after ?? null, next, nodes } };
    };
    if (more !== undefined) return await read(more.full ? EMPTY : theirs);
    const given = await read(theirs);
    // Deletions that it never heard of are forgotten here: only a full copy can tell it what is gone. Where more was seen
    // here of where they were made, it has to come first. Where not, both wait for the rest of what was made there.
    const { seen, swept } = given.state;
    const lacking = [...swept].filter(([origin, stamp]) => stamp > (theirs.get(origin) ?? 0));
    if (lacking.length > 0) {
      const reason = lacking.map(([origin, stamp]) => `${origin}:${stamp}`).sort().join();
      const isDue = lacking.some(([origin]) => advances(seen, theirs, origin));
      if (isDue || mayCopy(reason)) return { ...await read(EMPTY), reason };
    }
    return coversSeen(theirs, seen) && isEmpty(given.delta) ? { ...given, delta: undefined } : given;
  }

  /**
   * Takes in a page, if it follows on what is here. One after the other: a node is judged by what had been seen, and
   * must not come to stand after another delta has brought its deletion, and that was forgotten.
   *
   * @param previous What the page before left; undefined when there was none.
   * @param message The message that the page came in.
   */
  take(previous: Incoming | undefined, message: Message): Promise<Taken> {
    const turn = this.#turn.then(() => this.#takeInTurn(previous, message));
    this.#turn = turn.catch(() => {});
    return turn;
  }

  async #takeInTurn(previous: Incoming | undefined, message: Message): Promise<Taken> {
    const { storage, ask, wake } = this.#rooms;
    const { delta, seen: theirs, swept = EMPTY } = message;
    if (theirs === undefined) return UNTAKEN;
    if (delta !== undefined && delta.after !== null && delta.after !== previous?.next) return UNTAKEN;
    const mine = await ask("readSeen", () => storage.readSeen());
    // Before anything is numbered for the nodes it brings.
    const known = joinSeen(theirs, highestStamps(delta?.nodes ?? []));
    if (sharesResidue(mine, known)) await ask("keepApart", () => storage.keepApart(known));
    if (delta === undefined) {
      // All that it has is here, but its epoch may be the older one all the same.
      const isOlder = message.epoch < mine.epoch && coversSeen(mine.seen, theirs);
      if (isOlder && await ask("adoptSeen", () => storage.adoptSeen(theirs, message.epoch))) wake(null);
      return UNTAKEN;
    }
    // A delta may lack deletions that were forgotten there. It loses none as long as nothing more counts as seen here of
    // where they were made.
    const adopt = delta.after === null ? theirs : previous?.adopt ?? theirs;
    const losesNothing = [...swept].every(([origin, stamp]) =>
      stamp <= (mine.seen.get(origin) ?? 0) || !advances(adopt, mine.seen, origin)
    );
    if (!coversSeen(mine.seen, delta.base) || !delta.full && !losesNothing) return UNTAKEN;
    try {
      return await this.#takeDelta(delta, { message, mine, theirs, previous });
    } finally {
      // Of a page that failed as well: some of it may have been written. And not before what was seen is adopted: a
      // client that is told may change the node at once, and that change should be known to have come after.
      wake(delta.nodes.map(({ key }) => key));
    }
  }

  async #takeDelta(
    delta: Delta,
    { message, mine, theirs, previous }: {
      readonly message: Message;
      readonly mine: StorageSeen;
      readonly theirs: Seen;
      readonly previous: Incoming | undefined;
    },
  ): Promise<Taken> {
    const { storage, ask, take, wake } = this.#rooms;
    const { swept = EMPTY, epoch } = message;
    const { taken: written, made } = await take(delta.nodes, async (isMissing) => {
      // What is not here may have been forgotten since we looked.
      const { seen, swept } = isMissing ? await ask("readSeen", () => storage.readSeen()) : mine;
      return { swept, judge: (node, own) => judge(node, own, { mine: seen, theirs, swept }) };
    });
    const before = delta.after === null ? undefined : previous;
    const { adopt = theirs, keys = new Set<string>() } = before ?? {};
    // A tombstone says no more than its own deletion, beside which another may have been forgotten.
    if (delta.full) { for (const { key, deleted } of delta.nodes) if (!deleted) keys.add(key); }
    if (delta.next !== null) {
      return { isTaken: true, written, made, incoming: { adopt, keys, full: delta.full, next: delta.next } };
    }
    const judgeRest = () => this.#judgeMissing(keys, { mine: mine.seen, theirs: adopt, swept });
    const dropped = delta.full ? await judgeRest() : [];
    const isNews = delta.full || epoch < mine.epoch || !coversSeen(mine.seen, adopt);
    // Only now: until here, what was seen of the sender's is not all taken in.
    const isNewEpoch = isNews &&
      await ask("adoptSeen", () => storage.adoptSeen(adopt, epoch, delta.full ? swept : undefined));
    if (isNewEpoch) wake(null);
    // Once more, for what was changed here since: as long as it was not adopted, nobody knew what had been forgotten.
    if (delta.full) dropped.push(...await judgeRest());
    const deleted = dropped.flatMap(({ key, deleted }) => deleted ? key : []);
    const joined = dropped.filter(({ deleted }) => !deleted);
    return {
      isTaken: true,
      written: [...written, ...deleted],
      made: [...made, ...joined],
      incoming: undefined,
    };
  }

  /** Judges what is here and not in a full copy: what was forgotten there is either missing here or told anew. */
  async #judgeMissing(keys: ReadonlySet<string>, knowledge: Knowledge): Promise<RealityNodeMeta[]> {
    const { storage, ask, take, wake } = this.#rooms;
    const written: RealityNodeMeta[] = [];
    let after: string | undefined;
    do {
      const page = await ask("readDelta", () => storage.readDelta(EMPTY, 500, after));
      const missing = page.nodes.filter((node) =>
        !keys.has(node.key) && judgeMissing(node, knowledge) !== null
      );
      const { made } = await take(missing, () => ({
        judge: (known, mine) => {
          if (mine === undefined || !isSameStamp(stampOf(mine), stampOf(known))) return null;
          return judgeMissing(mine, knowledge);
        },
      }));
      wake(missing.map(({ key }) => key));
      written.push(...made);
      after = page.next ?? undefined;
    } while (after !== undefined);
    return written;
  }
}

/** Origin → the highest stamp among nodes. */
function highestStamps(nodes: readonly StampedNode[]): Seen {
  const stamps = new Map<string, number>();
  for (const { origin, stamp } of nodes) stamps.set(origin, Math.max(stamp, stamps.get(origin) ?? 0));
  return stamps;
}

/** Whether some other storage numbers with the residue of this one. */
function sharesResidue({ seen, origin }: StorageSeen, known: Seen): boolean {
  const own = seen.get(origin) ?? 0;
  return [...known].some(([other, stamp]) => other !== origin && stamp > 0 && (stamp - own) % RESIDUES === 0);
}

/** Whether more of this origin was seen than by another one. */
function advances(seen: Seen, other: Seen, origin: string): boolean {
  return (seen.get(origin) ?? 0) > (other.get(origin) ?? 0);
}

function isEmpty(delta: Delta | undefined): boolean {
  return delta === undefined || delta.nodes.length === 0 && delta.next === null;
}
