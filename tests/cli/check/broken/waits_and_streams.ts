/**
 * Servers that break the rules of waiting syncs and event streams: sections 5 and 6 of the protocol.
 *
 * @module
 */
import type { BrokenServer } from "./broken_server.ts";
import { onAnswer, onStream, onSync, withHeaders } from "./interceptors.ts";

/** The servers. */
export const WAITS_AND_STREAMS: readonly BrokenServer[] = [
  {
    does: "sends no pause when it refuses to wait",
    breaks: ["5.8"],
    answer: onAnswer(({ answer }) => delete answer.pause),
  },
  {
    does: "sends a change only at the deadline",
    breaks: ["5.1", "5.2"],
    answer: onSync(async ({ body, ask }) => {
      if (!Number(body.wait) || Object.keys(body.known).length === 0) return undefined;
      const response = await ask({ ...body, wait: 0 });
      const { changed } = await response.clone().json();
      if (Object.keys(changed).length > 0) return response;
      await response.body?.cancel();
      await new Promise((resolve) => setTimeout(resolve, Number(body.wait)));
      return await ask({ ...body, wait: 0 });
    }),
  },
  {
    does: "misses a change between reading and waiting",
    breaks: ["5.1", "5.2"],
    answer: onSync(async ({ body, ask }) => {
      if (!Number(body.wait) || Object.keys(body.known).length === 0) return undefined;
      const response = await ask({ ...body, wait: 0 });
      await new Promise((resolve) => setTimeout(resolve, Number(body.wait)));
      return response;
    }),
  },
  {
    does: "waits although no key is requested",
    breaks: ["5.6"],
    answer: onSync(async ({ body }) => {
      if (Object.keys(body.known).length > 0) return undefined;
      await new Promise((resolve) => setTimeout(resolve, Number(body.wait) > 0 ? Number(body.wait) : 0));
      return undefined;
    }),
  },
  {
    does: "streams changes under another event name",
    breaks: ["6.1", "6.2", "6.3", "6.4"],
    answer: onStream((text) => text.replaceAll("event: update", "event: change")),
  },
  {
    does: "streams no id while no key has a node",
    breaks: ["6.1", "6.2"],
    answer: onStream((text) => text.includes("event:") ? text : text.replaceAll(/^id: .*\n/gm, "")),
  },
  {
    does: "streams an id with every event",
    breaks: ["6.2", "6.3", "6.4"],
    answer: onStream((text) => text.replaceAll(/^(data: .*\n)\n/gm, "$1id: x:1\n\n")),
  },
  {
    does: "streams heartbeats with an id",
    breaks: ["6.3"],
    answer: async (request, ask) => {
      const response = await ask(request);
      if (response.headers.get("content-type") !== "text/event-stream") return response;
      let timer: ReturnType<typeof setTimeout>;
      const heartbeat = new TextEncoder().encode(": heartbeat\nid: x:1\n\n");
      const body = response.body!.pipeThrough(
        new TransformStream<Uint8Array, Uint8Array>({
          start(controller) {
            timer = setTimeout(() => controller.enqueue(heartbeat), 200);
            request.signal.addEventListener("abort", () => clearTimeout(timer));
          },
          flush: () => clearTimeout(timer),
        }),
      );
      return new Response(body, { headers: response.headers });
    },
  },
  {
    does: "ignores Last-Event-ID and resumes from now",
    breaks: ["6.4"],
    answer: async (request, ask) => {
      if (!request.headers.has("last-event-id")) return await ask(request);
      return await onStream((text) => text.replaceAll(/event: .*\ndata: .*\n/g, ""))(request, ask);
    },
  },
  {
    does: "allows proxies to buffer the stream",
    breaks: ["6.7"],
    answer: async (request, ask) => withHeaders(await ask(request), { "x-accel-buffering": null }),
  },
  {
    does: "follows keys that no group has in silence on a stream",
    breaks: ["6.8"],
    options: { groups: { of: () => [], isGroup: () => false } },
    answer: onStream((text) => text.replaceAll(/event: refused\n.*\n\n/g, "")),
  },
  {
    does: "gives the refusals of a stream an id",
    breaks: ["6.8"],
    options: { groups: { of: () => [], isGroup: () => false } },
    answer: onStream((text) => text.replaceAll(/(event: refused\n.*\n)\n/g, "$1id: x:1\n\n")),
  },
];
