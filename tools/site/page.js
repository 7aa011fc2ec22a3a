// The theme and the search of the pages that `deno task docs` makes.
const root = document.documentElement;
document.querySelector(".theme").addEventListener("click", () => {
  localStorage.setItem("theme", root.classList.toggle("dark") ? "dark" : "light");
});

// On a phone the list of pages is closed at first.
if (matchMedia("(max-width: 52rem)").matches) document.querySelector(".pages").open = false;

const input = document.querySelector(".search input");
const list = document.querySelector(".search ol");
const base = new URL(document.body.dataset.base, location.href);
let sections;

/** Rates a section: each word must be in it, and counts more in its title. Words of a title may be joined, as in `rateLimit`. */
function rate({ title, page, text }, words) {
  let sum = 0;
  for (const word of words) {
    const joined = title.toLowerCase().replaceAll(" ", "");
    const inTitle = title.toLowerCase().includes(word) || joined.includes(word);
    const inText = Math.min(5, text.toLowerCase().split(word).length - 1);
    const found = (inTitle ? 20 : 0) + (page.toLowerCase().includes(word) ? 6 : 0) + inText;
    if (found === 0) return 0;
    sum += found;
  }
  return sum;
}

/** The text around the first word that is found. */
function excerpt(text, [word]) {
  const at = Math.max(0, text.toLowerCase().indexOf(word) - 40);
  return `${at > 0 ? "…" : ""}${text.slice(at, at + 120)}`;
}

async function search() {
  const words = input.value.toLowerCase().split(/\s+/).filter((word) => word.length > 1);
  sections ??= fetch(new URL("search.json", base)).then((response) => response.json());
  const found = words.length === 0 ? [] : (await sections)
    .map((section) => [rate(section, words), section]).filter(([sum]) => sum > 0)
    .sort(([a], [b]) => b - a).slice(0, 12);
  list.replaceChildren(...found.map(([, { url, page, title, text }]) => {
    const item = document.createElement("li");
    const link = item.appendChild(document.createElement("a"));
    link.href = new URL(url, base);
    link.textContent = title === page ? title : `${page}: ${title}`;
    link.appendChild(document.createElement("small")).textContent = excerpt(text, words);
    return item;
  }));
}

input.addEventListener("input", search);
input.addEventListener("keydown", ({ key }) => {
  if (key === "Enter") list.querySelector("a")?.click();
  if (key === "Escape") list.replaceChildren();
});
document.addEventListener("click", ({ target }) => {
  if (!target.closest(".search")) list.replaceChildren();
});
document.addEventListener("keydown", (event) => {
  if (event.key !== "/" || /INPUT|TEXTAREA/.test(event.target.tagName)) return;
  event.preventDefault();
  input.focus();
});
