/**
 * Formats the metrics of a server in the text format of Prometheus, version 0.0.4. Contains no keys, URLs or server
 * names.
 *
 * @module
 */
import type { Histogram, Metrics } from "./metrics.ts";
import type { MeshStats } from "../types.ts";

/** The counters of a server, and its current state. */
export interface MetricsView {
  readonly version: string;
  /** Milliseconds since the server was created. */
  readonly uptime: number;
  readonly metrics: Metrics;
  /** Requests being read or answered, without those that wait. */
  readonly busy: number;
  /** Bytes of request bodies that are being read. */
  readonly readingBytes: number;
  /** An estimate of the memory of waiting syncs and open streams, in bytes. */
  readonly waitingBytes: number;
  /** Responses that clients have not read yet. */
  readonly responses: { readonly size: number; readonly bytes: number };
  readonly waiters: number;
  readonly wakes: number;
  readonly streams: number;
  readonly isStorageDown: boolean;
  readonly isClosing: boolean;
  readonly mesh: MeshStats | null;
  readonly redis: { readonly healthy: boolean; readonly refused: number } | null;
  /** The rows of the outbox: each kind is counted up to a limit. */
  readonly outbox?: OutboxView | undefined;
}

/** The rows of an outbox. */
interface OutboxView {
  readonly pending: number;
  /** In milliseconds. */
  readonly oldestAge: number;
  readonly setAside: number;
}

type Labels = Readonly<Record<string, string>>;
type Sample = readonly [labels: Labels, value: number];

/** The headers of the answer with the metrics. */
export const METRICS_HEADERS: Readonly<Record<string, string>> = Object.freeze({
  "content-type": "text/plain; version=0.0.4; charset=utf-8",
  "cache-control": "no-store",
});

/** A sample without labels. */
const NONE: Labels = Object.freeze({});

/** Formats the metrics of a server as text. */
export function renderMetrics(view: MetricsView): string {
  const page = new Page();
  const { metrics } = view;
  page.gauge("reality_build_info", "Version of the package.", [[{ version: view.version }, 1]]);
  page.gauge("reality_uptime_seconds", "Time since the server was made.", one(view.uptime / 1000));
  page.gauge("reality_closing", "1 once the server is being closed.", one(Number(view.isClosing)));
  page.gauge(
    "reality_busy_requests",
    "Requests being read or answered now, without those that wait.",
    one(view.busy),
  );
  page.gauge(
    "reality_reading_bytes",
    "Bytes of bodies held now while they are read.",
    one(view.readingBytes),
  );
  page.gauge(
    "reality_waiting_bytes",
    "Bytes of memory that waiting syncs and open streams hold now, by estimate.",
    one(view.waitingBytes),
  );
  writeResponses(page, view);
  writeRequests(page, metrics);
  writeSyncs(page, view);
  writeStorage(page, view);
  if (view.outbox !== undefined) writeOutbox(page, view.outbox);
  if (view.mesh !== null) writeMesh(page, view.mesh);
  if (view.redis !== null) writeRedis(page, view.redis);
  return page.text;
}

function writeResponses(page: Page, { metrics, responses }: MetricsView): void {
  page.gauge("reality_pending_responses", "Responses that clients have not read yet.", one(responses.size));
  page.gauge("reality_pending_response_bytes", "Bytes of these responses.", one(responses.bytes));
  page.counter(
    "reality_responses_cut_total",
    "Responses cut off because clients did not read them.",
    one(metrics.responsesCut.value),
  );
}

function writeRequests(page: Page, { requests, requestDurations, refusals }: Metrics): void {
  page.counter(
    "reality_http_requests_total",
    "Requests answered, by route and status; 499 when the client went away first.",
    requests.entries.map(([route, status, value]) => [{ route, status: String(status) }, value]),
  );
  page.histogram(
    "reality_http_request_duration_seconds",
    "Time to answer requests that did not wait, by route.",
    requestDurations.entries.map(([route, histogram]) => [{ route }, histogram]),
    1000,
  );
  page.counter(
    "reality_refusals_total",
    "Requests refused or failed, by code.",
    refusals.entries.map(([code, value]) => [{ code }, value]),
  );
}

function writeSyncs(page: Page, { metrics, waiters, wakes, streams }: MetricsView): void {
  page.counter("reality_syncs_total", "Sync requests of clients.", one(metrics.syncs.value));
  page.histogram("reality_sync_keys", "Keys that a sync asked for.", [[NONE, metrics.syncKeys]]);
  page.counter(
    "reality_changed_keys_total",
    "Keys reported as changed by syncs.",
    one(metrics.changedKeys.value),
  );
  page.counter("reality_waits_begun_total", "Syncs that began to wait.", one(metrics.waitsBegun.value));
  page.counter(
    "reality_waits_ended_total",
    "Syncs whose wait has ended, by how it ended.",
    metrics.waitsEnded.entries.map(([outcome, value]) => [{ outcome }, value]),
  );
  page.histogram(
    "reality_wait_duration_seconds",
    "Time that syncs waited.",
    [[NONE, metrics.waitDurations]],
    1000,
  );
  page.counter("reality_wakes_total", "Times that a waiting sync or stream was woken.", one(wakes));
  page.gauge("reality_waiters", "Syncs and streams that wait now.", one(waiters));
  page.gauge("reality_streams", "Event streams that are open now.", one(streams));
  page.counter("reality_streams_begun_total", "Event streams begun.", one(metrics.streamsBegun.value));
  page.counter(
    "reality_streams_ended_total",
    "Event streams that have ended, by reason.",
    metrics.streamsEnded.entries.map(([reason, value]) => [{ reason }, value]),
  );
  page.counter("reality_changes_total", "Nodes changed through this server.", one(metrics.changes.value));
}

