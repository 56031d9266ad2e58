"""Picture of class collapse: four clusters become two."""

from typing import Any

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from cldyn.plots import parts

# Two hues for classes, dark and light for their subclasses; none of them is a feature's.
HUES = ("#4B3B8F", "#C8960C")
MARKERS = ("o", "^")
FLAT = 0.6  # height of a panel over its width
EARLY = 150


@parts.styled
def class_collapse(clusters: xr.Dataset, lanes: xr.Dataset, prediction: xr.Dataset) -> Figure:
    """Test embeddings at some steps, and feature norms over all of them.

    Args:
        clusters: embeddings [step, test, output], with label and subclass [test].
        lanes: feature_norms [seed, step, feature] at one learning rate.
        prediction: their forecast (learning_step and feature_norms [feature], peak_bound), median
            over seeds, and decay_rate, at which the subclass is unlearned, per step.
    """
    figure = Figure(figsize=(11, 6.6), layout="constrained")
    subfigures: Any = figure.subfigures(2, 1, height_ratios=(1, 1.75))
    above, below = subfigures
    panels(above, clusters)
    axes = below.subplots(1, 2, sharey=True, width_ratios=(3, 1))
    for axis in axes:
        _norms(axis, lanes, prediction)
    _early(axes[0], lanes, prediction, clusters.step.values)
    axes[0].set_ylabel("feature norm $|W v_j|$")
    axes[1].set(xscale="log", xlim=(EARLY, lanes.step[-1]), xlabel="later, logarithmic")
    axes[1].spines.left.set_visible(False)
    axes[1].tick_params(axis="y", which="both", left=False)
    below.align_xlabels()
    strokes = {
        f"trained, median and 10-90 % of {lanes.sizes['seed']} seeds": parts.LINE,
        "predicted learning step": parts.DIAMOND,
        "predicted limit": parts.LIMIT,
        "predicted bound of the peak": parts.BOUND,
        f"unlearning predicted of the population, {float(prediction.decay_rate):.3f} a step": (
            parts.CURVE
        ),
    }
    place: dict[str, Any] = {"loc": "outside lower center", "ncols": 4}
    parts.legend(below, ("class", "subclass"), strokes, **place)
    return figure


def panels(above: Any, clusters: xr.Dataset) -> None:
    """Test embeddings at every step, one panel each, and their legend."""
    cells, plane = _cells(clusters)
    for j, axis in enumerate(above.subplots(1, len(cells))):
        _panel(axis, [cell @ plane for cell in cells[j]], int(clusters.step[j]))
    names = [f"class {label}, subclass {subclass}" for label in "AB" for subclass in "12"]
    looks = [{**parts.POINT, "color": hue, "marker": mark} for hue, mark, _ in _looks()]
    strokes = dict(zip(names, looks, strict=True))
    parts.legend(above, strokes=strokes, loc="outside lower center", ncols=4)


def _looks() -> list[tuple[Any, str, float]]:
    """Colour, marker and area of every cluster, class by class: the second subclass is seen on the
    first where they are one.
    """
    return [
        (parts.shade(hue, share), mark, area)
        for hue, mark in zip(HUES, MARKERS, strict=True)
        for share, area in ((-0.35, 60), (0.55, 26))
    ]


def _cells(clusters: xr.Dataset) -> tuple[list[list[np.ndarray]], np.ndarray]:
    """Centred embeddings of class and subclass, and the plane in which all steps are seen.

    Returns:
        Embeddings [test in cluster, output] by step and cluster; unit directions [output, 2], from
        class to class and from subclass to subclass of one, where both are apart the most.
    """
    embeddings = clusters.embeddings.transpose("step", "test", "output").values
    label, subclass = clusters.label.values, clusters.subclass.values
    cells = [
        embeddings[:, (label == one) & (subclass == other)]
        for one in np.unique(label)
        for other in np.unique(subclass)
    ]
    means = np.stack([cell.mean(1) for cell in cells], 1)  # [step, cluster, output]
    middle = means.mean(1, keepdims=True)
    contrasts = np.array([[-1, -1, 1, 1], [-1, 1, -1, 1]]) / 2 @ means  # [step, 2, output]
    shown = np.argmax(np.linalg.norm(contrasts, axis=-1).min(1))
    plane, _ = np.linalg.qr(contrasts[shown].T)
    return [[cell[j] - middle[j] for cell in cells] for j in range(len(means))], plane


