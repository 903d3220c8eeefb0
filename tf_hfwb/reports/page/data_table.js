/* A table with filters and sorting. */

const ROWS_AT_ONCE = 50;
const FEW_VALUES = 12;

/** Whether a number passes a filter such as 0.5, >0.5, <=3 or 1..5; null if it is no filter of numbers. */
function numberFilter(text) {
  const words = text.replace(/\s/g, "").replace("−", "-");
  const number = "(-?(?:\\d+\\.?\\d*|\\.\\d+)(?:e[+-]?\\d+)?)";
  let match = words.match(new RegExp(`^${number}\\.\\.${number}$`, "i"));
  if (match) {
    const [least, most] = [wholeNumber(match[1]), wholeNumber(match[2])];
    return (value) => value >= least && value <= most;
  }
  match = words.match(new RegExp(`^(<=|>=|<|>|=|≤|≥)?${number}$`, "i"));
  if (!match) return null;
  const limit = wholeNumber(match[2]);
  const compare = {
    "<": (value) => value < limit,
    ">": (value) => value > limit,
    "<=": (value) => value <= limit,
    "≤": (value) => value <= limit,
    ">=": (value) => value >= limit,
    "≥": (value) => value >= limit,
  };
  return compare[match[1]] || ((value) => value >= limit && value <= limit);
}

/** The number in a text, with all its digits: integers that a Number would round are BigInts, which compare with both. */
function wholeNumber(text) {
  const number = Number(text);
  return Number.isInteger(number) && !Number.isSafeInteger(number) && /^-?\d+$/.test(text) ? BigInt(text) : number;
}

function isNumber(value) {
  return typeof value === "number" || typeof value === "bigint";
}

/** What a cell is compared and searched by. */
function cellValue(cell) {
  if (cell === null || typeof cell !== "object") return cell;
  if ("n" in cell) return BigInt(cell.n);
  return "t" in cell ? cell.t : null;
}

function cellText(cell) {
  const value = cellValue(cell);
  return value === null || value === undefined ? "" : String(value);
}

/** Numbers by size, texts by the alphabet, cells without a value last. */
function compareCells(first, second) {
  const a = cellValue(first);
  const b = cellValue(second);
  if (a === null || b === null) return (a === null) - (b === null);
  if (isNumber(a) && isNumber(b)) return (a > b) - (a < b);
  return String(a).localeCompare(String(b), "en", { numeric: true });
}

function columnKind(rows, at) {
  let kind = "empty";
  for (const row of rows) {
    const cell = row.cells[at];
    if (cell === null || cell === undefined) continue;
    if (typeof cell === "object" && "p" in cell) return "picture";
    if (!isNumber(cellValue(cell))) kind = "text";
    else if (kind === "empty") kind = "number";
  }
  return kind;
}

function cellNode(cell, kind) {
  if (cell !== null && typeof cell === "object" && "p" in cell) {
    const image = element("img", { src: report.pictures[cell.p], alt: "" });
    image.addEventListener("load", () => image.classList.toggle("tiny", image.naturalHeight < 56));
    return element("td", null, image);
  }
  if (cell === null || cell === undefined) return element("td", { class: kind === "number" ? "number none" : "none" }, "–");
  const value = cellValue(cell);
  if (isNumber(value)) return element("td", { class: "number", title: String(value) }, numberText(value));
  const whole = typeof cell === "object" ? `${cell.t} … (cut)` : cell;
  if (whole.length < 24 && !whole.includes("\n")) return element("td", { class: kind === "number" ? "number" : null }, whole);
  const words = element("div", null, whole);
  return element("td", { class: "words", onclick: () => words.classList.toggle("open") }, words);
}

