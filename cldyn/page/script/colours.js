// Colours: features have theirs, as in the figures; what is ordered goes along a ramp.

const DARK = matchMedia("(prefers-color-scheme: dark)");
const HUES = {
  light: { class: "#0072b2", subclass: "#d55e00", irrelevant: "#009e73", feature: "#8c6239" },
  dark: { class: "#56b4e9", subclass: "#f08a4b", irrelevant: "#2fc79a", feature: "#c99a6b" },
};
const NAMED = {
  light: ["#0072b2", "#d55e00", "#009e73", "#8d4fa8", "#8c6d00", "#b3446c", "#4b5b6b", "#2f8f9d"],
  dark: ["#56b4e9", "#f08a4b", "#2fc79a", "#c99ae0", "#d9b93f", "#ee8db0", "#aab8c6", "#6fd0dd"],
};
const RAMP = {
  light: ["#3b0f70", "#8c2981", "#de4968", "#e8902f"],
  dark: ["#9a86e8", "#d96bd0", "#fe9f6d", "#fcfdbf"],
};
const FIELD = ["#00224e", "#2a3f6d", "#575d6d", "#7d7c78", "#a59c74", "#d2c060", "#fee838"];

const theme = () => (DARK.matches ? "dark" : "light");
const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

function mixed(ramp, share) {
  const at = Math.min(Math.max(share, 0), 1) * (ramp.length - 1);
  const low = Math.min(Math.floor(at), ramp.length - 2), part = at - low;
  const read = (colour, i) => parseInt(colour.slice(1 + 2 * i, 3 + 2 * i), 16);
  const channel = (i) => Math.round(read(ramp[low], i) * (1 - part) + read(ramp[low + 1], i) * part);
  return `rgb(${channel(0)} ${channel(1)} ${channel(2)})`;
}

// The colour of the i-th of some values: features, numbers in order, or names.
function colourOf(values, i) {
  const kind = String(values[i]).replace(/_\d+$/, ""), hues = HUES[theme()];
  if (kind in hues) {
    const number = Number(String(values[i]).match(/_(\d+)$/)?.[1] ?? 1) - 1;
    return number % 4 ? mixed([hues[kind], theme() === "dark" ? "#ffffff" : "#000000"], (number % 4) * 0.22) : hues[kind];
  }
  if (values.length > 1 && values.every((one) => typeof one === "number")) {
    return mixed(RAMP[theme()], i / (values.length - 1));
  }
  return NAMED[theme()][i % 8];
}

function faded(colour, alpha) {
  const parts = colour.startsWith("#")
    ? [1, 3, 5].map((i) => parseInt(colour.slice(i, i + 2), 16))
    : colour.match(/\d+/g).slice(0, 3);
  return `rgb(${parts.join(" ")} / ${alpha})`;
}

// Class is a hue, subclass a shade of it and a marker.
function clusterColour(label, subclass, subclasses) {
  const hue = NAMED[theme()][label % 8], share = subclasses > 1 ? subclass / (subclasses - 1) : 0;
  return mixed([hue, theme() === "dark" ? "#ffffff" : "#e8e8e8"], share * 0.55);
}
