// Wiring: controls change the state, the state is drawn and written into the address.

const CONTENT = JSON.parse(document.getElementById("content").textContent);
const groups = new Map();
let group, runs = [], drawn, waiting = 0, playing = 0, later = 0;

function groupOf(name) {
  const told = CONTENT.groups.find((one) => one.name === name) ?? CONTENT.groups[0];
  if (!groups.has(told.name)) groups.set(told.name, new Group(told));
  return groups.get(told.name);
}

function timeIndex(of) {
  return of.time ? nearest(of.time.values, Number(state.time)) : 0;
}

// Look at something else; what it changes is drawn in the next frame.
function choose(change) {
  const before = { ...state };
  document.body.ariaBusy = "true";
  Object.assign(state, change);
  const moved = Object.keys(change).every((name) => name === "time");
  if (change.measure && change.measure !== before.measure) fitMeasure();
  if (waiting) waiting = moved ? waiting : 2;
  else {
    waiting = moved ? 1 : 2;
    requestAnimationFrame(() => {
      const all = waiting === 2;
      waiting = 0;
      all ? drawAll() : drawTime();
    });
  }
}

// Parts of another measure are told apart: by colour, or one is shown.
function fitMeasure() {
  const measure = group.measures.get(state.measure);
  if (state.part !== "all" && Number(state.part) >= measure.parts) state.part = "all";
  if (Number(state.mappart) >= measure.parts) state.mappart = "0";
  if (measure.parts === 1 || state.part !== "all" || [state.colour, state.split].includes(PART)) return;
  if (measure.parts <= 8) state.colour = PART;
  else state.part = "0";
}

// Everything but the table's filters follows the state.
function drawAll() {
  runs = chosenRuns(group);
  look = { ...state, ...checked() };
  fillControls();
  drawn = drawCurves(group, runs);
  drawNumbers(group, drawn);
  drawMap(group, runs);
  drawRuns(group, runs);
  drawRun(group);
  showTime();
}

// What is drawn anew as time moves, where it depends on it.
function drawTime() {
  look.time = state.time;
  const measure = group.measures.get(look.measure);
  if (group.column(look.x) && measure?.timed) drawn = drawCurves(group, runs);
  if (look.value === "now" || look.boundary === "learned" || group.predicted.get(look.measure)?.timed) drawMap(group, runs);
  showTime();
}

// What shows the time: the slider, cursors, embeddings; tables follow when it rests.
function showTime() {
  const index = timeIndex(group);
  if (group.time) {
    element("time").value = index;
    element("time-told").textContent = `${group.time.name} ${shown(group.time.values[index])}`;
  }
  moveCursor(group);
  drawCloud();
  clearTimeout(later);
  later = setTimeout(() => {
    drawNumbers(group, drawn);
    drawRunNumbers(group);
    writeAddress();
    document.body.ariaBusy = "false";
  }, 150);
}

// What an address may have wrong that no list of choices mends.
function checked() {
  const whole = (words) => (/^\d+$/.test(words) ? Number(words) : NaN), run = whole(state.run);
  return {
    run: run < group.runs ? String(run) : "",
    page: String(whole(state.page) || 0),
    threshold: Number.isFinite(Number(state.threshold)) ? state.threshold : String(LEARNED),
  };
}

// Choices of a control; where what was chosen is none of them, the first one is looked at.
function fill(id, pairs) {
  const select = element(id);
  select.replaceChildren(...pairs.map(([key, text]) => make("option", { value: key, textContent: text })));
  look[id] = [state[id], defaults[id]].find((one) => pairs.some(([key]) => key === one)) ?? pairs[0]?.[0] ?? "";
  select.value = look[id];
  select.closest("label").hidden = pairs.length < 2;
}

function fillControls() {
  fill("group", CONTENT.groups.map((one) => [one.name, one.title]));
  fill("measure", [...group.measures.values()].map((one) => [one.name, one.name]));
  const measure = group.measures.get(look.measure), axes = group.varied.map((one) => [one.name, one.name]);
  const parts = measure && measure.parts > 1 ? measure.labels.map((one, i) => [String(i), one]) : [];
  const numbers = group.varied.filter(isNumeric), repeats = numbers.filter((one) => REPEATS.includes(one.name));
  const numeric = [...numbers.filter((one) => !repeats.includes(one)), ...repeats].map((one) => [one.name, one.name]);
  const rated = group.numbers.has("step_size") && group.time?.name === "step";
  fill("part", [["all", "all"], ...parts]);
  fill("mappart", parts.length ? parts : [["0", ""]]);
  fill("x", [...(measure?.timed ? [[TIME, group.time.name], ...(rated ? [[FLOW, "flow time"]] : [])] : []), ...numeric]);
  fill("lines", [["median", "median, 10–90 %"], ["runs", "single runs"]]);
  const beside = parts.length ? [[PART, measure.dim]] : [];
  const other = (than) => axes.filter(([name]) => group.column(name).axis !== group.column(than)?.axis);
  fill("colour", [["", "one colour"], ...beside, ...other(look.x)]);
  fill("split", [["", "one panel"], ...beside, ...other(look.x)]);
  fill("across", axes);
  fill("up", [["", "nothing"], ...other(look.across)]);
  const phasesOf = [["end", "at the end"], ["now", "at the slider"], ["largest", "largest over time"], ["top", "time of the largest"], ["learned", "first time ≥ threshold"]];
  fill("value", measure?.timed ? phasesOf : [["now", "as it is"]]);
  const there = { limit: group.predicted.has(look.measure), learned: group.predicted.has("learning_step") && look.measure === "feature_norms", critical: group.predicted.has("critical_learning_rate") };
  fill("boundary", Object.entries(BOUNDARIES).filter(([name]) => there[name] ?? true));
  for (const name of ["logx", "logy", "logmap"]) element(name).checked = look[name] === "1";
  if (document.activeElement !== element("threshold")) element("threshold").value = look.threshold;
  fill("view", [["2", "two dimensions"], ["3", "three dimensions"]]);
  fill("scale", [["fit", "of this step"], ["same", "of all steps"]]);
  element("clock").hidden = !group.time || group.time.values.length < 2;
  if (group.time) element("time").max = group.time.values.length - 1;
  element("colours").replaceChildren(...keysOf(measure));
  for (const id of ["curves-part", "map-part"]) element(id).hidden = !measure;
  element("says").textContent = measure ? `${measure.says}${measure.units !== "1" ? ` (${measure.units})` : ""}` : "";
}

