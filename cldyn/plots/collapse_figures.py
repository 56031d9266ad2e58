"""Pictures of class collapse as the paper draws them: its figures 1, 2 and 6."""

from typing import Any

import xarray as xr
from matplotlib.figure import Figure

from cldyn.plots import parts
from cldyn.plots.class_collapse import panels

FEATURES = ("class", "subclass")


@parts.styled
def collapse_figures(
    clusters: xr.Dataset, lanes: xr.Dataset, wide: xr.Dataset, known: xr.Dataset
) -> Figure:
    """Test embeddings at some steps; feature norms, narrow and wide; the balance of the gradient.

    Args:
        clusters: embeddings [step, test, output], with label and subclass [test].
        lanes: feature_norms [seed, step, feature] and gradient_balance [seed, step].
        wide: feature_norms [seed, step, feature] of a wide embedding, with embed_dim [seed].
        known: forecast of the first, median over seeds: learning_step and feature_norms [feature],
            peak_bound.
    """
    figure = Figure(figsize=(11, 6.8), layout="constrained")
    subfigures: Any = figure.subfigures(2, 1, height_ratios=(1, 1.6))
    above, below = subfigures
    told = (
        f"Figure 1: test embeddings of a middling start, seed {int(clusters.seed)}; scales differ"
    )
    above.suptitle(told, x=0.01, ha="left", fontsize=10)
    panels(above, clusters)
    axes = below.subplots(1, 3)
    last = int(clusters.step[-1])
    _norms(
        axes[0], lanes.sel(step=slice(0, last)), f"Figure 2a: $p = 3$, {lanes.sizes['seed']} starts"
    )
    _norms(axes[1], wide, f"Figure 2b: $p = {int(wide.embed_dim[0])}$, one start")
    _predicted(axes[0], known)
    _ratio(axes[2], lanes.sel(step=slice(0, last)))
    for axis in axes:
        axis.set(xlim=(0, last), xticks=clusters.step.values, xlabel="training step (epoch)")
    strokes = {
        "trained, median and 10-90 %": parts.LINE,
        "predicted step with $|W v_j| = 0.1$": parts.DIAMOND,
        "predicted limit": parts.LIMIT,
        "predicted bound of the peak": parts.BOUND,
    }
    parts.legend(below, FEATURES, strokes, loc="outside lower center", ncols=4)
    return figure


def _norms(axis: Any, lanes: xr.Dataset, title: str) -> None:
    """Figure 2: norms on a linear axis."""
    for feature in FEATURES:
        parts.band(axis, lanes.feature_norms.sel(feature=feature), "step", feature)
    axis.set(ylim=(0, 1.08), ylabel="feature norm $|W v_j|$", title=title)


def _predicted(axis: Any, known: xr.Dataset) -> None:
    for feature in FEATURES:
        hue = parts.colour(feature)
        axis.axhline(float(known.feature_norms.sel(feature=feature)), color=hue, **parts.LIMIT)
        learned = float(known.learning_step.sel(feature=feature))
        axis.plot(learned, 0.1, color=hue, zorder=5, **parts.DIAMOND)
    axis.axhline(float(known.peak_bound), color=parts.colour("subclass"), **parts.BOUND)


def _ratio(axis: Any, lanes: xr.Dataset) -> None:
    """Figure 6: the ratio of the gradient's terms, and where |W v_2| peaks."""
    parts.band(axis, lanes.gradient_balance, "step", "loss")
    peak = lanes.feature_norms.sel(feature="subclass").idxmax("step")
    low, high = float(peak.min()), float(peak.max())
    axis.axvspan(low, high, color=parts.colour("subclass"), alpha=0.3, lw=0)
    axis.axhline(1, color=parts.GREY, **parts.LIMIT)
    axis.set(yscale="log", ylim=(0.5, None), title="Figure 6: the two terms of the gradient")
    axis.set_ylabel(r"$\|W P\|\,/\,\|W M W^\top W M\|$")
    close: Any = axis.inset_axes((0.45, 0.35, 0.53, 0.5))  # where the ratio is about 1
    parts.band(close, lanes.gradient_balance, "step", "loss")
    close.axvspan(low, high, color=parts.colour("subclass"), alpha=0.3, lw=0)
    close.axhline(1, color=parts.GREY, **parts.LIMIT)
    last = float(lanes.step[-1])
    close.set(xlim=(0.28 * last, last), ylim=(0.98, 1.25))
    close.set_title("all peaks of $|W v_2|$ shaded", fontsize=8)
    close.tick_params(labelsize=7.5)
