// What was chosen, the address that says so, and what is looked at.

const state = {}; // what was chosen; a link with it in its address reopens the view
let look = {}; // the same, with what there is in place of what this measure has not
let defaults = {};

function readAddress() {
  const words = new URLSearchParams(location.hash.slice(1));
  return Object.fromEntries(words);
}

// The last address that this page wrote; what differs from it comes from a reader.
let written = location.hash;

function writeAddress() {
  const words = new URLSearchParams();
  for (const [name, value] of Object.entries(state)) {
    if (String(value) !== String(defaults[name] ?? "")) words.set(name, value);
  }
  written = words.size ? `#${words}` : "";
  if (written !== location.hash) history.replaceState(null, "", written || location.pathname);
}

const FEW_RECORDS = 8; // too few for curves over time
const MOST_SMALL = 9; // panels by default

const isNumeric = (column) => column.values.every((one) => typeof one === "number");
const spansDecades = (values) => leastOf(values) > 0 && largestOf(values) / leastOf(values) > 30;

// The part whose last values differ the most between runs.
function widestPart(group, measure) {
  const some = [...Array(Math.min(group.runs, 1000)).keys()].map((i) => Math.floor((i * group.runs) / Math.min(group.runs, 1000)));
  const spreads = measure.labels.map((_, part) => {
    const ends = finite(some.map((run) => measure.at(run, measure.times - 1, part)));
    return ends.length ? quantile(ends, 0.9) - quantile(ends, 0.1) : -1;
  });
  return spreads.indexOf(largestOf(spreads));
}

// What a group is looked at like before anybody has chosen.
function defaultsOf(group) {
  const measures = [...group.measures.values()];
  const known = ["feature_norms", "class_accuracy", "class_gap", "loss"].find((name) => group.measures.has(name));
  const measure = group.measures.get(known) ?? measures.find((one) => one.timed) ?? measures[0];
  const firsts = [...new Map(group.varied.map((one) => [one.axis, one]).reverse()).values()].reverse();
  const own = firsts.filter((one) => !REPEATS.includes(one.name));
  const longest = own.filter(isNumeric).sort((a, b) => b.axis.size - a.axis.size)[0];
  const overTime = measure?.timed && (measure.times > FEW_RECORDS || !longest);
  const x = overTime ? undefined : longest;
  const free = own.filter((one) => one !== x);
  const several = measure && measure.parts > 1 && measure.parts <= 8;
  const parted = several && !(free[0]?.axis.size > MOST_SMALL); // else one part, along the axis
  const small = free.find((one) => one.axis.size <= MOST_SMALL);
  const across = own[0] ?? firsts[0], up = own.find((one) => one !== across);
  return {
    group: group.name,
    measure: measure?.name ?? "",
    part: measure?.parts > 1 && !parted ? "0" : "all",
    x: overTime ? TIME : (x?.name ?? ""),
    logx: x && spansDecades(x.values) ? "1" : "",
    logy: "",
    lines: group.runs > 8 ? "median" : "runs",
    colour: parted ? PART : (free[0]?.name ?? ""),
    split: parted ? (small?.name ?? "") : (free[1] && free[1].axis.size <= MOST_SMALL ? free[1].name : ""),
    across: across?.name ?? "",
    up: up?.name ?? "",
    value: measure?.timed ? "end" : "now",
    threshold: String(LEARNED),
    boundary: "limit",
    mappart: String(measure ? widestPart(group, measure) : 0),
    logmap: "",
    time: String(group.time ? group.time.values.at(-1) : 0),
    run: "",
    view: "2",
    scale: "fit",
    sort: "",
    page: "0",
  };
}

// Names of the page's own beside those of axes, which do not begin like this.
const [TIME, FLOW, PART, ENDED] = ["~time", "~flow", "~part", "~ended"];

function filterNames(group) {
  return [ENDED, ...group.columns.map((one) => one.name)];
}

const filterKey = (name) => `filter.${name}`;
