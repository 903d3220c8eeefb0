"use strict";
/* Everything is there: draw the plots. */

performance.mark("library");
whenThemeChanges.push(redrawPlots);
drawPlots(() => {
  performance.mark("all plots");
  document.documentElement.dataset.drawn = "true";
});
