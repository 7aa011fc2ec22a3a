/**
 * Slots in order of version, or of another number. It is a skip list: finding the first slot above a version does not
 * visit all slots.
 *
 * @module
 */

/** On average one slot in `STRIDE` is also in the lane above. So each lane is shorter by this factor. */
const STRIDE = 16;
/** The number of lanes above the list. They are enough for 16^5 slots; with more slots, finding gets a little slower. */
const LANES = 5;
/** How many of the newest slots are searched one by one before the lanes are used. */
const NEAR = 32;

/** The entry of a slot in one lane. */
interface LanePost {
  readonly slot: number;
  readonly below: LanePost | undefined;
  above: LanePost | undefined;
  before: LanePost | undefined;
  after: LanePost | undefined;
}

/**
 * A doubly linked list in typed arrays, 16 bytes a slot, with lanes above it that skip most slots. The cost of
 * appending and removing does not depend on the length. The cost of finding grows with its logarithm. Slot 0 is the
 * list's own: it is before the first slot and after the last one.
 */
export class VersionOrder {
  #versions = new Float64Array(1024);
  #next = new Uint32Array(1024);
  #previous = new Uint32Array(1024);
  #lowestPosts = new Map<number, LanePost>();
  #heads: LanePost[] = [];
  #tails: LanePost[] = [];
  // Decides only which slots are in the lanes. The seed is fixed, so that the same writes always cost the same.
  #seed = 0x9e3779b9;

  constructor() {
    for (let lane = 0; lane < LANES; lane++) {
      this.#heads.push(createPost(0, this.#heads[lane - 1]));
    }
    this.#tails = [...this.#heads];
  }

  /** The version of a slot that is in the list; 0 for slot 0. */
  versionOf(slot: number): number {
    return this.#versions[slot] ?? 0;
  }

  /** The slot after this one; 0 at the end. `next(0)` is the first. */
  next(slot: number): number {
    return this.#next[slot] ?? 0;
  }

  /** The first slot with a version above this one; 0 for none. */
  firstAbove(version: number): number {
    let slot = this.#previous[0] ?? 0;
    for (let steps = 0; steps < NEAR; steps++) {
      if (this.versionOf(slot) <= version) return this.next(slot);
      slot = this.#previous[slot] ?? 0;
    }
    return this.next(this.#lastUpTo(version, this.#lanesUpTo(version)));
  }

  /** Inserts a slot that is not in the list, after other slots of the same version. */
  insert(slot: number, version: number): void {
    if (slot >= this.#versions.length) this.#grow(slot);
    this.#versions[slot] = version;
    let before = this.#previous[0] ?? 0;
    let lanes = this.#tails;
    if (this.versionOf(before) > version) {
      lanes = this.#lanesUpTo(version);
      before = this.#lastUpTo(version, lanes);
    }
    const after = this.next(before);
    this.#next[before] = slot;
    this.#previous[slot] = before;
    this.#next[slot] = after;
    this.#previous[after] = slot;
    this.#addToLanes(slot, lanes);
  }

  /** Removes a slot that is in the list. */
  remove(slot: number): void {
    const before = this.#previous[slot] ?? 0;
    const after = this.next(slot);
    this.#next[before] = after;
    this.#previous[after] = before;
    let post = this.#lowestPosts.get(slot);
    if (post === undefined) return;
    this.#lowestPosts.delete(slot);
    for (let lane = 0; post !== undefined; lane++) {
      if (post.before) post.before.after = post.after;
      if (post.after) post.after.before = post.before;
      else if (post.before) this.#tails[lane] = post.before;
      post = post.above;
    }
  }

  /** For each lane, the last post with at most this version. */
  #lanesUpTo(version: number): LanePost[] {
    const found: LanePost[] = [];
    let post = this.#heads[LANES - 1];
    for (let lane = LANES - 1; post !== undefined; lane--) {
      while (post.after && this.versionOf(post.after.slot) <= version) post = post.after;
      found[lane] = post;
      post = post.below;
    }
    return found;
  }

  #lastUpTo(version: number, lanes: readonly LanePost[]): number {
    let slot = lanes[0]?.slot ?? 0;
    for (
      let next = this.next(slot);
      next !== 0 && this.versionOf(next) <= version;
      next = this.next(slot)
    ) {
      slot = next;
    }
    return slot;
  }

  /** Adds posts for a slot, in a random number of lanes. */
  #addToLanes(slot: number, lanes: readonly LanePost[]): void {
    let below: LanePost | undefined;
    for (let lane = 0; lane < LANES && this.#random() % STRIDE === 0; lane++) {
      const before = lanes[lane];
      const post = createPost(slot, below);
      post.before = before;
      post.after = before?.after;
      if (before) before.after = post;
      if (post.after) post.after.before = post;
      else this.#tails[lane] = post;
      if (below) below.above = post;
      else this.#lowestPosts.set(slot, post);
      below = post;
    }
  }

  #random(): number {
    this.#seed ^= this.#seed << 13;
    this.#seed ^= this.#seed >>> 17;
    this.#seed ^= this.#seed << 5;
    return this.#seed >>> 8;
  }

  #grow(slot: number): void {
    const size = Math.ceil(Math.max(slot + 1, this.#versions.length * 1.5));
    const versions = new Float64Array(size);
    versions.set(this.#versions);
    this.#versions = versions;
    this.#next = grown(this.#next, size);
    this.#previous = grown(this.#previous, size);
  }
}

function createPost(slot: number, below: LanePost | undefined): LanePost {
  return { slot, below, above: undefined, before: undefined, after: undefined };
}

function grown(numbers: Uint32Array<ArrayBuffer>, size: number): Uint32Array<ArrayBuffer> {
  const larger = new Uint32Array(size);
  larger.set(numbers);
  return larger;
}
