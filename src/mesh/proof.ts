/**
 * The interface of both proofs of identity: by secret (`secret_proof.ts`) and by callback (`callback_proof.ts`).
 *
 * With either proof a server first sends a *hello* to a URL. The answer opens a session for exchanges with that URL.
 * When the other server refuses the session, a new hello is sent. Both ends use envelopes: the field `gossip` of a
 * request and of its answer. An envelope has `form: 1`. One of another form is refused by name, unknown fields are
 * ignored, and everything else that is unproven gets the same refusal.
 *
 * @module
 */
import { PeerError, RefusalError } from "../errors.ts";
import { kindOf } from "../store/node.ts";
import { randomName } from "../store/contract.ts";

/** The form of every envelope that this version writes, and the only one it reads. */
export const FORM = 1;

/** A verified envelope: a proven message, or one that the proof answers itself. */
export type Verified =
  | {
    readonly kind: "message";
    /** The message of a proven server. */
    readonly message: string;
    /** The configured URL of that server; left out where the proof does not tell. */
    readonly url?: string;
    /** Creates the envelope of the answer. */
    createAnswer(answer: string): Promise<unknown>;
  }
  | {
    readonly kind: "reply";
    /** The envelope of the answer. */
    readonly gossip: unknown;
  };

/** Sends one envelope to a URL and gets the envelope of the answer; throws a `PeerError` without an answer. */
export type Post = (gossip: unknown) => Promise<unknown>;

/** The session that a hello opened: both ends prove themselves in its exchanges. */
export interface PeerSession {
  /**
   * Sends a message and gets the answer.
   *
   * @throws {PeerError} For what `post` throws, and `REPLY` when the answer is not proven.
   */
  exchange(message: string, post: Post): Promise<string>;
}

/** Proves this server to others, and verifies others. */
export interface Proof {
  /**
   * Verifies the envelope of a request to this server.
   *
   * @param gossip The field `gossip`, unchecked.
   * @param signal Aborts the calls that the verification makes.
   * @throws {RefusalError} `BAD_REQUEST` for an envelope of another form, `UNAUTHORIZED` for one that proves
   *   nothing, `FORBIDDEN` when this server has no peers to prove anything to.
   */
  verify(gossip: unknown, signal?: AbortSignal): Promise<Verified>;

  /**
   * Sends a hello, and opens a session.
   *
   * @param url The URL that `post` sends to.
   * @throws {PeerError} When the server at the URL opens no session.
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

/** The one refusal for every unproven envelope. It gives no reason, so that it helps no attacker. */
export function unauthorized(): RefusalError {
  return new RefusalError("ERR_REALITY_UNAUTHORIZED", 'Cannot take "gossip": it does not prove who sent it');
}

/** The refusal of a server without peers. */
export function noPeers(): RefusalError {
  return new RefusalError("ERR_REALITY_FORBIDDEN", 'Cannot read "gossip": this server has no peers');
}

/** The error for an invalid answer. */
export function invalidAnswer(url: string, found: string): PeerError {
  return new PeerError(url, "reply", found);
}

/** A random text of 130 bits and more: a nonce, a token, or the name of a process. */
export function createNonce(): string {
  return randomName(26);
}

/** Whether a value has the form of such a text. */
export function isNonce(value: unknown): value is string {
  return typeof value === "string" && /^[a-z0-9]{26}$/.test(value);
}

function malformed(what: string, found: string): RefusalError {
  return new RefusalError("ERR_REALITY_BAD_REQUEST", `Cannot read ${what}: ${found}`);
}