// Keys of the colours, as many as can be told apart.
function keysOf(measure) {
  if (!measure || look.colour === "") return [];
  const values = look.colour === PART ? measure.labels : group.column(look.colour).values;
  const column = group.column(look.colour), chosen = (i) => look.colour !== PART || look.part === "all" || look.part === String(i);
  return [...values.keys()].filter(chosen).slice(0, 24).map((i) => {
    const swatch = make("span", { className: "swatch" });
    swatch.style.background = colourOf(values, i);
    return make("li", {}, swatch, column ? group.told(column, i) : shown(values[i]));
  });
}

function openGroup(name, change = {}) {
  if (playing) play();
  group = groupOf(name);
  among = [];
  defaults = { ...defaultsOf(group), group: CONTENT.groups[0].name };
  for (const key of Object.keys(state)) delete state[key];
  Object.assign(state, defaults, { group: group.name }, change);
  makeFilters(group);
  const notes = [...CONTENT.notes, ...group.notes], seen = CONTENT.groups.filter((one) => one.embeddings && one.name !== group.name);
  if (!group.embeddings && seen.length) notes.push(`Test embeddings are kept of another sweep: ${seen.map((one) => one.title).join(", ")}.`);
  element("notes").replaceChildren(...notes.map((one) => make("li", { textContent: one })));
  element("settings").replaceChildren(...group.settings.map(([name, value]) => {
    const swept = group.varied.some((one) => one.name === name);
    return make("tr", { className: swept ? "differs" : "" }, make("th", { scope: "row", textContent: name }), make("td", { textContent: swept ? "differs between runs" : value }));
  }));
  const says = [...group.measures.values(), ...group.numbers.values(), ...group.predicted.values()];
  const words = says.map((one) => [make("dt", { textContent: group.predicted.get(one.name) === one ? `${one.name}, predicted` : one.name }), make("dd", { textContent: one.says })]);
  element("words").replaceChildren(...words.flat());
}

function play() {
  if (playing) cancelAnimationFrame(playing);
  element("play").textContent = playing ? "Play" : "Pause";
  if (playing) return void (playing = 0);
  const last = group.time.values.length - 1, begin = timeIndex(group) === last ? 0 : timeIndex(group);
  const start = performance.now(), pace = Math.max(last / 8000, 1 / 250); // eight seconds at most
  const tick = (clock) => {
    const index = Math.min(last, begin + Math.floor((clock - start) * pace));
    if (index !== timeIndex(group) || index === begin) choose({ time: String(group.time.values[index]) });
    if (index < last) playing = requestAnimationFrame(tick);
    else [playing, element("play").textContent] = [0, "Play"];
  };
  playing = requestAnimationFrame(tick);
}

function listen() {
  for (const name of ["measure", "part", "mappart", "x", "lines", "colour", "split", "across", "up", "value", "boundary", "view", "scale"]) {
    element(name).addEventListener("change", (event) => choose({ [name]: event.target.value }));
  }
  for (const name of ["logx", "logy", "logmap"]) {
    element(name).addEventListener("change", (event) => choose({ [name]: event.target.checked ? "1" : "" }));
  }
  element("threshold").addEventListener("input", (event) => event.target.value !== "" && choose({ threshold: event.target.value }));
  element("group").addEventListener("change", (event) => (openGroup(event.target.value), choose({ page: "0" })));
  element("time").addEventListener("input", (event) => choose({ time: String(group.time.values[event.target.value]) }));
  element("play").addEventListener("click", play);
  element("export").addEventListener("click", () => exportRuns(group, runs));
  element("before").addEventListener("click", () => choose({ page: String(Number(state.page) - 1) }));
  element("after").addEventListener("click", () => choose({ page: String(Number(state.page) + 1) }));
  element("run-close").addEventListener("click", () => choose({ run: "" }));
  element("reset").addEventListener("click", () => (openGroup(group.name), choose({ page: "0" })));
  DARK.addEventListener("change", () => choose({ page: state.page }));
  let width = innerWidth;
  addEventListener("resize", () => width !== innerWidth && ((width = innerWidth), choose({ page: state.page })));
  addEventListener("hashchange", () => location.hash !== written && openAddress());
  addEventListener("keydown", (event) => event.key === "Escape" && look.run && choose({ run: "" }));
  listenToMap();
  listenToCloud();
}

function openAddress() {
  const asked = readAddress();
  openGroup(asked.group ?? CONTENT.groups[0].name, asked);
  drawAll();
}

async function start() {
  try {
    CONTENT.arrays = await Promise.all(CONTENT.arrays.map(decoded));
  } catch (error) {
    element("notes").append(make("li", { textContent: `This browser cannot read the page's numbers (${error.message}); one of 2023 or later can.` }));
    return;
  }
  listen();
  openAddress();
}

start();
