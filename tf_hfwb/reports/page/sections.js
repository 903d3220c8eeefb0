/* All of the page but its plots, which come when their library is there. */

const isSingle = report.runs.length === 1;

function writeHead() {
  const projects = [...new Set(report.runs.map((run) => run.project).filter(Boolean))];
  const title = isSingle ? report.runs[0].name : `${report.runs.length} runs compared`;
  const facts = [projects.length ? `Project ${projects.join(", ")}` : null, `made ${dateText(report.made)}`];
  document.getElementById("head").append(
    element("p", { class: "over" }, "Training report"),
    element("h1", null, title),
    element("p", { class: "under" }, facts.filter(Boolean).join(" · ")));
  document.getElementById("foot").append(element("p", null,
    `Made by tf_hfwb ${report.version}. This page holds all it shows and loads nothing. Drag in a plot to zoom, double-click to reset.`));
}

function writeBar() {
  const links = [...document.querySelectorAll("main > section")].map((made) =>
    element("a", { href: `#${made.id}` }, made.dataset.title));
  const chips = report.runs.map((run, number) => element("button", {
    class: "chip", type: "button", "aria-pressed": "true", title: `Hide or show ${run.name}`,
    onclick: (event) => {
      toggleRun(number);
      event.currentTarget.setAttribute("aria-pressed", !hiddenRuns.has(number));
    },
  }, dot(number), element("span", { class: "cut" }, run.name)));
  document.getElementById("bar").append(element("div", null,
    element("div", { class: "chips" }, isSingle ? runLabel(0) : chips),
    element("div", { class: "links" }, links)));
}

function stateBadge(state) {
  const looks = { finished: "badge good", running: "badge", crashed: "badge bad", failed: "badge bad", killed: "badge bad" };
  return element("span", { class: looks[state] || "badge" }, state || "unknown");
}

/** "eval/f1" as "F1"; with the name of the data set it was found on, if there are several. */
function metricTitle(name) {
  const chart = report.charts.find((one) => one.traces.some((trace) => trace.name === name && trace.part));
  return chart ? chart.title : name;
}

function isHigherBetter(name) {
  const chart = report.charts.find((one) => one.traces.some((trace) => trace.name === name && trace.part));
  return Boolean(chart && chart.higher);
}

/** The metrics of evaluations, in the order of their charts. */
function evaluationNames() {
  const names = new Set(report.runs.flatMap((run) => Object.keys(run.best)));
  return [...new Set(report.charts.flatMap((chart) => chart.traces.map((trace) => trace.name)))].filter((name) => names.has(name));
}

function writeSingleRun(run) {
  const fact = (name, value, more) => element("div", null, element("dt", null, name), element("dd", null, value, more ? element("small", null, more) : null));
  const words = (name, value) => element("div", { class: "words" }, element("dt", null, name), element("dd", null, value));
  section("runs", "Overview", "Overview", element("div", { class: "card" }, element("dl", { class: "facts" },
    fact("State", stateBadge(run.state)),
    fact("Duration", durationText(run.runtime), `started ${dateText(run.started)}`),
    fact("Steps", numberText(run.last_step), countText(run.rows, "row logged", "rows logged")),
    evaluationNames().slice(0, 9).map((name) => [name, ...run.best[name]]).map(([name, value, step]) =>
      fact(`Best ${metricTitle(name).replace(/^[A-Z](?=[a-z])/, (sign) => sign.toLowerCase())}`, numberText(value), `evaluation at step ${numberText(step)}`)),
    run.folders > 1 ? fact("Parts", numberText(run.folders), "a run that was resumed") : null,
    run.group ? fact("Group", run.group) : null,
    run.tags.length ? words("Tags", run.tags.join(", ")) : null,
    run.notes ? words("Notes", run.notes) : null)), leftOutNote());
}

