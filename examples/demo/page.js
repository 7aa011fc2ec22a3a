/**
 * The board's page: shows the items, sends what people do, and follows what others do.
 *
 * @module
 */
// In a project of yours: from "@rootlodge/reality-server/client". Here the server has it at /client/mod.ts.
import { createClient } from "../../client/mod.ts";
import { createTraffic } from "./traffic.js";

const ids = ["status", "status-text", "face", "name", "another", "add", "text", "progress", "progress-text"]
  .concat(["items", "empty", "problem", "guest", "sleep", "said"]);
const ui = Object.fromEntries(ids.map((id) => [id, document.getElementById(id)]));
const traffic = createTraffic();

/** Id → item, as last fetched. */
let items = new Map();
let isFirst = true;
let transport = new URLSearchParams(location.search).get("transport") === "events" ? "events" : "wait";
let client;
/** By the page's clock. The page was not told of older changes when they happened: it caught up with them. */
let liveSince = Infinity;

// ---- Following -------------------------------------------------------------------------------------------

/** Follows the board until `client.close()`. The stamp of the answer says what to follow. */
function start() {
  client = createClient({ url: "/reality", transport, fetch: traffic.fetch });
  let told = new Map();
  const board = client.live(({ changed, signal }) => {
    told = changed;
    return traffic.fetch("/api/items", { signal, cache: "no-cache" });
  });
  let shown;
  const showBoard = ({ data, error }) => {
    showState(error ? "retrying" : client.state);
    if (data === shown) return;
    shown = data;
    show(data);
    measure([...told.values()]);
  };
  const stop = board.subscribe(showBoard);
  client.subscribe((state) => {
    if (state !== "closed") return showBoard(board.getSnapshot());
    stop();
    showState(state);
  });
}

/** Records how long each change took from the server's write to this screen. */
function measure(changes) {
  // A task that is queued in a frame runs after that frame was painted.
  requestAnimationFrame(() =>
    setTimeout(() => {
      for (const { updatedAt } of changes) {
        if (traffic.toPageTime(updatedAt) >= liveSince) traffic.recordChange(updatedAt);
      }
      if (changes.length > 0) restart(ui.status, "beat");
    })
  );
}

const STATES = {
  idle: "Connecting",
  connecting: "Connecting",
  live: "Live, without a socket",
  retrying: "Server away, trying again",
  offline: "No network",
  hidden: "At rest, nobody looks",
  closed: "Asleep",
};

function showState(state) {
  const text = state === "live" && transport === "events" ? "Live, on a stream" : STATES[state];
  if (state !== "live") liveSince = Infinity;
  else if (liveSince === Infinity) liveSince = traffic.now();
  ui.status.dataset.state = state;
  if (ui["status-text"].textContent !== text) ui["status-text"].textContent = text;
  traffic.setAwake(state === "live");
}

// ---- Showing ---------------------------------------------------------------------------------------------

/** Brings the list on screen in line with the data, touching only what differs. */
function show(data) {
  const before = items;
  items = new Map(data.map((item) => [item.id, item]));
  const rows = new Map(Array.from(ui.items.children, (row) => [Number(row.dataset.id), row]));
  for (const [id, row] of rows) {
    if (!items.has(id) && !row.inert) leave(row, before.get(id));
  }
  let at = ui.items.firstElementChild;
  for (const item of data) {
    while (at?.inert) at = at.nextElementSibling;
    let row = rows.get(item.id);
    if (row === undefined) {
      row = createRow(item.id);
      if (!isFirst) row.classList.add("new");
    }
    if (row === at) at = at.nextElementSibling;
    else ui.items.insertBefore(row, at);
    fill(row, item, before.get(item.id));
  }
  const done = [...items.values()].filter((item) => item.done).length;
  ui.progress.max = Math.max(1, items.size);
  ui.progress.value = done;
  const isAll = done === items.size;
  ui["progress-text"].textContent = isAll
    ? (done > 0 ? `All ${done} packed` : "Nothing to pack")
    : `${done} of ${items.size} packed`;
  ui.empty.hidden = items.size > 0;
  isFirst = false;
}

function createRow(id) {
  const row = document.createElement("li");
  row.dataset.id = id;
  row.innerHTML = `
    <div>
      <label><input type="checkbox"><span class="text"></span></label>
      <span class="by"><span class="face" aria-hidden="true"></span><span class="when"></span></span>
      <button type="button" class="remove"><svg viewBox="0 0 16 16" aria-hidden="true"><path d="M4 4l8 8m0-8l-8 8"/></svg></button>
    </div>`;
  row.querySelector("input").addEventListener("change", (event) => tick(id, event.target));
  row.querySelector("button").addEventListener("click", () => remove(id));
  return row;
}

function fill(row, item, before) {
  const isNews = before !== undefined && before.at !== item.at;
  row.classList.toggle("done", item.done);
  row.style.setProperty("--hue", hueOf(item.by));
  row.querySelector(".text").textContent = item.text;
  row.querySelector("input").checked = item.done;
  row.querySelector("button").setAttribute("aria-label", `Remove ${item.text}`);
  row.querySelector(".face").textContent = item.by.slice(0, 1).toUpperCase();
  row.querySelector(".when").textContent = `${item.by}, ${ago(item.at)}`;
  if (isNews) restart(row, "told");
  if (item.by === ui.name.value) return;
  if (isNews) say(`${item.by} ${item.done ? "packed" : "unpacked"} ${item.text}`);
  else if (before === undefined && !isFirst) say(`${item.by} added ${item.text}`);
}

