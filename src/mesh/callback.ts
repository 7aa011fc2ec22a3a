/**
 * Proof without a secret: whoever says hello is called back, at the addresses that were configured.
 *
 * ```
 * A → B  hello      { form, hello: { nonce, id } }          answered when B has called back
 * B → A  call-back  { form, callback: { nonce, token } }  → { form, accepted: true }
 * B → A  answer     { form, accepted: true }                of the hello
 * A → B  message    { form, token, message }              → { form, message }
 * ```
 *
 * B calls only its own configured URLs. So the token reaches only a server that sits at one of them, and only the
 * one that sent the nonce keeps it. It is good until B restarts or gives A another, and stands for that one URL.
 *
 * What this takes on trust: the lines between servers, since whoever reads along has the token; the configured
 * peers, since one that passes on a hello which came to it can speak for its sender; and that an address leads to
 * one server. Where that is too much, there is the secret.
 *
 * @module
 */
import { PeerError } from "../errors.ts";
import {
  createNonce,
  type Envelope,
  falseAnswer,
  FORM,
  isNonce,
  type Opened,
  OwnAddressError,
  type Pass,
  type Post,
  type Proof,
  readAnswer,
  readEnvelope,
  readFields,
  unproven,
  withoutPeers,
} from "./proof.ts";
import { sendEnvelope, type WireOptions, within } from "./wire.ts";

/** Strangers can have each configured URL called so often at once, … */
const MAX_CALLS = 10;
/** … and so often a second in the long run. */
const CALLS_PER_SECOND = 2;

/** How a proof by call-back is made. */
export interface CallbackProofOptions extends WireOptions {
  /** This server's id. It is no proof, and tells peers which of their URLs to try first. */
  readonly id: string;
  /** The URLs at which others are believed to sit, as they are when asked. */
  readonly peers: () => readonly string[];
}

/** A hello of ours that is under way. */
interface Greeting {
  /** What the call-back has brought. */
  token?: string;
  /** Whether it has come to this very server. */
  isOwn?: boolean;
}

/** What the server at one URL may use to speak to us. */
interface Grant {
  /** The token's digest. */
  readonly digest: string;
  /** What the server called itself. */
  readonly id: string;
}

/** Proves by being where others have configured us to be. */
export class CallbackProof implements Proof {
  readonly #options: CallbackProofOptions;
  /** By the digest of the nonce. */
  readonly #greetings = new Map<string, Greeting>();
  /** By URL: one each. */
  readonly #grants = new Map<string, Grant>();
  /** Digest → URL, for each grant. */
  readonly #urls = new Map<string, string>();
  #key: Promise<CryptoKey> | undefined;
  /** How many calls strangers can cause now, and when that was so. */
  #budget: { calls: number; at: number } | undefined;

  constructor(options: CallbackProofOptions) {
    this.#options = options;
  }

  async open(gossip: unknown, signal?: AbortSignal): Promise<Opened> {
    const peers = this.#options.peers();
    if (peers.length === 0) throw withoutPeers();
    const envelope = readEnvelope(gossip);
    const hello = readFields(envelope("hello"));
    if (hello !== null) return await this.#answerHello(hello, peers, signal);
    const callback = readFields(envelope("callback"));
    if (callback !== null) return await this.#acceptToken(callback);
    return await this.#openMessage(envelope, peers);
  }

