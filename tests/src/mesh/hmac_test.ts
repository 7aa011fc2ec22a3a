import { deepEqual, equal, ok } from "node:assert/strict";
import * as nodeCrypto from "node:crypto";
import process from "node:process";
import { HMACKey, type NodeCrypto } from "../../../src/mesh/hmac.ts";
import { test } from "../../harness.ts";
import { SeededRandom } from "../../random.ts";

/** Node 20 before 20.16 has no such function. On Deno Web Crypto is used. */
const isSynchronous = typeof process.getBuiltinModule === "function" && !("Deno" in globalThis);

const encode = (text: string) => new TextEncoder().encode(text);

/** Keys of the same bytes: the first two use `node:crypto`, except on Deno, and the last one uses Web Crypto. */
function createKeys(bytes: Uint8Array<ArrayBuffer>): [HMACKey, HMACKey, HMACKey] {
  return [
    new HMACKey(bytes),
    new HMACKey(bytes, nodeCrypto as unknown as NodeCrypto),
    new HMACKey(bytes, null),
  ];
}

/** Runs a function while `node:crypto` is replaced, as bundlers do. */
async function withSubstitute(getBuiltinModule: unknown, run: () => Promise<void>): Promise<void> {
  const runtime = process as unknown as { getBuiltinModule: unknown };
  const before = runtime.getBuiltinModule;
  runtime.getBuiltinModule = getBuiltinModule;
  try {
    await run();
  } finally {
    runtime.getBuiltinModule = before;
  }
}

test("HMACKey signs as RFC 4231 says, with `node:crypto` and with Web Crypto", async () => {
  for (const key of createKeys(encode("Jefe"))) {
    const signature = await key.sign(encode("what do ya want for nothing?"));
    equal(
      Array.from(signature, (byte) => byte.toString(16).padStart(2, "0")).join(""),
      "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
    );
  }
});

test("HMACKey returns equal signatures with `node:crypto` and Web Crypto, and each accepts those of the other", async () => {
  const random = new SeededRandom("hmac");
  const draw = (length: number) => Uint8Array.from({ length }, () => random.between(0, 255));
  // Keys around the block of SHA-256, and messages around the length from which Web Crypto signs.
  for (const keyLength of [1, 32, 63, 64, 65, 200]) {
    const keys = createKeys(draw(keyLength));
    for (const length of [0, 1, 55, 56, 64, 1000, 65_536, 65_537]) {
      const message = draw(length);
      const signatures = await Promise.all(keys.map((key) => key.sign(message)));
      const [sent, ...others] = signatures.map((signature) => new Uint8Array(signature));
      for (const other of others) deepEqual(other, sent);
      for (const key of keys) equal(await key.verify(sent!, message), true);
    }
  }
});

test("HMACKey refuses a signature with one wrong bit, of another message, key or length", async () => {
  for (const key of createKeys(encode("a key"))) {
    const message = encode("a message");
    const signature = new Uint8Array(await key.sign(message));
    equal(await key.verify(signature, message), true);
    for (let bit = 0; bit < 256; bit++) {
      const wrong = signature.map((byte, i) => i === bit >> 3 ? byte ^ 1 << (bit & 7) : byte);
      equal(await key.verify(wrong, message), false, `bit ${bit}`);
    }
    equal(await key.verify(signature, encode("a messagf")), false);
    for (const length of [0, 31]) equal(await key.verify(signature.slice(0, length), message), false);
    equal(await key.verify(new Uint8Array([...signature, 0]), message), false);
    for (const other of createKeys(encode("a kez"))) equal(await other.verify(signature, message), false);
  }
});

test("HMACKey signs short messages without a promise where the runtime can, and long ones on another thread", async () => {
  const key = new HMACKey(encode("a key"));
  const [short, long] = [key.sign(encode("short")), key.sign(new Uint8Array(65_537))];
  equal(short instanceof Promise, !isSynchronous);
  ok(long instanceof Promise);
  // The tests of Deno fail if an operation is still running at their end.
  await Promise.all([short, long]);
});

test("HMACKey uses Web Crypto if the runtime's function is missing, throws, or computes something else", async () => {
  const web = new HMACKey(encode("a key"), null);
  const expected = new Uint8Array(await web.sign(encode("a message")));
  const wrong = {
    createSecretKey: () => ({}),
    createHmac: () => ({ update: () => ({ digest: () => new Uint8Array(32) }) }),
    timingSafeEqual: () => true,
  };
  const { createSecretKey, createHmac } = nodeCrypto;
  const acceptsAll = { createSecretKey, createHmac, timingSafeEqual: () => true };
  const substitutes = [undefined, () => undefined, () => ({}), () => wrong, () => acceptsAll, () => {
    throw new Error("process.getBuiltinModule is not implemented");
  }];
  for (const substitute of substitutes) {
    await withSubstitute(substitute, async () => {
      const key = new HMACKey(encode("a key"));
      const signature = key.sign(encode("a message"));
      ok(signature instanceof Promise);
      deepEqual(await signature, expected);
      equal(await key.verify(expected, encode("a message")), true);
      equal(await key.verify(new Uint8Array(32), encode("a message")), false);
    });
  }
});
