/**
 * The tests that every adapter must pass, over real sockets: a list of requests and their answers, and tests of waiting,
 * streaming and disconnecting clients.
 *
 * @module
 */
import type { Test } from "../harness.ts";
import type { Adapter } from "./adapter.ts";
import { registerOn } from "./adapter_client.ts";
import { testBodies, testEncoding, testLargeBodies } from "./bodies.ts";
import { testConnections, testKeepAlive } from "./connections.ts";
import { cachedExchanges, testCachedSync } from "./cached_sync.ts";
import { corsExchanges, testCors } from "./cors.ts";
import { testHangingUp } from "./disconnects.ts";
import { errorExchanges, testErrors } from "./errors.ts";
import { check, type Exchange } from "./exchange.ts";
import { healthExchanges } from "./health.ts";
import { testAdmission, testStalledReader } from "./limits.ts";
import { testWaiting } from "./long_poll.ts";
import { pathExchanges } from "./paths.ts";
import { testReadingRights, testWritingRights } from "./rights.ts";
import { streamExchanges, testBackpressure, testStreams } from "./streams.ts";
import { syncExchanges, testSync } from "./sync.ts";
import { testWatching } from "./telemetry.ts";
import { testWrites, writeExchanges } from "./writes.ts";

const exchanges: readonly Exchange[] = [
  ...syncExchanges,
  ...pathExchanges,
  ...healthExchanges,
  ...streamExchanges,
  ...writeExchanges,
  ...errorExchanges,
  ...corsExchanges,
  ...cachedExchanges,
];

/**
 * Registers all tests of an adapter.
 *
 * @param test The runner's `test` function.
 * @param adapter The adapter under test.
 */
export function testAdapter(test: Test, adapter: Adapter): void {
  const onAdapter = registerOn(test, adapter);
  for (const exchange of exchanges) {
    onAdapter(exchange.title, exchange.scene ?? "plain", (client) => check(adapter, client, exchange));
  }
  testSync(onAdapter, adapter);
  testEncoding(onAdapter, adapter);
  testWrites(onAdapter);
  testKeepAlive(onAdapter);
  testErrors(onAdapter);
  if (!adapter.ownConnections) testConnections(onAdapter);
  testWatching(onAdapter, adapter.noticesLate);
  testBodies(onAdapter);
  // A framework that parses bodies may read them to their end first.
  if (!adapter.parsesBodies) testLargeBodies(onAdapter);
  testWaiting(onAdapter);
  if (!adapter.noticesLate) testHangingUp(onAdapter, adapter);
  testStreams(onAdapter);
  testReadingRights(onAdapter, adapter);
  testWritingRights(onAdapter);
  testAdmission(onAdapter, adapter);
  testCors(onAdapter);
  testCachedSync(onAdapter);
}

/**
 * Registers the slow tests: streams whose reader is slow or stalls. They run once for each way that streams are sent.
 *
 * @param test The runner's `test` function.
 * @param adapter The adapter under test.
 */
export function testSlowReader(test: Test, adapter: Adapter): void {
  const onAdapter = registerOn(test, adapter);
  if (!adapter.noticesLate) testStalledReader(onAdapter);
  testBackpressure(onAdapter);
}
