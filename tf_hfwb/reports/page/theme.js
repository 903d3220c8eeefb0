/* The colours of the page for the plots, which do not see its style; light, dark and print. */

function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}

function runColour(run) {
  return colour(`run-${run % 20}`);
}

const whenThemeChanges = [];

function changeTheme() {
  for (const act of whenThemeChanges) act();
}

function beginPrint() {
  if (document.documentElement.classList.contains("printing")) return;
  document.documentElement.classList.add("printing");
  changeTheme();
}

function endPrint() {
  document.documentElement.classList.remove("printing");
  changeTheme();
}

window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", changeTheme);
window.matchMedia("print").addEventListener("change", (media) => (media.matches ? beginPrint() : endPrint()));
window.addEventListener("beforeprint", beginPrint);
window.addEventListener("afterprint", endPrint);
