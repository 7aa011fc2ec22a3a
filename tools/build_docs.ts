/**
 * Builds the documentation as a static site in `site/`: the guides, and the API reference that `deno doc --html` makes. It
 * fails when a link leads nowhere. `deno task docs`.
 *
 * @module
 */
import { dirname, join } from "node:path/posix";
import { renderSite } from "./docs_site.ts";

const target = "site";
const repository = "https://github.com/rootlodge/reality";
const { exports }: { exports: Record<string, string> } = JSON.parse(await Deno.readTextFile("deno.json"));

await Deno.remove(target, { recursive: true }).catch(() => {});
await Deno.mkdir(target);

const files = new Deno.Command("git", { args: ["ls-files", "--cached", "--others", "--exclude-standard"] });
const { stdout } = await files.output();
const paths = new TextDecoder().decode(stdout).trim().split("\n");
const pages = new Map<string, string>();
for (const path of paths) {
  if (path.endsWith(".md") && !path.startsWith(".github/")) pages.set(path, await Deno.readTextFile(path));
}
const folders = new Set(
  paths.flatMap((path) => path.split("/").map((_, i, all) => all.slice(0, i).join("/"))),
);
const exists = (path: string) => paths.includes(path) || folders.has(path.replace(/\/$/, ""));

const subpaths = Object.keys(exports).filter((subpath) => subpath !== "./bin");
const site = renderSite({ pages, exists, repository, subpaths });
for (const [path, html] of site.pages) await write(path, html);
for (const path of site.images) await copy(path, path);
for (const name of ["page.css", "page.js"]) await copy(`tools/site/${name}`, name);
await write("search.json", JSON.stringify(site.sections));

const modules = subpaths.map((subpath) => exports[subpath]!);
const doc = new Deno.Command(Deno.execPath(), {
  args: [
    "doc",
    "--quiet",
    "--html",
    "--name=@rootlodge/reality-server",
    `--output=${target}/api`,
    ...modules,
  ],
  stdout: "null",
});
const { success, stderr } = await doc.output();
if (!success) {
  console.error(new TextDecoder().decode(stderr));
  Deno.exit(1);
}

const dead = [...site.dead, ...await findDeadFiles()];
for (const link of dead) console.error(`dead link: ${link}`);
console.log(`${site.pages.size} pages and the API in ${target}/, ${dead.length} dead links`);
if (dead.length > 0) Deno.exit(1);

/** Links of written pages to files that were not written. */
async function findDeadFiles(): Promise<string[]> {
  const found: string[] = [];
  for await (const path of listFiles(target)) {
    if (!path.endsWith(".html")) continue;
    // Examples in code are escaped, so each tag is one of the page.
    const text = await Deno.readTextFile(path);
    for (const [, value = ""] of text.matchAll(/<[^>]*\b(?:href|src)="([^"]*)"/g)) {
      const [link = ""] = value.replaceAll("&#x2F;", "/").replaceAll("&amp;", "&").split(/[#?]/);
      if (link === "") continue;
      if (/^\w+:|^\/\//.test(link)) continue;
      const file = join(dirname(path), decodeURI(link));
      if (!await Deno.stat(file).then(() => true, () => false)) found.push(`${path}: ${link}`);
    }
  }
  return found;
}

async function* listFiles(folder: string): AsyncGenerator<string> {
  for await (const { name, isDirectory } of Deno.readDir(folder)) {
    if (isDirectory) yield* listFiles(`${folder}/${name}`);
    else yield `${folder}/${name}`;
  }
}

async function write(path: string, text: string): Promise<void> {
  await Deno.mkdir(dirname(`${target}/${path}`), { recursive: true });
  await Deno.writeTextFile(`${target}/${path}`, text);
}

async function copy(from: string, to: string): Promise<void> {
  await Deno.mkdir(dirname(`${target}/${to}`), { recursive: true });
  await Deno.copyFile(from, `${target}/${to}`);
}
