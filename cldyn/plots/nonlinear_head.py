"""Panels of heads that are not linear, and of the dimensions that InfoNCE leaves."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr

from cldyn.plots import parts

BELOW: dict[str, Any] = {"lw": 0.9, "mfc": "white"}  # the head
AFTER: dict[str, Any] = {"lw": 1.7}
LAYERS = {"below the head": BELOW, "after it": AFTER}


def nonlinear_head(axes: Any, heads: Mapping[str, Any], dimensions: xr.Dataset) -> None:
    """Unlearned after the head and kept below it, by augmentation and by strength; dimensions.

    Args:
        axes: four.
        heads: "diagonal_UCL", pre_feature_norms and feature_norms [seed, step, feature], of which
            views redraw the second, its predicted decay [seed, step] and bound; "disrupted" and
            "strengths", `shares` over the best feature [layer, seed, feature] and `law` of a linear
            head [layer, feature], by x [feature].
        dimensions: singular values [similarity, seed, step, value] and their predicted limit.
    """
    first, second, third, fourth = axes
    _unlearned(first, heads["diagonal_UCL"])
    told = "probability $\\alpha$ that a view redraws"
    _by_feature(second, heads["disrupted"], told, "Fig. 1 left: symmetric units")
    _by_feature(third, heads["strengths"], "strength $\\phi$", "Fig. 1 right")
    third.set(xscale="log", yscale="log", ylim=(0.02, 1.4))
    _dimensions(fourth, dimensions.isel(step=-1))


def _unlearned(axis: Any, diagonal: xr.Dataset) -> None:
    hue, time = parts.colour("subclass"), diagonal.time
    for seed in range(min(8, diagonal.sizes["seed"])):
        lane = diagonal.isel(seed=seed, feature=1)
        axis.plot(time, lane.pre_feature_norms, color=hue, lw=0.9)
        axis.plot(time, lane.feature_norms, color=hue, lw=1.7)
        axis.plot(time, lane.decay, color="black", **parts.CURVE)
    axis.axhline(float(diagonal.bound), color=parts.GREY, **parts.BOUND)
    axis.set(xscale="log", yscale="log", xlabel="flow time", ylabel="norm of what views redraw")
    axis.set_title("diagonal network")
    strokes = {
        "below, $f_1(e_2)$": {"color": hue, "lw": 0.9},
        "after, $f_2(e_2)$": {"color": hue, "lw": 1.7},
        "predicted decay": {"color": "black", **parts.CURVE},
        r"bound $\sqrt{b_0}$": parts.BOUND,
    }
    parts.legend(axis, strokes=strokes, **parts.under(-0.2))


def _by_feature(axis: Any, one: xr.Dataset, label: str, title: str) -> None:
    for i, look in enumerate(LAYERS.values()):
        shares = one.shares.isel(layer=i).quantile([0.1, 0.5, 0.9], "seed")
        low, middle, high = shares.transpose("quantile", "feature").values
        error = [middle - low, high - middle]
        axis.errorbar(one.x, middle, yerr=error, color=parts.GREY, marker="o", ms=5, **look)
        axis.plot(one.x, one.law.isel(layer=i), color=parts.GREY, lw=look["lw"], ls="--")
    axis.set(xlabel=label, ylabel="feature over the best one", title=title)
    strokes = {name: {"marker": "o", **look} for name, look in LAYERS.items()}
    parts.legend(axis, strokes=strokes | {"linear head, predicted": parts.CURVE},
                 **parts.under(-0.2))  # fmt: skip


def _dimensions(axis: Any, dimensions: xr.Dataset) -> None:
    strokes: dict[str, dict[str, Any]] = {}
    for similarity, look in (("dot", {"color": "black"}), ("cosine", {"color": "#999999"})):
        singular = dimensions.singular.sel(similarity=similarity)
        axis.plot(dimensions.value, singular.T, lw=0.8, marker=".", ms=4, **look)
        strokes[f"InfoNCE, {similarity}"] = {"lw": 0.8, "marker": ".", **look}
    limit = np.asarray(dimensions.predicted)
    axis.plot(dimensions.value, limit, color="black", **parts.DIAMOND)
    axis.set(yscale="log", xlabel="singular value", ylabel="of the embedding covariance")
    axis.set_title("linear encoder, InfoNCE")
    strokes["dot, infinite batches"] = {"color": "black", **parts.DIAMOND}
    parts.legend(axis, strokes=strokes, **parts.under(-0.2))