function writeRuns() {
  if (isSingle) return writeSingleRun(report.runs[0]);
  const metrics = evaluationNames().slice(0, 8);
  const best = Object.fromEntries(metrics.map((name) => {
    const values = report.runs.map((run) => run.best[name] && run.best[name][0]).filter((value) => typeof value === "number");
    return [name, values.length > 1 ? (isHigherBetter(name) ? Math.max(...values) : Math.min(...values)) : null];
  }));
  const hasTags = report.runs.some((run) => run.tags.length);
  const hasGroups = report.runs.some((run) => run.group);
  const number = (title, words) => element("th", { scope: "col", class: "number", title: words }, title);
  const row = (run, at) => element("tr", { "data-run": at },
    element("th", { scope: "row" }, runLabel(at)),
    element("td", null, stateBadge(run.state)),
    element("td", { class: "number" }, dateText(run.started)),
    element("td", { class: "number" }, durationText(run.runtime)),
    element("td", { class: "number" }, numberText(run.last_step)),
    metrics.map((name) => {
      const found = run.best[name];
      const isBest = found && found[0] === best[name];
      return element("td", { class: isBest ? "number best" : "number", title: found ? `at step ${numberText(found[1])}` : null }, found ? numberText(found[0]) : "–");
    }),
    hasGroups ? element("td", null, run.group || "") : null,
    hasTags ? element("td", null, run.tags.join(", ")) : null);
  const body = element("tbody", null, report.runs.map(row));
  whenRunsChange.push(() => { for (const made of body.children) made.hidden = hiddenRuns.has(Number(made.dataset.run)); });
  section("runs", "Runs", "Runs", element("div", { class: "card" }, element("div", { class: "box", tabindex: "0" }, element("table", null,
    element("thead", null, element("tr", null,
      element("th", { scope: "col" }, "Run"), element("th", { scope: "col" }, "State"), number("Started"), number("Duration"), number("Steps"),
      metrics.map((name) => number(`Best ${metricTitle(name).replace(/^[A-Z](?=[a-z])/, (sign) => sign.toLowerCase())}`, name)),
      hasGroups ? element("th", { scope: "col" }, "Group") : null,
      hasTags ? element("th", { scope: "col" }, "Tags") : null)),
    body))), leftOutNote());
}

function writeCheckpoints() {
  const found = report.checkpoints;
  if (!found.length) return;
  const names = [...new Set(found.flatMap((one) => Object.keys(one.metrics)))].slice(0, 8);
  const number = (title) => element("th", { scope: "col", class: "number" }, title);
  const rows = found.map((one) => element("tr", { "data-run": one.run },
    isSingle ? null : element("th", { scope: "row" }, runLabel(one.run)),
    element("td", { class: "number" }, numberText(one.step)),
    element("td", { class: "number" }, numberText(one.epoch)),
    names.map((name) => element("td", { class: "number" }, numberText(one.metrics[name]))),
    element("td", { class: "number" }, bytesText(one.size)),
    element("td", null, one.aliases.map((alias) => element("span", { class: alias === "best" ? "badge good" : "badge" }, alias))),
    element("td", { class: "path" }, one.damage ? element("span", { class: "badge bad", title: one.damage }, "damaged") : null, one.damage ? " " : null, one.place)));
  const body = element("tbody", null, rows);
  whenRunsChange.push(() => { for (const made of body.children) made.hidden = hiddenRuns.has(Number(made.dataset.run)); });
  section("checkpoints", "Checkpoints", "Checkpoints", element("div", { class: "card" }, element("div", { class: "box", tabindex: "0" }, element("table", null,
    element("thead", null, element("tr", null, isSingle ? null : element("th", { scope: "col" }, "Run"),
      number("Step"), number("Epoch"), names.map((name) => number(metricName(name))), number("Size"),
      element("th", { scope: "col" }, "Aliases"), element("th", { scope: "col" }, "Where"))),
    body))));
}

/** "eval/loss" as "Evaluation loss". */
function metricName(name) {
  const [before, ...rest] = name.split("/");
  const words = { train: "Training", eval: "Evaluation", val: "Evaluation", test: "Test" }[before];
  return words && rest.length ? `${words} ${rest.join("/").replaceAll("_", " ")}` : name;
}

