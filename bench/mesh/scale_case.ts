/**
 * The results of the scale bench, as `bench/results/mesh_scale.json` holds them.
 *
 * @module
 */
import type { FleetOptions } from "./fleet.ts";

/** One measured case. The figures are medians of its changes. */
export interface ScaleCase {
  readonly state: "steady" | "first contact" | "5 % down" | "after many changes";
  readonly storage: FleetOptions["storage"];
  readonly servers: number;
  readonly fanout: number;
  /** How many changes were measured. */
  readonly changes: number;
  /** Rounds until every running server has answered its client. */
  readonly rounds: number;
  readonly messages: number;
  readonly bytes: number;
  /** Requests to stopped servers, until then. */
  readonly lost: number;
  /** Requests and bytes after that, until no request is in flight; `null` if the bench did not wait for that. */
  readonly after: { readonly messages: number; readonly lost: number; readonly bytes: number } | null;
  /** Hello requests before the change: one for each pair of servers. */
  readonly hellos: number;
  readonly least: { readonly rounds: number; readonly messages: number; readonly bytes: number };
  /** Bytes of one request, in total and by field. */
  readonly sample: Readonly<Record<string, number>>;
}
