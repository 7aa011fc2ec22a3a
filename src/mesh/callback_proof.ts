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
 * Of hellos that are too many, B asks about several at once: its call-back has more of them in `nonces`, and the answer
 * says in `nonce` which one it is.
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
import { CallbackRounds, type HelloSender, MAX_NONCES } from "./callback_rounds.ts";
import {
  createNonce,
  type Envelope,
  FORM,
  invalidAnswer,
  isNonce,
  noPeers,
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
import { type HTTPClientOptions, postEnvelope, withDeadline } from "./http_client.ts";

/** Strangers can have each configured URL called so often at once, … */
const MAX_CALLS = 10;
/** … and so often a second in the long run. */
const CALLS_PER_SECOND = 2;

/** The part of `timeout` that one step of answering a hello may take. */
const STEP_SHARE = 0.45;

/** How a proof by call-back is made. */
export interface CallbackProofOptions extends HTTPClientOptions {
  /** This server's id. It is no proof, and tells peers which of their URLs to try first. */
  readonly id: string;
  /** The URLs at which others are believed to sit, as they are when asked. */
  readonly peers: () => readonly string[];
}

/** A hello of ours that is under way. */
interface PendingHello {
  /** What the call-back has brought. */
  token?: string;
  /** Whether it has come to this very server. */
  isOwn?: boolean;
}

/** What the server at one URL may use to speak to us. */
interface PeerToken {
  /** The token's digest. */
  readonly digest: string;
  /** What the server called itself. */
  readonly id: string;
}

/** Proves by being where others have configured us to be. */
export class CallbackProof implements Proof {
  readonly #options: CallbackProofOptions;
  /** By the digest of the nonce. */
  readonly #pendingHellos = new Map<string, PendingHello>();
  /** By URL: one each. */
  readonly #tokens = new Map<string, PeerToken>();
  /** Digest → URL, for each grant. */
  readonly #urls = new Map<string, string>();
  readonly #rounds: CallbackRounds;
  #key: Promise<CryptoKey> | undefined;
  /** How many calls strangers can cause now, and when that was so. */
  #budget: { calls: number; at: number } | undefined;

  constructor(options: CallbackProofOptions) {
    this.#options = options;
    this.#rounds = new CallbackRounds({
      clock: options.clock,
      timeout: options.timeout * STEP_SHARE,
      pause: () => this.#pauseFor(options.peers().length),
      callAll: (nonces, onFound, signal) => this.#callAll(nonces, onFound, signal),
    });
  }

  async verify(gossip: unknown, signal?: AbortSignal): Promise<Verified> {
    const peers = this.#options.peers();
    if (peers.length === 0) throw noPeers();
    const envelope = readEnvelope(gossip);
    const hello = readFields(envelope("hello"));
    if (hello !== null) return await this.#answerHello(hello, peers, signal);
    const callback = readFields(envelope("callback"));
    if (callback !== null) return await this.#acceptToken(callback);
    return await this.#verifyMessage(envelope, peers);
  }

  async authenticate(url: string, post: Post): Promise<PeerSession> {
    const nonce = createNonce();
    const digest = await this.#digest(nonce);
    const pending: PendingHello = {};
    this.#pendingHellos.set(digest, pending);
    try {
      const envelope = readAnswer(url, await post({ form: FORM, hello: { nonce, id: this.#options.id } }));
      if (envelope("accepted") !== true || pending.token === undefined) {
        throw invalidAnswer(url, "It answered our hello without calling us back");
      }
      return createSession(url, pending.token);
    } catch (error) {
      throw pending.isOwn ? new PeerError(url, "refused", new OwnAddressError()) : error;
    } finally {
      this.#pendingHellos.delete(digest);
    }
  }

  async #answerHello(hello: Envelope, peers: readonly string[], signal?: AbortSignal): Promise<Verified> {
    const [nonce, id] = [hello("nonce"), hello("id")];
    if (!isNonce(nonce) || typeof id !== "string" || id.length > 128) throw unauthorized();
    const own = this.#pendingHellos.get(await this.#digest(nonce));
    if (own !== undefined) {
      own.isOwn = true;
      throw unauthorized();
    }
    const found = await this.#findSender(nonce, { id, peers, signal });
    if (found === null) throw unauthorized();
    this.#storeToken(found.url, { digest: await this.#digest(found.token), id });
    return { kind: "reply", gossip: { form: FORM, accepted: true } };
  }

  async #acceptToken(callback: Envelope): Promise<Verified> {
    const [nonce, more, token] = [callback("nonce"), callback("nonces"), callback("token")];
    const nonces = Array.isArray(more) && more.length < MAX_NONCES ? [nonce, ...more] : [nonce];
    if (!nonces.every(isNonce) || !isNonce(token)) throw unauthorized();
    for (const nonce of nonces) {
      const pending = this.#pendingHellos.get(await this.#digest(nonce));
      if (pending === undefined || pending.token !== undefined) continue;
      pending.token = token;
      const which = nonces.length > 1 ? { nonce } : {};
      return { kind: "reply", gossip: { form: FORM, accepted: true, ...which } };
    }
    throw unauthorized();
  }

  async #verifyMessage(envelope: Envelope, peers: readonly string[]): Promise<Verified> {
    const [token, message] = [envelope("token"), envelope("message")];
    if (!isNonce(token) || typeof message !== "string") throw unauthorized();
    const url = this.#urls.get(await this.#digest(token));
    if (url === undefined || !peers.includes(url)) throw unauthorized();
    return {
      kind: "message",
      message,
      url,
      createAnswer: (answer) => Promise.resolve({ form: FORM, message: answer }),
    };
  }

  /** Finds the URL at which a hello was said: first where a server of that id was, then at all others. */
  async #findSender(
    nonce: string,
    { id, peers, signal }: { id: string; peers: readonly string[]; signal: AbortSignal | undefined },
  ): Promise<HelloSender | null> {
    const likely = peers.filter((url) => this.#tokens.get(url)?.id === id);
    for (const urls of [likely, peers.filter((url) => !likely.includes(url))]) {
      if (urls.length === 0) continue;
      if (this.#rounds.hasWaiting || !this.#spendCalls(urls.length)) {
        return await this.#rounds.find(nonce, signal);
      }
      const found = await this.#callFirst(nonce, urls, signal);
      if (found !== null) return found;
    }
    return null;
  }

  /** Calls back at all of the URLs at once, each with a token of its own: the first that knows the nonce has it. */
  async #callFirst(
    nonce: string,
    urls: readonly string[],
    signal: AbortSignal | undefined,
  ): Promise<HelloSender | null> {
    return await withDeadline(this.#stepOptions, signal, (signal) => {
      const calls = urls.map(async (url) => (await this.#callBack(url, [nonce], signal)).found);
      return Promise.any(calls).catch(() => null);
    });
  }

  /** One round: asks each URL which of these hellos was said there. */
  async #callAll(
    nonces: readonly string[],
    onFound: (nonce: string, found: HelloSender) => void,
    signal: AbortSignal | undefined,
  ): Promise<void> {
    const peers = this.#options.peers();
    this.#spendCalls(peers.length);
    await withDeadline(this.#stepOptions, signal, async (signal) => {
      await Promise.all(peers.map(async (url) => {
        try {
          const { nonce, found } = await this.#callBack(url, nonces, signal);
          onFound(nonce, found);
        } catch {
          // Nobody is there, or nobody who has said one of these.
        }
      }));
    });
  }

  /** Asks at a URL which of these hellos was said there. */
  async #callBack(
    url: string,
    nonces: readonly string[],
    signal: AbortSignal,
  ): Promise<{ nonce: string; found: HelloSender }> {
    const token = createNonce();
    const [first, ...rest] = nonces as [string, ...string[]];
    const callback = { nonce: first, ...(rest.length > 0 ? { nonces: rest } : {}), token };
    const answer = await postEnvelope(this.#options, url, { gossip: { form: FORM, callback }, signal });
    const envelope = readAnswer(url, answer);
    // A server of an earlier version knows of the first alone, and names none.
    const nonce = envelope("nonce") ?? first;
    if (envelope("accepted") !== true || typeof nonce !== "string" || !nonces.includes(nonce)) {
      throw invalidAnswer(url, "It does not know our token");
    }
    return { nonce, found: { url, token } };
  }

  /** Sooner than who says hello gives up, so that he hears of it: at most half his time in either step. */
  get #stepOptions(): Pick<HTTPClientOptions, "clock" | "timeout"> {
    return { clock: this.#options.clock, timeout: this.#options.timeout * STEP_SHARE };
  }

  /** Takes the place of what the URL had before, and of all that is no longer configured. */
  #storeToken(url: string, token: PeerToken): void {
    const peers = this.#options.peers();
    for (const [other, { digest }] of this.#tokens) {
      if (other !== url && peers.includes(other)) continue;
      this.#urls.delete(digest);
      this.#tokens.delete(other);
    }
    this.#tokens.set(url, token);
    this.#urls.set(token.digest, url);
  }

  /** Takes that many calls from what strangers can cause, if so many are left. */
  #spendCalls(calls: number): boolean {
    const budget = this.#refillBudget();
    if (budget.calls < calls) return false;
    budget.calls -= calls;
    return true;
  }

  /** After how many milliseconds so many calls are left. */
  #pauseFor(calls: number): number {
    const lacking = calls - this.#refillBudget().calls;
    return Math.max(0, Math.ceil(lacking / (CALLS_PER_SECOND * this.#options.peers().length) * 1_000));
  }

  #refillBudget(): { calls: number; at: number } {
    const now = this.#options.clock.elapsed();
    const peers = this.#options.peers().length;
    const budget = this.#budget ??= { calls: MAX_CALLS * peers, at: now };
    const earned = (now - budget.at) / 1000 * CALLS_PER_SECOND * peers;
    budget.calls = Math.min(MAX_CALLS * peers, budget.calls + earned);
    budget.at = now;
    return budget;
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

function createSession(url: string, token: string): PeerSession {
  return {
    exchange: async (message, post) => {
      const answer = readAnswer(url, await post({ form: FORM, token, message }))("message");
      if (typeof answer !== "string") throw invalidAnswer(url, "The answer has no message");
      return answer;
    },
  };
}

/** A random key of this process. */
function importKey(): Promise<CryptoKey> {
  const bytes = crypto.getRandomValues(new Uint8Array(32));
  return crypto.subtle.importKey("raw", bytes, { name: "HMAC", hash: "SHA-256" }, false, ["sign"]);
}
