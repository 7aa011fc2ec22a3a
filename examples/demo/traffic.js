/**
 * Counts what travels for one window, calculates what polling would have sent in its place, and draws both.
 *
 * @module
 */

/** About what the headers of one request and its answer take. Scripts cannot see them. The same for ours and for polling. */
const HEADER_BYTES = 700;
/** The intervals that polling is calculated for, in seconds. */
const POLLS = [0.2, 1, 5];
/** How much time the plot shows, in milliseconds. */
const SPAN_MS = 60_000;
const LOG_LENGTH = 7;
/** How often time moves on in the plot: by about a pixel. */
const STEP_MS = 200;
const CALM_STEP_MS = 1000;
/** What a browser reports as `transferSize` of an answer without a body, such as 304. */
const NO_BODY_SIZE = 300;

const $ = (id) => document.getElementById(id);
const sizeOf = (text) => new Blob([text]).size;

export function createTraffic() {
  /** What was sent: `{ kind, path, start, end, bytes, note, isUnchanged }`, the newest first. */
  let requests = [];
  /** Changes that reached the screen: `{ at, delay, waits }`, the newest first; `waits` has the delay by each poll. */
  let changes = [];
  const delays = [];
  const total = { requests: 0, unchanged: 0, bytes: 0 };
  /** The server's clock minus ours: at least and at most, since the server told its time after our request and before its answer. */
  const offset = { least: -Infinity, most: Infinity };
  /** How long the quickest fetch of the board took. */
  let roundTrip = Infinity;
  let boardBytes = 0;
  let awakeSince = Infinity;
  let awakeMs = 0;
  const polls = POLLS.map((seconds) => ({
    every: seconds * 1000,
    next: 0,
    requests: 0,
    unchanged: 0,
    bytes: 0,
    /** When it would have asked, and whether the answer had a body. */
    asked: [],
    delays: [],
    isDirty: true,
  }));
  const chosen = () => polls[Number($("every").value)] ?? polls[0];
  const isAwake = () => awakeSince < Infinity;

  /** `fetch`, counted. */
  async function countedFetch(url, init = {}) {
    const path = new URL(url, location.href).pathname;
    const kind = { "/reality/events": "stream", "/reality/sync": "sync" }[path] ?? "data";
    const request = { kind, path, start: now(), end: null, bytes: 0, note: "waiting" };
    requests.unshift(request);
    requests = requests.filter(({ end }) => end === null || end > now() - SPAN_MS);
    total.requests++;
    addBytes(request, HEADER_BYTES + sizeOf(init.body ?? ""));
    try {
      const response = await fetch(url, init);
      void read(request, response.clone());
      return response;
    } catch (error) {
      finish(request, init.signal?.aborted ? "ended" : "no answer");
      throw error;
    }
  }

  /** Counts a body while it arrives, and notes what it says. */
  async function read(request, { ok, status, body }) {
    let text = "";
    const write = (part) => {
      if (!request.isUnchanged) addBytes(request, sizeOf(part));
      if (request.kind !== "stream") text += part;
      const key = request.kind === "stream" && /"key":"([^"]+)/.exec(part)?.[1];
      if (key) request.note = tell([key]);
      writeLog();
    };
    try {
      await body.pipeThrough(new TextDecoderStream()).pipeTo(new WritableStream({ write }));
    } catch {
      return finish(request, "ended");
    }
    if (!ok || request.kind === "stream") return finish(request, ok ? "ended" : `status ${status}`);
    const answer = JSON.parse(text);
    if (request.kind === "data") {
      boardBytes = sizeOf(text);
      roundTrip = Math.min(roundTrip, now() - request.start);
    } else {
      offset.least = Math.max(offset.least, answer.serverTime - now());
      offset.most = Math.min(offset.most, answer.serverTime + 1 - request.start);
    }
    finish(request, request.kind === "data" ? nounOf(answer.length) : tell(Object.keys(answer.changed)));
  }

  function finish(request, note) {
    request.end = now();
    request.note = request.isUnchanged ? "304, unchanged" : note;
    writeLog();
  }

  function addBytes(request, bytes) {
    request.bytes += bytes;
    total.bytes += bytes;
    writeLog();
  }

  // After 304 a browser gives scripts the answer that it has kept, with status 200. Its body did not travel.
  new PerformanceObserver((list) => {
    for (const { name, startTime, transferSize } of list.getEntries()) {
      if (!name.endsWith("/api/items") || transferSize > NO_BODY_SIZE) continue;
      const start = performance.timeOrigin + startTime;
      const request = requests.find((one) => one.kind === "data" && one.start <= start);
      if (!request || (request.end ?? Infinity) < start) continue;
      request.isUnchanged = true;
      total.unchanged++;
      addBytes(request, HEADER_BYTES - request.bytes);
      if (request.end) finish(request, "");
    }
  }).observe({ type: "resource" });

  /** A change that the server dated so is on this screen now. */
  function recordChange(serverTime) {
    const at = toPageTime(serverTime);
    const delay = Math.max(0.5, now() - at);
    changes.unshift({ at, delay, waits: new Map(polls.map((poll) => [poll, delayOf(poll, at)])) });
    delays.push(delay);
    for (const poll of polls) {
      poll.isDirty = true;
      poll.delays.push(changes[0].waits.get(poll));
    }
    changes = changes.filter((change) => change.at > now() - SPAN_MS);
  }

  /** How long a change would have taken to be asked for. The answer then takes as long as ours do. */
  function delayOf(poll, at) {
    const asks = poll.next - poll.every * Math.floor((poll.next - at) / poll.every);
    return asks - at + roundTrip;
  }

  /** Lets the calculated polls ask until now. */
  function advance() {
    for (const poll of polls) {
      while (isAwake() && poll.next <= now()) {
        poll.asked.push({ at: poll.next, hasBody: poll.isDirty });
        poll.requests++;
        if (!poll.isDirty) poll.unchanged++;
        poll.bytes += HEADER_BYTES + (poll.isDirty ? boardBytes : 0);
        poll.isDirty = false;
        poll.next += poll.every;
      }
      while (poll.asked[0]?.at < now() - SPAN_MS) poll.asked.shift();
    }
  }

  /** Whether this window asks at all: one that sleeps would not poll either. */
  function setAwake(value) {
    if (value === isAwake()) return;
    advance();
    if (!value) awakeMs += now() - awakeSince;
    awakeSince = value ? now() : Infinity;
    for (const poll of polls) Object.assign(poll, { next: awakeSince, isDirty: true });
    show();
  }

  function toPageTime(serverTime) {
    // Before the first answer it is not known, and taken for 0.
    return serverTime - ((offset.least + offset.most) / 2 || 0);
  }

  // ---- Figures and log -----------------------------------------------------------------------------------

  $("every").append(...POLLS.map((seconds, i) => new Option(`${seconds} s`, String(i), i === 1, i === 1)));
  $("every").addEventListener("change", writeFigures);

  function writeFigures() {
    const poll = chosen();
    const figures = {
      "delay-ours": formatTime(median(delays)),
      "delay-error": formatTime((offset.most - offset.least) / 2),
      "delay-theirs": formatTime(median(poll.delays)),
      "requests-ours": total.requests,
      "requests-theirs": poll.requests,
      "unchanged-ours": total.unchanged,
      "unchanged-theirs": poll.unchanged,
      "bytes-ours": formatBytes(total.bytes),
      "bytes-theirs": formatBytes(poll.bytes),
      "span": `${nounOf(delays.length, "change")} in ${
        formatSpan(awakeMs + (isAwake() ? now() - awakeSince : 0))
      }`,
    };
    $("bytes-ours").title = `${total.bytes} bytes`;
    $("bytes-theirs").title = `${poll.bytes} bytes`;
    for (const [id, figure] of Object.entries(figures)) {
      if ($(id).textContent !== String(figure)) $(id).textContent = figure;
    }
  }

  function writeLog() {
    $("log").replaceChildren(
      ...requests.slice(0, LOG_LENGTH).map((request) => {
        const line = document.createElement("li");
        line.dataset.kind = request.kind;
        const took = request.end === null ? "" : formatTime(request.end - request.start);
        for (const text of [request.path, request.note, took]) {
          line.append(Object.assign(document.createElement("span"), { textContent: text }));
        }
        return line;
      }),
    );
  }

  // ---- Plot ----------------------------------------------------------------------------------------------

  const canvas = $("plot");
  const pen = canvas.getContext("2d");
  const calm = matchMedia("(prefers-reduced-motion: reduce)");

  function draw() {
    const box = canvas.getBoundingClientRect();
    const scale = globalThis.devicePixelRatio;
    const [width, height] = [Math.round(box.width * scale), Math.round(box.height * scale)];
    if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
    pen.setTransform(scale, 0, 0, scale, 0, 0);
    pen.clearRect(0, 0, box.width, box.height);

    const style = getComputedStyle(canvas);
    const colour = (name) => style.getPropertyValue(name);
    const [ours, theirs, rule, faint, ground] = ["--ours", "--theirs", "--rule", "--faint", "--panel"].map(
      colour,
    );
    const left = 58;
    const right = box.width - 6;
    const time = now();
    const x = (at) => right - (time - at) / SPAN_MS * (right - left);
    const top = 10;
    const bottom = box.height - 92;
    // One step for each tenfold, from a millisecond to ten seconds.
    const y = (ms) => bottom - Math.min(4, Math.max(0, Math.log10(ms))) / 4 * (bottom - top);

    pen.font = `11px ${style.fontFamily}`;
    pen.textBaseline = "middle";
    pen.lineWidth = 1;
    for (
      const [ms, label] of [[1, "1 ms"], [10, "10 ms"], [100, "100 ms"], [1000, "1 s"], [10_000, "10 s"]]
    ) {
      pen.fillStyle = faint;
      pen.textAlign = "right";
      pen.fillText(label, left - 10, y(ms));
      line(left, right, y(ms), rule);
    }
    const lanes = { sync: bottom + 26, stream: bottom + 26, data: bottom + 46, poll: bottom + 66 };
    for (const [lane, label] of [["sync", "Asks"], ["data", "Fetches"], ["poll", "Polling"]]) {
      pen.fillStyle = faint;
      pen.fillText(label, left - 10, lanes[lane]);
      line(left, right, lanes[lane], rule);
    }
    pen.fillStyle = faint;
    pen.textAlign = "left";
    pen.fillText("a minute ago", left, box.height - 7);
    pen.textAlign = "right";
    pen.fillText("now", right, box.height - 7);

    pen.save();
    pen.beginPath();
    pen.rect(left, 0, right - left + 6, box.height);
    pen.clip();
    for (const { kind, start, end } of requests) {
      const from = Math.max(left - 8, x(start));
      const to = x(end ?? time);
      const middle = lanes[kind];
      pen.fillStyle = ours;
      if (to - from > 5) {
        // A request that waits: the line is held, and nothing travels until its end.
        pen.globalAlpha = 0.22;
        bar(from, to - 1.5, middle, 10);
        pen.globalAlpha = 1;
      }
      if (end !== null) bar(to - 2.5, to, middle, 10);
    }
    pen.fillStyle = theirs;
    for (const { at, hasBody } of chosen().asked) bar(x(at) - 2, x(at), lanes.poll, hasBody ? 12 : 6);

    for (const { at, delay, waits } of changes) {
      const wait = waits.get(chosen());
      pen.strokeStyle = theirs;
      pen.globalAlpha = 0.45;
      pen.lineWidth = 1;
      pen.beginPath();
      pen.moveTo(x(at), y(delay));
      pen.lineTo(x(at), y(wait));
      pen.stroke();
      pen.globalAlpha = 1;
      dot(x(at), y(wait), 3, ground, theirs);
      dot(x(at), y(delay), 3.5, ours, ground);
    }
    pen.restore();
  }

  function line(from, to, height, colour) {
    pen.strokeStyle = colour;
    pen.beginPath();
    pen.moveTo(from, Math.round(height) + 0.5);
    pen.lineTo(to, Math.round(height) + 0.5);
    pen.stroke();
  }

  function bar(from, to, middle, thickness) {
    pen.beginPath();
    pen.roundRect(from, middle - thickness / 2, Math.max(1, to - from), thickness, 2);
    pen.fill();
  }

  function dot(atX, atY, radius, fill, stroke) {
    pen.beginPath();
    pen.arc(atX, atY, radius, 0, 2 * Math.PI);
    pen.fillStyle = fill;
    pen.fill();
    pen.lineWidth = 1.5;
    pen.strokeStyle = stroke;
    pen.stroke();
  }

  function show() {
    advance();
    writeFigures();
    draw();
  }

  function step() {
    if (!document.hidden) show();
    setTimeout(step, calm.matches ? CALM_STEP_MS : STEP_MS);
  }
  step();

  return {
    fetch: countedFetch,
    recordChange,
    setAwake,
    toPageTime,
    now,
  };
}

/** Milliseconds since 1970 by this page's clock, with fractions, never going back. */
function now() {
  return performance.timeOrigin + performance.now();
}

function tell(keys) {
  if (keys.length === 0) return "nothing new";
  return `changed: ${keys.join(", ")}`;
}

function nounOf(count, noun = "item") {
  return count === 1 ? `1 ${noun}` : `${count} ${noun}s`;
}

function median(numbers) {
  if (numbers.length === 0) return NaN;
  return numbers.toSorted((a, b) => a - b)[numbers.length >> 1];
}

function formatTime(ms) {
  if (!Number.isFinite(ms)) return "–";
  if (ms < 9.95) return `${ms.toFixed(1)} ms`;
  return ms < 995 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(1)} s`;
}

function formatSpan(ms) {
  const seconds = Math.round(ms / 1000);
  return seconds < 60 ? `${seconds} s` : `${Math.floor(seconds / 60)} min ${seconds % 60} s`;
}

function formatBytes(bytes) {
  if (bytes < 1000) return `${bytes} B`;
  return bytes < 100_000 ? `${(bytes / 1000).toFixed(1)} kB` : `${Math.round(bytes / 1000)} kB`;
}