/** The filter of a column: a choice where it has few values, else a field. Calls `changed` with a test of cells. */
function columnFilter(title, kind, values, changed) {
  const label = `Filter ${title}`;
  if (kind === "picture" || kind === "empty") return null;
  if (values.length <= FEW_VALUES && values.every((value) => String(value).length <= 40)) {
    const options = values.map((value, at) => element("option", { value: at }, isNumber(value) ? numberText(value) : value));
    return element("select", {
      "aria-label": label,
      onchange: (event) => {
        const wanted = values[event.target.value];
        changed(event.target.value === "" ? null : (cell) => cellValue(cell) === wanted);
      },
    }, element("option", { value: "" }, "all"), options);
  }
  return element("input", {
    type: "search", "aria-label": label, placeholder: kind === "number" ? "e.g. >0.5" : "contains", spellcheck: "false", size: kind === "number" ? 7 : 12,
    oninput: (event) => {
      const text = event.target.value.trim();
      let test = null;
      if (text && kind === "number") {
        const passes = numberFilter(text);
        event.target.setAttribute("aria-invalid", passes === null);
        test = passes && ((cell) => isNumber(cellValue(cell)) && passes(cellValue(cell)));
      } else if (text) {
        const part = text.toLowerCase();
        test = (cell) => cellText(cell).toLowerCase().includes(part);
      } else event.target.removeAttribute("aria-invalid");
      changed(test);
    },
  });
}

/** A table of `{run, cells}`; with several runs the first column says which. `before` is another test of rows. */
function dataTable(columns, rows, before) {
  const shows = { tests: new Map(), by: null, down: false, most: ROWS_AT_ONCE };
  const withRun = report.runs.length > 1;
  const kinds = columns.map((_, at) => columnKind(rows, at));
  const body = element("tbody");
  const count = element("span", { class: "note", role: "status" });
  const more = element("button", { class: "quiet", type: "button", onclick: () => { shows.most += 4 * ROWS_AT_ONCE; draw(); } }, "Show more");

  function draw() {
    let left = rows.filter((row) => !hiddenRuns.has(row.run) && (!shows.before || shows.before(row)));
    for (const [at, test] of shows.tests) left = left.filter((row) => test(row.cells[at]));
    if (shows.by !== null) {
      const at = shows.by;
      const value = at === -1 ? (row) => report.runs[row.run].name : (row) => row.cells[at];
      const present = left.filter((row) => cellValue(value(row)) !== null && value(row) !== undefined);
      const absent = left.filter((row) => !present.includes(row));
      present.sort((a, b) => compareCells(value(a), value(b)) * (shows.down ? -1 : 1));
      left = [...present, ...(present.length === left.length ? [] : absent)];
    }
    const shown = left.slice(0, shows.most);
    body.replaceChildren(...shown.map((row) => element("tr", null,
      withRun ? element("td", null, runLabel(row.run)) : null,
      row.cells.map((cell, at) => cellNode(cell, kinds[at])))));
    const all = countText(rows.length, "row", "rows");
    const passing = left.length === rows.length ? all : `${left.length.toLocaleString("en")} of ${all}`;
    count.textContent = shown.length < left.length ? `${passing}, ${shown.length} shown` : passing;
    more.hidden = shown.length === left.length;
  }

  function head(at, title, kind) {
    const cell = element("th", { scope: "col", class: kind === "number" ? "number" : null });
    cell.append(element("button", { class: "sort", type: "button", onclick: () => {
      shows.down = shows.by === at && !shows.down;
      shows.by = at;
      for (const other of cell.parentNode.children) other.removeAttribute("aria-sort");
      cell.setAttribute("aria-sort", shows.down ? "descending" : "ascending");
      draw();
    } }, title));
    return cell;
  }

  const filters = columns.map((name, at) => {
    const values = [...new Set(rows.map((row) => cellValue(row.cells[at])).filter((value) => value !== null && value !== undefined))];
    values.sort(compareCells);
    const made = columnFilter(columnTitle(name), kinds[at], values, (test) => {
      if (test) shows.tests.set(at, test);
      else shows.tests.delete(at);
      draw();
    });
    return element("th", { class: kinds[at] === "number" ? "number" : null }, made);
  });
  const table = element("table", null,
    element("thead", null,
      element("tr", null, withRun ? head(-1, "Run") : null, columns.map((name, at) => head(at, columnTitle(name), kinds[at]))),
      element("tr", { class: "filters" }, withRun ? element("th") : null, filters)),
    body);
  shows.before = before;
  whenRunsChange.push(draw);
  draw();
  return {
    nodes: [element("div", { class: "box", tabindex: "0" }, table), element("div", { class: "more" }, count, more)],
    showOnly(test) { shows.before = test; draw(); },
  };
}