  async greet(url: string, post: Post): Promise<Pass> {
    const nonce = createNonce();
    const digest = await this.#digest(nonce);
    const greeting: Greeting = {};
    this.#greetings.set(digest, greeting);
    try {
      const envelope = readAnswer(url, await post({ form: FORM, hello: { nonce, id: this.#options.id } }));
      if (envelope("accepted") !== true || greeting.token === undefined) {
        throw falseAnswer(url, "It answered our hello without calling us back");
      }
      return createPass(url, greeting.token);
    } catch (error) {
      throw greeting.isOwn ? new PeerError(url, "refused", new OwnAddressError()) : error;
    } finally {
      this.#greetings.delete(digest);
    }
  }

  async #answerHello(hello: Envelope, peers: readonly string[], signal?: AbortSignal): Promise<Opened> {
    const [nonce, id] = [hello("nonce"), hello("id")];
    if (!isNonce(nonce) || typeof id !== "string" || id.length > 128) throw unproven();
    const own = this.#greetings.get(await this.#digest(nonce));
    if (own !== undefined) {
      own.isOwn = true;
      throw unproven();
    }
    const likely = peers.filter((url) => this.#grants.get(url)?.id === id);
    const found = await this.#callFirst(nonce, likely, signal) ??
      await this.#callFirst(nonce, peers.filter((url) => !likely.includes(url)), signal);
    if (found === null) throw unproven();
    this.#grant(found.url, { digest: await this.#digest(found.token), id });
    return { kind: "reply", gossip: { form: FORM, accepted: true } };
  }

  async #acceptToken(callback: Envelope): Promise<Opened> {
    const [nonce, token] = [callback("nonce"), callback("token")];
    if (!isNonce(nonce) || !isNonce(token)) throw unproven();
    const greeting = this.#greetings.get(await this.#digest(nonce));
    if (greeting === undefined || greeting.token !== undefined) throw unproven();
    greeting.token = token;
    return { kind: "reply", gossip: { form: FORM, accepted: true } };
  }

  async #openMessage(envelope: Envelope, peers: readonly string[]): Promise<Opened> {
    const [token, message] = [envelope("token"), envelope("message")];
    if (!isNonce(token) || typeof message !== "string") throw unproven();
    const url = this.#urls.get(await this.#digest(token));
    if (url === undefined || !peers.includes(url)) throw unproven();
    return {
      kind: "message",
      message,
      url,
      seal: (answer) => Promise.resolve({ form: FORM, message: answer }),
    };
  }

  /** Calls back at all of the URLs at once, each with a token of its own: the first that knows the nonce has it. */
  async #callFirst(
    nonce: string,
    urls: readonly string[],
    signal: AbortSignal | undefined,
  ): Promise<{ url: string; token: string } | null> {
    if (urls.length === 0 || !this.#spend(urls.length)) return null;
    // Sooner than who says hello gives up, so that he hears of it: at most half his time in either round.
    const limits = { clock: this.#options.clock, timeout: this.#options.timeout * 0.45 };
    return await within(limits, signal, (signal) => {
      const calls = urls.map(async (url) => {
        const token = createNonce();
        const gossip = { form: FORM, callback: { nonce, token } };
        const envelope = readAnswer(url, await sendEnvelope(this.#options, url, { gossip, signal }));
        if (envelope("accepted") !== true) throw falseAnswer(url, "It does not know our token");
        return { url, token };
      });
      return Promise.any(calls).catch(() => null);
    });
  }

  /** Takes the place of what the URL had before, and of all that is no longer configured. */
  #grant(url: string, grant: Grant): void {
    const peers = this.#options.peers();
    for (const [other, { digest }] of this.#grants) {
      if (other !== url && peers.includes(other)) continue;
      this.#urls.delete(digest);
      this.#grants.delete(other);
    }
    this.#grants.set(url, grant);
    this.#urls.set(grant.digest, url);
  }

  /** Takes that many calls from what strangers can cause, if so many are left. */
  #spend(calls: number): boolean {
    const now = this.#options.clock.elapsed();
    const peers = this.#options.peers().length;
    const { calls: left, at } = this.#budget ?? { calls: MAX_CALLS * peers, at: now };
    const earned = (now - at) / 1000 * CALLS_PER_SECOND * peers;
    const budget = Math.min(MAX_CALLS * peers, left + earned);
    const enough = budget >= calls;
    this.#budget = { calls: enough ? budget - calls : budget, at: now };
    return enough;
  }

  /**
   * What a nonce or a token is looked up by: how long the look-up takes tells nothing about those that are there,
   * since nobody else can know where a guess will be looked for.
   */
  async #digest(text: string): Promise<string> {
    this.#key ??= importKey();
    const bytes = await crypto.subtle.sign("HMAC", await this.#key, new TextEncoder().encode(text));
    return String.fromCharCode(...new Uint8Array(bytes));
  }
}

function createPass(url: string, token: string): Pass {
  return {
    exchange: async (message, post) => {
      const answer = readAnswer(url, await post({ form: FORM, token, message }))("message");
      if (typeof answer !== "string") throw falseAnswer(url, "The answer has no message");
      return answer;
    },
  };
}

/** A random key of this process. */
function importKey(): Promise<CryptoKey> {
  const bytes = crypto.getRandomValues(new Uint8Array(32));
  return crypto.subtle.importKey("raw", bytes, { name: "HMAC", hash: "SHA-256" }, false, ["sign"]);
}
