"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const all = (selector, within = document) => [...within.querySelectorAll(selector)];
const make = (tag, text = "", attributes = {}) => {
  const element = Object.assign(document.createElement(tag), { textContent: text });
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  return element;
};
const percent = (fraction) => (100 * fraction).toFixed(1);

// Light and dark: as the system says, until the button is pressed.
const theme = document.getElementById("theme");
const system = matchMedia("(prefers-color-scheme: dark)");
const isDark = () => (document.documentElement.dataset.theme || (system.matches ? "dark" : "light")) === "dark";
const nameTheme = () => { theme.textContent = isDark() ? "Light mode" : "Dark mode"; };
theme.addEventListener("click", () => { document.documentElement.dataset.theme = isDark() ? "light" : "dark"; nameTheme(); });
system.addEventListener("change", nameTheme);
theme.hidden = false;
nameTheme();
addEventListener("beforeprint", () => all("details").forEach((part) => { part.open = true; }));

// The table: sorted by a press on a head, filtered by name, model and kind.
const body = document.querySelector("#rows tbody");
const value = (row, place, type) => {
  const cell = row.cells[place];
  return type === "number" ? Number(cell.dataset.value ?? cell.textContent) || 0 : cell.textContent.toLowerCase();
};
all("#rows thead th").forEach((head, place) => {
  const button = make("button", head.textContent, { type: "button", class: "sort" });
  head.replaceChildren(button);
  button.addEventListener("click", () => {
    const rising = head.getAttribute("aria-sort") !== "ascending";
    all("#rows thead th").forEach((other) => other.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", rising ? "ascending" : "descending");
    const type = head.dataset.type;
    const ordered = [...body.rows].sort((a, b) => {
      const [x, y] = [value(a, place, type), value(b, place, type)];
      return (x < y ? -1 : x > y ? 1 : 0) * (rising ? 1 : -1);
    });
    body.append(...ordered);
  });
});
const find = document.getElementById("find"), which = document.getElementById("which"), kind = document.getElementById("kind");
const filter = () => {
  const words = find.value.toLowerCase();
  for (const row of body.rows) {
    row.hidden = !(row.textContent.toLowerCase().includes(words)
      && (!which.value || row.dataset.place === which.value) && (!kind.value || row.dataset.kind === kind.value));
  }
  document.getElementById("count").textContent = `${[...body.rows].filter((row) => !row.hidden).length} of ${body.rows.length} results`;
};
[find, which, kind].forEach((control) => control.addEventListener("input", filter));
document.getElementById("filters").hidden = false;
filter();

// Queries: a press on a point, or a choice from the list, shows one.
for (const explorer of all(".explorer")) {
  const { ap, rank, files, images, goals } = data[explorer.dataset.place];
  const goal = explorer.querySelector(".goal"), person = explorer.querySelector(".person"), details = explorer.querySelector(".details");
  const points = () => all(`.plot[data-goal="${goal.value}"] [id$="-points"] use`, explorer);
  const words = Object.fromEntries([...goal.options].map((option) => [option.value, option.textContent]));
  const list = () => {
    const lost = (place) => ap[place] - goals[goal.value].ap[place];
    const order = files.map((_, place) => place).sort((a, b) => lost(b) - lost(a));
    const line = (place) => `${files[place]}: ${percent(ap[place])} to ${percent(goals[goal.value].ap[place])}`;
    person.replaceChildren(make("option", "choose; the most harmed come first", { value: "" }), ...order.map((place) => make("option", line(place), { value: place })));
  };
  const show = (place) => {
    points().forEach((point, each) => point.classList.toggle("chosen", each === place));
    if (place === null) {
      details.replaceChildren(make("p", "No query is chosen.", { class: "hint" }));
      return;
    }
    person.value = place;
    const table = make("table"), top = make("tr");
    top.append(make("td"), ...["AP, %", "first match"].map((text) => make("th", text, { scope: "col" })));
    const row = (text, precision, first) => {
      const line = make("tr");
      line.append(make("th", text, { scope: "row" }), make("td", percent(precision), { class: "number" }), make("td", `rank ${first}`, { class: "number" }));
      return line;
    };
    table.append(top, row("clean", ap[place], rank[place]), ...Object.entries(goals).map(([name, found]) => row(words[name], found.ap[place], found.rank[place])));
    const parts = [make("h4", files[place])];
    if (images[place]) parts.push(make("span", "", { class: `pic ${images[place]}`, role: "img", "aria-label": `query ${files[place]}` }));
    details.replaceChildren(...parts, table);
  };
  const chosen = () => (person.value === "" ? null : Number(person.value));
  const change = () => {
    const before = chosen();
    all(".plot", explorer).forEach((plot) => { plot.hidden = plot.dataset.goal !== goal.value; });
    list();
    show(before);
  };
  all(".plot", explorer).forEach((plot) => {
    all('[id$="-points"] use', plot).forEach((point, place) => point.addEventListener("click", () => show(place)));
  });
  goal.addEventListener("input", change);
  person.addEventListener("input", () => show(chosen()));
  explorer.querySelector(".choices").hidden = false;
  change();
}
