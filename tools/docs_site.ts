/**
 * Makes the pages of the documentation from the Markdown of the project: navigation, search and links. Pure: it reads and
 * writes no file.
 *
 * @module
 */
import { Marked, type Token, type Tokens } from "marked";
import { dirname, join, relative } from "node:path/posix";

/** What the pages are made from. */
export interface SiteSources {
  /** Path → Markdown of every page of the project. */
  readonly pages: ReadonlyMap<string, string>;
  /** Whether a path of the project exists. */
  readonly exists: (path: string) => boolean;
  /** The address of the project's repository. */
  readonly repository: string;
  /** The subpaths of the package, which the API reference has pages of: `./client`. */
  readonly subpaths: readonly string[];
}

/** A part of a page, for the search. */
export interface SearchSection {
  /** The address, relative to the root of the site. */
  readonly url: string;
  /** The title of the page. */
  readonly page: string;
  /** The heading. */
  readonly title: string;
  readonly text: string;
}

/** The pages of the site. */
export interface Site {
  /** Path → HTML. */
  readonly pages: ReadonlyMap<string, string>;
  readonly sections: readonly SearchSection[];
  /** Images of the project that pages show. */
  readonly images: ReadonlySet<string>;
  /** Links of pages that lead nowhere. */
  readonly dead: readonly string[];
}

/** The order of the navigation. Pages that it does not name are reached by links. */
export const NAVIGATION: Readonly<Record<string, readonly string[]>> = {
  "Begin": ["README.md", "docs/getting-started.md", "docs/why.md"],
  "Guides": [
    ...[
      "client",
      "frameworks",
      "stamps",
      "groups",
      "recipes",
      "storages",
      "many-servers",
      "production",
      "proxies",
      "workers",
    ],
    ...["standalone"],
  ].map((name) => `docs/${name}.md`),
  "Coming from": [
    ...[
      "from-polling",
      "from-sse",
      "from-socket-io",
      "from-pusher-ably",
      "from-supabase-realtime",
      "migrating",
    ],
  ].map((name) => `docs/${name}.md`),
  "Look up": [
    ...["docs/options.md", "docs/errors.md", "docs/protocol.md", "docs/exports.md", "docs/versioning.md"],
    ...["CHANGELOG.md", "SECURITY.md", "CONTRIBUTING.md"],
  ],
};

/** Makes all pages. */
export function renderSite({ pages, exists, repository, subpaths }: SiteSources): Site {
  const html = new Map<string, string>();
  const sections: SearchSection[] = [];
  const images = new Set<string>();
  const dead: string[] = [];
  const anchors = new Map([...pages].map(([path, text]) => [path, findAnchors(text)]));

  /** Where a link of a page leads. */
  const resolveLink = (from: string, href: string): string => {
    if (/^\w+:/.test(href)) return href;
    const [path = "", anchor] = href.split("#");
    const target = path === "" ? from : join(dirname(from), path);
    const hash = anchor === undefined ? "" : `#${anchor}`;
    const known = anchors.get(target) ?? anchors.get(join(target, "README.md"));
    if (known !== undefined) {
      if (anchor !== undefined && !known.has(anchor)) dead.push(`${from}: ${href}`);
      const page = anchors.has(target) ? target : join(target, "README.md");
      return relative(dirname(addressOf(from)), addressOf(page)) + hash;
    }
    if (!exists(target)) dead.push(`${from}: ${href}`);
    if (/\.(svg|png)$/.test(target)) {
      images.add(target);
      return relative(dirname(addressOf(from)), target);
    }
    return `${repository}/blob/main/${target}${hash}`;
  };

  // Of sections that fit a search equally, those of the first pages are shown first.
  const first = Object.values(NAVIGATION).flat().filter((path) => pages.has(path));
  for (const path of new Set([...first, ...pages.keys()])) {
    const text = pages.get(path)!;
    const { body, parts } = renderPage(text, (href) => resolveLink(path, href));
    const title = parts[0]?.title ?? path;
    for (const part of parts) {
      const url = `${addressOf(path)}#${part.anchor}`;
      sections.push({ url, page: title, title: part.title, text: part.text });
    }
    html.set(
      addressOf(path),
      wrap(path, { title, body, subpaths, titles: (page) => titleOf(pages.get(page)) }),
    );
  }
  const missing = Object.values(NAVIGATION).flat().filter((path) => !pages.has(path));
  dead.push(...missing.map((path) => `navigation: ${path}`));
  return { pages: html, sections, images, dead };
}

/** The address of a page on the site: `docs/client.md` is `docs/client.html`, and a `README.md` the index of its folder. */
export function addressOf(path: string): string {
  return path.replace(/README\.md$/, "index.html").replace(/\.md$/, ".html");
}

