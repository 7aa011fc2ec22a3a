/**
 * A slow database behind HTTP: SQLite, which answers each statement after a delay.
 *
 * @module
 */
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { DatabaseSync, type SQLInputValue } from "node:sqlite";

/** A database that takes `{ sql, params }` by POST and gives the rows as JSON. */
export interface HTTPDatabase {
  /** Where it is. */
  readonly url: string;
  /** Ends it. */
  close(): Promise<void>;
}

/**
 * Starts it.
 *
 * @param delay How long each statement takes at least, in milliseconds; the next one takes a little less or more.
 */
export async function startHTTPDatabase(delay: number): Promise<HTTPDatabase> {
  const database = new DatabaseSync(":memory:");
  let statements = 0;
  const answer = async (request: IncomingMessage, response: ServerResponse) => {
    const chunks: Uint8Array[] = [];
    for await (const chunk of request) chunks.push(chunk);
    const { sql, params }: { sql: string; params: SQLInputValue[] } = JSON.parse(
      Buffer.concat(chunks).toString(),
    );
    // Answers overtake each other.
    await new Promise((resolve) => setTimeout(resolve, delay + 7 * (statements++ % 5)));
    response.end(JSON.stringify(database.prepare(sql).all(...params)));
  };
  const server = createServer((request, response) => {
    // A request that broke off, since the client of the one that asks has hung up, is answered by nothing.
    answer(request, response).catch(() => response.destroy());
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    async close() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
      database.close();
    },
  };
}
