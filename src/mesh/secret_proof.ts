/**
 * Proof by a shared secret: HMAC-SHA-256 over every message, to one life of one server, once.
 *
 * ```
 * hello    { form, hello: { nonce } }           → { form, name, proofs }      proofs of: nonce, name
 * message  { form, to, nonce, message, proofs } → { form, name, message, proofs }
 *                                                 proofs of: to, nonce, message → nonce, name, message
 * ```
 *
 * A message says to whom it goes: a name that the receiver has drawn at random, and gives to whoever says hello.
 * So it is worth nothing at another server or after a restart. A name lives for some minutes and a number of
 * messages, and of all those its server keeps the nonces, so that none is taken twice. That is the window, and it
 * needs no clocks that agree: a server only measures how long its own name has lived. A memory that would grow too
 * large ends the name, which refuses what was signed to it; nothing is ever forgotten that could still be taken. Every answer brings the newest name, so that one who talks often never has to ask.
 *
 * The answer to a hello is signed: a message goes only where somebody has just shown that they have the secret.
 *
 * With two secrets there is a proof by each, and one that fits is enough: servers understand each other as long
 * as they have a secret in common, in whichever order it stands. So a secret is changed by giving every server the
 * new one beside the old, one after the other, and then taking the old one away.
 *
 * @module
 */
import type { Clock } from "../clock.ts";
import { PeerError } from "../errors.ts";
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

/** How many secrets are valid at once. */
const MAX_SECRETS = 2;

/** What a proof is for. It is signed with the rest, so that none can be used in another's place. */
type Purpose = "hello" | "message" | "answer" | "news";

/** One name of this server, and the messages that were signed to it. */
interface SigningName {
  readonly text: string;
  readonly since: number;
  readonly nonces: Set<string>;
}

/** How a proof by secret is made. */
export interface SecretProofOptions {
  /** The secrets, one or two. Texts of 32 random characters or more are beyond guessing. */
  readonly secrets: readonly string[];
  readonly clock: Clock;
  /** How long a name is given out, in milliseconds; it is believed for as long again. @default {300_000} */
  readonly nameTimeout?: number;
  /** How many messages are signed to a name before there is a new one; it takes as many again. @default {8192} */
  readonly maxNonces?: number;
}

/** Proves by a shared secret. */
export class SecretProof implements Proof {
  readonly #secrets: readonly string[];
  readonly #clock: Clock;
  readonly #nameTimeout: number;
  readonly #maxNonces: number;
  #keys: Promise<readonly CryptoKey[]> | undefined;
  /** The newest first. Empty until it is asked for: a Worker may not draw randomness while it starts. */
  #names: readonly SigningName[] = [];

  constructor({ secrets, clock, nameTimeout = 300_000, maxNonces = 8192 }: SecretProofOptions) {
    this.#secrets = secrets.slice(0, MAX_SECRETS);
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
    // Only what is proven costs memory, and between this look and the note nothing else can happen.
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
   * Signs a message that goes to everybody on a channel, such as Redis.
   *
   * It says neither to whom nor when, and may be taken again and at any time: a server that has just started
   * knows no nonces, and clocks may be wrong by hours, so that a window would lose news and still not keep out a
   * message repeated within it. What is said there must be true whenever it is heard, as deltas are: one that
   * comes again or late brings stamps that were seen, and nothing happens.
   *
   * @param channel Where it goes. It is worth nothing on another channel, or as a request.
   */
  async signBroadcast(channel: string, message: string): Promise<string> {
    return JSON.stringify({ form: FORM, message, proofs: await this.#sign("news", channel, message) });
  }

  /** Opens what {@linkcode signBroadcast} has made; `null` for what is not proven. */
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

  /** The name to give out now. */
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

  /** The name that a message was signed to, if it still lives. */
  #findName(to: unknown): SigningName | undefined {
    const now = this.#clock.elapsed();
    return this.#names.find(({ text, since }) => text === to && now < since + 2 * this.#nameTimeout);
  }

  async #sign(purpose: Purpose, ...fields: readonly string[]): Promise<string[]> {
    const bytes = encode(purpose, fields);
    const keys = await this.#importKeys();
    return await Promise.all(
      keys.map(async (key) => toBase64url(await crypto.subtle.sign("HMAC", key, bytes))),
    );
  }

  /** Whether one of the envelope's proofs is by one of our secrets. The comparison takes the same time always. */
  async #verify(envelope: Envelope, purpose: Purpose, ...fields: readonly string[]): Promise<boolean> {
    const proofs = envelope("proofs");
    if (!Array.isArray(proofs) || proofs.length > MAX_SECRETS) return false;
    const signatures = proofs.filter(isProof).map(fromBase64url);
    if (signatures.length === 0) return false;
    const bytes = encode(purpose, fields);
    for (const key of await this.#importKeys()) {
      for (const signature of signatures) {
        if (await crypto.subtle.verify("HMAC", key, signature, bytes)) return true;
      }
    }
    return false;
  }

  #importKeys(): Promise<readonly CryptoKey[]> {
    const algorithm = { name: "HMAC", hash: "SHA-256" };
    return this.#keys ??= Promise.all(
      this.#secrets.map((secret) =>
        crypto.subtle.importKey("raw", new TextEncoder().encode(secret), algorithm, false, ["sign", "verify"])
      ),
    );
  }
}

/** What is signed. As JSON, no two lists of texts give the same bytes, lone surrogates included. */
function encode(purpose: Purpose, fields: readonly string[]): Uint8Array<ArrayBuffer> {
  return new TextEncoder().encode(JSON.stringify(["reality mesh", FORM, purpose, ...fields]));
}

/** Whether it can be a proof: 32 bytes as base64url. */
function isProof(value: unknown): value is string {
  return typeof value === "string" && /^[\w-]{43}$/.test(value);
}

function toBase64url(bytes: ArrayBuffer): string {
  const text = btoa(String.fromCharCode(...new Uint8Array(bytes)));
  return text.replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
}

function fromBase64url(text: string): Uint8Array<ArrayBuffer> {
  const plain = atob(text.replaceAll("-", "+").replaceAll("_", "/"));
  return Uint8Array.from(plain, (character) => character.charCodeAt(0));
}
