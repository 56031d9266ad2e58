// Test embeddings of the open run at the slider's time, in two or three dimensions.

const turn = { yaw: 0.6, pitch: 0.4 };
let cloud = null;

// The embeddings that are kept of a run, or of the one nearest to it; of none, of the first shown.
function openCloud(group, open) {
  const run = open >= 0 ? open : (runs[0] ?? 0);
  const told = group.embeddings, note = element("cloud-told");
  element("cloud-part").hidden = !told;
  cloud = null;
  if (!told) return;
  const far = (other) => group.axes.filter((axis) => group.index(other, axis) !== group.index(run, axis)).length;
  const away = told.runs.map(far), at = away.indexOf(leastOf(away));
  const known = told.runs.length < group.runs ? `Embeddings are kept of ${told.runs.length} of ${group.runs} runs. ` : "";
  note.textContent = told.runs[at] === run || group.runs === 1 ? "" : `${known}Shown: ${runName(group, told.runs[at])}.`;
  const data = CONTENT.arrays[told.array];
  const labels = told.labels[told.labelled[at]];
  const size = told.rows * told.axes.length, steps = told.times.length, scales = CONTENT.arrays[told.scales];
  const points = Float64Array.from(data.subarray(at * size * steps, (at + 1) * size * steps), (one, i) => one * scales[at * steps + Math.floor(i / size)]);
  cloud = { ...told, labels, data: points };
  const names = [...new Set(labels.map(String))].map((one) => one.split(",").map(Number));
  cloud.shades = told.subclasses.length || 1;
  const keys = names.sort((a, b) => a[0] - b[0] || a[1] - b[1]).slice(0, 24).map(([label, subclass]) => {
    const swatch = make("span", { textContent: subclass % 2 ? "▲ " : "● " });
    swatch.style.color = clusterColour(label, subclass, cloud.shades);
    return make("li", {}, swatch, `class ${told.classes[label]}${told.subclasses.length ? `, subclass ${told.subclasses[subclass]}` : ""}`);
  });
  element("cloud-keys").replaceChildren(...(told.classes.length ? keys : []));
}

function drawCloud() {
  if (!cloud) return;
  const canvas = element("cloud"), ratio = devicePixelRatio;
  const width = canvas.parentElement.clientWidth, height = Math.min(420, Math.max(280, width * 0.7));
  if (canvas.width !== Math.round(width * ratio)) canvas.width = Math.round(width * ratio);
  canvas.height = height * ratio;
  canvas.style.height = `${height}px`;
  const ctx = canvas.getContext("2d");
  ctx.scale(ratio, ratio);
  const step = nearest(cloud.times, Number(look.time)), dims = cloud.axes.length;
  const size = cloud.rows * dims, points = cloud.data.subarray(step * size, (step + 1) * size);
  const whole = look.scale === "fit" ? points : cloud.data, reaches = [0, 0, 0];
  whole.forEach((value, i) => {
    if (Math.abs(value) > reaches[i % dims]) reaches[i % dims] = Math.abs(value);
  });
  const deep = look.view === "3" && dims > 1, radius = Math.hypot(...reaches) || 1;
  const [across, up] = deep ? [radius, radius] : reaches.map((one) => Math.max(one, radius / 1e3));
  const zoom = Math.min((0.45 * width) / across, (0.42 * height) / up);
  const project = deep ? turned(zoom, width, height) : (x, y) => [width / 2 + x * zoom, height / 2 - y * zoom, 0];
  if (deep) drawFrame(ctx, project, radius * 0.6);
  const drawn = [];
  for (let i = 0; i < cloud.rows; i++) {
    const [x, y, z] = [0, 1, 2].map((k) => (k < dims ? points[i * dims + k] : 0));
    if (Number.isFinite(x + y + z)) drawn.push([...project(x, y, z), i]);
  }
  if (deep) drawn.sort((a, b) => a[2] - b[2]);
  for (const [x, y, , i] of drawn) {
    const [label, subclass] = cloud.labels[i];
    ctx.fillStyle = clusterColour(label, subclass, cloud.shades);
    ctx.beginPath();
    if (subclass % 2 === 1) [ctx.moveTo(x, y - 4.5), ctx.lineTo(x + 4, y + 3), ctx.lineTo(x - 4, y + 3)];
    else ctx.arc(x, y, 4, 0, 7);
    ctx.fill();
  }
  drawScale(ctx, radius, zoom, height);
  const words = deep ? "drag to turn it" : `across: ${cloud.axes[0]}${dims > 1 ? `; up: ${cloud.axes[1]}` : ""}`;
  element("cloud-read").textContent = `${group.time?.name ?? "step"} ${shown(cloud.times[step])}; ${words}`;
}

function turned(zoom, width, height) {
  const [c, s, e, f] = [Math.cos(turn.yaw), Math.sin(turn.yaw), Math.cos(turn.pitch), Math.sin(turn.pitch)];
  return (x, y, z) => {
    const across = c * x + s * z, deep = -s * x + c * z;
    return [width / 2 + across * zoom, height / 2 - (e * y - f * deep) * zoom, f * y + e * deep];
  };
}

function drawFrame(ctx, project, reach) {
  ctx.strokeStyle = css("--muted");
  ctx.fillStyle = css("--ink");
  ctx.font = "12px system-ui";
  cloud.axes.forEach((name, k) => {
    const end = [0, 0, 0];
    end[k] = reach;
    const [[x, y], [u, v]] = [project(0, 0, 0), project(...end)];
    ctx.beginPath();
    ctx.moveTo(x, y);
    ctx.lineTo(u, v);
    ctx.stroke();
    ctx.fillText(name, u + 4, v);
  });
}

function drawScale(ctx, radius, zoom, height) {
  const power = 10 ** Math.floor(Math.log10(radius));
  const bar = [0.1, 0.2, 0.5, 1].map((one) => one * power).filter((one) => one * zoom < 120).at(-1) ?? power / 10;
  ctx.strokeStyle = ctx.fillStyle = css("--ink");
  ctx.lineWidth = 1.5;
  ctx.font = "12px system-ui";
  ctx.beginPath();
  ctx.moveTo(12, height - 14);
  ctx.lineTo(12 + bar * zoom, height - 14);
  ctx.stroke();
  ctx.fillText(shown(bar), 18 + bar * zoom, height - 10);
}

function nearest(values, value) {
  let best = 0;
  values.forEach((one, i) => {
    if (Math.abs(one - value) < Math.abs(values[best] - value)) best = i;
  });
  return best;
}

function listenToCloud() {
  const canvas = element("cloud");
  const by = (yaw, pitch) => {
    turn.yaw += yaw;
    turn.pitch = Math.min(1.5, Math.max(-1.5, turn.pitch + pitch));
    drawCloud();
  };
  canvas.addEventListener("pointerdown", (event) => look.view === "3" && canvas.setPointerCapture(event.pointerId));
  canvas.addEventListener("pointermove", (event) => event.buttons && look.view === "3" && by(event.movementX / 120, event.movementY / 120));
  canvas.addEventListener("keydown", (event) => {
    const turns = { ArrowLeft: [-0.1, 0], ArrowRight: [0.1, 0], ArrowUp: [0, -0.1], ArrowDown: [0, 0.1] };
    if (look.view !== "3" || !turns[event.key]) return;
    event.preventDefault();
    by(...turns[event.key]);
  });
}
