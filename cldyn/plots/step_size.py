"""Picture of the step: what it changes of a trajectory, and where training converges."""

from typing import Any

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from cldyn.plots import parts

SHOWN = (0.03, 0.1, 0.3, 0.7, 0.98, 1.1, 1.5)
LEAST, LOST = 1e-16, 1e3  # stand for zero and for divergence on a logarithmic axis
FRACTION = "learning rate / critical rate"


@parts.styled
def step_size(
    main: xr.Dataset, flow: xr.Dataset, small: dict[str, xr.Dataset], known: xr.Dataset
) -> Figure:
    """The subclass over flow time for many steps, what is left, and where training converges.

    Args:
        main: trajectories over seed, learning_rate (of the critical) and step.
        flow: gradient flow over seed and step.
        small: settings whose edge of divergence is known, attrs["edge"] of the critical rate.
        known: forecast of main, median over seeds.
    """
    figure = Figure(figsize=(11, 5.4), layout="constrained")
    settings = {"collapse setting": main, **small}
    axes: Any = figure.subplot_mosaic([["time", "end", name] for name in settings])
    _over_time(axes["time"], main, flow, known)
    _at_the_end(axes["end"], main)
    stack = [axes[name] for name in settings]
    for axis, (name, dataset) in zip(stack, settings.items(), strict=True):
        axis.sharex(stack[0])
        axis.tick_params(labelbottom=axis is stack[-1])
        _regimes(axis, dataset, name)
    stack[len(stack) // 2].set_ylabel("distance to the minimum norm, median")
    stack[-1].set_xlabel(FRACTION)
    strokes = {
        "trained": {"marker": "o", **parts.POINT},
        "diverged": {"marker": "x", **parts.POINT},
        "predicted critical rate": parts.LIMIT,
        "predicted edge of divergence": parts.CURVE,
    }
    parts.legend(stack[-1], strokes=strokes, ncols=2, **parts.under(-0.5))
    return figure


def _over_time(axis: Any, main: xr.Dataset, flow: xr.Dataset, known: xr.Dataset) -> None:
    def draw(lane: xr.Dataset, **look: Any) -> None:
        time = float(lane.step_size.median()) * lane.step
        axis.plot(time, lane.feature_norms.sel(feature="subclass").median("seed"), **look)

    shown = [fraction for fraction in SHOWN if fraction in main.learning_rate]
    limit = float(known.feature_norms.sel(feature="subclass"))
    exact = {"color": "black", "lw": 3.5, "alpha": 0.35}
    strokes = {"gradient flow": exact}
    draw(flow, **exact)
    for fraction, hue in zip(shown, parts.purples(len(shown)), strict=True):
        strokes[f"{fraction:g} of critical"] = {"color": hue, "lw": 1.4}
        draw(main.sel(learning_rate=fraction), color=hue, lw=1.4)
    axis.axhline(limit, color=parts.colour("subclass"), **parts.LIMIT)
    axis.axhline(float(known.peak_bound), color=parts.colour("subclass"), **parts.BOUND)
    axis.set(xscale="log", yscale="log", xlim=(0.2, 60), ylim=(1e-3, 1.5))
    axis.set(xlabel="flow time, learning rate x step", ylabel="subclass norm $|W v_2|$")
    axis.set_title("collapse setting, $p = 2$, median over seeds")
    strokes["predicted limit"] = {"color": parts.colour("subclass"), **parts.LIMIT}
    strokes["predicted bound of the peak"] = {"color": parts.colour("subclass"), **parts.BOUND}
    parts.legend(axis, strokes=strokes, ncols=2, **parts.under())


def _at_the_end(axis: Any, main: xr.Dataset) -> None:
    end = main.feature_norms.isel(step=-1)
    peak = main.feature_norms.sel(feature="subclass").max("step")
    finite = (main.finite_steps == main.step[-1]).all("seed")
    hue = parts.colour("subclass")
    looks: dict[str, dict[str, Any]] = {
        "class at the end": {"color": parts.colour("class"), "marker": "o"},
        "subclass at its peak": {"color": parts.shade(hue, 0.5), "marker": "s", "lw": 1},
        "subclass at the end": {"color": hue, "marker": "s"},
    }
    curves = (end.sel(feature="class"), peak, end.sel(feature="subclass"))
    for curve, look in zip(curves, looks.values(), strict=True):
        axis.plot(main.learning_rate, curve.median("seed").where(finite), ms=4, **look)
    axis.axvline(1, color=parts.GREY, **parts.LIMIT)
    axis.set(yscale="log", ylim=(1e-3, 3), xlabel=FRACTION, ylabel="feature norm $|W v_j|$")
    axis.set_title(f"collapse setting, at step {int(main.step[-1])}")
    strokes = {**looks, "predicted critical rate": parts.LIMIT}
    parts.legend(axis, strokes=strokes, ncols=2, **parts.under())


def _regimes(axis: Any, dataset: xr.Dataset, name: str) -> None:
    """Final distance to the minimizer over the step; diverged lanes along the top."""
    distance = dataset.distance.isel(step=-1).median("seed").values
    lost = np.isnan(distance)
    rate = dataset.learning_rate.values
    axis.plot(rate[~lost], np.maximum(distance, LEAST)[~lost], "o", color=parts.GREY, ms=4)
    axis.plot(rate[lost], np.full(lost.sum(), LOST), "x", color=parts.GREY, ms=5)
    axis.axvline(1, color=parts.GREY, **parts.LIMIT)
    if "edge" in dataset.attrs:
        axis.axvline(dataset.attrs["edge"], color=parts.GREY, **parts.CURVE)
    axis.set(yscale="log", ylim=(LEAST / 10, LOST * 10))
    axis.set_title(name)
