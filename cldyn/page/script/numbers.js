// What the curves show, as numbers: medians over what is one line, or one point of it over an axis.

const MOST_ROWS = 200;

// How many of some runs a number is of, and what the others are.
function counted(group, some, there) {
  const ended = some.map((line) => group.ended(line.run)), missing = ended.filter((one) => one === MISSING).length;
  const diverged = some.filter((line) => group.diverged(line.run)).length;
  const rest = [missing && `${missing} missing`, diverged && `${diverged} diverged`].filter(Boolean).join(", ");
  return there < some.length ? `${there} of ${some.length}${rest && `: ${rest}`}` : some.length;
}

// A median, of how many where not of all, and how far records are apart where that is felt.
function medianOf(values, apart = 0) {
  const there = finite(values), middle = quantile(there, 0.5), words = [];
  if (!there.length) return "-";
  if (there.length < values.length) words.push(`${there.length} of ${values.length}`);
  if (apart > 0.1 * Math.abs(middle)) words.push(`records ${shown(apart)} apart`);
  return shown(middle) + (words.length ? ` (${words.join(", ")})` : "");
}

function drawNumbers(group, { measure, lines, panels, names, colours }) {
  const table = element("numbers"), threshold = Number(look.threshold);
  table.replaceChildren();
  if (!measure) return;
  const axis = group.column(look.x), now = timeIndex(group), last = measure.times - 1, step = group.time?.name ?? "";
  const limit = group.predicted.get(measure.name);
  const early = measure.name === "feature_norms" && group.predicted.has("learning_step");
  const columns = [
    [look.split === PART ? "" : look.split, ({ panel }) => panels[panel]],
    [look.colour === PART ? "" : look.colour, ({ colour }) => names[colour]],
    [axis?.name ?? "", ({ run }) => group.told(axis, group.index(run, axis.axis))],
    [measure.dim, ({ part }) => measure.labels[part]],
  ].filter(([name]) => name);
  const groups = keyed(lines, axis);
  const rows = groups.slice(0, MOST_ROWS).map((some) => {
    const [{ part }] = some, of = (time) => some.map((line) => measure.at(line.run, time, part));
    const there = some.filter((line) => Number.isFinite(measure.at(line.run, last, part))).length;
    const cells = [["lines", counted(group, some, there)], [measure.timed ? "at the slider" : "value", medianOf(of(now))]];
    if (measure.timed) cells.push(["end", medianOf(of(last))]);
    if (limit) cells.push(["predicted", medianOf(some.map((line) => limit.at(line.run, now, part)))]);
    if (measure.timed) {
      const found = some.map((line) => phases(measure, line.run, part, threshold)), told = found.filter((one) => Number.isFinite(one.largest));
      const learned = medianOf(told.map((one) => one.learned), largestOf(told.map((one) => one.apart)));
      cells.push([`first ≥ ${shown(threshold)}`, told.length && learned === "-" ? "never" : learned]);
      if (early) cells.push([`predicted first ≥ ${LEARNED}`, medianOf(some.map((line) => group.number(line.run, "learning_step", part)))]);
      cells.push(["largest", medianOf(told.map((one) => one.largest))], [`at ${step}`, medianOf(told.map((one) => one.top))]);
    }
    return [...columns.map(([name, read]) => [name, read(some[0])]), ...cells];
  });
  const cell = (tag, text) => make(tag, { textContent: text });
  const head = rows.length ? rows[0].map(([name]) => cell("th", name)) : [];
  const body = rows.map((row) => make("tr", {}, ...row.map(([, text]) => cell("td", text))));
  const place = columns.findIndex(([name]) => name === (look.colour === PART ? measure.dim : look.colour));
  body.forEach((row, i) => {
    const swatch = make("span", { className: "swatch" });
    swatch.style.background = colourOf(colours, groups[i][0].colour);
    row.cells[Math.max(place, 0)].prepend(swatch);
  });
  table.append(make("thead", {}, make("tr", {}, ...head)), make("tbody", {}, ...body));
  element("numbers-told").textContent = groups.length > MOST_ROWS ? `${MOST_ROWS} of ${groups.length} rows are shown.` : "";
}