function writeTables() {
  const keys = [...new Set(report.tables.map((table) => table.key))];
  if (!keys.length) return;
  const cards = keys.map((key) => {
    const tables = report.tables.filter((table) => table.key === key);
    const columns = [...new Set(tables.flatMap((table) => table.columns))];
    const rows = tables.flatMap((table) => {
      const places = columns.map((name) => table.columns.indexOf(name));
      return table.rows.map((cells) => ({ run: table.run, cells: places.map((at) => (at < 0 ? null : cells[at])) }));
    });
    const problems = tables.filter((one) => one.problem).map((one) => element("p", { class: "note" }, one.problem));
    if (!columns.length) return element("div", { class: "card table" }, element("h3", null, key), problems);
    const step = columns.indexOf("train/global_step");
    const newest = new Map();
    if (step >= 0) for (const row of rows) if (typeof row.cells[step] === "number") newest.set(row.run, Math.max(newest.get(row.run) ?? -Infinity, row.cells[step]));
    const isNewest = (row) => row.cells[step] === newest.get(row.run);
    const hasOlder = step >= 0 && rows.some((row) => !isNewest(row));
    const table = dataTable(columns, rows, hasOlder ? isNewest : null);
    const every = hasOlder ? element("button", { class: "quiet", type: "button", "aria-pressed": "true", onclick: (event) => {
      const only = event.currentTarget.getAttribute("aria-pressed") !== "true";
      event.currentTarget.setAttribute("aria-pressed", only);
      table.showOnly(only ? isNewest : null);
    } }, "Last evaluation only") : null;
    const leftOut = tables.reduce((sum, one) => sum + one.left_out, 0);
    const note = leftOut ? element("p", { class: "note" },
      `${countText(leftOut, "row is", "rows are")} left out: there is no room for more in this page.`) : null;
    return element("div", { class: "card table" }, element("div", { class: "top" }, element("h3", null, key), every), ...table.nodes, note, problems);
  });
  section("tables", "Tables", "Tables", ...cards, report.pictures_left_out ? element("p", { class: "note" },
    `${countText(report.pictures_left_out, "picture is", "pictures are")} left out: not on the machine that made this page, or no room for more.`) : null);
}

/** Logged, and without a place in the page. */
function leftOutNote() {
  const kinds = Object.entries(report.left_out).map(([kind, number]) => `${number.toLocaleString("en")} × ${kind}`);
  return kinds.length ? element("p", { class: "note" }, `Logged, and not shown in this page: ${kinds.join(", ")}.`) : null;
}

/** What the summaries have and no row. */
function writeFinalValues() {
  if (!report.final.length) return;
  const table = settingsTable(report.final, [element("th", { scope: "col" }, "Name"),
    isSingle ? element("th", { scope: "col" }, "Value") : report.runs.map((_, at) => element("th", { scope: "col" }, runLabel(at)))]);
  section("final", "Final values", "Final values",
    element("p", { class: "note" }, "What the summary has and no row, such as results of a test after the training."),
    element("div", { class: "card" }, table));
}

function settingsTable(rows, heads) {
  const value = (cell) => {
    const one = cellValue(cell);
    if (one === null) return element("td", { class: "value none" }, "–");
    return isNumber(one) ? element("td", { class: "value whole", title: String(one) }, numberText(one)) : element("td", { class: "value" }, one);
  };
  return element("div", { class: "box", tabindex: "0" }, element("table", null,
    element("thead", null, element("tr", null, heads)),
    element("tbody", null, rows.map(([name, ...values]) => element("tr", null, element("th", { scope: "row", class: "setting" }, columnTitle(name)), values.map(value))))));
}

function writeConfig() {
  const { differing, partial, equal } = report.config;
  const heads = [element("th", { scope: "col" }, "Setting"), report.runs.map((_, at) => element("th", { scope: "col" }, runLabel(at)))];
  const fold = (words, table) => element("details", { class: "card" }, element("summary", null, words), table);
  const cards = [];
  if (differing.length) cards.push(element("div", { class: "card" }, settingsTable(differing, heads)));
  if (partial.length) {
    cards.push(fold(`${countText(partial.length, "setting is", "settings are")} not in all runs`, settingsTable(partial, heads.flat().map((head) => head.cloneNode(true)))));
  }
  if (equal.length) {
    const words = isSingle ? countText(equal.length, "setting", "settings") : `${countText(equal.length, "setting is", "settings are")} the same in all runs`;
    cards.push(fold(words, settingsTable(equal, [element("th", { scope: "col" }, "Setting"), element("th", { scope: "col" }, "Value")])));
  }
  if (cards.length) section("configuration", isSingle ? "Configuration" : "Configurations compared", "Configuration", ...cards);
}