def _panel(axis: Any, cells: list[np.ndarray], step: int) -> None:
    """One step, in axes that fit, with a bar for their scale."""
    for points, (hue, mark, area) in zip(cells, _looks(), strict=True):
        axis.scatter(*points.T, s=area, color=hue, marker=mark, lw=0, rasterized=True)
    reach = 1.25 * max(np.abs(points / (1, FLAT)).max() for points in cells)
    axis.set(xlim=(-reach, reach), ylim=(-reach * FLAT, reach * FLAT), aspect="equal")
    axis.set(xticks=[], yticks=[])
    axis.set_title(f"step {step}: {_seen(cells)}", fontsize=11)
    axis.spines[:].set(visible=True, color="#bbbbbb")
    power = 10 ** np.floor(np.log10(reach))
    bar = max(power * one for one in (0.2, 0.5, 1, 2) if power * one < 0.45 * reach)
    left, bottom = -0.93 * reach, -0.9 * reach * FLAT
    axis.plot([left, left + bar], [bottom, bottom], color=parts.GREY, lw=1.5)
    axis.text(left + bar + 0.04 * reach, bottom, f"{bar:g}", va="center", fontsize=8)


def _seen(cells: list[np.ndarray]) -> str:
    """What can be told apart of four clusters, class by class."""
    means = np.stack([points.mean(0) for points in cells]).reshape(2, 2, 2)
    classes = np.linalg.norm(means[1].mean(0) - means[0].mean(0))
    subclasses = np.linalg.norm((means[:, 1] - means[:, 0]).mean(0))
    if classes < 5 * max(points.std(0).max() for points in cells):
        return "one cloud"
    share = subclasses / classes
    return "four clusters" if share > 0.1 else "merging" if share > 0.01 else "two clusters"


def _norms(axis: Any, lanes: xr.Dataset, prediction: xr.Dataset) -> None:
    for feature in ("class", "subclass"):
        parts.band(axis, lanes.feature_norms.sel(feature=feature), "step", feature)
        limit = float(prediction.feature_norms.sel(feature=feature))
        axis.axhline(limit, color=parts.colour(feature), **parts.LIMIT)
    axis.set(yscale="log", ylim=(1e-4, 3))


def _early(axis: Any, lanes: xr.Dataset, prediction: xr.Dataset, shown: np.ndarray) -> None:
    """Predictions of the steps in which everything happens, on a linear axis."""
    hue = parts.colour("subclass")
    for feature in ("class", "subclass"):
        learned = float(prediction.learning_step.sel(feature=feature))
        axis.plot(learned, 0.1, color=parts.colour(feature), zorder=5, **parts.DIAMOND)
    axis.axhline(float(prediction.peak_bound), color=hue, **parts.BOUND)
    curve = lanes.feature_norms.sel(feature="subclass").median("seed")
    top = int(curve.argmax("step"))
    start = top + int((curve[top:] < curve.max() / 3).argmax("step"))
    after = np.linspace(0, 45, 2)
    fall = 1.5 * float(curve[start]) * np.exp(-float(prediction.decay_rate) * after)
    axis.plot(float(curve.step[start]) + after, fall, color=hue, **parts.CURVE)
    for step in shown:
        axis.axvline(step, color="#bbbbbb", lw=0.8, zorder=0)
    axis.set(xlim=(0, EARLY), xlabel="training step", xticks=[*shown, EARLY])
