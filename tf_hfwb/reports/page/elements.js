"use strict";
/* Elements, and values in words. Data become text nodes and never markup. */

const report = JSON.parse(document.getElementById("data").textContent);

/** An element with attributes and children; texts are text, null is left out. */
function element(tag, attributes, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes || {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children.flat(2).filter((child) => child !== null && child !== undefined));
  return made;
}

/** The dot of a run, in its colour. */
function dot(run) {
  const made = element("span", { class: "dot", "aria-hidden": "true" });
  made.style.setProperty("--run", `var(--run-${run % 20})`);
  return made;
}

/** A run's dot and name. */
function runLabel(run) {
  const name = report.runs[run].name;
  return element("span", { class: "run", title: name }, dot(run), element("span", { class: "cut" }, name));
}

/** A number as a person reads it: of a fraction four digits, of an integer all of them, thousands apart. */
function numberText(value) {
  if (value === null || value === undefined) return "–";
  if (typeof value === "bigint" || Number.isSafeInteger(value)) return value.toLocaleString("en").replace("-", "−");
  if (typeof value !== "number") return String(value);
  const size = Math.abs(value);
  if (size !== 0 && (size < 1e-3 || size >= 1e7)) return value.toExponential(2).replace("e+", "e").replace("-", "−");
  return value.toLocaleString("en", { maximumFractionDigits: size < 1 ? 4 : size < 100 ? 3 : 1 }).replace("-", "−");
}

function durationText(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  if (seconds < 60) return `${seconds < 10 ? Math.round(seconds * 10) / 10 : Math.round(seconds)} s`;
  const minutes = Math.round(seconds / 60);
  if (minutes < 60) return `${minutes} min`;
  return `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

function dateText(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  return new Date(seconds * 1000).toLocaleString("en-GB", { day: "numeric", month: "short", year: "numeric", hour: "2-digit", minute: "2-digit" });
}

function bytesText(bytes) {
  if (bytes === null || bytes === undefined) return "–";
  const units = ["bytes", "kB", "MB", "GB", "TB"];
  let at = 0;
  let value = bytes;
  while (value >= 1000 && at < units.length - 1) { value /= 1000; at += 1; }
  return `${value.toLocaleString("en", { maximumFractionDigits: value < 10 && at ? 1 : 0 })} ${units[at]}`;
}

function countText(number, one, many) {
  return `${number.toLocaleString("en")} ${number === 1 ? one : many}`;
}

/** "train/global_step" and the like, in words. */
function columnTitle(name) {
  return { "train/global_step": "Step", "train/epoch": "Epoch" }[name] || name;
}

/** Text for Plotly, which takes some markup in names for formatting. */
function plotText(text) {
  return String(text).replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
}

/** A section of the page; `short` is its title in the bar. */
function section(id, title, short, ...children) {
  const made = element("section", { id, "data-title": short }, element("h2", null, title), ...children);
  document.getElementById("main").append(made);
  return made;
}

/* Runs that are hidden, everywhere. */
const hiddenRuns = new Set();
const whenRunsChange = [];

function toggleRun(run) {
  if (!hiddenRuns.delete(run)) hiddenRuns.add(run);
  for (const act of whenRunsChange) act();
}
