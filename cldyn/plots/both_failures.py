"""Picture of both failures on one data set, and of neither in between."""

from typing import Any

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from cldyn.plots import parts

FEATURES = ("class", "subclass")
LOSSES = {0.0: "UCL", 0.5: "joint", 1.0: "SCL"}


@parts.styled
def both_failures(
    ends: dict[str, xr.Dataset], limits: dict[str, xr.Dataset], forms: xr.DataArray
) -> Figure:
    """Norms of class and subclass over the weight of the supervised loss, and for every K and p.

    Args:
        ends: trained feature_norms [beta, seed, feature] by case, the main one first.
        limits: minimum norm of the same [beta, feature].
        forms: closed forms of the main case [beta, feature], beta > 0.
    """
    figure = Figure(figsize=(11, 5), layout="constrained")
    axes: Any = figure.subplots(1, 2)
    main = next(iter(ends))
    _weights(axes[0], ends[main], limits[main], forms)
    axes[0].set_title(f"{main}: a failure at each end, none in between")
    _losses(axes[1], ends, limits)
    axes[1].set_title("every $K$ and $p$, logarithmic: zero at the minimum norm, small if trained")
    seeds = ends[main].sizes["seed"]
    strokes = {
        f"trained, median and range of {seeds} seeds": {"marker": "o", **parts.POINT},
        "minimum norm": OPEN | {"marker": "o"},
        "closed form": parts.CURVE,
    }
    parts.legend(figure, FEATURES, strokes, loc="outside lower center", ncols=5)
    return figure


OPEN: dict[str, Any] = {"ls": "none", "mfc": "none", "ms": 11, "mew": 1.5}


def _weights(axis: Any, end: xr.Dataset, limit: xr.Dataset, forms: xr.DataArray) -> None:
    for feature in FEATURES:
        hue = parts.colour(feature)
        axis.plot(forms.beta, forms.sel(feature=feature), color=hue, **parts.CURVE)
        parts.spread(axis, end.feature_norms.sel(feature=feature), "beta", feature)
        least = limit.feature_norms.sel(feature=feature)
        axis.plot(least.beta, least, marker=parts.marker(feature), color=hue, **OPEN)
    axis.set(xlim=(-0.04, 1.04), xlabel=r"weight $\beta$ of the supervised loss")
    axis.set_ylabel("feature norm $|W v_j|$")
    arrow = {"arrowstyle": "-", "color": parts.GREY}
    axis.annotate("UCL suppresses\nthe class", (0.01, 0.03), (0.1, 0.14), arrowprops=arrow)
    told = "SCL collapses\nthe subclass"
    axis.annotate(told, (0.99, 0.01), (0.85, 0.1), ha="right", arrowprops=arrow)


def _losses(axis: Any, ends: dict[str, xr.Dataset], limits: dict[str, xr.Dataset]) -> None:
    ticks, labels = [], []
    for case, (name, end) in enumerate(ends.items()):
        for place, (beta, loss) in enumerate(LOSSES.items()):
            x = 4 * case + place
            for feature, side in zip(FEATURES, (-0.12, 0.12), strict=True):
                at = {"feature": feature, "beta": beta}
                norms = end.feature_norms.sel(at).expand_dims(place=[x + side])
                parts.spread(axis, norms, "place", feature)
                look = {"marker": parts.marker(feature), "color": parts.colour(feature), **OPEN}
                axis.plot(x + side, limits[name].feature_norms.sel(at), **look)
            ticks.append(x)
            labels.append(loss)
        axis.text(4 * case + 1, -0.1, name, ha="center", transform=axis.get_xaxis_transform())
    axis.set_xticks(ticks, labels, fontsize=8, va="baseline")
    axis.tick_params(axis="x", length=0, pad=12)
    for edge in np.arange(1, len(ends)) * 4 - 1:
        axis.axvline(edge, color=parts.GREY, lw=0.6, alpha=0.4)
    axis.set(yscale="log", ylabel="feature norm $|W v_j|$")
