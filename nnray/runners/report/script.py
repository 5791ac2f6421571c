"""What a page does by itself: it sorts tables, and unfolds everything for paper."""

SCRIPT = """\
"use strict";
for (const table of document.querySelectorAll("table.sortable")) {
  const names = [...table.tHead.rows[0].cells];
  const body = table.tBodies[0];
  const key = (row, column) => {
    const cell = row.cells[column];
    return cell.dataset.v === undefined ? cell.textContent : Number(cell.dataset.v);
  };
  const rank = (value) => (typeof value === "number" ? (Number.isNaN(value) ? 2 : 0) : value === "-" ? 2 : 1);
  const compare = (a, b, sign) => {
    if (rank(a) !== rank(b)) return rank(a) - rank(b);
    if (rank(a) === 2) return 0;
    return sign * (typeof a === "number" ? a - b : a.localeCompare(b, undefined, { numeric: true }));
  };
  names.forEach((name, column) =>
    name.querySelector("button").addEventListener("click", () => {
      const sign = name.getAttribute("aria-sort") === "ascending" ? -1 : 1;
      for (const other of names) other.removeAttribute("aria-sort");
      name.setAttribute("aria-sort", sign === 1 ? "ascending" : "descending");
      const rows = [...body.rows].sort((a, b) => compare(key(a, column), key(b, column), sign));
      body.append(...rows);
    }),
  );
}
addEventListener("beforeprint", () => {
  for (const one of document.querySelectorAll("details")) one.open = true;
});
"""
