/**
 * Very many clients in a process of their own, each on its own connection: first all wait for one node, then some
 * of them for a node of their own. Says on stdout what came.
 *
 * @module
 */
import { connect, type Socket } from "node:net";
import process from "node:process";

const port = Number(process.argv[2]);
const count = Number(process.argv[3]);
const later = Number(process.argv[4]);

const sockets: Socket[] = [];
// In groups that fit into the listener's backlog.
while (sockets.length < count) {
  const group = Math.min(200, count - sockets.length);
  sockets.push(...await Promise.all(Array.from({ length: group }, open)));
}

const answers = sockets.map((socket) => ask(socket, "all", 1));
const changed = await Promise.all(answers);
const right = changed.filter((meta) => meta?.key === "all" && meta.version === 2).length;
console.log(`${right} of ${count} were told`);

sockets.slice(0, later).forEach((socket, i) => {
  void ask(socket, `own:${i}`, 0).then((meta) => console.log(`client ${i} was told of ${meta?.key}`));
});

function open(): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect({ port, host: "127.0.0.1" }, () => resolve(socket));
    socket.once("error", reject);
  });
}

/** Sends a waiting sync about one key and gives the meta in its answer. */
function ask(
  socket: Socket,
  key: string,
  version: number,
): Promise<{ key: string; version: number } | undefined> {
  const body = JSON.stringify({ known: { [key]: version }, wait: 60_000 });
  socket.write(
    "POST /reality/sync HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n" +
      `content-length: ${body.length}\r\n\r\n${body}`,
  );
  return new Promise((resolve) => {
    let text = "";
    const onData = (chunk: unknown) => {
      text += chunk;
      // The one answer on this connection is whole when its JSON is; a server may send it in chunks.
      const json = /\r\n\r\n[^{]*(\{.*\})\s*(?:0\s*)?$/s.exec(text)?.[1];
      if (json === undefined || !text.includes('"serverTime"')) return;
      socket.off("data", onData);
      resolve(JSON.parse(json).changed[key]);
    };
    socket.on("data", onData);
  });
}
