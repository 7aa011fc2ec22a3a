/**
 * What both ways of proving who is asking have in common: the secret (`secret.ts`) and the call-back
 * (`callback.ts`).
 *
 * Either way a server first says *hello* to a URL. What it is told there is its pass for exchanges with that URL,
 * until the other server turns it down; then it says hello again. Both ends speak in envelopes: the field `gossip`
 * of a request and of its answer. An envelope has `form: 1`; one of another form is refused by name, fields that
 * are not known are ignored, and whoever sends anything else unproven hears one and the same refusal.
 *
 * @module
 */
import { PeerError, RefusalError } from "../errors.ts";
import { kindOf } from "../store/node.ts";
import { randomName } from "../store/contract.ts";

/** The form of every envelope that this version writes, and the only one it reads. */
export const FORM = 1;

/** An opened envelope: a proven message, or one that the proof has dealt with by itself. */
export type Verified =
  | {
    readonly kind: "message";
    /** What a proven server said. */
    readonly message: string;
    /** The configured URL at which that server was found; left out where the proof does not tell. */
    readonly url?: string;
    /** Makes the envelope of the answer. */
    createAnswer(answer: string): Promise<unknown>;
  }
  | {
    readonly kind: "reply";
    /** The envelope of the answer. */
    readonly gossip: unknown;
  };

/** Sends one envelope to a URL and gets the envelope of the answer; throws a `PeerError` when there is none. */
export type Post = (gossip: unknown) => Promise<unknown>;

/** What a hello brought: messages to that URL are believed there, and the answers can be believed here. */
export interface PeerSession {
  /**
   * Sends a message and gets the answer.
   *
   * @throws {PeerError} For what `post` throws, and `REPLY` when the answer is not proven.
   */
  exchange(message: string, post: Post): Promise<string>;
}

/** Proves to others who we are, and asks it of them. */
export interface Proof {
  /**
   * Opens the envelope of a request to this server.
   *
   * @param gossip The field `gossip`, of whatever shape.
   * @param signal Calls off what opening does besides (a call-back).
   * @throws {RefusalError} `BAD_REQUEST` for an envelope of another form, `UNAUTHORIZED` for one that proves
   *   nothing, `FORBIDDEN` when this server has no peers to prove anything to.
   */
  verify(gossip: unknown, signal?: AbortSignal): Promise<Verified>;

  /**
   * Says hello.
   *
   * @param url Where `post` sends to.
   * @throws {PeerError} When nobody at the URL gives a pass.
   */
  authenticate(url: string, post: Post): Promise<PeerSession>;
}

/** The cause of a `PeerError` when a URL has led back to the server that called it. */
export class OwnAddressError extends Error {
  override readonly name: string = "OwnAddressError";

  constructor() {
    super("It is the address of this server itself");
  }
}

/** The fields of an envelope, each looked up as its own and never in a prototype. */
export type Envelope = (name: string) => unknown;

/** Reads an envelope from outside. @throws {RefusalError} `BAD_REQUEST` when it is of another form. */
export function readEnvelope(gossip: unknown): Envelope {
  const fields = readFields(gossip);
  if (fields === null) throw malformed(`"gossip"`, `expected an object, got ${kindOf(gossip)}`);
  const form = fields("form");
  if (form !== FORM) {
    const found = typeof form === "number" ? String(form) : kindOf(form);
    throw malformed(`the form of "gossip"`, `expected ${FORM}, got ${found}`);
  }
  return fields;
}

/** Reads the envelope of an answer. @throws {PeerError} `REPLY` when it is of another form. */
export function readAnswer(url: string, gossip: unknown): Envelope {
  try {
    return readEnvelope(gossip);
  } catch (cause) {
    throw new PeerError(url, "reply", cause);
  }
}

/** The fields of an object; `null` for anything else. */
export function readFields(value: unknown): Envelope | null {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return null;
  return (name) => Object.hasOwn(value, name) ? (value as Record<string, unknown>)[name] : undefined;
}

/** The one refusal for all that proves nothing: it does not say why, so that nobody can feel their way. */
export function unauthorized(): RefusalError {
  return new RefusalError("ERR_REALITY_UNAUTHORIZED", 'Cannot take "gossip": it does not prove who sent it');
}

/** The refusal of a server that has nobody to believe. */
export function noPeers(): RefusalError {
  return new RefusalError("ERR_REALITY_FORBIDDEN", 'Cannot read "gossip": this server has no peers');
}

/** The error for an answer that is not what it should be. */
export function invalidAnswer(url: string, found: string): PeerError {
  return new PeerError(url, "reply", found);
}

/** A random text that nobody guesses (130 bits and more): a nonce, a token, or the name of a server's life. */
export function createNonce(): string {
  return randomName(26);
}

/** Whether it can be such a text. */
export function isNonce(value: unknown): value is string {
  return typeof value === "string" && /^[a-z0-9]{26}$/.test(value);
}

function malformed(what: string, found: string): RefusalError {
  return new RefusalError("ERR_REALITY_BAD_REQUEST", `Cannot read ${what}: ${found}`);
}
