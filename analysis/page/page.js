"use strict";
/* Draw the charts. A finger scrolls the page, and does not zoom a chart that lies in its way. */
const dragmode = matchMedia("(pointer: coarse)").matches ? false : "zoom";
const buttons = [["zoom2d", "pan2d", "resetScale2d", "toImage"]];
for (const chart of document.querySelectorAll(".chart")) {
  const { data, layout } = JSON.parse(chart.textContent);
  chart.replaceChildren();
  Plotly.newPlot(chart, data, { ...layout, dragmode }, { responsive: true, displaylogo: false, modeBarButtons: buttons });
}
/* A click on a heading sorts the list of runs; another one turns the order round. */
for (const heading of document.querySelectorAll("table.sortable th")) {
  heading.firstElementChild.addEventListener("click", () => {
    const up = heading.ariaSort !== "ascending";
    for (const other of heading.parentElement.children) other.ariaSort = "none";
    heading.ariaSort = up ? "ascending" : "descending";
    const body = heading.closest("table").tBodies[0];
    const text = (row) => row.cells[heading.cellIndex].textContent.trim();
    const compare = (a, b) => text(a).localeCompare(text(b), "en", { numeric: true });
    body.append(...[...body.rows].sort((a, b) => (up ? compare(a, b) : compare(b, a))));
  });
}
