import assert from "node:assert/strict";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { addressOf, renderSite } from "../../tools/docs_site.ts";
import { test } from "../harness.ts";

const repository = "https://example.org/project";

/** Makes a site of a few pages; those of the navigation are left out. */
function render(pages: Record<string, string>) {
  const exists = (path: string) => path === "src/server.ts" || path === "docs/loop.svg";
  const site = renderSite({ pages: new Map(Object.entries(pages)), exists, repository, subpaths: ["."] });
  return { ...site, dead: site.dead.filter((link) => !link.startsWith("navigation")) };
}

test("every page of docs/ is in the navigation, and no link of a page is dead", () => {
  const paths = [
    ...readdirSync("docs").filter((name) => name.endsWith(".md")).map((name) => `docs/${name}`),
    ...["README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "src/PROTOCOL.md", "bench/README.md"],
    ...["client", "src", "src/mesh", "storage", "tests", "examples"].map((folder) => `${folder}/README.md`),
  ];
  const pages = new Map(paths.map((path) => [path, readFileSync(path, "utf8")]));
  const site = renderSite({ pages, exists: existsSync, repository, subpaths: [".", "./client"] });
  assert.deepEqual(site.dead, []);
  const home = site.pages.get("index.html")!;
  for (const path of paths.filter((path) => path.startsWith("docs/"))) {
    assert.ok(home.includes(`<a href="${addressOf(path)}"`), `${path} is not in the navigation`);
  }
  assert.ok(home.includes('<a href="api/client/index.html"'));
  for (const image of site.images) assert.ok(existsSync(image));
});

test("a link leads to the page, to its heading, to a file of the repository, or elsewhere", () => {
  const { pages, images, dead } = render({
    "README.md":
      "# Home\n[a](docs/a.md#next-step) ![b](docs/loop.svg) [c](src/server.ts) [d](https://example.com)",
    "docs/a.md": "# A\n## Next step!\n[home](../README.md) [here](#a)",
  });
  assert.deepEqual(dead, []);
  const home = pages.get("index.html")!;
  for (
    const href of ["docs/a.html#next-step", `${repository}/blob/main/src/server.ts`, "https://example.com"]
  ) assert.ok(home.includes(`href="${href}"`), href);
  assert.deepEqual([...images], ["docs/loop.svg"]);
  const page = pages.get("docs/a.html")!;
  for (const href of ["../index.html", "a.html#a"]) assert.ok(page.includes(`href="${href}"`), href);
  assert.match(page, /<h2 id="next-step">/);
});

test("links to a missing page, heading or file are dead", () => {
  const { dead } = render({ "docs/a.md": "# A\n[b](b.md) [c](#c) ![d](d.svg) [e](../src/client.ts)" });
  assert.deepEqual(dead.map((link) => link.replace("docs/a.md: ", "")), [
    "b.md",
    "#c",
    "d.svg",
    "../src/client.ts",
  ]);
});

test("the search has the text of each heading, and of code below it", () => {
  const { sections } = render({
    "docs/a.md": "# A `page`\nOne *two*.\n\n## B\n| c |\n| --- |\n| d |\n\n```ts\ne();\n```\n",
  });
  assert.deepEqual(sections.map(({ url, page, title }) => [url, page, title]), [
    ["docs/a.html#a-page", "A page", "A page"],
    ["docs/a.html#b", "A page", "B"],
  ]);
  assert.match(sections[0]!.text, /One .*two/);
  assert.match(sections[1]!.text, /c .*d .*e\(\);/);
});
