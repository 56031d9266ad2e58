"""Picture of noise along single directions: what the least norm keeps, how often none shares."""

from typing import Any

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from cldyn.plots import parts

LEAST = 2e-5  # stands for zero on a logarithmic axis
SHADES = (0.55, 0.0, -0.5)  # of three noises
MARKERS = "o^s"  # of numbers of rows


@parts.styled
def noise_directions(laws: xr.Dataset, shared: xr.Dataset, chances: xr.Dataset) -> Figure:
    """The subclass that the minimum norm keeps over nm, and the chance of distinct noise over d.

    Args:
        laws: norm and law, which predicts it, of distinct rows [noise_length, nm].
        shared: norm of rows that share directions [data_seed, nm], and the way, "distinct" or how.
        chances: often and expected, the chance, and bound, which it exceeds [d, nm].
    """
    figure = Figure(figsize=(11, 5.2), layout="constrained")
    axes: Any = figure.subplots(1, 2, width_ratios=(1.15, 1))
    _norms(axes[0], laws, shared)
    _chances(axes[1], chances)
    return figure


def _norms(axis: Any, laws: xr.Dataset, shared: xr.Dataset) -> None:
    hue, nm, looks = parts.colour("subclass"), laws.nm.values, {}
    for share, noise in zip(SHADES, laws.noise_length.values, strict=True):
        one, look = laws.sel(noise_length=noise), {"color": parts.shade(hue, share)}
        axis.plot(nm, one.law, **look, **parts.CURVE)
        axis.plot(nm, one.norm, marker="s", zorder=3, **look, **parts.POINT)
        looks[rf"none shared, $\sigma = {noise:g}$"] = {**look, "marker": "s", **parts.POINT}
    axis.plot(nm, 0.4 * (nm / nm[0]) ** -0.5, color=parts.GREY, **parts.LIMIT)
    light = {"marker": "o", "color": "#aaaaaa", **parts.POINT, "ms": 4}
    on_class = {"marker": "^", "color": parts.colour("class"), **parts.POINT}
    jitter = np.linspace(0.9, 1.1, shared.sizes["data_seed"])[:, None] * shared.nm.values
    along = shared.way == "noise along the class"
    for some, look in ((along, on_class), (~along & (shared.way != "distinct"), light)):
        axis.plot(jitter[some], np.maximum(shared.norm.values[some], LEAST), **look)
    axis.set(xscale="log", yscale="log", ylim=(LEAST / 1.5, 1), xlabel="rows $nm$")
    axis.set_ylabel("$|W v_2|$ of the minimum norm")
    axis.set_title(r"subclass mean $\mu_2 = 1$: what is left of the subclass")
    looks |= {
        f"some shared (zero: {LEAST:g})": light,
        "one along the class": on_class,
        r"predicted, $O(\sigma^2/nm)$": parts.CURVE,
        r"slope of the bound $O(\sigma/\sqrt{nm})$": parts.LIMIT,
    }
    parts.legend(axis, strokes=looks, ncols=2, **parts.under())


def _chances(axis: Any, chances: xr.Dataset) -> None:
    d = chances.d.values
    strokes = {}
    for shade, marker, nm in zip(parts.purples(3), MARKERS, chances.nm.values, strict=True):
        one, look = chances.sel(nm=nm), {"color": shade}
        axis.plot(d, one.expected, **look, **parts.CURVE)
        axis.plot(d, one.bound, **look, **parts.BOUND)
        axis.plot(d, one.often, marker=marker, **look, **parts.POINT)
        strokes[f"drawn, $nm = {nm}$"] = {"marker": marker, **look, **parts.POINT}
    axis.set(xscale="log", ylim=(-0.03, 1.03), xlabel="input dimension $d$")
    ticks = [int(one) for one in d[::2]]
    axis.set_xticks(ticks, [str(tick) for tick in ticks])
    axis.minorticks_off()
    axis.set_ylabel("share of samples")
    axis.set_title("no two rows share a direction, none is a feature's")
    strokes |= {
        "predicted": parts.CURVE,
        r"bound $1 - nm\,(K + (nm - 1)/2)/d$": parts.BOUND,
    }
    parts.legend(axis, strokes=strokes, ncols=2, **parts.under())
