// A click on a head sorts its column; without scripts the table stands as it is.
for (const table of document.querySelectorAll("table")) {
  for (const head of table.querySelectorAll("th[data-sort]")) {
    head.tabIndex = 0;
    const sort = () => {
      const index = [...head.parentNode.children].indexOf(head);
      const up = (head.getAttribute("aria-sort") ?? head.dataset.sort) === "descending";
      const key = (row) => row.children[index].dataset.key ?? row.children[index].textContent;
      const number = (row) => (key(row) === "" ? -Infinity : Number(key(row)));
      const order = head.dataset.kind === "text" ? (a, b) => key(a).localeCompare(key(b)) : (a, b) => number(a) - number(b);
      const rows = [...table.tBodies[0].rows].sort((a, b) => (up ? order(a, b) : order(b, a)));
      for (const other of table.querySelectorAll("th[aria-sort]")) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", up ? "ascending" : "descending");
      table.tBodies[0].append(...rows);
    };
    head.addEventListener("click", sort);
    head.addEventListener("keydown", (event) => event.key === "Enter" && sort());
  }
}
