/**
 * Proof without a secret: the sender of a hello is called back at the configured addresses.
 *
 * ```
 * A → B  hello      { form, hello: { nonce, id } }          answered when B has called back
 * B → A  call-back  { form, callback: { nonce, token } }  → { form, accepted: true }
 * B → A  answer     { form, accepted: true }                of the hello
 * A → B  message    { form, token, message }              → { form, message }
 * ```
 *
 * When there are too many hellos, B asks about several at once: its callback has more of them in `nonces`, and the
 * answer tells in `nonce` which one it confirms.
 *
 * B calls only its own configured URLs. So the token reaches only a server at one of them, and only the server that sent
 * the nonce keeps it. The token is valid until B restarts or gives A another, and stands for that one URL.
 *
 * This proof trusts the network between servers, since an eavesdropper gets the token; the configured peers, since one
 * that relays a hello can impersonate its sender; and that an address leads to one server. Where that is too much, use
 * the secret.
 *
 * @module
 */
import { PeerError } from "../errors.ts";
import { CallbackRounds, type HelloSender, MAX_NONCES } from "./callback_rounds.ts";
import { HMACKey } from "./hmac.ts";
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

/** How many calls to each configured URL strangers can cause at once, … */
const MAX_CALLS = 10;
/** … and per second in the long run. */
const CALLS_PER_SECOND = 2;

/** The share of `timeout` that one step of answering a hello may take. */
const STEP_SHARE = 0.45;

/** What a proof by callback needs. */
export interface CallbackProofOptions extends HTTPClientOptions {
  /** This server's id. It proves nothing, and tells peers which of their URLs to try first. */
  readonly id: string;
  /** Returns the configured URLs of the peers. */
  readonly peers: () => readonly string[];
}

/** A hello of this server in progress. */
interface PendingHello {
  /** The token that the callback has brought. */
  token?: string;
  /** Whether the hello arrived at this server itself. */
  isOwn?: boolean;
}

/** The token of the server at one URL. */
interface PeerToken {
  /** The token's digest. */
  readonly digest: string;
  /** The id in the server's hello. */
  readonly id: string;
}

/** Proves that this server is at the address that others have configured. */
export class CallbackProof implements Proof {
  readonly #options: CallbackProofOptions;
  /** Hellos of this server, by the digest of the nonce. */
  readonly #pendingHellos = new Map<string, PendingHello>();
  /** By URL: one token each. */
  readonly #tokens = new Map<string, PeerToken>();
  /** Digest → URL, for each token. */
  readonly #urls = new Map<string, string>();
  readonly #rounds: CallbackRounds;
  #key: HMACKey | undefined;
  /** How many calls strangers can cause, and when it was computed. */
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

  /** Finds the URL of a hello's sender: first where a server of that id was, then at all others. */
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

  /** Calls back at all of the URLs at once, each with its own token. The first that confirms the nonce is the sender. */
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

  /** Makes one round: asks each URL which of these hellos it has sent. */
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
          // The server is unreachable, or has sent none of these.
        }
      }));
    });
  }

  /** Asks a URL which of these hellos it has sent. */
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
    // A server of an earlier version reads the first only, and names none.
    const nonce = envelope("nonce") ?? first;
    if (envelope("accepted") !== true || typeof nonce !== "string" || !nonces.includes(nonce)) {
      throw invalidAnswer(url, "It does not know our token");
    }
    return { nonce, found: { url, token } };
  }

  /** Less than half of the sender's own timeout for either step, so that the answer arrives in time. */
  get #stepOptions(): Pick<HTTPClientOptions, "clock" | "timeout"> {
    return { clock: this.#options.clock, timeout: this.#options.timeout * STEP_SHARE };
  }

  /** Stores a token. Removes the one that the URL had before, and those of URLs that are no longer configured. */
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

  /** Spends calls of the budget, if it suffices. */
  #spendCalls(calls: number): boolean {
    const budget = this.#refillBudget();
    if (budget.calls < calls) return false;
    budget.calls -= calls;
    return true;
  }

  /** After how many milliseconds the budget suffices for this many calls. */
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
   * The key under which a nonce or a token is stored. It is keyed with a secret of this process, so the time of a
   * look-up reveals nothing about the stored ones.
   */
  async #digest(text: string): Promise<string> {
    this.#key ??= new HMACKey(crypto.getRandomValues(new Uint8Array(32)));
    return String.fromCharCode(...await this.#key.sign(new TextEncoder().encode(text)));
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
