/**
 * Clients that wait, a hundred on each HTTP/2 connection, as behind a proxy that speaks it: more of them than a process
 * may have files open.
 *
 * @module
 */
import { connect } from "node:http2";
import { WAIT } from "./waiting_client.ts";

const STREAMS = 100;

/** One of them. */
export interface StreamClient {
  /** Settles when the answer comes, with the time. */
  answered: Promise<number>;
  /** Sends a sync that waits for a newer version of a key. */
  wait(key: string, version: number): void;
  /** Closes the connection. */
  close(): void;
}

/** Opens so many. */
export async function openStreams(
  port: number,
  count: number,
  hosts: readonly string[],
): Promise<StreamClient[]> {
  const clients: StreamClient[] = [];
  while (clients.length < count) {
    const session = connect(`http://${hosts[clients.length % hosts.length]}:${port}`);
    await new Promise<void>((resolve, reject) => {
      session.once("connect", () => resolve());
      session.once("error", reject);
    });
    for (let i = 0; i < STREAMS && clients.length < count; i++) {
      const client: StreamClient = {
        answered: Promise.resolve(0),
        wait(key, version) {
          client.answered = new Promise((resolve, reject) => {
            const request = session.request({
              ":method": "POST",
              ":path": "/reality/sync",
              "content-type": "application/json",
            });
            request.on("response", (headers) => {
              if (headers[":status"] !== 200) {
                reject(new Error(`Cannot wait: got status ${headers[":status"]}`));
              }
            });
            request.on("data", () => {});
            request.on("end", () => resolve(performance.now()));
            request.on("error", reject);
            request.end(JSON.stringify({ known: { [key]: version }, wait: WAIT }));
          });
        },
        close: () => session.destroy(),
      };
      clients.push(client);
    }
  }
  return clients;
}
