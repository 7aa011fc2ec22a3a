/**
 * Seeded random numbers, also in place of those of the runtime.
 *
 * @module
 */

/** A seeded generator. The same seed gives the same numbers on every runtime. */
export class SeededRandom {
  readonly #seed: string;
  #state: number;

  constructor(seed: string | number) {
    this.#seed = String(seed);
    this.#state = hashText(this.#seed);
  }

  /** Returns a number of at least 0 and below 1. */
  next(): number {
    this.#state = (this.#state + 0x6d2b79f5) | 0;
    let bits = Math.imul(this.#state ^ (this.#state >>> 15), this.#state | 1);
    bits ^= bits + Math.imul(bits ^ (bits >>> 7), bits | 61);
    return ((bits ^ (bits >>> 14)) >>> 0) / 2 ** 32;
  }

  /** Returns an integer from `low` to `high`, both included. */
  between(low: number, high: number): number {
    return low + Math.floor(this.next() * (high - low + 1));
  }

  /** Returns `true` with this probability. */
  happens(probability: number): boolean {
    return this.next() < probability;
  }

  /** Returns a random item. */
  pick<T>(list: readonly T[]): T {
    const picked = list[Math.floor(this.next() * list.length)];
    if (picked === undefined) throw new RangeError("Cannot pick from a list: it is empty");
    return picked;
  }

  /** Returns the list in a random order. */
  shuffle<T>(list: readonly T[]): T[] {
    return list.map((item) => ({ item, place: this.next() })).sort((a, b) => a.place - b.place)
      .map(({ item }) => item);
  }

  /** Returns a generator that is independent of the numbers drawn here. */
  fork(name: string | number): SeededRandom {
    return new SeededRandom(`${this.#seed}/${name}`);
  }
}

/** The replaced random numbers and cryptography of the runtime. */
export interface HeldCrypto {
  /** The number of pending cryptographic operations. */
  readonly pending: number;
  /** Restores those of the runtime. */
  restore(): void;
}

/**
 * Takes the values of `crypto.getRandomValues` and `Math.random` from `random`. Operations of `crypto.subtle` are counted and
 * settle in the order of their calls, so that a run depends on its seed alone.
 *
 * @param random the generator
 * @param quick whether signatures are checksums, for tests that forge none
 */
export function holdCrypto(random: SeededRandom, quick: boolean): HeldCrypto {
  let pending = 0;
  let last: Promise<unknown> = Promise.resolve();
  const realRandom = Math.random;
  const real = crypto.subtle;
  const inTurn = <T>(answer: Promise<T>): Promise<T> => {
    pending++;
    last = Promise.allSettled([last, answer]).then(() => pending--);
    return last.then(() => answer);
  };
  const slow = {
    importKey: (...args: Parameters<SubtleCrypto["importKey"]>) => inTurn(real.importKey(...args)),
    sign: (...args: Parameters<SubtleCrypto["sign"]>) => inTurn(real.sign(...args)),
    verify: (...args: Parameters<SubtleCrypto["verify"]>) => inTurn(real.verify(...args)),
    digest: (...args: Parameters<SubtleCrypto["digest"]>) => inTurn(real.digest(...args)),
  };
  const getRandomValues = <T extends ArrayBufferView>(view: T): T => {
    const bytes = new Uint8Array(view.buffer, view.byteOffset, view.byteLength);
    for (let i = 0; i < bytes.length; i++) bytes[i] = random.between(0, 255);
    return view;
  };
  Object.defineProperty(crypto, "subtle", { value: quick ? checksums : slow, configurable: true });
  Object.defineProperty(crypto, "getRandomValues", { value: getRandomValues, configurable: true });
  Math.random = () => random.next();
  return {
    get pending() {
      return pending;
    },
    restore() {
      Math.random = realRandom;
      // The properties on the object hide those of its class.
      Reflect.deleteProperty(crypto, "subtle");
      Reflect.deleteProperty(crypto, "getRandomValues");
    },
  };
}

/** Replaces HMAC and SHA-256: 32 bytes that depend on every byte of key and data. */
const checksums = {
  digest: (_algorithm: string, data: Uint8Array) => Promise.resolve(checksum(new Uint8Array(1), data).buffer),
  importKey: (_format: string, key: Uint8Array) => Promise.resolve(key.slice()),
  sign: (_algorithm: unknown, key: Uint8Array, data: Uint8Array) =>
    Promise.resolve(checksum(key, data).buffer),
  verify: (_algorithm: unknown, key: Uint8Array, signature: Uint8Array, data: Uint8Array) => {
    const expected = checksum(key, data);
    const fits = signature.length === expected.length && expected.every((byte, i) => byte === signature[i]);
    return Promise.resolve(fits);
  },
};

function checksum(key: Uint8Array, data: Uint8Array): Uint8Array {
  let [a, b] = [0x811c9dc5, 0x9e3779b9];
  for (const bytes of [key, data]) {
    for (let i = 0; i < bytes.length; i++) {
      a = Math.imul(a ^ bytes[i]!, 0x01000193);
      b = Math.imul(b + bytes[i]!, 0x85ebca6b) ^ (b >>> 13);
    }
  }
  const words = new Uint32Array(8);
  for (let i = 0; i < words.length; i++) {
    a = Math.imul(a ^ (a >>> 15), 0x2c1b3c6d) ^ b;
    b = Math.imul(b ^ (b >>> 12), 0x297a2d39) + i;
    words[i] = a;
  }
  return new Uint8Array(words.buffer);
}

/** Hashes a text to 32 bits. */
function hashText(text: string): number {
  let bits = 0x811c9dc5;
  for (let i = 0; i < text.length; i++) bits = Math.imul(bits ^ text.charCodeAt(i), 0x01000193);
  bits = Math.imul(bits ^ (bits >>> 16), 0x7feb352d);
  bits = Math.imul(bits ^ (bits >>> 15), 0x846ca68b);
  return bits ^ (bits >>> 16);
}
