/**
 * The board's page: shows the items, sends what people do, and follows by a waiting sync or an event stream.
 *
 * @module
 */
import { follow, followEvents } from "./client.js";
import { createTraffic } from "./traffic.js";

const LIST_KEY = "board:items";
const ITEM_KEY = "board:item:";

const $ = (id) => document.getElementById(id);
const ui = Object.fromEntries(
  [
    "status",
    "status-text",
    "face",
    "name",
    "another",
    "add",
    "text",
    "progress",
    "progress-text",
    "items",
    "empty",
  ]
    .concat(["problem", "guest", "sleep", "said"]).map((id) => [id, $(id)]),
);
const traffic = createTraffic();

/** Id → item, as last fetched. */
let items = new Map();
let isFirst = true;
let transport = new URLSearchParams(location.search).get("transport") === "events" ? "events" : "sync";
let follower = null;
/** By the page's clock: changes older than this were caught up with, which is not the same as being told. */
let liveSince = Infinity;

// ---- Following -------------------------------------------------------------------------------------------

function start() {
  const options = {
    keys: () => [LIST_KEY, ...Array.from(items.keys(), (id) => ITEM_KEY + id)],
    refetch,
    onState: showState,
  };
  follower = transport === "events"
    ? followEvents({ ...options, url: "/reality/events", EventSource: traffic.EventSource })
    : follow({ ...options, url: "/reality/sync", fetch: traffic.fetch });
}

/** Fetches what the server said to look at again, and shows it. */
async function refetch(keys, { changed, signal }) {
  const whole = keys.includes(LIST_KEY);
  const gone = keys.filter((key) => changed[key]?.deleted);
  const ids = keys.filter((key) => !gone.includes(key)).map((key) => key.slice(ITEM_KEY.length));
  const before = items;
  let view;
  if (whole || ids.length > 0) {
    const response = await traffic.fetch(whole ? "/api/items" : `/api/items?ids=${ids}`, { signal });
    if (!response.ok) throw new Error(`Cannot fetch items: status ${response.status}`);
    view = await response.json();
  }
  if (whole) {
    items = new Map(view.items.map((item) => [item.id, item]));
  } else {
    items = new Map(before);
    for (const key of gone) items.delete(Number(key.slice(ITEM_KEY.length)));
    for (const item of view?.items ?? []) items.set(item.id, item);
  }
  render(before);
  measure(Object.values(changed));
  return view;
}

/** Notes how long each change took from the server's write to this screen. */
function measure(metas) {
  const moments = new Set(metas.filter((meta) => !meta.deleted).map((meta) => meta.updatedAt));
  // A task that is queued in a frame runs after that frame was painted.
  requestAnimationFrame(() =>
    setTimeout(() => {
      for (const moment of moments) {
        if (traffic.toPageTime(moment) >= liveSince) traffic.noteChange(moment);
      }
      traffic.noteBoard(JSON.stringify([...items.values()]).length);
      if (moments.size > 0) restart(ui.status, "beat");
    })
  );
}

function showState({ state, retryIn }) {
  const words = {
    live: transport === "events" ? "Live, on a stream" : "Live, without a socket",
    away: `Server away, next try in ${Math.ceil((retryIn ?? 0) / 1000)} s`,
    asleep: "Asleep",
  };
  if (state !== "live") liveSince = Infinity;
  else if (liveSince === Infinity) liveSince = traffic.now();
  ui.status.dataset.state = state;
  if (ui["status-text"].textContent !== words[state]) ui["status-text"].textContent = words[state];
  traffic.setAwake(state === "live");
}

// ---- Showing ---------------------------------------------------------------------------------------------

/** Brings the list on screen in line with `items`, touching only what differs. */
function render(before) {
  const rows = new Map(Array.from(ui.items.children, (row) => [Number(row.dataset.id), row]));
  for (const [id, row] of rows) {
    if (!items.has(id) && !row.inert) leave(row, before.get(id));
  }
  let at = ui.items.firstElementChild;
  for (const item of [...items.values()].sort((a, b) => b.id - a.id)) {
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

/** Sends a change. It comes back on the road that everybody's changes take. */
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

const NAMES = [
  "Ada",
  "Jon",
  "Mina",
  "Bo",
  "Cleo",
  "Finn",
  "Hana",
  "Ivo",
  "Lou",
  "Nora",
  "Oskar",
  "Pia",
  "Tomas",
];

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
  radio.addEventListener("change", async () => {
    const old = follower;
    follower = null;
    await old?.stop();
    transport = radio.value;
    if (ui.sleep.getAttribute("aria-pressed") === "false") start();
  });
}

ui.sleep.addEventListener("click", async () => {
  const sleeps = toggle(ui.sleep);
  const old = follower;
  follower = null;
  if (!sleeps) return start();
  await old?.stop();
  showState({ state: "asleep" });
});

const WISHES = [
  "Marshmallows",
  "A kite",
  "Rain jackets",
  "Sunscreen",
  "Pancake flour",
  "The long rope",
  "A football",
]
  .concat(["Lanterns", "Coffee, the good one", "Swimming things", "A map on paper", "Salt and pepper"]);
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
