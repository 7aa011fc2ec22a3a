/**
 * The client side of a WebSocket, as far as short texts need it.
 *
 * @module
 */

/** The request that makes a connection a WebSocket. */
export function upgradeBytes(path: string): Uint8Array {
  const lines = [
    `GET ${path} HTTP/1.1`,
    "host: localhost",
    "connection: Upgrade",
    "upgrade: websocket",
    "sec-websocket-version: 13",
    "sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==",
  ];
  return new TextEncoder().encode(`${lines.join("\r\n")}\r\n\r\n`);
}

/** A frame with a text of less than 126 bytes. Its mask is nothing but zeros, which leaves the text as it is. */
export function maskedText(text: string): Uint8Array {
  const bytes = new TextEncoder().encode(text);
  if (bytes.length > 125) throw new RangeError(`Cannot send: got ${bytes.length} bytes`);
  return new Uint8Array([0x81, 0x80 | bytes.length, 0, 0, 0, 0, ...bytes]);
}
