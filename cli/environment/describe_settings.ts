/**
 * Describes the settings of a standalone server in the lines that it logs at its start.
 *
 * @module
 */
import { redactURL } from "../../src/redact.ts";
import type { ReaderSetting, Settings, StorageSetting } from "./settings.ts";

/** Returns the lines that a server logs at its start: its storage, its peers, and what is open. None has a secret. */
export function describeSettings(settings: Settings): string[] {
  const { storage, outbox, redis, meshPeers, meshSecrets, writeTokens, readers, handler } = settings;
  const lines = [`Storage: ${describeStorage(storage)}`];
  if (outbox !== undefined) lines.push(`Outbox: ${outbox}`);
  if (redis !== undefined) lines.push(`Redis: ${new URL(redis).host}`);
  if (meshPeers.length > 0) {
    const proof = meshSecrets.length > 0
      ? "signed with REALITY_MESH_SECRET"
      : "not signed: the network between the servers is trusted";
    lines.push(`Peers: ${meshPeers.map(redactURL).join(", ")}, ${proof}`);
  }
  lines.push(
    `Reads: ${describeReaders(readers)}`,
    writeTokens.length === 0
      ? "Writes: closed; set REALITY_WRITE_TOKEN to open the write routes"
      : "Writes: open to clients with a REALITY_WRITE_TOKEN",
    `Metrics: ${handler.basePath}/metrics is open to all clients; close it in a proxy`,
  );
  const origin = handler.cors?.origin;
  if (origin !== undefined) {
    lines.push(`CORS: ${origin === "*" ? "every origin" : String(origin).replaceAll(",", ", ")} may read`);
  }
  return lines;
}

/** Names the storage without the credentials of its URL. */
function describeStorage(storage: StorageSetting): string {
  if (storage.kind === "sqlite") return storage.path;
  return storage.kind === "memory"
    ? "memory; nodes are lost when the process ends"
    : `PostgreSQL at ${new URL(storage.url).host}`;
}

function describeReaders(readers: ReaderSetting): string {
  if (readers.kind === "url") return `decided by ${redactURL(readers.url)}`;
  if (readers.kind === "jwt") {
    const keys = readers.jwksURL === undefined
      ? "REALITY_JWT_SECRET"
      : `the keys at ${redactURL(readers.jwksURL)}`;
    return `open to clients with a token that is signed with ${keys}`;
  }
  return "open to all clients; set REALITY_JWT_SECRET, REALITY_JWKS_URL or REALITY_AUTHORIZE_URL to restrict them";
}
