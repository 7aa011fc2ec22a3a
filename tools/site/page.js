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

/** Rates a section: each word must be in it, and counts more in its title. */
function rate({ title, page, text }, words) {
  let sum = 0;
  for (const word of words) {
    const where = [[title, 20], [page, 6], [text, 1]].filter(([part]) => part.toLowerCase().includes(word));
    if (where.length === 0) return 0;
    sum += where.reduce((all, [part, weight]) => all + weight * (part.toLowerCase() === word ? 3 : 1), 0);
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