/** Begins an animation, again where it is running. */
function restart(element, animation) {
  element.classList.remove(animation);
  void element.offsetWidth;
  element.classList.add(animation);
}

function leave(row, item) {
  if (row.contains(document.activeElement)) {
    const neighbour = row.nextElementSibling ?? row.previousElementSibling;
    (neighbour?.querySelector("input") ?? ui.text).focus();
  }
  row.inert = true;
  row.classList.add("gone");
  if (item) say(`${item.text} was removed`);
  // Without an animation, for people who asked for less motion, there is nothing to wait for.
  const running = row.getAnimations();
  Promise.allSettled(running.map((animation) => animation.finished)).then(() => row.remove());
}

function say(sentence) {
  ui.said.textContent = sentence;
}

function ago(at) {
  const seconds = Math.max(0, Math.round((traffic.now() - traffic.toPageTime(at)) / 1000));
  if (seconds < 5) return "just now";
  if (seconds < 60) return `${seconds} s ago`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ago`;
  if (seconds < 86_400) return `${Math.floor(seconds / 3600)} h ago`;
  return `${Math.floor(seconds / 86_400)} d ago`;
}

function hueOf(name) {
  let mixed = 7;
  for (const letter of name) mixed = (mixed * 33 + letter.codePointAt(0)) % 9973;
  return mixed * 47 % 360;
}

setInterval(() => {
  if (document.hidden) return;
  for (const row of ui.items.children) {
    const item = items.get(Number(row.dataset.id));
    if (item) row.querySelector(".when").textContent = `${item.by}, ${ago(item.at)}`;
  }
}, 5000);

// ---- Doing -----------------------------------------------------------------------------------------------

/** Sends a change. The page learns of it as it learns of everybody's changes. */
async function send(method, path, body) {
  ui.problem.textContent = "";
  try {
    const response = await fetch(path, {
      method,
      ...(body && { headers: { "content-type": "application/json" }, body: JSON.stringify(body) }),
    });
    if (response.ok || response.status === 404) return true;
    const { message } = await response.json();
    ui.problem.textContent = message;
  } catch {
    ui.problem.textContent = "That did not reach the server. Try again when it is back.";
  }
  return false;
}

async function tick(id, box) {
  const done = box.checked;
  if (!await send("PATCH", `/api/items/${id}`, { done, by: ui.name.value })) box.checked = !done;
}

function remove(id) {
  return send("DELETE", `/api/items/${id}`);
}

ui.add.addEventListener("submit", async (event) => {
  event.preventDefault();
  const text = ui.text.value;
  if (text.trim() === "") return;
  ui.text.value = "";
  const isSent = await send("POST", "/api/items", { text, by: ui.name.value });
  if (!isSent && ui.text.value === "") ui.text.value = text;
});

// ---- Who, how, and a guest -------------------------------------------------------------------------------

const NAMES = "Ada,Jon,Mina,Bo,Cleo,Finn,Hana,Ivo,Lou,Nora,Oskar,Pia,Tomas".split(",");

function setName(name) {
  ui.name.value = name;
  sessionStorage.setItem("name", name);
  ui.face.textContent = name.slice(0, 1).toUpperCase();
  ui.face.style.setProperty("--hue", hueOf(name));
  const others = NAMES.filter((other) => other !== name);
  ui.another.href = `/?as=${others[Math.floor(Math.random() * others.length)]}`;
}
const asked = new URLSearchParams(location.search).get("as")?.trim().slice(0, 20);
setName(asked || sessionStorage.getItem("name") || NAMES[Math.floor(Math.random() * NAMES.length)]);
ui.name.addEventListener("change", () => setName(ui.name.value.trim() || NAMES[0]));

for (const radio of document.querySelectorAll("input[name=transport]")) {
  radio.checked = radio.value === transport;
  radio.addEventListener("change", () => {
    transport = radio.value;
    if (ui.sleep.getAttribute("aria-pressed") === "true") return;
    client.close();
    start();
  });
}

ui.sleep.addEventListener("click", () => toggle(ui.sleep) ? client.close() : start());

const WISHES = ["Marshmallows", "A kite", "Rain jackets", "Sunscreen", "Pancake flour", "The long rope"]
  .concat(["A football", "Lanterns", "Coffee, the good one", "Swimming things", "A map on paper"]);
let guestTimer;

ui.guest.addEventListener("click", () => {
  clearTimeout(guestTimer);
  if (toggle(ui.guest)) help(30);
});

/** A guest does so many more things, with pauses such as people make. */
function help(times) {
  if (times === 0) return void toggle(ui.guest);
  const all = [...items.values()];
  const one = all[Math.floor(Math.random() * all.length)];
  const by = "Robin";
  const dice = Math.random();
  if (one === undefined || (dice < 0.3 && all.length < 10)) {
    const wish = WISHES.filter((text) => all.every((item) => item.text !== text));
    send("POST", "/api/items", { text: wish[Math.floor(Math.random() * wish.length)] ?? "Good weather", by });
  } else if (dice > 0.85 && all.length > 5) {
    remove(one.id);
  } else {
    send("PATCH", `/api/items/${one.id}`, { done: !one.done, by });
  }
  guestTimer = setTimeout(() => help(times - 1), 1500 + Math.random() * 3500);
}

function toggle(button) {
  const isOn = button.getAttribute("aria-pressed") === "false";
  button.setAttribute("aria-pressed", String(isOn));
  return isOn;
}

start();
