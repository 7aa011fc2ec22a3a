import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "../harness.ts";
import { bundle, type Module, readBlocks } from "./blocks.ts";
import { Stage, until } from "./stage.ts";

const blocks = readBlocks("docs/frameworks.md");
// Outside the tests, because the bundler leaves a thread running.
const examples = await bundle(blocks, await Deno.makeTempDir({ dir: ".cache", prefix: "frameworks-" }));

/** Loads an example by its section and file. */
type Load = (section: string, file: string) => Promise<Module>;

/** What an example needs to be shown in an element of a page. */
interface Place {
  readonly element: Element;
  readonly load: Load;
  readonly tools: Module;
}

/** Examples that show the messages. Each returns what ends it. */
const pages: Readonly<Record<string, (place: Place) => Promise<() => void>>> = {
  "TanStack Query": async ({ load, ...place }) => {
    await load("tanstack-query", "Messages.jsx");
    return mountReact(place, (await load("tanstack-query", "App.jsx")).App);
  },
  "SWR": async ({ load, ...place }) => mountReact(place, (await load("swr", "Messages.jsx")).Messages),
  "React": async ({ load, ...place }) => mountReact(place, (await load("react", "Messages.jsx")).Messages),
  "Svelte": async ({ element, load, tools }) => {
    const component = tools.mount((await load("svelte", "Messages.svelte")).default, { target: element });
    return () => tools.unmount(component);
  },
  "Solid": async ({ element, load, tools }) => {
    const { Messages } = await load("solid", "Messages.js");
    return tools.render(() => tools.createComponent(Messages, {}), element);
  },
  "Vue": async ({ element, load, tools }) => {
    await load("vue", "useLive.js");
    const app = tools.createApp((await load("vue", "Messages.vue")).default);
    app.mount(element);
    return () => app.unmount();
  },
  "htmx": async ({ load, tools }) => {
    tools.htmx.process(document.body);
    await load("htmx", "htmx.js");
    const { reality } = await load("htmx", "reality.js");
    return () => reality.close();
  },
  "EventSource": async ({ load }) => {
    await load("eventsource", "events.js");
    return () => {};
  },
};

function mountReact({ element, tools }: Omit<Place, "load">, component: unknown): () => void {
  const root = tools.createRoot(element);
  root.render(tools.createElement(component));
  return () => root.unmount();
}

/** What is in the document before an example runs. */
async function markup(name: string, stage: Stage): Promise<string> {
  if (name === "EventSource") return '<p id="messages"></p>';
  if (name !== "htmx") return "<main></main>";
  const { text } = blocks.find(({ language }) => language === "html")!;
  const html = text.replace(/data-stamp='.*'/, `data-stamp='${await stage.stampField()}'`);
  assert.notEqual(html, text);
  return html.replace("></ul>", "><li>first</li></ul>");
}

// One test, since the examples have pages, connections and timers in common, which a page never closes.
test("every example of docs/frameworks.md keeps its page current", async () => {
  await using stage = new Stage();
  const ran = new Set<string>();
  const load: Load = async (section, file) => {
    ran.add(`${section}/${file}`);
    return await examples.load(section, file);
  };
  const tools = await examples.load("", "tools.js");

  for (const [name, draw] of Object.entries(pages)) {
    stage.reset();
    await stage.add("first");
    const element = stage.show(await markup(name, stage));
    const shows = async (text: string) =>
      await until(
        () => element.textContent?.includes(text) === true,
        () => `${name}: ${text} in ${element.innerHTML}`,
      );
    const end = await draw({ element, load, tools });
    await shows("first");
    await stage.add("second");
    await shows("second");
    await stage.addWithoutStamp("third");
    await stage.add("fourth");
    await shows("fourth");
    // Its keys are not those of a stamp.
    if (name !== "EventSource") {
      await stage.addWithKey("fifth", "other");
      await shows("fifth");
      await stage.add("sixth", "other");
      await shows("sixth");
    }
    // Last, since some packages fetch again by themselves some seconds after a failure.
    await stage.addWhileDown("seventh");
    await shows("seventh");
    end();
    await stage.drain();
  }

  {
    const { loads } = stage;
    const app = tools.createSSRApp((await load("vue", "Messages.vue")).default);
    assert.equal(await tools.renderToString(app), "<ul><!--[--><!--]--></ul>");
    // A fetch that a subscription causes begins within a task.
    await new Promise((resolve) => setTimeout(resolve, 20));
    assert.equal(stage.loads, loads, "Vue: rendering on a server fetches, and nothing ends that");
  }

  {
    stage.reset();
    const element = stage.show();
    const shows = async (text: string) =>
      await until(
        () => element.textContent === text,
        () => `SWR middleware: ${text} in ${element.innerHTML}`,
      );
    const { Inbox } = await load("swr", "Inbox.jsx");
    const end = mountReact({ element, tools }, Inbox);
    await shows("0");
    await stage.add("first");
    await shows("1");
    await stage.addWithoutStamp("second");
    await stage.add("third");
    await shows("3");
    await stage.addWithKey("fourth", "other");
    await shows("4");
    await stage.add("fifth", "other");
    await shows("5");
    // Last, as above.
    await stage.addWhileDown("sixth");
    await shows("6");
    end();
    await stage.drain();
  }

  {
    const element = stage.show();
    const shows = async (text: string) =>
      await until(
        () => element.textContent === text,
        () => `TanStack Query, keys: ${text} in ${element.innerHTML}`,
      );
    const { Title } = await load("tanstack-query", "Title.jsx");
    const { reality } = await load("tanstack-query", "reality.js");
    const client = new tools.QueryClient();
    const stop = tools.followQueries(client, reality);
    const title = tools.createElement(Title);
    const end = mountReact(
      { element, tools },
      () => tools.createElement(tools.QueryClientProvider, { client }, title),
    );
    await shows("Title 0");
    await stage.rename();
    await shows("Title 1");
    end();
    stop();
    await stage.drain();
  }

  {
    const { reality } = await load("react-native", "client.js");
    const { become } = await load("", "react_native.js");
    const changes: string[] = [];
    const is = async (state: string, count: number) =>
      await until(
        () => reality.state === state && changes.length === count,
        () => `React Native: ${state} ${count}`,
      );
    reality.follow(["title"], (changed: Map<string, unknown>) => changes.push(...changed.keys()));
    await is("live", 1);
    become("background");
    await is("hidden", 1);
    await stage.rename();
    become("active");
    await is("live", 2);
    reality.close();
    await stage.drain();
  }

  const files = blocks.filter(({ section, file }) => section !== "" && file !== undefined);
  assert.deepEqual(
    files.map(({ section, file }) => `${section}/${file}`).filter((file) => !ran.has(file)),
    [],
  );
  await examples[Symbol.asyncDispose]();
});

test("the lines for frameworks in other pages are those of docs/frameworks.md", () => {
  const strip = (text: string) => text.replaceAll(/[\s;]/g, "");
  const all = strip(blocks.map(({ text }) => text).join());
  const lines = ["client/README.md", "docs/client.md"].flatMap((page) => [
    ...readFileSync(page, "utf8").matchAll(/^\| (?:React|Svelte|Solid|Vue) \| `([^`]+)`/gm),
  ]);
  assert.ok(lines.length >= 4);
  assert.deepEqual(lines.map(([, code = ""]) => code).filter((code) => !all.includes(strip(code))), []);
});
