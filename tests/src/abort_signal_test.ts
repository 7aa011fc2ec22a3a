import { deepEqual, equal } from "node:assert/strict";
import { EventEmitter } from "node:events";
import { onAbort, onClose } from "../../src/abort_signal.ts";
import { test } from "../harness.ts";

class Socket extends EventEmitter {
  destroyed = false;
}

test("onClose() has one listener on a connection while it has any callbacks", () => {
  const socket = new Socket();
  const called: number[] = [];
  const stops = [1, 2, 3].map((i) => onClose(socket, () => called.push(i)));
  equal(socket.listenerCount("close"), 1);
  for (const stop of stops) stop();
  stops[0]!();
  equal(socket.listenerCount("close"), 0);
  onClose(socket, () => called.push(4));
  const stop = onClose(socket, () => called.push(5));
  stop();
  equal(socket.listenerCount("close"), 1);
  socket.emit("close");
  socket.emit("close");
  deepEqual(called, [4]);
});

test("onClose() calls back at once if the connection is closed already", () => {
  const socket = new Socket();
  socket.destroyed = true;
  let calls = 0;
  onClose(socket, () => calls++)();
  deepEqual([calls, socket.listenerCount("close")], [1, 0]);
});

test("onAbort() calls back when the client disconnects, at once if it has disconnected already, and not after listening was stopped", () => {
  const controller = new AbortController();
  const called: string[] = [];
  onAbort(controller.signal, () => called.push("before"));
  onAbort(controller.signal, () => called.push("stopped"))();
  controller.abort();
  onAbort(controller.signal, () => called.push("after"));
  deepEqual(called, ["before", "after"]);
});
