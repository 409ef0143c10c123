// The page of two reports: accuracies before and after, and the samples whose answers are others.

function showLines(page) {
  const at = Object.fromEntries(page.columns_of_table.map((name, i) => [name, i]));
  const form = byId("accuracy-filters");
  const experiments = distinct(page.table.map((line) => line[at.experiment]));
  const kinds = [["changed", "that differ"], ["", "all"]];
  const which = choice(form, "Lines", kinds, draw);
  const experiment = choice(form, "Experiment", [["", "all"], ...experiments.map((name) => [name, name])], draw);
  form.addEventListener("submit", (event) => event.preventDefault());
  const value = (name) => (line) => line[at[name]];
  const plain = (name) => (line) => line[at[name]] ?? "";
  const level = (name) => (line) => line[at[name]] === null ? "" : `${percent(line[at[name]])} (${line[at[`${name}_matches`]]}/${line[at[`${name}_n`]]})`;
  const between = (line) => line[at.low] === null ? "" : `${points(line[at.low])} to ${points(line[at.high])}`;
  const columns = [
    ["condition", value("line"), (line) => make(line[at.is_condition] ? "a" : "span", { href: line[at.is_condition] ? hashOf({ condition: line[at.line] }) : null }, ...soft(line[at.line])), false],
    ["A", value("before"), level("before"), true],
    ["B", value("after"), level("after"), true],
    ["same rows", value("n"), plain("n"), true],
    ["change, points", value("change"), (line) => points(line[at.change]), true],
    ["95 % interval", value("low"), between, true],
    ["p", value("p"), (line) => line[at.p] === null ? "" : line[at.p] < 0.001 ? "< 0.001" : line[at.p].toFixed(3), true],
    ["lost", value("lost"), plain("lost"), true],
    ["gained", value("gained"), plain("gained"), true],
    ["other answers", value("other_answers"), plain("other_answers"), true],
    ["other heads", value("other_heads"), plain("other_heads"), true],
  ];

  function shown() {
    return page.table.filter((line) => (which.value === "" || !line[at.is_equal]) && (experiment.value === "" || line[at.experiment] === experiment.value));
  }

  const drawTable = sortedTable(byId("accuracy-table"), columns, shown);
  function draw() {
    byId("accuracy-count").textContent = `${drawTable()} of ${page.table.length} lines`;
  }
  if (page.table.every((line) => line[at.is_equal])) which.value = "";
  draw();
}

function rowOf(page) {
  const both = (one, other) => make("td", { class: "n" }, one === other ? nats(one) : `${nats(one)} → ${nats(other)}`);
  const cells = ({ before, answers }, i) => [
    answerCell(page.texts[before.texts[i]]),
    answerCell(page.texts[answers.texts[i]]),
    both(before.gold[i], answers.gold[i]),
    both(before.value[i], answers.value[i]),
    make("td", {}, faultsOf(answers, i))];
  const note = "Log-probabilities in nats, from A to B: of the right value right after the prompt, and of the value where the untouched answer says it.";
  const titles = ["what A said", "what B said", "log p, right value", "log p, value in it", "faults in B"];
  return (id, name) => showRow(page, id, name, { note, titles, cells });
}

begin((page) => {
  showLines(page);
  const experiments = distinct(page.columns.map((column) => column.experiment));
  const differs = (column) => column.conditions.some((place) => /[lgo]/.test(page.conditions[place].answers.states));
  const changed = page.columns.some(differs);
  const samples = showSamples(page, {
    groups: [["changed", "that differ", differs], ["", "all", () => true], ...experiments.map((name) => [name, name, (column) => column.experiment === name])],
    states: [["", "answer"], ["lgo", "other answer"], ["lg", "lost or gained"], ...oneByOne("l", "g", "o", "r", "w")],
    first: changed ? { group: "changed", state: "lgo" } : { group: "", state: "" },
    open: rowOf(page),
  });
  return { samples, others: () => {} };
}).catch(complain);
