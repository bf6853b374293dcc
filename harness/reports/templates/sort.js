// A click on a heading sorts its table by that column; another one turns the order round.
"use strict";
const UNITS = {
  k: 1e3, M: 1e6, B: 1e9, " KiB": 2 ** 10, " MiB": 2 ** 20, " GiB": 2 ** 30,
};

function numberOf(text) {
  const found = /^([-+]?[\d,]*\.?\d+(?:e[-+]?\d+)?)( ?[A-Za-z]*)/.exec(text);
  return found ? parseFloat(found[1].replaceAll(",", "")) * (UNITS[found[2]] ?? 1) : null;
}

function compare(one, other, isNumber, sign) {
  if (!isNumber) return sign * one.localeCompare(other, "en", { numeric: true });
  const [a, b] = [numberOf(one), numberOf(other)];
  // What has no number stays at the end.
  if (a === null || b === null) return (a === null) - (b === null);
  return sign * (a - b);
}

for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const sign = head.ariaSort === "ascending" ? -1 : 1;
      for (const other of heads) other.removeAttribute("aria-sort");
      head.ariaSort = sign > 0 ? "ascending" : "descending";
      const isNumber = head.classList.contains("number");
      const text = (row) => row.cells[column].textContent.trim();
      const rows = [...table.tBodies[0].rows];
      rows.sort((one, other) => compare(text(one), text(other), isNumber, sign));
      table.tBodies[0].append(...rows);
    });
  });
}
