"use strict";
// The page's own program: it unpacks the embedded data and shows it. Whatever comes from data is set as text, never as
// HTML. What is open stands in the address after `#`, so that a link to a row, a condition or a head can be sent.

const STATES = {
  r: ["✓", "right"], w: ["✕", "wrong"], l: ["▼", "lost"], g: ["▲", "gained"],
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

// --- Accuracy: a table that is sorted by its heads and filtered by experiment, task and k.

function showAccuracy(page) {
  const at = Object.fromEntries(page.columns_of_table.map((name, i) => [name, i]));
  const form = byId("accuracy-filters");
  const options = (name) => distinct(page.table.map((line) => line[at[name]]).filter((value) => value !== null));
  const all = (name, word) => [["", word], ...options(name).map((value) => [value, value])];
  const experiment = choice(form, "Experiment", all("experiment", "all"), draw);
  const task = choice(form, "Task", all("task", "all and pooled"), draw);
  const k = choice(form, "k", [["", "all"], ...options("k").sort((a, b) => a - b).map((value) => [value, value])], draw);
  task.value = "pooled";
  form.addEventListener("submit", (event) => event.preventDefault());

  const interval = (line) => line[at.low] === null ? "" : `${percent(line[at.low])} to ${percent(line[at.high])}`;
  const answered = (line) => line[at.n] === line[at.requested] ? line[at.n] : `${line[at.n]} of ${line[at.requested]}`;
  const heads = (line) => line[at.k_effective];
  const columns = [
    ["condition", "condition", (line) => make("a", { href: hashOf({ condition: line[at.condition] }) }, line[at.condition])],
    ["task", "task", (line) => line[at.task]],
    ["k", "k", (line) => line[at.k] ?? ""],
    ["heads", "k_effective", heads],
    ["rows", "n", answered],
    ["right", "matches", (line) => line[at.matches]],
    ["accuracy", "accuracy", (line) => percent(line[at.accuracy])],
    ["95 % interval", "low", interval],
    ["drop, points", "drop", (line) => points(line[at.drop])],
    ["lost", "lost", (line) => line[at.lost] ?? ""],
    ["gained", "gained", (line) => line[at.gained] ?? ""],
    ["published rule", "published_accuracy", (line) => percent(line[at.published_accuracy])],
  ];
  const sorted = { name: null, down: false };
  const table = byId("accuracy-table");

  function shown() {
    const wanted = [["experiment", experiment.value], ["task", task.value], ["k", k.value]].filter(([, value]) => value !== "");
    const lines = page.table.filter((line) => wanted.every(([name, value]) => String(line[at[name]]) === value));
    if (sorted.name === null) return lines;
    const i = at[sorted.name], sign = sorted.down ? -1 : 1;
    return lines.sort((one, other) => {
      if (one[i] === null || other[i] === null) return (one[i] === null) - (other[i] === null);
      return sign * (typeof one[i] === "number" ? one[i] - other[i] : one[i].localeCompare(other[i]));
    });
  }

  function draw() {
    const lines = shown();
    const head = make("tr", {}, ...columns.map(([title, name], i) => {
      const sort = name !== sorted.name ? null : sorted.down ? "descending" : "ascending";
      const sign = sort === null ? "" : sorted.down ? " ↓" : " ↑";
      const press = () => { sorted.down = sorted.name === name && !sorted.down; sorted.name = name; draw(); table.rows[0].cells[i].firstChild.focus(); };
      return make("th", { scope: "col", class: i < 2 ? null : "n", "aria-sort": sort }, make("button", { type: "button", onclick: press }, title + sign));
    }));
    const body = lines.map((line) => make("tr", {}, ...columns.map(([, , text], i) => make("td", { class: i < 2 ? null : "n" }, text(line)))));
    table.replaceChildren(make("thead", {}, head), make("tbody", {}, ...body));
    byId("accuracy-count").textContent = `${lines.length} of ${page.table.length} lines`;
  }
  draw();
}

// --- Heads: a map of scores; a head's own scores, and the conditions in which it was ablated.

function showHeads(page) {
  const { heads } = page;
  if (!heads) return { open: () => {}, mark: () => {} };
  const tasks = Object.keys(heads.scores), form = byId("heads-filters"), table = byId("heads-map");
  const withHeads = page.conditions.filter((condition) => condition.heads.length);
  const task = choice(form, "Scores", [["", "mean over tasks"], ...tasks.map((name) => [name, name])], draw);
  const marked = choice(form, "Framed", [["", "none"], ...withHeads.map(({ name }) => [name, name])], draw);
  moveWithKeys(table);

  function score(layer, head) {
    const known = (task.value ? [task.value] : tasks).map((name) => heads.scores[name][layer][head]).filter((value) => value !== null);
    return known.length ? known.reduce((sum, value) => sum + value, 0) / known.length : null;
  }

  function draw() {
    const framed = new Set((withHeads.find(({ name }) => name === marked.value)?.heads ?? []).map(headName));
    const scores = Array.from({ length: heads.n_layers }, (_, layer) => Array.from({ length: heads.n_heads }, (_, head) => score(layer, head)));
    const most = Math.max(...scores.map((line) => Math.max(...line.map((value) => value ?? 0)))) || 1;
    const lines = scores.map((line, layer) => make("tr", {}, make("th", { scope: "row" }, layer), ...line.map((value, head) => {
      const name = headName([layer, head]), said = `${name}: ${value === null ? "score unknown" : value.toPrecision(3)}${framed.has(name) ? ", ablated" : ""}`;
      const look = [value === null ? "unknown" : "", framed.has(name) ? "marked" : ""].join(" ").trim();
      const cell = make("td", { tabindex: -1, title: said, "aria-label": said, class: look || null, "data-head": `${layer}-${head}` });
      cell.style.setProperty("--v", Math.sqrt(Math.max(0, value ?? 0) / most).toFixed(3));
      return cell;
    })));
    table.replaceChildren(make("tbody", {}, ...lines.reverse()));
    firstIsReached(table);
  }

  table.addEventListener("click", (event) => {
    const name = event.target.dataset.head;
    if (name) location.hash = hashOf({ head: name });
  });

  function open(text) {
    const [layer, head] = text.split("-").map(Number);
    if (!(layer < heads.n_layers && head < heads.n_heads)) return;
    const lines = tasks.map((name) => {
      const rank = (heads.ranks[name] ?? []).findIndex(([l, h]) => l === layer && h === head);
      const value = heads.scores[name][layer][head], chance = heads.chance[name];
      return make("tr", {}, make("td", {}, name), make("td", { class: "n" }, value === null ? "unknown" : value.toPrecision(3)),
        make("td", { class: "n" }, chance === undefined ? "" : chance.toPrecision(2)), make("td", { class: "n" }, rank < 0 ? "" : rank + 1));
    });
    const titles = ["task", "score", "by chance", "place among candidates"].map((title, i) => make("th", { scope: "col", class: i ? "n" : null }, title));
    const zeroed = withHeads.filter((condition) => condition.heads.some(([l, h]) => l === layer && h === head));
    const links = zeroed.flatMap(({ name }, i) => [i ? ", " : null, make("a", { href: hashOf({ condition: name }) }, name)]);
    byId("head").replaceChildren(make("h3", {}, headName([layer, head])),
      make("div", { class: "scroll" }, make("table", {}, make("thead", {}, make("tr", {}, ...titles)), make("tbody", {}, ...lines))),
      make("p", {}, zeroed.length ? `Ablated in ${zeroed.length} of ${withHeads.length} conditions: ` : "Ablated in no condition.", ...links));
    byId("heads").scrollIntoView();
    const cell = table.querySelector(`[data-head="${layer}-${head}"]`);
    if (cell) focusCell(table, cell);
  }

  draw();
  return { open, mark: (name) => { if (withHeads.some((each) => each.name === name)) { marked.value = name; draw(); } } };
}

// --- Samples: rows by conditions, a sheet of 50 rows at a time however many there are.

function showSamples(page) {
  if (!page.rows.length) return { open: () => {}, condition: () => {} };
  const form = byId("samples-filters"), table = byId("samples-grid"), pager = byId("samples-pager");
  const experiments = distinct(page.columns.map((column) => column.experiment));
  const tasks = distinct(page.rows.map((row) => row.task));
  const again = () => { sheet = 0; draw(); };
  const experiment = choice(form, "Conditions", [["", "all"], ...experiments.map((name) => [name, name])], again);
  const task = choice(form, "Task", [["", "all"], ...tasks.map((name) => [name, name])], again);
  const state = choice(form, "Rows with any", [["", "answer"], ...Object.entries(STATES).map(([letter, [, word]]) => [letter, word])], again);
  const sought = make("input", { type: "search", oninput: again });
  form.append(make("label", {}, "Row or file holds", sought));
  form.addEventListener("submit", (event) => event.preventDefault());
  let sheet = 0, only = null;
  experiment.value = experiments.find((name) => !["baseline", "needle_absent", "random_control"].includes(name)) ?? "";
  moveWithKeys(table);

  // A row's condition in a column: its place, or -1.
  const placed = (column, i) => column.conditions.find((place) => page.conditions[place].answers.states[i] !== ".") ?? -1;
  const letterOf = (place, i) => place < 0 ? "." : page.conditions[place].answers.states[i];

  function shownColumns() {
    return page.columns.filter((column) => column.experiment === "baseline" ||
      (only !== null ? column.conditions.includes(only) : experiment.value === "" || column.experiment === experiment.value));
  }

  function shownRows(columns) {
    const text = sought.value.toLowerCase(), found = [];
    page.rows.forEach((row, i) => {
      if (task.value && row.task !== task.value) return;
      if (text && !row.id.toLowerCase().includes(text)) return;
      if (state.value && !columns.some((column) => letterOf(placed(column, i), i) === state.value)) return;
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
    const lines = onSheet.map((i) => make("tr", {}, make("th", { scope: "row", class: "row", dir: "auto" }, page.rows[i].id), ...columns.map((column) => {
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
  return { open: (id, name) => openSample(page, id, name), condition };
}

function openSample(page, id, name) {
  const i = page.rows.findIndex((row) => row.id === id), dialog = byId("sample");
  if (i < 0) return;
  const row = page.rows[i];
  const asked = row.question === null
    ? [make("p", { class: "quiet" }, "This report keeps neither question nor document.")]
    : [make("p", { dir: "auto" }, make("strong", {}, row.question)), make("blockquote", { dir: "auto", tabindex: 0 }, row.before, make("mark", {}, row.needle), row.after)];
  const shown = page.columns.flatMap((column) => column.conditions).filter((place) => page.conditions[place].answers.states[i] !== ".");
  const isChosen = (place) => page.conditions[place].name === name;
  const first = (place) => isChosen(place) ? 0 : page.conditions[place].name === "baseline" ? 1 : 2;
  const ordered = shown.map((place, at) => [place, at]).sort(([a, x], [b, y]) => first(a) - first(b) || x - y).map(([place]) => place);
  const lines = ordered.map((place) => {
    const { answers, name: of } = page.conditions[place], letter = answers.states[i], [sign, word] = STATES[letter];
    const faults = answers.faults.find(([at]) => at === i)?.[1].join(", ") ?? "";
    return make("tr", { class: isChosen(place) ? "chosen" : null },
      make("td", {}, make("a", { href: hashOf({ row: id, condition: of }) }, of)),
      make("td", {}, make("span", { class: `s ${letter}` }, sign), ` ${word}`),
      make("td", {}, make("div", { class: "answer", dir: "auto" }, page.texts[answers.texts[i]])),
      ...[answers.gold, answers.baseline, answers.value].map((values) => make("td", { class: "n" }, nats(values[i]))),
      make("td", {}, faults));
  });
  const titles = ["condition", "answer is", "what the model said", "right value", "untouched answer", "value in it", "faults"];
  dialog.replaceChildren(
    make("button", { type: "button", class: "close", onclick: () => dialog.close() }, "Close"),
    make("h3", { id: "sample-title", dir: "auto" }, id),
    ...asked,
    make("p", { dir: "auto" }, "Right: ", make("strong", {}, row.value), make("span", { class: "quiet" }, `  ${row.task}${row.depth === null ? "" : `, depth ${row.depth}`}`)),
    make("p", { class: "quiet" }, "Numbers are log-probabilities in nats: of the right value right after the prompt, of the untouched model's answer, and of the value where that answer says it."),
    make("div", { class: "scroll", role: "group", tabindex: 0, "aria-label": "Answers under each condition" }, make("table", {}, make("thead", {}, make("tr", {}, ...titles.map((title, at) => make("th", { scope: "col", class: at > 2 && at < 6 ? "n" : null }, title)))), make("tbody", {}, ...lines))));
  if (!dialog.open) dialog.showModal();
  dialog.scrollTop = 0;
}

async function main() {
  const page = await unpack(byId("data").textContent);
  showAccuracy(page);
  const heads = showHeads(page), samples = showSamples(page), dialog = byId("sample");
  dialog.addEventListener("close", () => {
    if (location.hash.includes("row=")) history.replaceState(null, "", "#samples");
  });
  function follow() {
    const asked = new URLSearchParams(location.hash.slice(1));
    if (asked.has("row")) samples.open(asked.get("row"), asked.get("condition"));
    else {
      if (dialog.open) dialog.close();
      if (asked.has("head")) heads.open(asked.get("head"));
      else if (asked.has("condition")) { heads.mark(asked.get("condition")); samples.condition(asked.get("condition")); }
    }
  }
  window.addEventListener("hashchange", follow);
  follow();
  document.documentElement.dataset.ready = "yes";
}

main().catch((error) => {
  const fault = byId("fault");
  fault.hidden = false;
  fault.textContent = `The tables cannot be shown: ${error.message}. A browser of 2023 or later shows them.`;
});
