// What the page holds: groups of runs, their axes, measures and predictions, as typed arrays.

const KINDS = { float32: Float32Array, float64: Float64Array, int32: Int32Array, int16: Int16Array };
const REPEATS = ["seed", "data_seed"];
const LEARNED = 0.1; // |W v| that counts as learned
const MISSING = "missing";

// An array as it was: base64, inflated, and the bytes of every number beside each other again.
async function decoded(array) {
  const raw = atob(array.text), packed = new Uint8Array(raw.length), Kind = KINDS[array.dtype];
  for (let i = 0; i < raw.length; i++) packed[i] = raw.charCodeAt(i);
  const inflated = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
  const planes = new Uint8Array(await new Response(inflated).arrayBuffer());
  const bytes = new Uint8Array(planes.length), size = Kind.BYTES_PER_ELEMENT, count = bytes.length / size;
  for (let k = 0; k < size; k++) for (let i = 0; i < count; i++) bytes[i * size + k] = planes[k * count + i];
  return new Kind(bytes.buffer);
}

// A record of every run. `inner` are its own dimensions, flattened into parts with a label each.
class Measure {
  constructor(told, group) {
    Object.assign(this, told);
    this.group = group;
    this.times = this.timed ? group.time.values.length : 1;
    this.parts = this.labels.length;
    this.data = CONTENT.arrays[this.array];
  }
  at(run, time, part) {
    return this.data[(run * this.times + (this.timed ? time : 0)) * this.parts + part];
  }
  label(part) {
    return this.labels[part] ? `${this.name}, ${this.labels[part]}` : this.name;
  }
}

// A sweep: runs are numbered along its axes, the last one fastest.
class Group {
  constructor(told) {
    Object.assign(this, told);
    this.runs = this.axes.reduce((count, axis) => count * axis.size, 1);
    let stride = this.runs;
    for (const axis of this.axes) {
      stride /= axis.size;
      axis.stride = stride;
    }
    this.columns = this.axes.flatMap((axis) => axis.columns.map((one) => ({ ...one, axis })));
    const named = (list) => new Map(list.map((one) => [one.name, new Measure(one, this)]));
    this.measures = named(this.measures);
    this.predicted = named(this.predicted);
    this.numbers = named(this.numbers);
    this.varied = this.columns.filter((one) => one.axis.size > 1);
  }
  index(run, axis) {
    return Math.floor(run / axis.stride) % axis.size;
  }
  value(run, column) {
    return column.values[this.index(run, column.axis)];
  }
  diverged(run) {
    return this.ended(run).startsWith("diverged");
  }
  // A value of a column in words; where it does not tell the axis's places apart, all that do.
  told(column, i) {
    const unique = new Set(column.values).size === column.values.length;
    const several = column.axis.columns.filter((one) => new Set(one.values).size > 1);
    return unique || several.length < 2 ? shown(column.values[i]) : several.map((one) => `${one.name} ${shown(one.values[i])}`).join(", ");
  }
  column(name) {
    return this.columns.find((one) => one.name === name);
  }
  number(run, name, part = 0) {
    const one = this.predicted.get(name) ?? this.numbers.get(name);
    return one && (part < one.parts || one.parts === 1) ? one.at(run, 0, one.parts === 1 ? 0 : part) : NaN;
  }
  // How far a run came: "" where it is whole.
  ended(run) {
    const last = this.time ? this.time.values.at(-1) : NaN;
    const recorded = this.numbers.get("recorded")?.at(run, 0, 0);
    if (recorded === 0) return MISSING;
    const steps = this.number(run, "finite_steps");
    const until = recorded ? this.time.values[recorded - 1] : last;
    if (this.time?.name === "step" && steps < until) return `diverged at step ${steps}`;
    if (this.numbers.has("finite") && !this.number(run, "finite")) return "diverged";
    return recorded < this.time?.values.length ? `recorded to step ${until}` : "";
  }
}

function quantile(sorted, share) {
  if (!sorted.length) return NaN;
  const at = share * (sorted.length - 1), low = Math.floor(at);
  const high = Math.min(low + 1, sorted.length - 1);
  return at === low ? sorted[low] : sorted[low] + (at - low) * (sorted[high] - sorted[low]);
}

function finite(values) {
  return Float64Array.from(values).filter(Number.isFinite).sort();
}

function median(values) {
  return quantile(finite(values), 0.5);
}

const largestOf = (values) => values.reduce((one, other) => Math.max(one, other), -Infinity);
const leastOf = (values) => values.reduce((one, other) => Math.min(one, other), Infinity);

// Least and largest of some values, and whether there are larger ones: where the few that run away,
// as training does before it diverges, are to be cut.
function spanOf(values, log, cutting = true) {
  const all = finite(values).filter((one) => !log || one > 0);
  const high = log || !cutting ? Infinity : all[0] + 4 * (quantile(all, 0.95) - all[0]);
  const cut = high > all[0] && all.at(-1) > high;
  return [all[0] ?? Infinity, cut ? high : (all.at(-1) ?? -Infinity), cut];
}

// When a curve of one part of a run is largest, when it is first at a threshold or above, and how far
// the records around that are apart.
function phases(measure, run, part, threshold) {
  let top = -1, learned = NaN, largest = -Infinity, apart = 0;
  const times = measure.group.time.values;
  for (let i = 0; i < measure.times; i++) {
    const value = measure.at(run, i, part);
    if (value > largest) [largest, top] = [value, i];
    if (!(value >= threshold) || Number.isFinite(learned)) continue;
    const before = i ? measure.at(run, i - 1, part) : NaN;
    const share = before > 0 ? Math.log(threshold / before) / Math.log(value / before) : 1;
    apart = i ? times[i] - times[i - 1] : 0;
    learned = i ? times[i - 1] + share * apart : times[0];
  }
  return { largest: top < 0 ? NaN : largest, top: top < 0 ? NaN : times[top], learned, apart };
}

function shown(value) {
  if (typeof value !== "number") return String(value);
  if (!Number.isFinite(value)) return Number.isNaN(value) ? "-" : value > 0 ? "∞" : "-∞";
  if (Number.isInteger(value) && Math.abs(value) < 1e7) return String(value);
  const size = Math.abs(value);
  return size >= 1e5 || size < 1e-3 ? Number(value.toPrecision(4)).toExponential() : String(+value.toPrecision(4));
}

// An element with text (never markup), attributes and children.
function make(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (name in made) made[name] = value;
    else made.setAttribute(name, value);
  }
  made.append(...children);
  return made;
}

const element = (id) => document.getElementById(id);
