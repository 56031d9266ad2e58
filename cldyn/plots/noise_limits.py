"""Picture of the limits of SGD's noise: other batches beside the law, and who wins at last."""

from typing import Any

import xarray as xr
from matplotlib.figure import Figure

from cldyn.plots import parts


@parts.styled
def noise_limits(points: xr.Dataset, ladder: xr.Dataset) -> Figure:
    """Quantiles of the class, trained and predicted, and all features in the long run.

    Args:
        points: trained and predicted [point, level].
        ladder: feature_norms [arm, seed, feature], strength [feature].
    """
    figure = Figure(figsize=(10, 4.2), layout="constrained")
    axes: Any = figure.subplots(1, 2)
    _points(axes[0], points)
    _ladder(axes[1], ladder)
    return figure


def _points(axis: Any, points: xr.Dataset) -> None:
    looks = {"trained": ("o", -0.1), "predicted": ("D", 0.1)}
    for name, (mark, shift) in looks.items():
        middle, low, high = points[name].transpose("level", "point").values
        places = [i + shift for i in range(points.sizes["point"])]
        fill = {"mfc": "white", "ls": "none"} if name == "predicted" else {"ls": "none"}
        axis.errorbar(places, middle, yerr=[middle - low, high - middle], fmt=mark, capsize=3,
                      color=parts.colour("class"), label=name, **fill)  # fmt: skip
    axis.set_xticks(range(points.sizes["point"]), points.point.values.tolist())
    axis.set(xlim=(-0.5, points.sizes["point"] - 0.5), ylim=(0, None), ylabel=parts.CLASS)
    axis.set_title("the class that comes back: median and 10-90 %")
    axis.legend(ncols=2, **parts.under())


def _ladder(axis: Any, ladder: xr.Dataset) -> None:
    learned = ladder.feature_norms * ladder.strength
    for arm, look in (
        ("SGD", {"marker": "o"}),
        ("gradient descent", {"marker": "s", "mfc": "none"}),
    ):
        values = learned.sel(arm=arm)
        low, middle, high = (values.quantile(share, "seed").values for share in (0.1, 0.5, 0.9))
        bars = [middle - low, high - middle]
        axis.errorbar(ladder.strength, middle, yerr=bars, ms=7, capsize=3, ls=":", lw=1,
                      color=parts.GREY, label=arm, **look)  # fmt: skip
    axis.set(ylim=(-0.05, 1.08), xlabel=r"strength of the feature $\phi_j$")
    axis.set_ylabel(r"$\phi_j |W v_j|$")
    axis.set_title("in the long run: five features, two outputs")
    axis.legend(ncols=2, **parts.under())
