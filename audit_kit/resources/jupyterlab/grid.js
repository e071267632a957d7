// A table that the kernel pages, sorts and filters: this script only draws the page it is sent, every cell as text.
const made = (tag, name = "", text = "") => {
  const node = document.createElement(tag);
  if (name) node.className = name;
  if (text) node.textContent = text;
  return node;
};

const button = (text, act, label = text) => {
  const node = made("button", "", text);
  node.type = "button";
  node.setAttribute("aria-label", label);
  node.title = label;
  node.addEventListener("click", act);
  return node;
};

function bars(counts) {
  const most = Math.max(1, ...counts);
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("viewBox", `0 0 ${counts.length * 4} 16`);
  svg.setAttribute("aria-hidden", "true");
  counts.forEach((count, place) => {
    const bar = document.createElementNS("http://www.w3.org/2000/svg", "rect");
    const height = count ? Math.max(1, (16 * count) / most) : 0;
    for (const [name, value] of Object.entries({x: place * 4, y: 16 - height, width: 3, height})) {
      bar.setAttribute(name, value);
    }
    svg.append(bar);
  });
  return svg;
}

function render({model, el}) {
  const words = model.get("words");
  const send = (kind, rest = {}) => model.send({kind, ...rest});
  const box = made("div", "audit-kit-grid");
  const tools = made("div", "audit-kit-tools");
  const place = made("span", "audit-kit-place");
  place.setAttribute("role", "status");
  const turn = {first: "«", before: "‹", after: "›", last: "»"};
  const turns = Object.entries(turn).map(([way, sign]) => [way, button(sign, () => send("turn", {way}), words[way])]);
  const size = made("select");
  size.setAttribute("aria-label", words.size);
  for (const rows of [20, 50, 100, 200]) {
    const option = made("option", "", `${rows}`);
    option.value = rows;
    size.append(option);
  }
  size.addEventListener("change", () => send("size", {rows: Number(size.value)}));
  const columns = made("details", "audit-kit-columns");
  columns.append(made("summary", "", words.columns));
  const menu = made("div");
  columns.append(menu);
  const picks = made("span", "audit-kit-picks");
  const none = button(words.untick, () => send("tick_all", {on: false}));
  const acts = made("span", "audit-kit-acts");
  tools.append(...turns.map(([, node]) => node), place, size, columns, picks, none, acts);

  const scroll = made("div", "audit-kit-scroll");
  scroll.tabIndex = 0;
  scroll.setAttribute("role", "region");
  scroll.setAttribute("aria-label", words.region);
  const table = made("table");
  const head = made("thead");
  const body = made("tbody");
  table.append(head, body);
  scroll.append(table);
  box.append(tools, scroll);
  el.replaceChildren(box);

  const cells = {};
  let timer = 0;

  function filterOf(column) {
    const input = made("input");
    input.type = "search";
    input.placeholder = words[`hint_${column.kind}`];
    input.setAttribute("aria-label", `${words.filter} ${column.heading}`);
    input.title = words[`help_${column.kind}`];
    input.addEventListener("input", () => {
      clearTimeout(timer);
      timer = setTimeout(() => send("filter", {column: column.name, text: input.value}), 200);
    });
    return input;
  }

  function drawHead() {
    const titles = made("tr");
    const filters = made("tr", "audit-kit-filters");
    const totals = made("tr", "audit-kit-totals");
    const corner = made("th");
    const every = made("input");
    every.type = "checkbox";
    every.setAttribute("aria-label", words.tick_all);
    every.title = words.tick_all;
    every.addEventListener("change", () => send("tick_all", {on: every.checked}));
    corner.append(every);
    titles.append(corner);
    filters.append(made("td"));
    totals.append(made("td"));
    for (const column of model.get("heads")) {
      const title = made("th", `audit-kit-${column.kind}`);
      title.scope = "col";
      const sort = button(column.heading, () => send("sort", {column: column.name}), `${words.sort} ${column.heading}`);
      title.append(sort);
      const filter = made("td");
      const input = filterOf(column);
      filter.append(input);
      const total = made("td", `audit-kit-${column.kind}`);
      titles.append(title);
      filters.append(filter);
      totals.append(total);
      const choice = made("label");
      const tick = made("input");
      tick.type = "checkbox";
      tick.addEventListener("change", () => send("column", {column: column.name, on: tick.checked}));
      choice.append(tick, made("span", "", column.heading));
      menu.append(choice);
      cells[column.name] = {title, sort, heading: column.heading, filter, input, total, tick};
    }
    head.append(titles, filters, totals);
    cells[""] = {every};
  }

  function drawBody(shown, heads) {
    const rows = shown.rows.map((row) => {
      const line = made("tr", row.ticked ? "audit-kit-ticked" : "");
      const pick = made("td");
      const tick = made("input");
      tick.type = "checkbox";
      tick.checked = row.ticked;
      tick.setAttribute("aria-label", `${words.tick} ${row.name}`);
      tick.addEventListener("change", () => send("tick", {place: row.place, on: tick.checked}));
      pick.append(tick);
      line.append(pick);
      heads.forEach((column) => {
        const cell = made("td", `audit-kit-${column.kind}`);
        const text = row.cells[column.name];
        if (shown.opens === column.name && text !== "–") {
          cell.append(button(text, () => send("open", {place: row.place}), `${words.open} ${text}`));
        } else {
          cell.textContent = text;
          cell.title = text;
        }
        line.append(cell);
      });
      return line;
    });
    body.replaceChildren(...rows);
  }

  function draw() {
    const shown = model.get("shown");
    const all = model.get("heads");
    const heads = all.filter((column) => !shown.hidden.includes(column.name));
    for (const column of all) {
      const cell = cells[column.name];
      const is_hidden = shown.hidden.includes(column.name);
      for (const part of [cell.title, cell.filter, cell.total]) part.hidden = is_hidden;
      const way = shown.sort === column.name ? (shown.descending ? "descending" : "ascending") : "none";
      cell.title.setAttribute("aria-sort", way);
      cell.sort.textContent = cell.heading + {ascending: " ▲", descending: " ▼", none: ""}[way];
      cell.tick.checked = !is_hidden;
      cell.input.classList.toggle("audit-kit-wrong", shown.wrong.includes(column.name));
      cell.input.setAttribute("aria-invalid", shown.wrong.includes(column.name));
      if (document.activeElement !== cell.input) cell.input.value = shown.filters[column.name] ?? "";
      const counts = shown.bars[column.name];
      cell.total.replaceChildren(...(counts ? [bars(counts)] : []), made("span", "", shown.totals[column.name] ?? ""));
    }
    cells[""].every.checked = shown.is_all;
    const is_first = shown.page === 0;
    const is_last = shown.page >= shown.pages - 1;
    const off = {first: is_first, before: is_first, after: is_last, last: is_last};
    for (const [way, node] of turns) node.disabled = off[way];
    place.textContent = shown.place;
    picks.textContent = shown.picks;
    none.hidden = !shown.is_any;
    size.value = shown.size;
    drawBody(shown, heads);
    acts.replaceChildren(...shown.acts.map(([name, text]) => button(text, () => send("act", {name}))));
  }

  drawHead();
  draw();
  model.on("change:shown", draw);
  send("zone", {zone: Intl.DateTimeFormat().resolvedOptions().timeZone});
  return () => model.off("change:shown", draw);
}

export default {render};
