/**
 * Counts what servers send each other, and records which changes arrive where.
 *
 * @module
 */
import type { Delivery } from "../network.ts";
import { deltaOf } from "./delta.ts";
import type { Machine, Traffic } from "./machines.ts";
import type { Record } from "./record.ts";

/** What the log needs of its cluster. */
export interface TrafficLogDeps {
  machines(): readonly Machine[];
  readonly record: Record;
  /** Whether messages are signed. */
  readonly isSigned: boolean;
  /** Prints a line if the history is traced. */
  trace(line: () => string): void;
}

/** The messages between the servers of one history. */
export class TrafficLog {
  /** The counts so far. */
  readonly traffic: Traffic = { requests: 0, bytes: 0, loaded: 0, nodes: 0, pages: 0, published: 0 };
  /** What the byzantine peer has published through Redis. */
  readonly forgeries: Set<string> = new Set();
  /** Requests that the byzantine peer has read on the network. */
  readonly captured: Delivery[] = [];
  readonly #deps: TrafficLogDeps;

  /** @param deps The machines, the record and the trace of the cluster. */
  constructor(deps: TrafficLogDeps) {
    this.#deps = deps;
  }

  /** Counts a request or an answer, and records the nodes in it. */
  recordDelivery(delivery: Delivery): void {
    const { kind, to, from, body } = delivery;
    if (kind === "request") this.traffic.requests++;
    this.traffic.bytes += body.length;
    this.#deps.trace(() => `${from} → ${to} ${kind} ${delivery.status || ""} ${body}`);
    if (kind === "request" && this.captured.length < 50) this.captured.push(delivery);
    const delta = deltaOf(body);
    if (delta === undefined) return;
    const { sender, nodes, full, isLast } = delta;
    const machine = this.#deps.machines().find(({ host }) => host === to);
    if (machine === undefined) {
      return this.#deps.record.blame("leak", `${to} was told ${JSON.stringify(nodes)}`);
    }
    if (nodes.length > 0) this.traffic.loaded++;
    if (!isLast) this.traffic.pages++;
    this.traffic.nodes += nodes.length;
    const isByServer = this.#deps.machines().some(({ host }) => host === from);
    void machine.disk.life().then((life) => {
      for (const node of nodes) this.#deps.record.offer(life, node);
      // Not the storage that the sender has now: it may have been lost after the message was sent.
      const other = isByServer && full ? this.#deps.record.lifeOf(sender) : undefined;
      if (other === undefined) return;
      for (const key of this.#deps.record.keys) this.#deps.record.offerSilence(life, key, other);
    });
  }

  /** Records a message that arrived through Redis. Only signed messages carry nodes. */
  recordPublication(host: string, text: string): void {
    this.#deps.trace(() => `redis → ${host} ${text}`);
    const machine = this.#deps.machines().find((machine) => machine.host === host);
    const delta = this.#deps.isSigned && !this.forgeries.has(text)
      ? deltaOf(`{"gossip":${text}}`)
      : undefined;
    if (machine === undefined || delta === undefined) return;
    this.traffic.published += delta.nodes.length;
    void machine.disk.life().then((life) => {
      for (const node of delta.nodes) this.#deps.record.offer(life, node);
    });
  }
}
