/**
 * Counts what travels for one window, reckons what polling would have sent in its place, and draws both.
 *
 * @module
 */

/** Bytes that the headers of one request and its answer take: counted for ours and for polling alike. */
const HEADER_BYTES = 700;
/** The intervals that polling is reckoned for, in seconds. */
const POLLS = [0.2, 1, 5];
/** How much time the plot shows, in milliseconds. */
const SPAN_MS = 60_000;
const LOG_LENGTH = 7;
/** How often time moves on in the plot: by about a pixel. */
const STEP_MS = 200;
const CALM_STEP_MS = 1000;

const $ = (id) => document.getElementById(id);
const sizeOf = (text) => new Blob([text]).size;

export function createTraffic() {
  /** What went over the line: `{ kind, path, start, end, bytes, note }`, the newest first. */
  let requests = [];
  /** Changes that reached the screen: `{ at, delay }`, the newest first. */
  let changes = [];
  const delays = [];
  const total = { requests: 0, bytes: 0 };
  /** The server's clock minus ours, from the quickest answer that told the time. */
  let offset = { ms: 0, roundTrip: Infinity };
  let boardBytes = 0;
  let isAwake = false;
  const polls = POLLS.map((seconds) => ({
    every: seconds * 1000,
    next: 0,
    requests: 0,
    bytes: 0,
    /** When it would have asked, and whether the answer had a body. */
    asked: [],
    delays: [],
    isDirty: true,
  }));
  const chosen = () => polls[Number($("every").value)] ?? polls[0];

  function begin(kind, path) {
    const request = { kind, path, start: now(), end: null, note: "waiting" };
    requests.unshift(request);
    requests = requests.filter(({ end }) => end === null || end > now() - SPAN_MS);
    total.requests++;
    writeLog();
    return request;
  }

  function finish(request, bytes, note) {
    request.end = now();
    request.note = note;
    total.bytes += bytes;
    writeLog();
  }

  /** `fetch`, counted. */
  async function countedFetch(path, init = {}) {
    const isSync = path.startsWith("/reality/");
    const request = begin(isSync ? "sync" : "data", path);
    try {
      const response = await fetch(path, init);
      const text = await response.clone().text();
      const bytes = HEADER_BYTES + sizeOf(init.body ?? "") + sizeOf(text);
      if (!response.ok) {
        finish(request, bytes, `status ${response.status}`);
        return response;
      }
      const body = JSON.parse(text);
      if (!isSync) learnTime(body.now, request.start);
      finish(request, bytes, isSync ? tell(Object.keys(body.changed)) : nounOf(body.items.length));
      return response;
    } catch (error) {
      finish(request, 0, init.signal?.aborted ? "broken off" : "no answer");
      throw error;
    }
  }

  /** `EventSource`, counted: the bytes of its frames as the server writes them. */
  class CountedEventSource extends EventSource {
    #request = begin("stream", "/reality/events");
    constructor(url) {
      super(url);
      total.bytes += HEADER_BYTES + url.length;
      this.addEventListener("update", (event) => {
        total.bytes += sizeOf(`event: update\ndata: ${event.data}\nid: ${event.lastEventId}\n\n`);
        this.#request.note = tell([JSON.parse(event.data).key]);
        writeLog();
      });
    }
    close() {
      super.close();
      if (this.#request.end === null) finish(this.#request, 0, "ended");
    }
  }

  function learnTime(serverTime, start) {
    const roundTrip = now() - start;
    if (roundTrip < offset.roundTrip) offset = { ms: serverTime - (start + roundTrip / 2), roundTrip };
  }

  /** A change that the server dated so is on this screen now. */
  function noteChange(serverTime) {
    const at = toPageTime(serverTime);
    const delay = Math.max(0.5, now() - at);
    changes.unshift({ at, delay });
    changes = changes.filter((change) => change.at > now() - SPAN_MS);
    delays.push(delay);
    for (const poll of polls) {
      poll.isDirty = true;
      poll.delays.push(delayOf(poll, at));
    }
  }

  /** How long a change would have taken to be asked for. The answer then takes as long as ours do. */
  function delayOf(poll, at) {
    const asks = poll.next - poll.every * Math.floor((poll.next - at) / poll.every);
    return asks - at + Math.min(offset.roundTrip, 1000);
  }

  /** Lets the reckoned polls ask until now. */
  function advance() {
    for (const poll of polls) {
      while (isAwake && poll.next <= now()) {
        poll.asked.push({ at: poll.next, hasBody: poll.isDirty });
        poll.requests++;
        poll.bytes += HEADER_BYTES + (poll.isDirty ? boardBytes : 0);
        poll.isDirty = false;
        poll.next += poll.every;
      }
      while (poll.asked[0]?.at < now() - SPAN_MS) poll.asked.shift();
    }
  }

  /** Says how many bytes the whole board takes now, which is what polling would fetch. */
  function noteBoard(bytes) {
    boardBytes = bytes;
    show();
  }

  /** Whether this window asks at all: one that sleeps would not poll either. */
  function setAwake(value) {
    if (value && !isAwake) {
      for (const poll of polls) {
        poll.next = now();
        poll.isDirty = true;
      }
    }
    isAwake = value;
  }

  function toPageTime(serverTime) {
    return serverTime - offset.ms;
  }

  // ---- Figures and log -----------------------------------------------------------------------------------

  $("every").append(...POLLS.map((seconds, i) => new Option(`${seconds} s`, String(i), i === 1, i === 1)));
  $("every").addEventListener("change", writeFigures);

  function writeFigures() {
    const poll = chosen();
    const figures = {
      "delay-ours": formatTime(median(delays)),
      "delay-theirs": formatTime(median(poll.delays)),
      "requests-ours": total.requests,
      "requests-theirs": poll.requests,
      "bytes-ours": formatBytes(total.bytes),
      "bytes-theirs": formatBytes(poll.bytes),
    };
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

    for (const { at, delay } of changes) {
      const wait = delayOf(chosen(), at);
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
    EventSource: CountedEventSource,
    noteChange,
    noteBoard,
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
  return keys.length <= 2 ? `look at ${keys.join(", ")}` : `look at ${keys.length} keys`;
}

function nounOf(items) {
  return items === 1 ? "1 item" : `${items} items`;
}

function median(numbers) {
  if (numbers.length === 0) return NaN;
  return numbers.toSorted((a, b) => a - b)[numbers.length >> 1];
}

function formatTime(ms) {
  if (Number.isNaN(ms)) return "–";
  if (ms < 9.95) return `${ms.toFixed(1)} ms`;
  return ms < 995 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(1)} s`;
}

function formatBytes(bytes) {
  if (bytes < 1000) return `${bytes} B`;
  return bytes < 100_000 ? `${(bytes / 1000).toFixed(1)} kB` : `${Math.round(bytes / 1000)} kB`;
}
