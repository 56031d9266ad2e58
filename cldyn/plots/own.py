"""Picture of a setting of one's own: what is measured of it beside what is predicted."""

from typing import Any

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from cldyn.plots import parts

LEAST = 1e-5  # smaller norms and gaps are not shown
LEARNED = 0.1


@parts.styled
def own(measured: xr.Dataset, known: xr.Dataset | None = None) -> Figure:
    """Every feature norm over steps, or the gaps where no directions are known, and the loss.

    Args:
        measured: trajectories over seed and step, with finite_steps [seed]; diverged ones are left
            out, and counted.
        known: their forecast, or None; what is NaN in it is not drawn.
    """
    finite = measured.finite_steps == measured.step[-1]
    lanes = measured.isel(seed=finite.values)
    curves = _by_feature(lanes)
    losses = [name for name in ("excess_loss", "loss") if name in lanes][:1]
    panels = max(1, bool(curves) + len(losses))
    figure = Figure(figsize=(5.5 * panels, 4.8), layout="constrained")
    axes: Any = figure.subplots(1, panels, squeeze=False)[0]
    if finite.any():
        for feature, curve in curves.items():
            parts.band(axes[0], curve, "step", feature)
        for name in losses:
            parts.band(axes[-1], lanes[name], "step", "loss")
            scale = "log" if name == "excess_loss" else "linear"
            axes[-1].set(yscale=scale, ylabel=lanes[name].attrs.get("long_name", name))
    strokes = {f"trained, median and 10-90 % of {int(finite.sum())} seeds": parts.LINE}
    if curves:
        axes[0].set_yscale("log")
        strokes |= _predicted(axes[0], xr.Dataset() if known is None else known)
        least = max(axes[0].get_ylim()[0], LEAST)
        norms = "feature_norms" in lanes
        told = "feature norm $|W v_j|$" if norms else "distance of means"
        axes[0].set(ylim=(least, None), ylabel=told)
    for axis in axes:
        axis.set_xlabel("training step")
    parts.diverged(axes[0], finite)
    parts.legend(figure, curves, strokes, loc="outside lower center", ncols=3)
    return figure


def _by_feature(dataset: xr.Dataset) -> dict[str, xr.DataArray]:
    """Feature norms by feature, or the gaps of class and subclass where there are none."""
    if "feature_norms" in dataset:
        norms = dataset.feature_norms
        return {name: norms.sel(feature=name) for name in norms.feature.values.tolist()}
    gaps = {"class": "class_gap", "subclass": "subclass_gap"}
    return {feature: dataset[name] for feature, name in gaps.items() if name in dataset}


def _predicted(axis: Any, known: xr.Dataset) -> dict[str, dict[str, Any]]:
    """Draws medians over seeds of what is known, and says what was drawn."""
    drawn: dict[str, dict[str, Any]] = {}
    for feature, limit in _by_feature(known).items():
        if np.isfinite(limit).any():
            axis.axhline(limit.median(), color=parts.colour(feature), **parts.LIMIT)
            drawn["predicted limit"] = parts.LIMIT
    for feature in known.feature.values.tolist() if "learning_step" in known else ():
        learned = known.learning_step.sel(feature=feature)
        if np.isfinite(learned).any():
            look = {"color": parts.colour(feature), "zorder": 5, **parts.DIAMOND}
            axis.plot(learned.median(), LEARNED, **look)
            drawn[f"predicted step at which it is {LEARNED:g}"] = parts.DIAMOND
    if "peak_bound" in known and np.isfinite(known.peak_bound).any():
        second = known.feature.values[1]  # of which the bound is
        look = {"color": parts.colour(second), **parts.BOUND}
        axis.axhline(known.peak_bound.median(), **look)
        drawn["predicted bound of the peak"] = look
    return drawn
