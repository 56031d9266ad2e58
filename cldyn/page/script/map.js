// A map over two axes: a value of every cell, and the boundary that theory predicts.

let cells = { columns: [], rows: [], at: [0, 0] };

const BOUNDARIES = {
  limit: "limit at the threshold",
  learned: "learned by the slider's step",
  critical: "critical learning rate",
  none: "none",
};

const SIDES = {
  limit: (past) => `${past ? "≥" : "<"} ${shown(Number(look.threshold))}`,
  learned: (past) => (past ? "learned by now" : "not learned yet"),
  critical: (past) => `${past ? "above" : "below"} the critical rate`,
};

// The value of a run that the map shows.
function valueOf(group, measure, run, part) {
  const last = measure.times - 1;
  if (!measure.timed || look.value === "end") return measure.at(run, last, part);
  if (look.value === "now") return measure.at(run, timeIndex(group), part);
  const found = phases(measure, run, part, Number(look.threshold));
  return { largest: found.largest, top: found.top, learned: found.learned }[look.value];
}

// Whether a run is beyond the predicted boundary; null where nothing is predicted.
function beyond(group, measure, run, part) {
  const threshold = Number(look.threshold);
  let value = NaN, level = 0;
  if (look.boundary === "limit") {
    const limit = group.predicted.get(measure.name);
    [value, level] = limit ? [limit.at(run, timeIndex(group), part), threshold] : [NaN, 0];
  } else if (look.boundary === "learned") {
    [value, level] = [-group.number(run, "learning_step", part), -group.time.values[timeIndex(group)]];
  } else if (look.boundary === "critical") {
    const critical = group.number(run, "critical_learning_rate");
    [value, level] = [group.number(run, "step_size") - critical, 0];
  }
  return Number.isNaN(value) ? null : value >= level;
}

function orderOf(column) {
  const order = [...column.values.keys()];
  return isNumeric(column) ? order.sort((a, b) => column.values[a] - column.values[b]) : order;
}

function drawMap(group, runs) {
  const canvas = element("map"), told = element("map-told");
  const measure = group.measures.get(look.measure), x = group.column(look.across);
  canvas.hidden = !measure || !x;
  if (canvas.hidden) return void (told.textContent = "One run: there is no axis to map.");
  const y = group.column(look.up), part = Math.min(Number(look.mappart), measure.parts - 1);
  const there = (column) => new Set(runs.map((run) => group.index(run, column.axis)));
  const shownOf = (column, used) => orderOf(column).filter((one) => used.has(one));
  const columns = shownOf(x, there(x)), rows = y ? shownOf(y, there(y)).reverse() : [0];
  const found = rows.map(() => columns.map(() => []));
  const placed = (order) => new Map(order.map((one, i) => [one, i]));
  const [column, row] = [placed(columns), placed(rows)];
  for (const run of runs) found[y ? row.get(group.index(run, y.axis)) : 0][column.get(group.index(run, x.axis))].push(run);
  const values = found.map((line) => line.map((some) => median(some.map((run) => valueOf(group, measure, run, part)))));
  const past = found.map((line) => line.map((some) => {
    const known = some.map((run) => beyond(group, measure, run, part)).filter((one) => one !== null);
    return known.length && known.length === some.length ? known.filter(Boolean).length * 2 >= known.length : null;
  }));
  cells = { x, y, columns, rows, found, values, past, at: cells.at };
  paintMap(canvas);
  const flat = found.flat(), medians = values.flat(), several = largestOf(flat.map((some) => some.length));
  const crossed = flat.filter((some, i) => some.length && !drawable(medians[i])).length;
  const poorer = flat.filter((some, i) => drawable(medians[i]) && some.some((run) => !Number.isFinite(valueOf(group, measure, run, part)))).length;
  const words = [several > 1 ? `Medians over up to ${several} runs a cell.` : ""];
  if (crossed) words.push(`${crossed} cells have no value to draw (crossed).`);
  if (poorer) words.push(`In ${poorer} cells some runs have no finite value; medians are of the others.`);
  told.textContent = runs.length ? words.filter(Boolean).join(" ") : "No run passes the filters.";
  readCell();
}

const SPAN = 0.02; // of the largest value, which colours span at least

// On a logarithmic scale zero is the lowest colour.
const drawable = (value) => Number.isFinite(value) && (look.logmap !== "1" || value >= 0);

