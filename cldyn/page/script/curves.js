// Curves of a measure over steps, flow time or an axis, with what theory predicts of them.

const MOST_LINES = 600, MOST_PANELS = 16, GRID = 600;
let charts = [];

// Lines to draw: a run and a part each, with the places of its colour and of its panel.
function linesOf(group, runs) {
  const measure = group.measures.get(look.measure);
  if (!measure) return { measure, lines: [], colours: [""], panels: [""], names: [""] };
  const all = [...Array(measure.parts).keys()];
  const parts = look.part === "all" ? all : all.filter((i) => String(i) === look.part);
  const keyed = (name) => {
    if (name === PART) return [measure.labels, (run, part) => part];
    const column = group.column(name);
    if (!column) return [[""], () => 0];
    return [column.values, (run) => group.index(run, column.axis)];
  };
  const [colours, colour] = keyed(look.colour), [panels, panel] = keyed(look.split);
  const lines = runs.flatMap((run) =>
    parts.map((part) => ({ run, part, colour: colour(run, part), panel: panel(run, part) })),
  );
  const split = group.column(look.split), hue = group.column(look.colour);
  const names = (column, values) => values.map((one, i) => (column ? group.told(column, i) : shown(one)));
  return { measure, lines, colours, panels: names(split, panels), names: names(hue, colours) };
}

// Places along x and what each line is there: [x, (line) => values].
function along(group, measure, lines) {
  const column = group.column(look.x), log = look.logx === "1";
  if (column) return overAxis(group, measure, column, lines);
  const times = Array.from(group.time.values);
  const values = (line) => times.map((_, i) => measure.at(line.run, i, line.part));
  if (look.x !== FLOW) {
    const first = log ? times.findIndex((one) => one > 0) : 0;
    return [times.slice(first), (line) => values(line).slice(first), lines];
  }
  const tame = lines.filter((line) => !group.diverged(line.run));
  const rates = finite((tame.length ? tame : lines).map((line) => group.number(line.run, "step_size")));
  const last = rates.at(-1) * times.at(-1), least = rates[0] * (times.find((one) => one > 0) ?? 1);
  const grid = Array.from({ length: GRID }, (_, i) => {
    const share = i / (GRID - 1);
    return log ? least * (last / least) ** share : last * share;
  });
  const read = (line) => {
    const rate = group.number(line.run, "step_size"), known = values(line);
    let at = 0;
    return grid.map((time) => {
      const step = time / rate;
      while (at < times.length - 2 && times[at + 1] < step) at++;
      if (step > times.at(-1) * (1 + 1e-9) || step < times[0]) return NaN;
      const share = (step - times[at]) / (times[at + 1] - times[at] || 1);
      return known[at] + Math.min(share, 1) * ((known[at + 1] ?? known[at]) - known[at]);
    });
  };
  return [grid, read, lines];
}

// Over an axis: one line for all runs that differ in nothing but it.
function overAxis(group, measure, column, lines) {
  const axis = column.axis, now = timeIndex(group), least = look.logx === "1" ? 0 : -Infinity;
  const order = [...column.values.keys()].filter((i) => Number.isFinite(column.values[i]) && column.values[i] > least);
  order.sort((a, b) => column.values[a] - column.values[b]);
  const there = new Set(lines.map((line) => `${line.run} ${line.part}`)), first = new Map();
  for (const line of lines) {
    const base = line.run - group.index(line.run, axis) * axis.stride;
    first.set(`${base} ${line.part}`, { ...line, runs: order.map((i) => base + i * axis.stride) });
  }
  const read = (line) =>
    line.runs.map((run) => (there.has(`${run} ${line.part}`) ? measure.at(run, now, line.part) : NaN));
  return [order.map((i) => column.values[i]), read, [...first.values()]];
}

const gaps = (values, log) => values.map((one) => (Number.isFinite(one) && (!log || one > 0) ? one : null));

