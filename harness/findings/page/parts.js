"use strict";
// What the pages' programs share: unpacking the embedded data, tables, and the grid of samples. Whatever comes from data
// is set as text, never as HTML. What is open stands in the address after `#`, so that a link to it can be sent.

const STATES = {
  r: ["✓", "right"], w: ["✕", "wrong"], l: ["▼", "lost"], g: ["▲", "gained"], o: ["≠", "other words"],
};
const ROWS_A_SHEET = 50;
const byId = (id) => document.getElementById(id);

function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value !== null && value !== false) element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== null).map((child) => child instanceof Node ? child : String(child)));
  return element;
}

async function unpack(text) {
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return JSON.parse(await new Response(stream).text());
}

const percent = (part) => part === null ? "" : `${(100 * part).toFixed(1)} %`;
const points = (part) => part === null ? "" : `${part < 0 ? "−" : "+"}${Math.abs(100 * part).toFixed(1)}`;
const nats = (value) => value === null ? "" : value.toFixed(3).replace("-", "−");
const headName = ([layer, head]) => `L${layer}H${head}`;
const hashOf = (parts) => `#${new URLSearchParams(parts)}`;
const distinct = (values) => [...new Set(values)];

// A name that may be broken after its signs, not within its words.
const soft = (text) => text.split(/(?<=[/_@.-])|(?=\[)/).flatMap((part, i) => i ? [make("wbr"), part] : [part]);

// A text whose words of more than 80 letters may be broken: where one of 100,000 must be broken anywhere, a browser takes minutes.
const breakable = (text) => text.split(/(\S{80})(?=\S)/u).filter((part) => part !== "").flatMap((part, i) => i ? [make("wbr"), part] : [part]);

function choice(form, label, options, onchange) {
  const select = make("select", { name: label, onchange });
  for (const [value, text] of options) select.append(make("option", { value }, text));
  form.append(make("label", {}, label, select));
  return select;
}

// A table whose focus moves with the arrow keys, one cell at a time, as a grid does.
function moveWithKeys(table) {
  table.addEventListener("keydown", (event) => {
    const cell = event.target.closest("td");
    if (!cell) return;
    const moves = { ArrowRight: [0, 1], ArrowLeft: [0, -1], ArrowDown: [1, 0], ArrowUp: [-1, 0] };
    if (event.key === "Enter" || event.key === " ") {
      event.preventDefault();
      cell.click();
    } else if (moves[event.key]) {
      event.preventDefault();
      const [down, right] = moves[event.key];
      const line = table.tBodies[0].rows[cell.parentNode.sectionRowIndex + down];
      const next = line && line.cells[cell.cellIndex + right];
      if (next && next.tagName === "TD") focusCell(table, next);
    }
  });
}

function focusCell(table, cell) {
  table.querySelectorAll('td[tabindex="0"]').forEach((other) => other.setAttribute("tabindex", -1));
  cell.setAttribute("tabindex", 0);
  cell.focus();
}

function firstIsReached(table) {
  const first = table.querySelector("td");
  if (first) first.setAttribute("tabindex", 0);
}

// A table that is sorted by its heads; `columns` are [title, value, text, is a number], `lines()` what is shown.
function sortedTable(table, columns, lines) {
  const sorted = { by: null, down: false };

  function ordered() {
    if (sorted.by === null) return lines();
    const value = columns[sorted.by][1], sign = sorted.down ? -1 : 1;
    return [...lines()].sort((one, other) => {
      const [a, b] = [value(one), value(other)];
      if (a === null || b === null) return (a === null) - (b === null);
      return sign * (typeof a === "number" ? a - b : a.localeCompare(b));
    });
  }

  function draw() {
    const shown = ordered();
    const head = make("tr", {}, ...columns.map(([title, , , isNumber], i) => {
      const sort = i !== sorted.by ? null : sorted.down ? "descending" : "ascending";
      const sign = sort === null ? "" : sorted.down ? " ↓" : " ↑";
      const press = () => { sorted.down = sorted.by === i && !sorted.down; sorted.by = i; draw(); table.rows[0].cells[i].firstChild.focus(); };
      return make("th", { scope: "col", class: isNumber ? "n" : null, "aria-sort": sort }, make("button", { type: "button", onclick: press }, title + sign));
    }));
    const body = shown.map((line) => make("tr", {}, ...columns.map(([, , text, isNumber]) => make("td", { class: isNumber ? "n" : null }, text(line)))));
    table.replaceChildren(make("thead", {}, head), make("tbody", {}, ...body));
    return shown.length;
  }
  return draw;
}

// --- Samples: rows by conditions, a sheet of 50 rows at a time however many there are.

// `groups` are the choices of columns, [value, word, which]; `states` the letters that rows are filtered by.
function showSamples(page, { groups, states, first, open }) {
  if (!page.rows.length) return { open: () => {}, condition: () => {} };
  const form = byId("samples-filters"), table = byId("samples-grid"), pager = byId("samples-pager");
  const chosen = Object.fromEntries(groups.map(([value, , which]) => [value, which]));
  const tasks = distinct(page.rows.map((row) => row.task));
  const again = () => { sheet = 0; draw(); };
  const group = choice(form, "Conditions", groups, again);
  const task = choice(form, "Task", [["", "all"], ...tasks.map((name) => [name, name])], again);
  const state = choice(form, "Rows with any", states, again);
  const sought = make("input", { type: "search", oninput: again });
  form.append(make("label", {}, "Row or file holds", sought));
  form.addEventListener("submit", (event) => event.preventDefault());
  let sheet = 0, only = null;
  group.value = first.group;
  state.value = first.state;
  moveWithKeys(table);

  // A row's condition in a column: its place, or -1.
  const placed = (column, i) => column.conditions.find((place) => page.conditions[place].answers.states[i] !== ".") ?? -1;
  const letterOf = (place, i) => place < 0 ? "." : page.conditions[place].answers.states[i];

  function shownColumns() {
    return page.columns.filter((column) => column.experiment === "baseline" ||
      (only !== null ? column.conditions.includes(only) : chosen[group.value](column)));
  }

  function shownRows(columns) {
    const text = sought.value.toLowerCase(), found = [];
    page.rows.forEach((row, i) => {
      if (task.value && row.task !== task.value) return;
      if (text && !row.id.toLowerCase().includes(text)) return;
      if (state.value && !columns.some((column) => state.value.includes(letterOf(placed(column, i), i)))) return;
      if (only !== null && letterOf(only, i) === ".") return;
      found.push(i);
    });
    return found;
  }

  function draw() {
    const columns = shownColumns(), rows = shownRows(columns);
    const sheets = Math.max(1, Math.ceil(rows.length / ROWS_A_SHEET));
    sheet = Math.min(sheet, sheets - 1);
    const onSheet = rows.slice(sheet * ROWS_A_SHEET, (sheet + 1) * ROWS_A_SHEET);
    const head = make("tr", {}, make("th", { scope: "col" }, "row"), ...columns.map((column) => make("th", { scope: "col" }, make("div", {}, column.label))));
    const lines = onSheet.map((i) => make("tr", {}, make("th", { scope: "row", class: "row", dir: "auto" }, ...soft(page.rows[i].id)), ...columns.map((column) => {
      const place = placed(column, i), letter = letterOf(place, i);
      if (letter === ".") return make("td", { class: "none", tabindex: -1, "aria-label": "not asked" });
      const [sign, word] = STATES[letter];
      return make("td", { class: letter, tabindex: -1, "data-row": i, "data-place": place, "aria-label": `${word}: ${page.conditions[place].name}`, title: `${word}: ${page.conditions[place].name}` }, sign);
    })));
    table.replaceChildren(make("thead", {}, head), make("tbody", {}, ...lines));
    firstIsReached(table);
    const turn = (by) => { sheet += by; draw(); };
    const first = rows.length ? sheet * ROWS_A_SHEET + 1 : 0;
    pager.replaceChildren(
      make("button", { type: "button", disabled: sheet === 0 ? "" : null, onclick: () => turn(-1) }, "Earlier"),
      make("span", { role: "status" }, `rows ${first} to ${sheet * ROWS_A_SHEET + onSheet.length} of ${rows.length}`),
      make("button", { type: "button", disabled: sheet >= sheets - 1 ? "" : null, onclick: () => turn(1) }, "Later"),
      ...(only === null ? [] : [make("button", { type: "button", onclick: () => { only = null; history.replaceState(null, "", "#samples"); again(); } }, `all conditions, not only ${page.conditions[only].name}`)]));
  }

  table.addEventListener("click", (event) => {
    const cell = event.target.closest("td[data-row]");
    if (cell) location.hash = hashOf({ row: page.rows[cell.dataset.row].id, condition: page.conditions[cell.dataset.place].name });
  });

  function condition(name) {
    const place = page.conditions.findIndex((each) => each.name === name && each.answers);
    if (place < 0) return;
    only = place;
    again();
    byId("samples").scrollIntoView();
  }

  draw();
  return { open, condition };
}

const oneByOne = (...letters) => letters.map((letter) => [letter, STATES[letter][1]]);

// The dialog of a row: what was asked, and a line for each condition that it was asked under.
function showRow(page, id, name, { note, titles, cells }) {
  const i = page.rows.findIndex((row) => row.id === id), dialog = byId("sample");
  if (i < 0) return;
  const row = page.rows[i];
  const asked = row.question === null
    ? [make("p", { class: "quiet" }, "This report keeps neither question nor document.")]
    : [make("p", { dir: "auto" }, make("strong", {}, ...breakable(row.question))),
      make("blockquote", { dir: "auto", tabindex: 0 }, ...breakable(row.before), make("mark", {}, ...breakable(row.needle)), ...breakable(row.after))];
  const shown = page.columns.flatMap((column) => column.conditions).filter((place) => page.conditions[place].answers.states[i] !== ".");
  const isChosen = (place) => page.conditions[place].name === name;
  const first = (place) => isChosen(place) ? 0 : page.conditions[place].name === "baseline" ? 1 : 2;
  const ordered = shown.map((place, at) => [place, at]).sort(([a, x], [b, y]) => first(a) - first(b) || x - y).map(([place]) => place);
  const lines = ordered.map((place) => {
    const condition = page.conditions[place], letter = condition.answers.states[i], [sign, word] = STATES[letter];
    return make("tr", { class: isChosen(place) ? "chosen" : null },
      make("td", {}, make("a", { href: hashOf({ row: id, condition: condition.name }) }, ...soft(condition.name))),
      make("td", {}, make("span", { class: `s ${letter}` }, sign), ` ${word}`),
      ...cells(condition, i));
  });
  dialog.replaceChildren(
    make("button", { type: "button", class: "close", onclick: () => dialog.close() }, "Close"),
    make("h3", { id: "sample-title", dir: "auto" }, ...soft(id)),
    ...asked,
    make("p", { dir: "auto" }, "Right: ", make("strong", {}, ...breakable(row.value)), make("span", { class: "quiet" }, `  ${row.task}${row.depth === null ? "" : `, depth ${row.depth}`}`)),
    make("p", { class: "quiet" }, note),
    make("div", { class: "scroll", role: "group", tabindex: 0, "aria-label": "Answers under each condition" }, make("table", {},
      make("thead", {}, make("tr", {}, ...["condition", "answer is", ...titles].map((title) => make("th", { scope: "col", class: title.startsWith("log p") ? "n" : null }, title)))),
      make("tbody", {}, ...lines))));
  if (!dialog.open) dialog.showModal();
  dialog.scrollTop = 0;
}

const answerCell = (text) => make("td", {}, make("div", { class: "answer", dir: "auto" }, ...breakable(text)));
const faultsOf = (answers, i) => answers.faults.find(([at]) => at === i)?.[1].join(", ") ?? "";

// Unpacks the data, hands it to `show`, and follows the address: `#row=...`, `#condition=...`, and what `show` adds.
async function begin(show) {
  const page = await unpack(byId("data").textContent), dialog = byId("sample");
  const { samples, others } = show(page);
  dialog.addEventListener("close", () => {
    if (location.hash.includes("row=")) history.replaceState(null, "", "#samples");
  });
  const known = { row: new Set(page.rows.map(({ id }) => id)), condition: new Set(page.conditions.map(({ name }) => name)) };
  function follow() {
    const asked = new URLSearchParams(location.hash.slice(1));
    const absent = Object.keys(known).find((part) => asked.has(part) && !known[part].has(asked.get(part)));
    tell(absent ? `There is no ${absent} ${asked.get(absent)} here: the link is of another report.` : "");
    if (asked.has("row")) { samples.open(asked.get("row"), asked.get("condition")); return; }
    if (dialog.open) dialog.close();
    if (asked.has("condition")) samples.condition(asked.get("condition"));
    others(asked);
  }
  window.addEventListener("hashchange", follow);
  follow();
  document.documentElement.dataset.ready = "yes";
}

const tell = (text) => {
  const fault = byId("fault");
  fault.hidden = text === "";
  fault.textContent = text;
};

const complain = (error) => {
  tell(`The tables cannot be shown: ${error.message}. A browser of 2023 or later shows them.`);
};

