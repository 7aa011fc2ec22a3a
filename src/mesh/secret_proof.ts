/**
 * Proof by a shared secret: HMAC-SHA-256 over every message, valid once, for one process of one server.
 *
 * ```
 * hello    { form, hello: { nonce } }           → { form, name, proofs }      proofs of: nonce, name
 * message  { form, to, nonce, message, proofs } → { form, name, message, proofs }
 *                                                 proofs of: to, nonce, message → nonce, name, message
 * ```
 *
 * A message names its receiver: a name that the receiver has drawn at random, and returns to every hello. So the message
 * is worth nothing at another server or after a restart. A name is valid for some minutes and a number of messages. The
 * server stores the nonces of all of them, so that none is accepted twice. This window needs no synchronized clocks: a
 * server only measures the age of its own names. When the nonces would use too much memory, the name expires, and
 * messages signed to it are refused; no nonce is dropped that could still be accepted. Every answer carries the newest
 * name, so a server that sends often needs no new hello.
 *
 * The answer to a hello is signed: a message is sent only to a server that has just proven that it has the secret.
 *
 * With two secrets there is a proof by each, and one valid proof suffices: servers need one secret in common, in any
 * order. To change the secret, give every server the new one beside the old, one server after the other, and then remove
 * the old one.
 *
 * @module
 */
import type { Clock } from "../clock.ts";
import { PeerError } from "../errors.ts";
import { HMACKey } from "./hmac.ts";
import {
  createNonce,
  type Envelope,
  FORM,
  invalidAnswer,
  isNonce,
  OwnAddressError,
  type PeerSession,
  type Post,
  type Proof,
  readAnswer,
  readEnvelope,
  readFields,
  unauthorized,
  type Verified,
} from "./proof.ts";

/** The maximum number of secrets. */
const MAX_SECRETS = 2;

/** The purpose of a proof. It is signed as well, so that a proof cannot be used for another purpose. */
type Purpose = "hello" | "message" | "answer" | "news";

/** One name of this server, and the nonces of the messages signed to it. */
interface SigningName {
  readonly text: string;
  readonly since: number;
  readonly nonces: Set<string>;
}

/** What a proof by secret needs. */
export interface SecretProofOptions {
  /** The secrets, one or two. Texts of 32 random characters or more cannot be guessed. */
  readonly secrets: readonly string[];
  readonly clock: Clock;
  /** How long a name is sent out, in milliseconds; it is accepted for as long again. @default {300_000} */
  readonly nameTimeout?: number;
  /** How many messages are signed to a name before it is replaced; as many again are accepted. @default {8192} */
  readonly maxNonces?: number;
}

/** The proof by a shared secret. */
export class SecretProof implements Proof {
  readonly #keys: readonly HMACKey[];
  readonly #clock: Clock;
  readonly #nameTimeout: number;
  readonly #maxNonces: number;
  /** The newest first. Empty until the first use: a Worker may not draw randomness while it starts. */
  #names: readonly SigningName[] = [];

  constructor({ secrets, clock, nameTimeout = 300_000, maxNonces = 8192 }: SecretProofOptions) {
    this.#keys = secrets.slice(0, MAX_SECRETS).map((secret) => new HMACKey(new TextEncoder().encode(secret)));
    this.#clock = clock;
    this.#nameTimeout = nameTimeout;
    this.#maxNonces = maxNonces;
  }

