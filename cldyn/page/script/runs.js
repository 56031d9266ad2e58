// The table of runs: what it shows is what curves and map are of.

const ROWS = 100;

function runName(group, run, without) {
  return group.varied.filter((one) => one.axis !== without).map((one) => `${one.name} ${shown(group.value(run, one))}`).join(", ");
}

// Whether a value is meant by a filter: 0.05, a text, 1,2,3, >0.1, <=3, 1..4 or !text.
function meant(value, words) {
  const text = words.trim();
  if (!text || text === "!" || String(value) === text) return true;
  if (text.startsWith("!")) return !meant(value, text.slice(1));
  const bounds = text.split(/\s+/);
  if (bounds.length > 1 && bounds.every((one) => /^[<>]/.test(one))) return bounds.every((one) => meant(value, one));
  if (text.startsWith("(")) return false; // a tuple, as it stands
  if (text.includes(",")) return text.split(",").some((one) => one.trim() && meant(value, one));
  const number = typeof value === "number" ? value : NaN;
  const compared = text.match(/^(<=|>=|<|>|=)\s*(\S+)$/), span = text.match(/^(\S*?)\.\.(\S*)$/);
  if (compared) {
    const other = Number(compared[2]);
    return { "=": meant(value, compared[2]), "<": number < other, ">": number > other, "<=": number <= other, ">=": number >= other }[compared[1]];
  }
  if (span) return number >= (span[1] === "" ? -Infinity : Number(span[1])) && number <= (span[2] === "" ? Infinity : Number(span[2]));
  if (Number.isFinite(number) && Number.isFinite(Number(text))) {
    return Math.abs(number - Number(text)) <= 1e-9 * Math.abs(number) || shown(number) === text;
  }
  return String(value).toLowerCase().includes(text.toLowerCase());
}

function chosenRuns(group) {
  const filters = filterNames(group).filter((name) => state[filterKey(name)]).map((name) => [group.column(name), state[filterKey(name)]]);
  return [...Array(group.runs).keys()].filter((run) =>
    filters.every(([column, words]) => meant(column ? group.value(run, column) : group.ended(run) || "finished", words)),
  );
}

// Columns of the table: the settings that differ, then ends of all measures.
function tableColumns(group) {
  const settings = group.columns.map((column) => ({
    name: column.name, title: column.name, says: `setting: ${column.says}`, filter: true, setting: column,
    read: (run) => group.value(run, column),
  }));
  const ends = [...group.measures.values()].flatMap((measure) =>
    measure.labels.slice(0, 12).map((_, part) => ({
      name: `~${measure.label(part)}`, title: measure.label(part), says: `${measure.says}${measure.timed ? ", last record" : ""}`,
      read: (run) => measure.at(run, measure.times - 1, part),
    })),
  );
  const ended = { name: ENDED, title: "ended", says: "finished, diverged at a step, or missing", filter: true, read: (run) => group.ended(run) || "finished" };
  return [...settings, ended, ...ends];
}

function sorted(runs, columns) {
  const [name, down] = [look.sort.replace(/^-/, ""), look.sort.startsWith("-")];
  const column = columns.find((one) => one.name === name);
  if (!column) return runs;
  const keyed = runs.map((run) => [column.read(run), run]);
  const last = (one) => (typeof one === "number" && Number.isNaN(one) ? 1 : 0);
  keyed.sort(([a], [b]) => last(a) - last(b) || (down ? -1 : 1) * (typeof a === "number" ? a - b : String(a).localeCompare(String(b))));
  return keyed.map(([, run]) => run);
}

function drawRuns(group, runs) {
  const columns = tableColumns(group), order = sorted(runs, columns);
  const pages = Math.max(1, Math.ceil(order.length / ROWS));
  look.page = String(Math.min(Number(look.page), pages - 1));
  const from = Number(look.page) * ROWS, some = order.slice(from, from + ROWS);
  const differs = new Map(columns.map((one) => [one, new Set(runs.map((run) => one.setting && group.index(run, one.setting.axis))).size > 1]));
  const table = element("runs");
  const head = columns.map((column) => {
    const mark = look.sort === column.name ? " ▲" : look.sort === `-${column.name}` ? " ▼" : "";
    const button = make("button", { type: "button", textContent: column.title + mark, title: column.says, id: `by ${column.name}`, onclick: () => choose({ sort: look.sort === column.name ? `-${column.name}` : column.name, page: "0" }) });
    return make("th", { scope: "col", className: differs.get(column) ? "differs" : "", "aria-sort": mark ? (mark === " ▲" ? "ascending" : "descending") : "none" }, button);
  });
  const body = make("tbody", {}, ...some.map((run) => {
    const ended = group.ended(run);
    const row = make("tr", { className: [ended && "ended", String(run) === look.run && "open"].filter(Boolean).join(" ") });
    row.append(make("td", {}, make("button", { type: "button", textContent: "open", "aria-label": `open run ${runName(group, run)}`, onclick: () => openRun(run, order, true) })));
    row.append(...columns.map((column) => make("td", { textContent: shown(column.read(run)), className: differs.get(column) ? "differs" : column.setting ? "same" : "" })));
    return row;
  }));
  const active = document.activeElement.id;
  table.tHead.rows[0].replaceChildren(make("th", { textContent: "" }), ...head);
  table.tBodies[0].replaceWith(body);
  if (active.startsWith("by ")) element(active)?.focus(); // sorted by the keyboard
  const diverged = runs.filter((run) => group.diverged(run)).length, missing = runs.filter((run) => group.ended(run) === MISSING).length;
  element("runs-told").textContent =
    `${runs.length} of ${group.runs} runs` + (diverged ? `, ${diverged} diverged` : "") + (missing ? `, ${missing} missing` : "") + (pages > 1 ? `; rows ${from + 1} to ${from + some.length}` : "") + ".";
  element("before").disabled = look.page === "0";
  element("after").disabled = Number(look.page) === pages - 1;
}

// Filters are made once for a group, so that typing goes on while all else is drawn anew.
function makeFilters(group) {
  const row = element("runs").tHead.rows[1];
  row.replaceChildren(make("td"), ...tableColumns(group).map((column) => {
    if (!column.filter) return make("td");
    const key = filterKey(column.name);
    const input = make("input", {
      type: "search", placeholder: "all", value: state[key] ?? "", "aria-label": `filter ${column.title}`,
      title: "a value, several (1,2), >0.1, <=3, 1..4, a text, or !text",
      oninput: () => choose({ [key]: input.value, page: "0" }),
    });
    return make("td", {}, input);
  }));
}

function csvOf(group, runs) {
  const last = group.time && { title: `last ${group.time.name}`, read: () => group.time.values.at(-1) };
  const columns = [...tableColumns(group), ...(last ? [last] : [])];
  const cell = (value) => {
    let text = typeof value === "number" ? (Number.isNaN(value) ? "" : String(value)) : String(value);
    if (typeof value !== "number" && /^[=+\-@\t\r\n]/.test(text)) text = `'${text}`; // no formula in a sheet
    return /[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  };
  const rows = sorted(runs, columns).map((run) => columns.map((column) => cell(column.read(run))).join(","));
  return [columns.map((column) => cell(column.title)).join(","), ...rows].join("\r\n") + "\r\n";
}

function exportRuns(group, runs) {
  const url = URL.createObjectURL(new Blob([csvOf(group, runs)], { type: "text/csv" }));
  make("a", { href: url, download: "runs.csv" }).click();
  setTimeout(() => URL.revokeObjectURL(url), 1000);
}
