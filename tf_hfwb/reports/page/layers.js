/* Histograms over time and norms, of one variable at a time. */

const KINDS = { gradients: "Gradients", weights: "Weights", values: "Values" };

/** The shares of a grid, a list for each bin with a share for each step. */
function gridShares(grid) {
  const bytes = Uint8Array.from(atob(grid.shares), (sign) => sign.charCodeAt(0));
  return Array.from({ length: grid.bins }, (_, bin) =>
    grid.steps.map((_, column) => (bytes[column * grid.bins + bin] / 255) * grid.most));
}

function heatmap(grid) {
  const width = (grid.high - grid.low) / grid.bins;
  const shares = gridShares(grid);
  return {
    traces: [{
      type: "heatmap", x: grid.steps, y: Array.from({ length: grid.bins }, (_, bin) => grid.low + (bin + 0.5) * width),
      // Tails are thin: by the square root they are seen, too.
      z: shares.map((row) => row.map(Math.sqrt)), customdata: shares, zmin: 0, zmax: Math.sqrt(grid.most), showscale: false,
      colorscale: [[0, colour("low")], [1, colour("high")]],
      hovertemplate: "step %{x}<br>around %{y:.3~g}<br>%{customdata:.1%} of the values<extra></extra>",
    }],
    layout: plotLayout("Training step", "Value", { hovermode: "closest", xaxis: stepAxis("Training step", grid.steps) }),
  };
}

/** A card that shows what is chosen, or is hidden when there is nothing. */
function layerCard(title, find) {
  const heading = element("h3", null, title);
  const notes = element("div");
  const card = element("article", { class: "card" }, element("div", { class: "top" }, heading));
  const nothing = { traces: [], layout: plotLayout("", "") };
  const plot = plotPlace(() => { const found = find(); return found ? found.plot : nothing; });
  card.append(plot.place, notes);
  const update = () => {
    const found = find();
    card.hidden = !found;
    notes.replaceChildren(...(found ? found.notes.filter(Boolean) : []));
    plot.redraw();
  };
  return { card, update };
}

function histogramCard(kind, chosen) {
  return layerCard(`${KINDS[kind]} over time`, () => {
    const grid = report.layers.grids.find((one) => one.kind === kind && one.name === chosen.name && one.run === chosen.run);
    if (!grid) return null;
    const note = grid.steps.length < grid.rows ? `${grid.steps.length} of ${numberText(grid.rows)} histograms, at equal distances.` : null;
    return { plot: heatmap(grid), notes: [note && element("p", { class: "note" }, note)] };
  });
}

function normCard(kind, chosen) {
  return layerCard(`Norm of the ${KINDS[kind].toLowerCase()}`, () => {
    const traces = report.layers.norms.filter((one) => one.kind === kind && one.name === chosen.name);
    if (!traces.length) return null;
    const lines = traces.map((trace) => lineTrace({ ...trace, part: null, name: "norm" }, { few: FEW_POINTS, dashed: false }));
    const layout = plotLayout("Training step", "Norm", { hovermode: traces.length <= 6 ? "x unified" : "closest" });
    return { plot: { traces: lines, layout }, notes: [chartKey(traces), chartNote(traces)] };
  });
}

function choice(title, options, changed) {
  const select = element("select", { onchange: () => changed(Number(select.value)) },
    options.map(([value, name]) => element("option", { value }, name)));
  return element("label", null, title, select);
}

function writeLayers() {
  const { names, grids, norms } = report.layers;
  if (!names.length) return;
  const runs = [...new Set(grids.map((grid) => grid.run))];
  const chosen = { name: 0, run: runs.length ? runs[0] : 0 };
  const cards = [];
  for (const kind of Object.keys(KINDS)) {
    if (grids.some((grid) => grid.kind === kind)) cards.push(histogramCard(kind, chosen));
  }
  for (const kind of Object.keys(KINDS)) {
    if (norms.some((norm) => norm.kind === kind)) cards.push(normCard(kind, chosen));
  }
  const update = () => { for (const card of cards) card.update(); };
  const choices = element("div", { class: "choices" },
    choice("Variable", names.map((name, at) => [at, name]), (value) => { chosen.name = value; update(); }),
    runs.length > 1 ? choice("Histograms of", runs.map((run) => [run, report.runs[run].name]), (value) => { chosen.run = value; update(); }) : null);
  whenRunsChange.push(update);
  const left = report.layers.left_out;
  section("layers", "Gradients and weights", "Layers", choices, element("div", { class: "grid" }, cards.map((one) => one.card)),
    left ? element("p", { class: "note" }, `${countText(left, "series of histograms is", "series of histograms are")} left out: there is no room for more in this page.`) : null);
  update();
}

writeHead();
writeRuns();
writeCharts("metrics", "Loss and metrics", "Metrics", "Training step");
writeCharts("speed", "Learning rate, gradients and speed", "Speed", "Training step");
writeCharts("others", "Other values", "Other values", "Training step");
writeFinalValues();
writeTables();
writeCheckpoints();
writeLayers();
writeConfig();
writeMachine();
writeBar();
performance.mark("text");
