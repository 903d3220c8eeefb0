/* Curves: one chart for each thing that is measured, a line for each run and part of the training. */

const DASHES = { training: "solid", evaluation: "5px,3px", test: "1px,3px" };
const FEW_POINTS = 24;
const RUNS_IN_KEY = 8;

function axis(title, more) {
  return {
    title: { text: plotText(title), font: { size: 11.5, color: colour("soft") }, standoff: 6 },
    gridcolor: colour("grid"), zeroline: false, linecolor: colour("line"), tickcolor: colour("line"), ticks: "outside", ticklen: 4,
    tickfont: { size: 11, color: colour("soft") }, exponentformat: "power", minexponent: 5, separatethousands: true, nticks: 6, ...more,
  };
}

/** The axis of steps; one step alone has one tick, where there would else be fractions beside it. */
function stepAxis(title, steps) {
  return axis(title, { showgrid: false, showline: true, ...(new Set(steps).size === 1 ? { tickvals: steps.slice(0, 1) } : {}) });
}

/** What plots have in common. Margins are fixed: to measure the words of axes takes half of a plot's time. */
function plotLayout(xTitle, yTitle, more) {
  return {
    autosize: true, margin: { l: 64, r: 14, t: 10, b: 42 }, paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
    font: { family: getComputedStyle(document.body).fontFamily, size: 12, color: colour("ink") },
    hoverlabel: { bgcolor: colour("card"), bordercolor: colour("line"), font: { size: 12, color: colour("ink") }, namelength: 40 },
    showlegend: false, dragmode: window.matchMedia("(pointer: coarse)").matches ? false : "zoom",
    xaxis: stepAxis(xTitle, []), yaxis: axis(yTitle), ...more,
  };
}

const PLOT_OPTIONS = { displayModeBar: false, responsive: true, showTips: false, doubleClick: "reset" };

/* Plots are drawn one after the other, so that the page answers meanwhile: those in view first, those of a fold when it
   opens. */
const waitingPlots = [];
const drawnPlots = [];

/** A place for a plot. `describe` gives its traces and its layout, in the colours of the moment. */
function plotPlace(describe) {
  const place = element("div", { class: "plot" });
  const draw = () => {
    const { traces, layout } = describe();
    Plotly.react(place, traces, layout, PLOT_OPTIONS);
  };
  waitingPlots.push({ place, draw });
  return { place, redraw: () => { if (place.data) draw(); } };
}

function isInView(place) {
  const box = place.getBoundingClientRect();
  return box.bottom > 0 && box.top < window.innerHeight;
}

/** Draw the next plot; one in a fold waits until that opens. */
function drawNext() {
  const inView = waitingPlots.findIndex((plot) => isInView(plot.place));
  const [next] = waitingPlots.splice(Math.max(inView, 0), 1);
  const fold = next.place.closest("details:not([open])");
  if (fold) {
    fold.addEventListener("toggle", () => { waitingPlots.push(next); drawPlots(() => {}); }, { once: true });
    return;
  }
  next.draw();
  drawnPlots.push(next);
}

function drawPlots(finished) {
  const until = performance.now() + 30;
  while (waitingPlots.length && performance.now() < until) drawNext();
  const isUrgent = waitingPlots.some((plot) => isInView(plot.place));
  if (!isUrgent && !performance.getEntriesByName("plots in view").length) performance.mark("plots in view");
  if (!waitingPlots.length) finished();
  else if (isUrgent || !window.requestIdleCallback) setTimeout(drawPlots, 0, finished);
  else requestIdleCallback(() => drawPlots(finished), { timeout: 200 });
}

function redrawPlots() {
  while (waitingPlots.length) drawNext();
  for (const { place, draw } of drawnPlots) {
    draw();
    Plotly.Plots.resize(place);
  }
}

function lineSample(part) {
  const lengths = { training: "", evaluation: "5 3", test: "1 3" }[part] || "";
  const made = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  for (const [name, value] of [["width", 22], ["height", 8], ["aria-hidden", "true"]]) made.setAttribute(name, value);
  const line = document.createElementNS("http://www.w3.org/2000/svg", "path");
  for (const [name, value] of [["d", "M1 4H21"], ["stroke", "currentColor"], ["stroke-width", 2], ["stroke-dasharray", lengths]]) line.setAttribute(name, value);
  made.append(line);
  return made;
}

/** The parts of the training that a chart shows. */
function partsOf(traces) {
  return [...new Set(traces.map((trace) => trace.part).filter(Boolean))];
}

/** The lowest and the highest value. */
function extent(traces) {
  let [low, high] = [Infinity, -Infinity];
  for (const trace of traces) {
    for (const value of trace.y) {
      if (value === null) continue;
      low = Math.min(low, value);
      high = Math.max(high, value);
    }
  }
  return [low, high];
}

/** The range of an axis whose values are all the same, which would else be drawn at 0. */
function rangeOfOne(traces) {
  const [low, high] = extent(traces);
  return low === high ? { range: low === 0 ? [-1, 1] : [Math.min(0, 2 * low), Math.max(0, 2 * low)] } : {};
}

