// What theory predicts of lines, and how it is drawn over them.

// The median of what is predicted of some runs, if it is predicted of all of them.
const agreed = (values) => (values.every(Number.isFinite) ? median(values) : NaN);

// Limits, bounds, curves and learning steps that theory predicts, of every colour.
function predictionsOf(group, { measure, colours }, lines) {
  const marks = [], limit = group.predicted.get(measure.name), axis = group.column(look.x);
  for (const some of keyed(lines)) {
    const [{ colour, part }] = some, hue = colourOf(colours, colour);
    if (limit && axis) {
      const at = keyed(some, axis).map((one) => [group.value(one[0].run, axis), agreed(one.map((line) => limit.at(line.run, timeIndex(group), part)))]);
      const there = at.filter(([x]) => Number.isFinite(x) && (look.logx !== "1" || x > 0)).sort(([a], [b]) => a - b);
      marks.push({ kind: limit.timed ? "curve" : "limits", hue, x: there.map(([x]) => x), y: there.map(([, y]) => y) });
    } else if (limit?.timed) {
      const [places, read, merged] = along(group, limit, some), curves = merged.map(read);
      const known = curves.every((one) => one.some(Number.isFinite));
      marks.push({ kind: "curve", hue, x: places, y: places.map((_, i) => (known ? median(curves.map((one) => one[i])) : NaN)) });
    } else if (limit) {
      marks.push({ kind: "limit", hue, y: agreed(some.map((line) => limit.at(line.run, 0, part))) });
    }
    if (axis || measure.name !== "feature_norms") continue;
    const scaled = (line) => group.number(line.run, "learning_step", part) * (look.x === FLOW ? group.number(line.run, "step_size") : 1);
    marks.push({ kind: "learned", hue, x: agreed(some.map(scaled)), y: LEARNED });
    if (measure.labels[part] === "subclass") {
      marks.push({ kind: "bound", hue, y: agreed(some.map((line) => group.number(line.run, "peak_bound"))) });
    }
  }
  return marks.filter((one) => one.y.length || Number.isFinite(one.y + (one.x ?? 0)));
}

const STROKES = { limit: [2, 4], limits: [2, 4], bound: [8, 3, 2, 3], curve: [7, 5] };

function drawMarks(chart, marks) {
  const { ctx, bbox } = chart, ratio = devicePixelRatio;
  ctx.save();
  ctx.beginPath();
  ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height);
  ctx.clip();
  for (const mark of marks) {
    ctx.strokeStyle = mark.hue;
    ctx.lineWidth = 1.6 * ratio;
    ctx.setLineDash((STROKES[mark.kind] ?? []).map((one) => one * ratio));
    ctx.beginPath();
    if (mark.kind === "learned") {
      if (!Number.isFinite(mark.x)) continue;
      const [x, y, reach] = [chart.valToPos(mark.x, "x", true), chart.valToPos(mark.y, "y", true), 5 * ratio];
      ctx.moveTo(x - reach, y);
      for (const [i, j] of [[0, -1], [1, 0], [0, 1], [-1, 0]]) ctx.lineTo(x + i * reach, y + j * reach);
      ctx.fillStyle = css("--paper");
      ctx.fill();
    } else if (mark.y.length) {
      mark.x.forEach((one, i) => {
        const to = Number.isFinite(mark.y[i - 1]) ? "lineTo" : "moveTo";
        if (Number.isFinite(mark.y[i])) ctx[to](chart.valToPos(one, "x", true), chart.valToPos(mark.y[i], "y", true));
      });
    } else {
      const y = chart.valToPos(mark.y, "y", true);
      ctx.moveTo(bbox.left, y);
      ctx.lineTo(bbox.left + bbox.width, y);
    }
    ctx.stroke();
  }
  ctx.restore();
}
