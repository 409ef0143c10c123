// The page of a report: accuracies, a map of heads, and samples.

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

  const value = (name) => (line) => line[at[name]];
  const interval = (line) => line[at.low] === null ? "" : `${percent(line[at.low])} to ${percent(line[at.high])}`;
  const answered = (line) => line[at.n] === line[at.requested] ? line[at.n] : `${line[at.n]} of ${line[at.requested]}`;
  const plain = (name) => (line) => line[at[name]] ?? "";
  const columns = [
    ["condition", value("condition"), (line) => make("a", { href: hashOf({ condition: line[at.condition] }) }, ...soft(line[at.condition])), false],
    ["task", value("task"), plain("task"), false],
    ["k", value("k"), plain("k"), true],
    ["heads", value("k_effective"), plain("k_effective"), true],
    ["rows", value("n"), answered, true],
    ["right", value("matches"), plain("matches"), true],
    ["accuracy", value("accuracy"), (line) => percent(line[at.accuracy]), true],
    ["95 % interval", value("low"), interval, true],
    ["drop, points", value("drop"), (line) => points(line[at.drop]), true],
    ["lost", value("lost"), plain("lost"), true],
    ["gained", value("gained"), plain("gained"), true],
    ["published rule", value("published_accuracy"), (line) => percent(line[at.published_accuracy]), true],
  ];

  function shown() {
    const wanted = [["experiment", experiment.value], ["task", task.value], ["k", k.value]].filter(([, text]) => text !== "");
    return page.table.filter((line) => wanted.every(([name, text]) => String(line[at[name]]) === text));
  }

  const drawTable = sortedTable(byId("accuracy-table"), columns, shown);
  function draw() {
    byId("accuracy-count").textContent = `${drawTable()} of ${page.table.length} lines`;
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

// --- What is shown of a row, and the whole page.

function rowOf(page) {
  const cells = ({ answers }, i) => [
    answerCell(page.texts[answers.texts[i]]),
    ...[answers.gold, answers.baseline, answers.value].map((values) => make("td", { class: "n" }, nats(values[i]))),
    make("td", {}, faultsOf(answers, i))];
  const note = "Log-probabilities in nats: of the right value right after the prompt, of the untouched model's answer, and of the value where that answer says it.";
  const titles = ["what the model said", "log p, right value", "log p, untouched answer", "log p, value in it", "faults"];
  return (id, name) => showRow(page, id, name, { note, titles, cells });
}

begin((page) => {
  showAccuracy(page);
  const heads = showHeads(page);
  const experiments = distinct(page.columns.map((column) => column.experiment));
  const samples = showSamples(page, {
    groups: [["", "all", () => true], ...experiments.map((name) => [name, name, (column) => column.experiment === name])],
    states: [["", "answer"], ...oneByOne("r", "w", "l", "g")],
    first: { group: experiments.find((name) => !["baseline", "needle_absent", "random_control"].includes(name)) ?? "", state: "" },
    open: rowOf(page),
  });
  const others = (asked) => {
    if (asked.has("condition")) heads.mark(asked.get("condition"));
    else if (asked.has("head")) heads.open(asked.get("head"));
  };
  return { samples, others };
}).catch(complain);
