// Makes every table sortable by its heads: ascending, descending, as it was. Without this script the tables are whole.
for (const table of document.querySelectorAll("table")) {
  const body = table.tBodies[0];
  const rows = [...body.rows];
  if (rows.length < 2) continue;
  const heads = [...table.tHead.rows[0].cells];
  // "12.3 [11.8, 12.8]" sorts by 12.3, "1,000" by 1000; a dash is nothing and stays at the end.
  const text = (row, i) => row.cells[i].textContent.trim();
  const number = (s) => parseFloat(s.replace("−", "-").replace(/,(?=\d{3}(\D|$))/g, ""));
  heads.forEach((head, i) => {
    const present = rows.map((row) => text(row, i)).filter((s) => s !== "–" && s !== "");
    const numeric = present.every((s) => !isNaN(number(s)));
    const compare = (a, b) => numeric ? number(a) - number(b) : a.localeCompare(b, "en", { numeric: true });
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    head.setAttribute("aria-sort", "none");
    button.addEventListener("click", () => {
      const next = { none: "ascending", ascending: "descending", descending: "none" }[head.getAttribute("aria-sort")];
      for (const other of heads) other.setAttribute("aria-sort", "none");
      head.setAttribute("aria-sort", next);
      const known = (row) => present.includes(text(row, i));
      const sorted = next === "none" ? rows : [
        ...rows.filter(known).sort((a, b) => (next === "descending" ? -1 : 1) * compare(text(a, i), text(b, i))),
        ...rows.filter((row) => !known(row)),
      ];
      body.append(...sorted);
    });
  });
}
