"""Picture of figure 4: the class over the variance of its last rival."""

from typing import Any

import xarray as xr
from matplotlib.figure import Figure

from cldyn.plots import parts


@parts.styled
def variance_order(figures: dict[int, xr.Dataset], forms: dict[int, xr.Dataset]) -> Figure:
    """Norm of the class over the variance of the last irrelevant feature, a panel for every K.

    Args:
        figures: trained feature_norms [ratio, seed, step, feature] by K.
        forms: least and left, |W v_1| by the minimum norm and by early growth [ratio], by K.
    """
    figure = Figure(figsize=(11, 4.6), layout="constrained")
    axes: Any = figure.subplots(1, len(figures), sharey=True, squeeze=False)[0]
    for axis, (k, runs) in zip(axes, figures.items(), strict=True):
        _panel(axis, k, runs, forms[k])
    axes[0].set_ylabel("norm of the class $|W v_1|$")
    seeds = next(iter(figures.values())).sizes["seed"]
    strokes = {
        f"trained, median and range of {seeds} starts": {
            **parts.POINT, "marker": parts.marker("class"), "color": parts.colour("class"),
        },
        "one start, at equality": {
            **parts.POINT, "marker": ".", "color": parts.shade(parts.HUES["class"][0], 0.45),
        },
        "predicted: minimum norm, distinct noise": parts.CURVE,
        "predicted: order of what early growth leaves": parts.BOUND,
    }  # fmt: skip
    parts.legend(figure, strokes=strokes, loc="outside lower center", ncols=4)
    return figure


def _panel(axis: Any, k: int, runs: xr.Dataset, forms: xr.Dataset) -> None:
    ends = runs.feature_norms.sel(feature="class").isel(step=-1)
    axis.plot(forms.ratio, forms.least, color=parts.GREY, **parts.CURVE)
    above = forms.where(forms.ratio > 1, drop=True)
    axis.plot(above.ratio, above.left, color=parts.GREY, **parts.BOUND)
    axis.axvline(1, color=parts.GREY, lw=0.6, alpha=0.5)
    parts.spread(axis, ends, "ratio", "class")
    equal = ends.sel(ratio=1.0, method="nearest")
    hue = parts.shade(parts.HUES["class"][0], 0.45)
    axis.plot([1.0] * equal.size, equal, color=hue, zorder=4, ls="none", marker=".", ms=6)
    axis.set(xscale="log", ylim=(-0.05, 1.4), title=f"$K = p = {k}$")
    axis.set_xlabel(r"$\phi_K^2/(K-2)$ over $\phi_1^2$")
