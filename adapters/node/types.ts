/**
 * The request and response of `node:http`: the parts that the adapters use.
 *
 * @module
 */
import type { ConnectedSocket } from "../../src/http/request_shape.ts";

/** The request of `node:http` or `node:http2`, or of a framework on top of them: the parts that are used. */
export interface NodeIncoming {
  /** The method, in capitals. */
  readonly method?: string | undefined;
  /** Path and query. */
  readonly url?: string | undefined;
  /** The value of `url` before a framework removed the path on which the handler is mounted. */
  readonly originalUrl?: string | undefined;
  /** 1, or 2 for HTTP/2. */
  readonly httpVersionMajor?: number;
  /** The headers, with lower-case names. */
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  /** The body as a framework parsed it. */
  readonly body?: unknown;
  /** Whether the whole request has arrived. */
  readonly complete?: boolean;
  /** Whether the body has been read to its end. */
  readonly readableEnded: boolean;
  /** The encoding set with `setEncoding`. If there is one, the body arrives as text. */
  readonly readableEncoding?: string | null;
  /** Whether the client has disconnected. */
  readonly destroyed: boolean;
  /** The connection. */
  readonly socket?: ConnectedSocket & {
    /** Calls the listener when the connection closes. */
    once?(event: "close", listener: () => void): unknown;
    /** Removes the listener. */
    off?(event: "close", listener: () => void): unknown;
    /** Closes the connection. */
    destroy?(): unknown;
  };
  /** The stream of HTTP/2. */
  readonly stream?: {
    /** Whether it is closed. */
    readonly destroyed?: boolean | undefined;
    /** The connection. */
    readonly session?: object | undefined;
  };
  /** Calls the listener for each chunk of the body. */
  on(event: "data", listener: (chunk: Uint8Array | string) => void): unknown;
  /** Calls the listener when the request fails. */
  on(event: "error", listener: (error: Error) => void): unknown;
  /** Calls the listener at the end of the body, or when the client disconnects. */
  on(event: "end" | "close", listener: () => void): unknown;
  /** Stops reading, so that the client has to wait. */
  pause(): unknown;
  /** Continues reading. */
  resume(): unknown;
}

/** The response of `node:http` or `node:http2`, or of a framework on top of them: the parts that are used. */
export interface NodeOutgoing {
  /** The status to send. */
  statusCode: number;
  /** Whether the status and the headers have been sent. */
  readonly headersSent: boolean;
  /** Whether `end` was called. */
  readonly writableEnded: boolean;
  /** Whether the connection is closed. HTTP/2 does not set it. */
  readonly destroyed: boolean;
  /** Whether the whole response has left the process, as far as the runtime knows. */
  readonly writableFinished?: boolean;
  /** How many bytes are buffered in the process. */
  readonly writableLength?: number;
  /** The connection; `null` while a pipelined response waits for its turn, and after it was sent. */
  readonly socket?: unknown;
  /** Sets a header. */
  setHeader(name: string, value: string | string[]): unknown;
  /** Returns a header that was set. */
  getHeader?(name: string): number | string | string[] | undefined;
  /** Sends the head. */
  flushHeaders?(): unknown;
  /** Sends a part of the body. Returns `false` if the client reads more slowly than that. */
  write(chunk: string | Uint8Array): boolean;
  /** Ends the body. */
  end(): unknown;
  /** Sends the last part of the body. */
  end(chunk: string): unknown;
  /** Closes the connection. */
  destroy(): unknown;
  /** The stream of HTTP/2. */
  readonly stream?: { close?(): unknown };
  /** Calls the listener when sending fails. */
  on(event: "error", listener: (error: Error) => void): unknown;
  /** Calls the listener when the response was sent, or the connection closes. */
  on(event: "close" | "finish", listener: () => void): unknown;
  /** Calls the listener when the client has read enough for more to be written. */
  once(event: "drain", listener: () => void): unknown;
  /** Removes the listener. */
  off(event: "drain", listener: () => void): unknown;
}