function drawCurves(group, runs) {
  const room = element("charts");
  charts.forEach((chart) => chart.destroy());
  charts = [];
  room.replaceChildren();
  const found = linesOf(group, runs), { measure, panels, lines } = found;
  const told = element("curves-told");
  told.textContent = "";
  element("curves-read").textContent = "";
  if (!measure || look.x === "") {
    told.textContent = "There is neither time nor an axis of numbers to draw this measure along; its numbers are below.";
    return found;
  }
  if (!lines.length) return void (told.textContent = "No run passes the filters.") ?? found;
  const used = [...new Set(lines.map((line) => line.panel))].sort((a, b) => a - b);
  const seen = used.slice(0, MOST_PANELS), most = Math.ceil(MOST_LINES / Math.max(seen.length, 1));
  const words = [];
  if (used.length > seen.length) words.push(`${seen.length} of ${used.length} panels are drawn.`);
  const pooled = look.lines === "median" ? pooledIn(group, lines) : [];
  if (pooled.length) words.push(`Lines are medians over ${pooled.join(", ")}.`);
  room.classList.toggle("several", seen.length > 1);
  const range = rangeOf(seen.map((panel) => panelOf(group, found, panel, most, words)), words);
  for (const panel of seen) {
    const title = seen.length > 1 ? `${look.split === PART ? "" : `${look.split} `}${panels[panel]}` : "";
    const figure = make("figure", {}, make("figcaption", { textContent: title }));
    room.append(figure);
    charts.push(chartOf(group, measure, figure, range.get(panel), seen.length > 1));
    figure.append(charts.at(-1).root);
  }
  told.textContent = [...new Set(words)].join(" ");
  return found;
}

// Lines of one colour and part each, and of one place along an axis if it is given: what is pooled.
function keyed(lines, column) {
  const found = new Map(), place = ({ run }) => (column ? group.index(run, column.axis) : 0);
  for (const line of lines) {
    const key = `${line.panel} ${line.colour} ${line.part} ${place(line)}`;
    if (!found.has(key)) found.set(key, []);
    found.get(key).push(line);
  }
  const order = ([a], [b]) => a.panel - b.panel || a.colour - b.colour || a.part - b.part || place(a) - place(b);
  return [...found.values()].sort(order);
}

// Axes along which the runs of a line differ.
function pooledIn(group, lines) {
  const along = group.column(look.x)?.axis, groups = keyed(lines);
  return group.axes.filter((axis) => axis !== along && groups.some((some) => some.some((line) => group.index(line.run, axis) !== group.index(some[0].run, axis)))).map((axis) => axis.name);
}

// Series of a panel, and the predictions over it.
function panelOf(group, found, panel, most, words) {
  const { measure, colours, names } = found, log = look.logy === "1";
  const mine = found.lines.filter((line) => line.panel === panel);
  const [x, read, lines] = along(group, measure, mine);
  const series = [], bands = [];
  const add = (values, style) => series.push({ values: gaps(values, log), ...style });
  if (look.lines === "runs") {
    const step = Math.max(1, Math.ceil(lines.length / most));
    if (step > 1) words.push(`One of ${step} lines is drawn, ${Math.ceil(lines.length / step)} in a panel.`);
    for (let i = 0; i < lines.length; i += step) {
      const hue = colourOf(colours, lines[i].colour);
      add(read(lines[i]), { hue: lines.length > 12 ? faded(hue, 0.6) : hue, width: 1, line: lines[i], wild: group.diverged(lines[i].run), name: lineName(group, lines[i], measure) });
    }
  } else {
    for (const some of keyed(lines)) {
      const [{ colour, part }] = some, curves = some.map(read), hue = colourOf(colours, colour);
      const sorted = x.map((_, i) => finite(curves.map((values) => values[i])));
      const wild = some.some((line) => group.diverged(line.run));
      const name = [look.colour && names[colour], look.colour === PART ? "" : measure.labels[part]].filter(Boolean).join(", ") || "median";
      const left = sorted.filter((one) => one.length && one.length < some.length).length;
      if (left) words.push("Where some lines have no finite value, medians are of the others.");
      add(sorted.map((one) => quantile(one, 0.1)), { hue: faded(hue, 0), width: 0, wild });
      add(sorted.map((one) => quantile(one, 0.9)), { hue: faded(hue, 0), width: 0, wild });
      bands.push({ series: [series.length, series.length - 1], fill: faded(hue, 0.2) });
      add(sorted.map((one) => quantile(one, 0.5)), { hue, width: 2, name, wild });
    }
  }
  return { panel, x, series, bands, marks: predictionsOf(group, found, mine) };
}

// One range of y for all panels, predictions included.
function rangeOf(panels, words) {
  const log = look.logy === "1";
  const series = panels.flatMap((one) => one.series), tame = series.filter((one) => !one.wild);
  const values = [...(tame.length ? tame : series).map((one) => one.values), panels.flatMap(({ marks }) => marks.flatMap((one) => one.y))].flat();
  const [low, high] = spanOf(values.filter((one) => one !== null), log, !tame.length);
  if (low > high) words.push(log ? "Nothing is above zero, where a logarithmic axis begins." : "There are no finite values.");
  const above = series.some((one) => one.values.some((value) => value > high));
  if (above) words.push("What runs away before it diverges is beyond the picture.");
  const ends = low > high ? [log ? 0.1 : 0, 1] : log ? [Math.max(low * 0.8, high * 1e-12), high * 1.25] : uPlot.rangeNum(low, high, 0.08, true);
  return new Map(panels.map((one) => [one.panel, { ...one, ends }]));
}

