// One run: its settings, its numbers, a small chart of every measure, its embeddings.

const SMALL = 12;
let smalls = [], among = [];

// Open a run among some; a reader who comes from the table by its keyboard is led to it.
function openRun(run, some, led = false) {
  among = some ?? among;
  choose({ run: String(run) });
  requestAnimationFrame(() => {
    const { top } = element("run-title").getBoundingClientRect();
    if (top < 60 || top > innerHeight - 120) element("run-part").scrollIntoView();
    if (led) element("run-title").focus({ preventScroll: true });
  });
}

function drawRun(group) {
  const room = element("run-part"), run = Number(look.run);
  smalls.forEach((chart) => chart.destroy());
  smalls = [];
  const there = look.run !== "";
  openCloud(group, there ? run : -1);
  room.hidden = !there;
  if (!there) return;
  if (!among.includes(run)) among = [run];
  element("run-name").textContent = runName(group, run) || "the one run";
  element("run-told").textContent = [group.ended(run), among.length > 1 ? `${among.indexOf(run) + 1} of ${among.length}` : ""].filter(Boolean).join("; ");
  for (const [id, by] of [["run-before", -1], ["run-after", 1]]) {
    const button = element(id), other = among[among.indexOf(run) + by];
    button.disabled = other === undefined;
    button.onclick = () => openRun(other);
  }
  const charts = element("run-charts");
  charts.replaceChildren();
  const timed = [...group.measures.values()].filter((one) => one.timed);
  for (const measure of timed.slice(0, SMALL)) charts.append(small(group, measure, run));
  drawRunNumbers(group);
}

function small(group, measure, run) {
  const times = Array.from(group.time.values), parts = [...Array(Math.min(measure.parts, 8)).keys()];
  const log = look.logy === "1", ink = css("--ink"), rule = css("--rule");
  const hue = (part) => (measure.parts > 1 ? colourOf(measure.labels, part) : ink);
  const axis = { stroke: ink, grid: { stroke: rule }, ticks: { show: false }, font: "11px system-ui" };
  const limit = group.predicted.get(measure.name);
  const marks = parts.map((part) => ({ hue: hue(part), ...(limit?.timed ? { kind: "curve", x: times, y: times.map((_, i) => limit.at(run, i, part)) } : { kind: "limit", y: limit ? limit.at(run, 0, part) : NaN }) }));
  const width = Math.max(180, Math.min(300, element("run-charts").clientWidth - 8));
  const chart = new uPlot(
    {
      width, height: 150, legend: { show: false }, cursor: { show: false }, padding: [6, 20, 0, 0],
      scales: { x: { time: false }, y: { distr: log ? 3 : 1 } },
      axes: [{ ...axis, size: 26, values: (_, all) => all.map(shown) }, { ...axis, size: 50, values: (_, all) => all.map(shown), splits: log ? decades : undefined }],
      series: [{}, ...parts.map((part) => ({ stroke: hue(part), width: 1.5, points: { show: false } }))],
      hooks: { draw: [(one) => drawMarks(one, marks.filter((mark) => mark.y.length || Number.isFinite(mark.y)))] },
    },
    [times, ...parts.map((part) => gaps(times.map((_, i) => measure.at(run, i, part)), log))],
  );
  chart.over.append(make("div", { className: "now" }));
  smalls.push(chart);
  return make("figure", {}, make("figcaption", { textContent: measure.name, title: measure.says }), chart.root);
}

function drawRunNumbers(group) {
  const table = element("run-numbers"), run = Number(look.run), now = timeIndex(group);
  if (look.run === "") return;
  const head = ["measure", group.time ? "at the slider" : "value", "end", "largest", group.time ? `at ${group.time.name}` : "", "predicted"];
  const rows = [...group.measures.values()].flatMap((measure) =>
    measure.labels.slice(0, 12).map((_, part) => {
      const found = measure.timed ? phases(measure, run, part, LEARNED) : { largest: NaN, top: NaN };
      const limit = group.predicted.get(measure.name);
      return [measure.label(part), measure.at(run, now, part), measure.at(run, measure.times - 1, part), found.largest, found.top, limit ? limit.at(run, now, part) : NaN];
    }),
  );
  for (const one of group.numbers.values()) {
    one.labels.slice(0, 12).forEach((_, part) => rows.push([one.label(part), one.at(run, 0, part), NaN, NaN, NaN, NaN]));
  }
  for (const one of group.predicted.values()) {
    if (group.measures.has(one.name)) continue;
    one.labels.slice(0, 12).forEach((_, part) => rows.push([one.label(part), NaN, NaN, NaN, NaN, one.at(run, now, part)]));
  }
  const cells = (row, tag) => make("tr", {}, ...row.map((one) => make(tag, { textContent: shown(one) })));
  table.replaceChildren(make("thead", {}, cells(head, "th")), make("tbody", {}, ...rows.map((row) => cells(row, "td"))));
  for (const chart of smalls) {
    const mark = chart.over.querySelector(".now");
    mark.style.transform = `translateX(${chart.valToPos(group.time.values[now], "x")}px)`;
  }
}
