/**
 * HMAC-SHA-256 with one key.
 *
 * @module
 */
import type { MaybePromise } from "../maybe_promise.ts";

/** Longer messages are signed by Web Crypto on another thread, so that they do not block this one. */
const MAX_SYNC_BYTES = 64 * 1024;

const ALGORITHM = { name: "HMAC", hash: "SHA-256" };

/** Test case 2 of RFC 4231; the signature in hexadecimal digits. */
const TEST_CASE = {
  key: "Jefe",
  message: "what do ya want for nothing?",
  signature: "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
};

/** The parts of `node:crypto` that are used. */
export interface NodeCrypto {
  /** Prepares a key, which makes signing several times faster on Node. */
  createSecretKey(key: Uint8Array): object;
  /** Starts an HMAC. */
  createHmac(hash: "sha256", key: object): { update(bytes: Uint8Array): { digest(): Uint8Array } };
  /** Compares texts of equal length in constant time. */
  timingSafeEqual(a: Uint8Array, b: Uint8Array): boolean;
}

/** A key that signs and verifies. */
export class HMACKey {
  readonly #key: Uint8Array<ArrayBuffer>;
  #runtime: NodeCrypto | null | undefined;
  #secretKey: object | undefined;
  #webKey: Promise<CryptoKey> | undefined;

  /**
   * @param key The bytes of the key.
   * @param runtime The runtime's synchronous HMAC. Web Crypto computes each signature on another thread, which takes
   *   several times as long as the signature of a short message. `null`: always use Web Crypto. Left out: what the
   *   runtime has, found at the first use.
   */
  constructor(key: Uint8Array<ArrayBuffer>, runtime?: NodeCrypto | null) {
    this.#key = key;
    this.#runtime = runtime;
  }

  /** Signs a message: 32 bytes, without a promise if the runtime can. */
  sign(message: Uint8Array<ArrayBuffer>): MaybePromise<Uint8Array> {
    const runtime = this.#chooseRuntime(message);
    if (runtime !== null) return this.#signAtOnce(runtime, message);
    return this.#importKey()
      .then((key) => crypto.subtle.sign(ALGORITHM.name, key, message))
      .then((signature) => new Uint8Array(signature));
  }

  /** Whether a signature is that of a message. The comparison takes constant time. */
  verify(signature: Uint8Array<ArrayBuffer>, message: Uint8Array<ArrayBuffer>): MaybePromise<boolean> {
    const runtime = this.#chooseRuntime(message);
    if (runtime === null) {
      return this.#importKey().then((key) => crypto.subtle.verify(ALGORITHM.name, key, signature, message));
    }
    const expected = this.#signAtOnce(runtime, message);
    return signature.length === expected.length && runtime.timingSafeEqual(signature, expected);
  }

  #chooseRuntime(message: Uint8Array): NodeCrypto | null {
    if (message.length > MAX_SYNC_BYTES) return null;
    return this.#runtime === undefined ? this.#runtime = findNodeCrypto() : this.#runtime;
  }

  #signAtOnce(runtime: NodeCrypto, message: Uint8Array): Uint8Array {
    const key = this.#secretKey ??= runtime.createSecretKey(this.#key);
    return runtime.createHmac("sha256", key).update(message).digest();
  }

  #importKey(): Promise<CryptoKey> {
    return this.#webKey ??= crypto.subtle.importKey("raw", this.#key, ALGORITHM, false, ["sign", "verify"]);
  }
}

/**
 * Finds `node:crypto` without an import, since not every runtime has it: on Node from 20.16 and 22.3 on, Bun, and Workers
 * with `nodejs_compat`. Bundlers put substitutes in its place, so the result is checked with a test case. On Deno an
 * exchange between two servers takes longer with it than with Web Crypto (`bench/across_bench.ts`).
 */
function findNodeCrypto(): NodeCrypto | null {
  try {
    if ("Deno" in globalThis) return null;
    const { process } = globalThis as {
      process?: { getBuiltinModule?(name: string): Partial<NodeCrypto> | undefined };
    };
    const found = process?.getBuiltinModule?.("node:crypto");
    return found !== undefined && isWorking(found as NodeCrypto) ? found as NodeCrypto : null;
  } catch {
    return null;
  }
}

function isWorking(runtime: NodeCrypto): boolean {
  const encoder = new TextEncoder();
  const key = runtime.createSecretKey(encoder.encode(TEST_CASE.key));
  const signature = runtime.createHmac("sha256", key).update(encoder.encode(TEST_CASE.message)).digest();
  const hex = Array.from(signature, (byte) => byte.toString(16).padStart(2, "0")).join("");
  const other = signature.map((byte, i) => i === 31 ? byte ^ 1 : byte);
  return hex === TEST_CASE.signature && runtime.timingSafeEqual(signature, new Uint8Array(signature)) &&
    !runtime.timingSafeEqual(signature, other);
}
