"""Picture of the law of early learning."""

from typing import Any

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from cldyn.plots import parts

MARKERS = "osD^v"


@parts.styled
def early_learning(steps: xr.DataArray, slope: float, probes: xr.Dataset) -> Figure:
    """Learning steps on one line, and what a probe reads when they come.

    Args:
        steps: learning step of the subclass [d, embed_dim, init_scale, seed], with coordinate
            logarithm, ln(sqrt(d/p)/sigma_0).
        slope: predicted steps per unit of it.
        probes: subclass_accuracy and feature_norms [seed, step].
    """
    figure = Figure(figsize=(11, 4.8), layout="constrained")
    axes: Any = figure.subplots(1, 2, width_ratios=(1.5, 1))
    _law(axes[0], steps, slope)
    _probe(axes[1], probes)
    return figure


def _law(axis: Any, steps: xr.DataArray, slope: float) -> None:
    hues, strokes = parts.purples(steps.sizes["d"]), {}
    for d, hue in zip(steps.d.values, hues, strict=True):
        for p, mark in zip(steps.embed_dim.values, MARKERS, strict=False):
            some = steps.sel(d=d, embed_dim=p)
            x = some.logarithm.broadcast_like(some)
            axis.plot(x.values.ravel(), some.values.ravel(), **parts.POINT, color=hue, marker=mark)
        strokes[f"$d = {d:,}$"] = {**parts.POINT, "color": hue, "marker": "o"}
    for p, mark in zip(steps.embed_dim.values, MARKERS, strict=False):
        strokes[f"$p = {p}$"] = {**parts.POINT, "marker": mark}
    x = steps.logarithm
    ends = np.array([float(x.min()), float(x.max())])
    line = float((steps - slope * x).mean()) + slope * ends
    axis.plot(ends, line, color=parts.GREY, zorder=5, **parts.CURVE)
    strokes[r"predicted slope, $1/\ln(1+4\eta(1+\mu_2^2))$"] = parts.CURVE
    axis.set(xlabel=r"$\ln(\sqrt{d/p}\,/\,\sigma_0)$", ylabel="step with $|W v_2| = 0.1$")
    axis.set_title("learning step of the subclass, one mark a start")
    parts.legend(axis, strokes=strokes, loc="upper left")


def _probe(axis: Any, probes: xr.Dataset) -> None:
    parts.band(axis, probes.feature_norms.sel(feature="subclass"), "step", "subclass")
    parts.band(axis, probes.subclass_accuracy, "step", "loss")
    axis.axhline(0.1, color=parts.colour("subclass"), **parts.LIMIT)
    axis.set(xlabel="training step", ylim=(0, 1.05), title="what a probe reads, $p = 3$")
    strokes = {
        "$|W v_2|$": {**parts.LINE, "color": parts.colour("subclass"), "marker": "s"},
        "probe accuracy of the subclass": {**parts.LINE, "marker": "d"},
        "$|W v_2| = 0.1$: learned": {**parts.LIMIT, "color": parts.colour("subclass")},
    }
    parts.legend(axis, strokes=strokes, **parts.under())
