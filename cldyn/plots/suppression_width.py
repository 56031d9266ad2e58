"""Picture of suppression by width: strong irrelevant features fill a narrow embedding."""

from typing import Any

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from cldyn.plots import parts

FEATURES = ("class", "subclass", "irrelevant_1")
WIDEST = 8  # on the map


@parts.styled
def suppression_width(diagram: xr.DataArray, end: xr.Dataset, known: xr.Dataset) -> Figure:
    """Norm of the class over width and irrelevant strength, and all norms over width.

    Args:
        diagram: predicted minimum-norm |W v_1| [embed_dim, strength]; its coordinate edge is the
            strength at which early growth leaves half of the class behind, NaN where it never does.
        end: trained feature_norms [embed_dim, irrelevant_strength, seed, feature].
        known: their forecast.
    """
    figure = Figure(figsize=(11, 5), layout="constrained")
    axes: Any = figure.subplots(1, 2, width_ratios=(1.2, 1))
    _map(axes[0], diagram, end.feature_norms.sel(feature="class").median("seed"))
    _norms(axes[1], end.isel(irrelevant_strength=-1), known.isel(irrelevant_strength=-1))
    return figure


def _map(axis: Any, diagram: xr.DataArray, trained: xr.DataArray) -> None:
    narrow = {"embed_dim": slice(None, WIDEST)}
    trained = trained.sel(narrow).transpose("embed_dim", "irrelevant_strength")
    parts.field(axis, diagram.sel(narrow), trained, "$|W v_1|$; map: minimum norm, predicted")
    heights = (diagram.embed_dim.values[:, None] + (-0.5, 0.5)).ravel()
    edge = {**parts.CURVE, **parts.ON_MAP}
    axis.plot(np.repeat(diagram.edge, 2), heights, color=parts.GREY, **edge)
    axis.set_title("norm of the class")
    axis.set(ylim=(0.5, WIDEST + 0.5), ylabel="embedding dimension $p$")
    axis.set_xlabel(r"strength of the irrelevant features $\phi_k$ (class: 1)")
    strokes = {
        "trained, median over seeds": parts.RINGED,
        "predicted by early growth: half is left behind": edge,
    }
    parts.legend(axis, strokes=strokes, **parts.under())


def _norms(axis: Any, end: xr.Dataset, known: xr.Dataset) -> None:
    for feature, size in zip(FEATURES, (13, 9, 6), strict=True):
        parts.band(axis, end.feature_norms.sel(feature=feature), "embed_dim", feature, markevery=1)
        limit = known.feature_norms.sel(feature=feature).median("seed")
        look = {**parts.DIAMOND, "mfc": "none", "ms": size, "color": parts.colour(feature)}
        axis.plot(known.embed_dim, limit, **look)
    widths = end.embed_dim.values
    axis.set(xscale="log", ylim=(-0.04, 1.08), xlabel="embedding dimension $p$")
    axis.set_ylabel("feature norm $|W v_j|$")
    axis.set_xticks(widths, [str(width) for width in widths])
    axis.minorticks_off()
    axis.set_title(f"irrelevant strength {float(end.irrelevant_strength):g}")
    strokes = {
        f"trained, median and 10-90 % of {end.sizes['seed']} seeds": parts.LINE,
        "predicted by minimum norm": parts.DIAMOND,
    }
    parts.legend(axis, FEATURES, strokes, ncols=2, **parts.under())
