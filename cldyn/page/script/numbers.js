// What the curves show, as numbers: medians over the lines of a panel and colour.
function drawNumbers(group, { measure, lines, colours, panels }) {
  const table = element("numbers"), threshold = Number(look.threshold);
  table.replaceChildren();
  if (!measure) return;
  const now = timeIndex(group), last = measure.times - 1, step = group.time?.label.split(" ").at(-1) ?? "";
  const limit = group.predicted.get(measure.name);
  const named = (name) => (name === PART ? "" : name);
  const head = [named(look.split), named(look.colour), measure.dim, "lines"];
  head.push(measure.timed ? "at the slider" : "value");
  if (measure.timed) head.push("end", "largest", `at ${step}`, `first ≥ ${shown(threshold)}`);
  if (limit) head.push("predicted");
  if (measure.name === "feature_norms" && group.predicted.has("learning_step")) head.push("predicted first ≥ 0.1");
  table.append(make("thead", {}, make("tr", {}, ...head.map((one) => make("th", { scope: "col", textContent: one })))));
  const body = make("tbody");
  for (const some of keyed(lines).slice(0, 64)) {
    const [{ panel, colour, part }] = some, there = some.filter((line) => Number.isFinite(measure.at(line.run, last, part))).length;
    const cells = [shown(panels[panel]), shown(colours[colour]), measure.labels[part], there < some.length ? `${there} of ${some.length} finite` : some.length];
    const over = (read) => shown(median(some.map(read)));
    cells.push(over((line) => measure.at(line.run, now, line.part)));
    if (measure.timed) {
      const found = some.map((line) => phases(measure, line.run, line.part, threshold));
      const learned = found.filter((one) => Number.isFinite(one.learned)).length;
      cells.push(over((line) => measure.at(line.run, last, line.part)));
      cells.push(shown(median(found.map((one) => one.largest))), shown(median(found.map((one) => one.top))));
      cells.push(learned ? shown(median(found.map((one) => one.learned))) + (learned < found.length ? ` (${learned} of ${found.length})` : "") : "never");
    }
    if (limit) cells.push(over((line) => limit.at(line.run, now, line.part)));
    if (head.at(-1).startsWith("predicted first")) cells.push(over((line) => group.number(line.run, "learning_step", line.part)));
    const row = make("tr", {}, ...cells.map((one) => make("td", { textContent: one })));
    const swatch = make("span", { className: "swatch" });
    swatch.style.background = colourOf(colours, colour);
    row.children[look.colour === PART ? 2 : 1].prepend(swatch);
    body.append(row);
  }
  table.append(body);
  [...table.rows[0].cells].forEach((cell, i) => {
    const empty = cell.textContent === "" && !(i === 1 && look.colour === "");
    if (empty) for (const row of table.rows) row.cells[i].hidden = true;
  });
}