  async verify(gossip: unknown): Promise<Verified> {
    const envelope = readEnvelope(gossip);
    const hello = readFields(envelope("hello"));
    if (hello !== null) {
      const nonce = hello("nonce");
      if (!isNonce(nonce)) throw unauthorized();
      const name = this.#name().text;
      return { kind: "reply", gossip: { form: FORM, name, proofs: await this.#sign("hello", nonce, name) } };
    }
    const [to, nonce, message] = [envelope("to"), envelope("nonce"), envelope("message")];
    const name = this.#findName(to);
    if (name === undefined || !isNonce(nonce) || typeof message !== "string") throw unauthorized();
    const proven = await this.#verify(envelope, "message", name.text, nonce, message);
    // Only proven messages use memory. No await may come between this check and `add`.
    if (!proven || name.nonces.has(nonce) || name.nonces.size >= 2 * this.#maxNonces) throw unauthorized();
    name.nonces.add(nonce);
    return {
      kind: "message",
      message,
      createAnswer: async (answer) => {
        const newest = this.#name().text;
        const proofs = await this.#sign("answer", nonce, newest, answer);
        return { form: FORM, name: newest, message: answer, proofs };
      },
    };
  }

  async authenticate(url: string, post: Post): Promise<PeerSession> {
    const nonce = createNonce();
    const envelope = readAnswer(url, await post({ form: FORM, hello: { nonce } }));
    const to = envelope("name");
    if (!isNonce(to) || !await this.#verify(envelope, "hello", nonce, to)) {
      throw invalidAnswer(url, "The answer to our hello is not signed with our secret");
    }
    if (this.#names.some((name) => name.text === to)) {
      throw new PeerError(url, "refused", new OwnAddressError());
    }
    return this.#createSession(url, to);
  }

  /**
   * Signs a message for all subscribers of a channel, such as one of Redis.
   *
   * The message names no receiver and no time, and may be replayed: a server that has just started knows no nonces, and
   * clocks may be wrong by hours, so a window would lose updates and still accept a message repeated within it. The
   * content must be valid at any time, as deltas are: one that arrives again or late has dots that are covered, and
   * changes nothing.
   *
   * @param channel The channel. The message is invalid on another channel, or as a request.
   */
  async signBroadcast(channel: string, message: string): Promise<string> {
    return JSON.stringify({ form: FORM, message, proofs: await this.#sign("news", channel, message) });
  }

  /** Verifies a message of {@linkcode signBroadcast}; `null` when it is not proven. */
  async verifyBroadcast(channel: string, text: string): Promise<string | null> {
    let envelope: Envelope | null;
    try {
      envelope = readFields(JSON.parse(text));
    } catch {
      return null;
    }
    const message = envelope?.("message");
    if (!envelope || envelope("form") !== FORM || typeof message !== "string") return null;
    return await this.#verify(envelope, "news", channel, message) ? message : null;
  }

  #createSession(url: string, name: string): PeerSession {
    let newest = name;
    return {
      exchange: async (message, post) => {
        const [to, nonce] = [newest, createNonce()];
        const proofs = await this.#sign("message", to, nonce, message);
        const envelope = readAnswer(url, await post({ form: FORM, to, nonce, message, proofs }));
        const [next, answer] = [envelope("name"), envelope("message")];
        const fits = isNonce(next) && typeof answer === "string" &&
          await this.#verify(envelope, "answer", nonce, next, answer);
        if (!fits) throw invalidAnswer(url, "The answer is not signed with our secret");
        newest = next;
        return answer;
      },
    };
  }

  /** The name to send out now. */
  #name(): SigningName {
    const now = this.#clock.elapsed();
    const [newest] = this.#names;
    const fits = newest !== undefined && newest.nonces.size < this.#maxNonces &&
      now < newest.since + this.#nameTimeout;
    if (fits) return newest;
    const name: SigningName = { text: createNonce(), since: now, nonces: new Set() };
    this.#names = newest === undefined ? [name] : [name, newest];
    return name;
  }

  /** The name that a message was signed to, if it is still valid. */
  #findName(to: unknown): SigningName | undefined {
    const now = this.#clock.elapsed();
    return this.#names.find(({ text, since }) => text === to && now < since + 2 * this.#nameTimeout);
  }

  async #sign(purpose: Purpose, ...fields: readonly string[]): Promise<string[]> {
    const bytes = encode(purpose, fields);
    return await Promise.all(this.#keys.map(async (key) => toBase64url(await key.sign(bytes))));
  }

  /** Whether one of the envelope's proofs is by one of our secrets. The comparison takes constant time. */
  async #verify(envelope: Envelope, purpose: Purpose, ...fields: readonly string[]): Promise<boolean> {
    const proofs = envelope("proofs");
    if (!Array.isArray(proofs) || proofs.length > MAX_SECRETS) return false;
    const signatures = proofs.filter(isProof).map(fromBase64url);
    if (signatures.length === 0) return false;
    const bytes = encode(purpose, fields);
    for (const key of this.#keys) {
      for (const signature of signatures) {
        if (await key.verify(signature, bytes)) return true;
      }
    }
    return false;
  }
}

/** Encodes what is signed. As JSON, no two lists of texts have the same bytes, lone surrogates included. */
function encode(purpose: Purpose, fields: readonly string[]): Uint8Array<ArrayBuffer> {
  return new TextEncoder().encode(JSON.stringify(["reality mesh", FORM, purpose, ...fields]));
}

/** Whether a value has the form of a proof: 32 bytes as base64url. */
function isProof(value: unknown): value is string {
  return typeof value === "string" && /^[\w-]{43}$/.test(value);
}

function toBase64url(bytes: Uint8Array): string {
  const text = btoa(String.fromCharCode(...bytes));
  return text.replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
}

function fromBase64url(text: string): Uint8Array<ArrayBuffer> {
  const plain = atob(text.replaceAll("-", "+").replaceAll("_", "/"));
  return Uint8Array.from(plain, (character) => character.charCodeAt(0));
}