function paintMap(canvas) {
  const { x, y, columns, rows, values, past } = cells, ratio = devicePixelRatio;
  const width = canvas.parentElement.clientWidth, left = y ? 74 : 12, below = 58, above = 34;
  const height = y ? Math.max(220, Math.min(380, rows.length * 34 + below + above)) : 150;
  canvas.width = width * ratio;
  canvas.height = height * ratio;
  canvas.style.height = `${height}px`;
  const ctx = canvas.getContext("2d");
  ctx.scale(ratio, ratio);
  ctx.font = "12px system-ui";
  const [w, h] = [(width - left - 12) / columns.length, (height - below - above) / rows.length];
  Object.assign(cells, { left, above, w, h });
  const log = look.logmap === "1", ends = spanOf(values.flat(), log);
  const scale = (value) => (log ? Math.log(value) : value), [, top] = ends.map(scale);
  const low = Math.min(scale(ends[0]), top - SPAN * (log ? 1 : Math.abs(top))), high = top; // noise stays pale
  values.forEach((line, j) => line.forEach((value, i) => {
    const share = high > low ? (scale(value) - low) / (high - low) : 0.5;
    ctx.fillStyle = drawable(value) ? mixed(FIELD, Number.isFinite(share) ? share : 0) : css("--rule");
    ctx.fillRect(left + i * w, above + j * h, Math.ceil(w), Math.ceil(h));
    if (!drawable(value) && cells.found[j][i].length) crossed(ctx, left + i * w, above + j * h, w, h);
  }));
  ctx.fillStyle = css("--ink");
  edges(ctx);
  const names = columns.map((one) => short(group.told(x, one)));
  const widest = 12 + largestOf(names.map((one) => ctx.measureText(one).width));
  ctx.textAlign = "center";
  names.forEach((one, i) => i % Math.ceil(widest / w) || ctx.fillText(one, left + (i + 0.5) * w, height - below + 16));
  ctx.fillText(x.name, left + (columns.length * w) / 2, height - below + 36);
  ctx.textAlign = "right";
  const skip = Math.ceil(rows.length / Math.max(1, Math.floor((height - below - above) / 16)));
  if (y) rows.forEach((one, j) => j % skip || ctx.fillText(short(group.told(y, one), 10), left - 6, above + (j + 0.5) * h + 4));
  ctx.textAlign = "left";
  if (y) ctx.fillText(y.name, 4, above - 20 + 8);
  scaleBar(ctx, width - 232, 6, [log ? ends[0] : low, ends[1], ends[2]]);
  const [i, j] = cells.at;
  if (document.activeElement === canvas) {
    ctx.lineWidth = 2;
    ctx.strokeStyle = css("--accent");
    ctx.strokeRect(left + i * w + 1, above + j * h + 1, w - 2, h - 2);
  }
}

const short = (text, most = 18) => (text.length > most ? `${text.slice(0, most - 1)}…` : text);

function crossed(ctx, x, y, w, h) {
  ctx.strokeStyle = css("--muted");
  ctx.lineWidth = 1;
  ctx.beginPath();
  ctx.moveTo(x + w * 0.3, y + h * 0.3);
  ctx.lineTo(x + w * 0.7, y + h * 0.7);
  ctx.moveTo(x + w * 0.7, y + h * 0.3);
  ctx.lineTo(x + w * 0.3, y + h * 0.7);
  ctx.stroke();
}

// The predicted boundary runs between cells on its two sides.
function edges(ctx) {
  const { past, left, above, w, h } = cells;
  const path = new Path2D();
  past.forEach((line, j) => line.forEach((here, i) => {
    const [right, under] = [line[i + 1], past[j + 1]?.[i]];
    const differs = (other) => here !== null && other !== null && other !== undefined && other !== here;
    if (differs(right)) path.addPath(segment(left + (i + 1) * w, above + j * h, 0, h));
    if (differs(under)) path.addPath(segment(left + i * w, above + (j + 1) * h, w, 0));
  }));
  for (const [colour, width, dash] of [["#ffffff", 5, []], ["#c2185b", 2.5, [6, 4]]]) {
    ctx.strokeStyle = colour;
    ctx.lineWidth = width;
    ctx.setLineDash(dash);
    ctx.stroke(path);
  }
  ctx.setLineDash([]);
}

function segment(x, y, dx, dy) {
  const path = new Path2D();
  path.moveTo(x, y);
  path.lineTo(x + dx, y + dy);
  return path;
}

function scaleBar(ctx, x, y, [low, high, cut]) {
  if (low > high) return;
  for (let i = 0; i < 100; i++) {
    ctx.fillStyle = mixed(FIELD, i / 99);
    ctx.fillRect(x + 60 + i, y, 1.5, 12);
  }
  ctx.fillStyle = css("--ink");
  ctx.textAlign = "right";
  ctx.fillText(shown(low), x + 55, y + 11);
  ctx.textAlign = "left";
  ctx.fillText((cut ? "≥ " : "") + shown(high), x + 166, y + 11);
}

// What a cell is, in words.
function readCell() {
  const [i, j] = cells.at, some = cells.found?.[j]?.[i];
  const out = element("map-read");
  if (!some?.length) return void (out.textContent = "");
  const { x, y } = cells, past = cells.past[j][i];
  const where = [`${x.name} ${group.told(x, cells.columns[i])}`];
  if (y) where.push(`${y.name} ${group.told(y, cells.rows[j])}`);
  const side = past === null ? "" : `; predicted ${SIDES[look.boundary](past)}`;
  out.textContent = `${where.join(", ")}: ${shown(cells.values[j][i])}${side}`;
}

function cellUnder(event) {
  const i = Math.floor((event.offsetX - cells.left) / cells.w), j = Math.floor((event.offsetY - cells.above) / cells.h);
  return cells.found?.[j]?.[i] ? [i, j] : null;
}

function openCell() {
  const [i, j] = cells.at, some = cells.found?.[j]?.[i] ?? [];
  if (some.length) openRun(some[0], some);
}

function listenToMap() {
  const canvas = element("map");
  const look = (at) => {
    if (!at) return;
    cells.at = at;
    readCell();
  };
  canvas.addEventListener("pointermove", (event) => look(cellUnder(event)));
  canvas.addEventListener("click", (event) => {
    const at = cellUnder(event);
    look(at);
    if (at) openCell();
  });
  canvas.addEventListener("keydown", (event) => {
    const moves = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    if (event.key === "Enter") openCell();
    if (!moves[event.key]) return;
    event.preventDefault();
    const [i, j] = moves[event.key].map((move, k) => move + cells.at[k]);
    if (cells.found?.[j]?.[i]) look([i, j]);
    paintMap(canvas);
  });
  for (const kind of ["focus", "blur"]) canvas.addEventListener(kind, () => cells.found && paintMap(canvas));
}
