/**
 * Locates the client of a request that wants to wait.
 *
 * @module
 */
import type { TrustedProxies } from "../limits/client_address.ts";
import { clientOf, isProxied, type Locatable } from "../limits/client_limit.ts";
import type { RequestRecord } from "../telemetry/request_record.ts";
import type { WaiterSource } from "./waiters.ts";

/**
 * Identifies the client and the connection of a request.
 *
 * @param trusted The trusted proxies. The connection of a proxy is left out, because many clients share it.
 * @param record The record of the request, which has the client if a rate limit has determined it.
 */
export function locateClient(
  request: Locatable,
  trusted: TrustedProxies,
  record?: RequestRecord,
): WaiterSource {
  const client = record?.client;
  const connection = request.connection?.();
  return {
    client: client === undefined ? clientOf(request, trusted) : client,
    connection: connection === undefined || isProxied(request, trusted) ? undefined : connection,
  };
}