// Ticks of a logarithmic axis: powers of ten, few enough to be read, or also 2 and 5 of each.
function decades(chart, axis, low, high) {
  const [first, last] = [Math.floor(Math.log10(low)), Math.ceil(Math.log10(high))];
  const every = Math.ceil((last - first) / 8), ticks = [];
  for (let power = first; power <= last; power++) {
    if ((power - first) % every === 0) ticks.push(...(last - first < 3 ? [1, 2, 5] : [1]).map((one) => Number(`${one}e${power}`)));
  }
  return ticks.filter((one) => one >= low && one <= high);
}

function chartOf(group, measure, figure, drawn, narrow) {
  const ink = css("--ink"), rule = css("--rule");
  const axis = { stroke: ink, grid: { stroke: rule, width: 1 }, ticks: { stroke: rule, width: 1 }, font: "12px system-ui", labelFont: "12px system-ui", labelSize: 18 };
  const x = look.x === TIME ? group.time.label : look.x === FLOW ? "flow time, learning rate × steps" : look.x;
  const ticks = (_, values) => values.map((one) => (one === null ? "" : shown(one)));
  const options = {
    width: figure.clientWidth,
    height: narrow ? 210 : 380,
    legend: { show: false },
    padding: [8, 18, 0, 0],
    scales: { x: { time: false, distr: look.logx === "1" ? 3 : 1 }, y: { distr: look.logy === "1" ? 3 : 1, range: () => drawn.ends } },
    axes: [
      { ...axis, label: x, values: ticks, splits: look.logx === "1" ? decades : undefined },
      { ...axis, label: narrow ? undefined : measure.name, size: 56, values: ticks, splits: look.logy === "1" ? decades : undefined },
    ],
    focus: { alpha: look.lines === "runs" ? 0.15 : 1 },
    cursor: { focus: { prox: 24 }, points: { show: false }, drag: { x: true, y: false } },
    series: [{}, ...drawn.series.map((one) => ({ stroke: one.hue, width: one.width, points: { show: Boolean(group.column(look.x)) && one.width > 0, size: 6 } }))],
    bands: drawn.bands,
    hooks: { draw: [(chart) => drawMarks(chart, drawn.marks), (chart) => placeNow(group, chart)], setCursor: [(chart) => readCurve(chart, drawn)] },
  };
  const chart = new uPlot(options, [drawn.x, ...drawn.series.map((one) => one.values)]);
  chart.root.setAttribute("role", "img");
  chart.root.setAttribute("aria-label", `${measure.says} over ${x}; its numbers are in the table below`);
  chart.over.append(make("div", { className: "now" }));
  chart.over.addEventListener("click", () => {
    const line = drawn.series[chart.nearest - 1]?.line;
    if (line) openRun(line.runs?.[chart.cursor.idx] ?? line.run);
  });
  return chart;
}

// What is nearest to the pointer, in words.
function readCurve(chart, drawn) {
  const { idx, top } = chart.cursor, out = element("curves-read");
  if (idx === null || idx === undefined || top < 0) return void (out.textContent = "");
  let nearest = 0, off = Infinity;
  drawn.series.forEach((one, i) => {
    const value = one.values[idx];
    if (!one.name || value === null) return;
    const distance = Math.abs(chart.valToPos(value, "y") - top);
    if (distance < off) [nearest, off] = [i + 1, distance];
  });
  chart.nearest = nearest;
  if (!nearest) return;
  const one = drawn.series[nearest - 1];
  out.textContent = `${one.name}: ${shown(one.values[idx])} at ${shown(drawn.x[idx])}`;
}

function lineName(group, line, measure) {
  return [measure.labels[line.part], runName(group, line.run, group.column(look.x)?.axis)].filter(Boolean).join(", ");
}

// The time of the slider, as a line over curves; nothing is drawn anew for it.
function moveCursor(group) {
  for (const chart of charts) placeNow(group, chart);
}

function placeNow(group, chart) {
  const now = chart.over.querySelector(".now");
  const at = look.x === TIME ? chart.valToPos(group.time.values[timeIndex(group)], "x") : NaN;
  now.hidden = !(at >= 0 && at <= chart.over.clientWidth);
  if (!now.hidden) now.style.transform = `translateX(${at}px)`;
}