interface Part {
  readonly anchor: string;
  readonly title: string;
  text: string;
}

function renderPage(text: string, link: (href: string) => string): { body: string; parts: readonly Part[] } {
  const parts: Part[] = [];
  const nameAnchor = createAnchors();
  const marked = new Marked({
    gfm: true,
    walkTokens(token: Token) {
      if (token.type === "link" || token.type === "image") token.href = link(token.href);
      const part = parts.at(-1);
      if (token.type === "heading") {
        const title = plain((token as Tokens.Heading).tokens);
        parts.push({ anchor: nameAnchor(title), title, text: "" });
      } else if (
        part !== undefined && "text" in token && !("tokens" in token && token.tokens !== undefined)
      ) {
        part.text += `${token.text} `;
      }
    },
    renderer: {
      heading({ tokens, depth }: Tokens.Heading): string {
        const anchor = nameRendered(plain(tokens));
        const inner = this.parser.parseInline(tokens);
        return `<h${depth} id="${anchor}">${inner}<a class="anchor" href="#${anchor}" aria-label="Link">#</a></h${depth}>\n`;
      },
    },
  });
  const nameRendered = createAnchors();
  const body = (marked.parse(text) as string)
    .replaceAll("<table>", '<div class="scroll"><table>').replaceAll("</table>", "</table></div>");
  return { body, parts };
}

/** The anchors that GitHub gives to headings: each is used once in a page. */
function createAnchors(): (title: string) => string {
  const used = new Set<string>();
  return (title) => {
    const plain = title.toLowerCase().replaceAll(/[^\p{L}\p{N}\s_-]/gu, "").trim().replaceAll(" ", "-");
    let anchor = plain;
    for (let i = 1; used.has(anchor); i++) anchor = `${plain}-${i}`;
    used.add(anchor);
    return anchor;
  };
}

function findAnchors(text: string): ReadonlySet<string> {
  const nameAnchor = createAnchors();
  const anchors = new Set<string>();
  for (const token of new Marked().lexer(text)) {
    if (token.type === "heading") anchors.add(nameAnchor(plain((token as Tokens.Heading).tokens)));
  }
  return anchors;
}

/** The text of inline tokens, without marks. */
function plain(tokens: readonly Token[]): string {
  return tokens.map((token) =>
    "tokens" in token && token.tokens !== undefined
      ? plain(token.tokens)
      : "text" in token
      ? token.text
      : token.raw
  ).join("");
}

function titleOf(text = ""): string {
  return /^# (.+)$/m.exec(text)?.[1] ?? "";
}

interface Wrapping {
  readonly title: string;
  readonly body: string;
  readonly subpaths: readonly string[];
  readonly titles: (page: string) => string;
}

function wrap(path: string, { title, body, subpaths, titles }: Wrapping): string {
  const address = addressOf(path);
  const to = (target: string) => relative(dirname(address), target) || ".";
  const groups = Object.entries(NAVIGATION).map(([name, pages]) => {
    const links = pages.map((page) => {
      const current = page === path ? ' aria-current="page"' : "";
      const text = page === "README.md"
        ? "Overview"
        : escape(titles(page).replaceAll("`", "").split(/[,:]/)[0]!);
      return `<a href="${to(addressOf(page))}"${current}>${text}</a>`;
    });
    return `<strong>${name}</strong>${links.join("")}`;
  });
  const modules = subpaths.map((subpath) => {
    const name = subpath === "." ? "the main entry" : subpath.slice(2);
    return `<a href="${to(join("api", subpath, "index.html"))}">${name}</a>`;
  });
  return `<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${escape(title)} · Reality</title>
<script>
const theme = localStorage.getItem("theme") ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
document.documentElement.classList.toggle("dark", theme === "dark");
</script>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="${to("api/prism.css")}">
<link rel="stylesheet" href="${to("page.css")}">
<script src="${to("api/prism.js")}" defer></script>
<script src="${to("page.js")}" type="module"></script>
</head>
<body data-base="${to("index.html")}">
<header class="top">
<a href="${to("index.html")}">Reality</a>
<a href="${to("api/index.html")}">API</a>
<div class="search"><input type="search" placeholder="Search ( / )" aria-label="Search" autocomplete="off"><ol></ol></div>
<button class="theme" aria-label="Light or dark">◐</button>
</header>
<div class="columns">
<details class="pages" open><summary>All pages</summary><div>${groups.join("")}<strong>API</strong>${
    modules.join("")
  }</div></details>
<main>
${body}</main>
</div>
</body>
</html>
`;
}

function escape(text: string): string {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll('"', "&quot;");
}
