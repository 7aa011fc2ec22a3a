/**
 * Numbered places kept in order of version, or of another number: what came after one is found without looking at the
 * rest.
 *
 * @module
 */

/** One place in `STRIDE`, on average, stands in the lane above; so every lane is that much shorter. */
const STRIDE = 16;
/** Lanes above the list itself: enough for 16^5 places at full speed, and more at a little less. */
const LANES = 5;
/** How many of the newest places are tried one by one before the lanes are used. */
const NEAR = 32;

/** A place's stand in one lane. */
interface Post {
  readonly place: number;
  readonly below: Post | undefined;
  above: Post | undefined;
  before: Post | undefined;
  after: Post | undefined;
}

/**
 * A doubly linked list through typed arrays, 16 bytes a place, with a few lanes above it in which most places
 * are skipped. Appending and taking out cost the same however long the list is; finding a version's place
 * costs its logarithm. Place 0 is the list's own: it stands before the first and after the last.
 */
export class VersionOrder {
  #versions = new Float64Array(1024);
  #next = new Uint32Array(1024);
  #previous = new Uint32Array(1024);
  #lowestPosts = new Map<number, Post>();
  #heads: Post[] = [];
  #tails: Post[] = [];
  // Only shapes the lanes. Seeded, so that the same writes always cost the same.
  #seed = 0x9e3779b9;

  constructor() {
    for (let lane = 0; lane < LANES; lane++) {
      this.#heads.push(createPost(0, this.#heads[lane - 1]));
    }
    this.#tails = [...this.#heads];
  }

  /** The version of a place that is in the list; 0 for place 0. */
  versionOf(place: number): number {
    return this.#versions[place] ?? 0;
  }

  /** The place after this one; 0 at the end. `next(0)` is the first. */
  next(place: number): number {
    return this.#next[place] ?? 0;
  }

  /** The first place with a version above this one; 0 for none. */
  firstAbove(version: number): number {
    let place = this.#previous[0] ?? 0;
    for (let steps = 0; steps < NEAR; steps++) {
      if (this.versionOf(place) <= version) return this.next(place);
      place = this.#previous[place] ?? 0;
    }
    return this.next(this.#lastUpTo(version, this.#lanesUpTo(version)));
  }

  /** Puts a place that is not in the list where its version belongs; behind others of the same version. */
  insert(place: number, version: number): void {
    if (place >= this.#versions.length) this.#grow(place);
    this.#versions[place] = version;
    let before = this.#previous[0] ?? 0;
    let lanes = this.#tails;
    if (this.versionOf(before) > version) {
      lanes = this.#lanesUpTo(version);
      before = this.#lastUpTo(version, lanes);
    }
    const after = this.next(before);
    this.#next[before] = place;
    this.#previous[place] = before;
    this.#next[place] = after;
    this.#previous[after] = place;
    this.#raise(place, lanes);
  }

  /** Takes out a place that is in the list. */
  remove(place: number): void {
    const before = this.#previous[place] ?? 0;
    const after = this.next(place);
    this.#next[before] = after;
    this.#previous[after] = before;
    let post = this.#lowestPosts.get(place);
    if (post === undefined) return;
    this.#lowestPosts.delete(place);
    for (let lane = 0; post !== undefined; lane++) {
      if (post.before) post.before.after = post.after;
      if (post.after) post.after.before = post.before;
      else if (post.before) this.#tails[lane] = post.before;
      post = post.above;
    }
  }

  /** In every lane the last post with at most this version. */
  #lanesUpTo(version: number): Post[] {
    const found: Post[] = [];
    let post = this.#heads[LANES - 1];
    for (let lane = LANES - 1; post !== undefined; lane--) {
      while (post.after && this.versionOf(post.after.place) <= version) post = post.after;
      found[lane] = post;
      post = post.below;
    }
    return found;
  }

  #lastUpTo(version: number, lanes: readonly Post[]): number {
    let place = lanes[0]?.place ?? 0;
    for (
      let next = this.next(place);
      next !== 0 && this.versionOf(next) <= version;
      next = this.next(place)
    ) {
      place = next;
    }
    return place;
  }

  /** Gives a place its posts, if chance will have it. */
  #raise(place: number, lanes: readonly Post[]): void {
    let below: Post | undefined;
    for (let lane = 0; lane < LANES && this.#chance() % STRIDE === 0; lane++) {
      const before = lanes[lane];
      const post = createPost(place, below);
      post.before = before;
      post.after = before?.after;
      if (before) before.after = post;
      if (post.after) post.after.before = post;
      else this.#tails[lane] = post;
      if (below) below.above = post;
      else this.#lowestPosts.set(place, post);
      below = post;
    }
  }

  #chance(): number {
    this.#seed ^= this.#seed << 13;
    this.#seed ^= this.#seed >>> 17;
    this.#seed ^= this.#seed << 5;
    return this.#seed >>> 8;
  }

  #grow(place: number): void {
    const size = Math.ceil(Math.max(place + 1, this.#versions.length * 1.5));
    const versions = new Float64Array(size);
    versions.set(this.#versions);
    this.#versions = versions;
    this.#next = grown(this.#next, size);
    this.#previous = grown(this.#previous, size);
  }
}

function createPost(place: number, below: Post | undefined): Post {
  return { place, below, above: undefined, before: undefined, after: undefined };
}

function grown(numbers: Uint32Array<ArrayBuffer>, size: number): Uint32Array<ArrayBuffer> {
  const larger = new Uint32Array(size);
  larger.set(numbers);
  return larger;
}