/** Which colour is which run, and which line which part. */
function chartKey(traces) {
  const parts = partsOf(traces);
  const runs = [...new Set(traces.map((trace) => trace.run))].sort((a, b) => a - b);
  const entries = [];
  if (parts.length > 1) entries.push(...parts.map((part) => element("span", null, lineSample(part), part)));
  if (!isSingle && runs.length <= RUNS_IN_KEY) {
    entries.push(...runs.map((run) => element("span", { class: "of-run" }, dot(run), element("span", { class: "cut" }, report.runs[run].name))));
  } else if (!isSingle) entries.push(element("span", null, `${runs.length} runs, in the colours of the list above`));
  return entries.length ? element("div", { class: "key" }, entries) : null;
}

/** What the lines do not show: that they were thinned, and values that are no numbers. */
function chartNote(traces) {
  const thinned = traces.filter((trace) => trace.x.length < trace.rows);
  const broken = traces.filter((trace) => trace.broken);
  const words = [];
  if (thinned.length) {
    const rows = Math.max(...thinned.map((trace) => trace.rows));
    const points = Math.max(...thinned.map((trace) => trace.x.length));
    words.push(`Thinned from ${numberText(rows)} to ${numberText(points)} points a line${thinned.length > 1 ? " at most" : ""}; peaks are kept.`);
  }
  if (broken.length) {
    const rows = broken.reduce((sum, trace) => sum + trace.broken.rows, 0);
    const first = Math.min(...broken.map((trace) => trace.broken.first));
    words.push(`${countText(rows, "value is", "values are")} NaN or infinite, the first at ${numberText(first)}: gaps.`);
  }
  return words.length ? element("p", { class: "note" }, words.join(" ")) : null;
}

/** The line of a run. Where a chart has one part of the training only, no dashes are needed to tell it apart. */
function lineTrace(trace, { few, dashed }) {
  const shade = runColour(trace.run);
  const names = [isSingle ? null : report.runs[trace.run].name, trace.part || trace.name].filter(Boolean);
  return {
    type: "scatter", mode: trace.x.length <= few ? "lines+markers" : "lines", x: trace.x, y: trace.y, name: plotText(names.join(" · ")),
    visible: !hiddenRuns.has(trace.run), connectgaps: false,
    line: { color: shade, width: 1.8, dash: (dashed && DASHES[trace.part]) || "solid" },
    marker: { color: shade, size: trace.x.length === 1 ? 9 : 5, line: { width: 0 } },
    hovertemplate: "%{y:.5~g}<extra>%{fullData.name}</extra>",
  };
}

/** A card with a chart. */
function chartCard(chart, xTitle) {
  const { traces } = chart;
  const parts = partsOf(traces);
  const shows = { log: false };
  const plot = plotPlace(() => ({
    traces: traces.map((trace) => lineTrace(trace, { few: traces.length > 10 ? 2 : FEW_POINTS, dashed: parts.length > 1 })),
    layout: plotLayout(xTitle, chart.unit || chart.title, {
      hovermode: traces.length <= 6 ? "x unified" : "closest",
      xaxis: stepAxis(xTitle, traces.every((trace) => trace.x.length === 1) ? traces.map((trace) => trace.x[0]) : []),
      yaxis: axis(chart.unit || chart.title, {
        type: shows.log ? "log" : "linear", exponentformat: chart.unit === "bytes" ? "SI" : "power", ...(chart.unit === "%" ? { rangemode: "tozero" } : {}),
        ...(shows.log ? {} : rangeOfOne(traces)),
      }),
    }),
  }));
  whenRunsChange.push(plot.redraw);
  plot.place.setAttribute("role", "img");
  plot.place.setAttribute("aria-label", `${chart.title}, by ${xTitle.toLowerCase()}`);
  // A logarithmic scale shows more where the largest value is many times the smallest.
  const [low, high] = extent(traces);
  const log = low > 0 && high >= 5 * low ? element("button", { class: "quiet", type: "button", "aria-pressed": "false", onclick: (event) => {
    shows.log = !shows.log;
    event.currentTarget.setAttribute("aria-pressed", shows.log);
    plot.redraw();
  } }, "Log scale") : null;
  return element("article", { class: "card chart", "data-chart": chart.subject || chart.title },
    element("div", { class: "top" }, element("h3", null, chart.title, parts.length === 1 && parts[0] !== "training" ? element("small", null, ` ${parts[0]}`) : null), log),
    plot.place, chartKey(traces), chartNote(traces));
}

function chartGrid(name, xTitle) {
  const cards = report.charts.filter((chart) => chart.section === name).map((chart) => chartCard(chart, xTitle));
  return cards.length ? element("div", { class: "grid" }, cards) : null;
}

function writeCharts(id, title, short, xTitle) {
  const grid = chartGrid(id, xTitle);
  if (grid) section(id, title, short, grid);
}

function writeMachine() {
  const minutes = "Minutes since the run began";
  const grid = chartGrid("machine", minutes);
  const more = chartGrid("machine-more", minutes);
  const fold = more ? element("details", { class: "fold" }, element("summary", null, countText(more.children.length, "more measurement", "more measurements")), more) : null;
  if (grid || fold) section("machine", "Use of the machine", "Machine", grid, fold);
}