function writeStorage(page: Page, { metrics, isStorageDown }: MetricsView): void {
  page.gauge(
    "reality_storage_up",
    "1 unless the last call of the storage failed.",
    one(Number(!isStorageDown)),
  );
  page.histogram("reality_storage_read_keys", "Keys asked for by one read of the storage.", [
    [NONE, metrics.readSizes],
  ]);
  page.histogram("reality_storage_write_nodes", "Nodes in one commit to the storage.", [
    [NONE, metrics.writeSizes],
  ]);
  page.histogram(
    "reality_storage_call_duration_seconds",
    "Time that calls of the storage took, by operation.",
    metrics.storageDurations.entries.map(([operation, histogram]) => [{ operation }, histogram]),
    1000,
  );
  page.counter(
    "reality_storage_failures_total",
    "Calls of the storage that failed or took too long, by operation.",
    metrics.storageFailures.entries.map(([operation, value]) => [{ operation }, value]),
  );
}

function writeOutbox(page: Page, { pending, oldestAge, setAside }: OutboxView): void {
  page.gauge("reality_outbox_rows", "Pending rows of the outbox, 10,000 at most.", one(pending));
  page.gauge(
    "reality_outbox_oldest_seconds",
    "Age of the oldest pending row of the outbox; 0 for none.",
    one(oldestAge / 1000),
  );
  page.gauge(
    "reality_outbox_set_aside_rows",
    "Rows of the outbox that were set aside for their keys, 10,000 at most.",
    one(setAside),
  );
}

function writeMesh(page: Page, mesh: MeshStats): void {
  const states = ["alive", "suspect", "gone", "unknown"] as const;
  const count = (state: string) => mesh.peers.filter((peer) => peer.state === state).length;
  const lag = mesh.peers.reduce((longest, peer) => Math.max(longest, peer.lag), 0);
  page.gauge(
    "reality_mesh_peers",
    "Other servers, by state.",
    states.map((state) => [{ state }, count(state)]),
  );
  page.gauge(
    "reality_mesh_lag_seconds",
    "Age of the oldest update that a peer has not received yet.",
    one(lag / 1000),
  );
  page.counter("reality_mesh_exchanges_total", "Exchanges begun with peers.", one(mesh.exchanges));
  page.counter("reality_mesh_exchange_failures_total", "Those that failed.", one(mesh.failures));
  page.counter("reality_mesh_answers_total", "Messages of peers that were answered.", one(mesh.answers));
  page.counter("reality_mesh_nodes_taken_total", "Nodes merged from other storages.", one(mesh.nodesTaken));
  page.counter("reality_mesh_sent_bytes_total", "Bytes sent to peers.", one(mesh.sentBytes));
  page.counter("reality_mesh_received_bytes_total", "Bytes received from peers.", one(mesh.receivedBytes));
}

function writeRedis(page: Page, { healthy, refused }: NonNullable<MetricsView["redis"]>): void {
  page.gauge("reality_redis_up", "1 while messages go out and come in through Redis.", one(Number(healthy)));
  page.counter(
    "reality_redis_refused_messages_total",
    "Messages through Redis that could not be read or were not proven.",
    one(refused),
  );
}

function one(value: number): Sample[] {
  return [[NONE, value]];
}

/** The text so far. */
class Page {
  text = "";

  gauge(name: string, help: string, samples: readonly Sample[]): void {
    this.#write("gauge", name, help, samples);
  }

  counter(name: string, help: string, samples: readonly Sample[]): void {
    this.#write("counter", name, help, samples);
  }

  /** Writes histograms. Observed numbers are divided by `unit`. */
  histogram(name: string, help: string, series: readonly (readonly [Labels, Histogram])[], unit = 1): void {
    this.#open("histogram", name, help);
    for (const [labels, histogram] of series) {
      const { bounds, counts } = histogram;
      let cumulated = 0;
      counts.forEach((count, i) => {
        const bound = bounds[i];
        const le = bound === undefined ? "+Inf" : String(bound / unit);
        this.#line(`${name}_bucket`, { ...labels, le }, cumulated += count);
      });
      this.#line(`${name}_sum`, labels, histogram.sum / unit);
      this.#line(`${name}_count`, labels, cumulated);
    }
  }

  #write(type: string, name: string, help: string, samples: readonly Sample[]): void {
    this.#open(type, name, help);
    for (const [labels, value] of samples) this.#line(name, labels, value);
  }

  #open(type: string, name: string, help: string): void {
    this.text += `# HELP ${name} ${escape(help)}\n# TYPE ${name} ${type}\n`;
  }

  #line(name: string, labels: Labels, value: number): void {
    const pairs = Object.entries(labels).map(([label, text]) => `${label}="${escapeLabel(text)}"`);
    this.text += `${name}${pairs.length === 0 ? "" : `{${pairs.join(",")}}`} ${formatNumber(value)}\n`;
  }
}

function escape(text: string): string {
  return text.replaceAll("\\", "\\\\").replaceAll("\n", "\\n");
}

function escapeLabel(text: string): string {
  return escape(text).replaceAll('"', '\\"');
}

function formatNumber(value: number): string {
  if (Number.isFinite(value)) return String(value);
  return Number.isNaN(value) ? "NaN" : value > 0 ? "+Inf" : "-Inf";
}
