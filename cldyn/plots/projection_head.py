"""Picture of projection heads: what they do to the features below them."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from cldyn.plots import parts
from cldyn.plots.nonlinear_head import nonlinear_head

FEATURES = ("class", "subclass", "irrelevant_1")
BELOW: dict[str, Any] = {"lw": 0.8, "alpha": 0.8}  # the head


@parts.styled
def projection_head(
    modes: xr.Dataset,
    random: xr.Dataset,
    crowded: xr.Dataset,
    heads: Mapping[str, xr.DataArray | xr.Dataset],
    dimensions: xr.Dataset,
) -> Figure:
    """Norms after and below a head over time, one against the other, and what rivals leave; under
    them what heads of other kinds do.

    Args:
        modes: feature_norms and pre_feature_norms [depth, seed, step, feature] of commuting
            moments, and their predicted escape_time [depth, feature].
        random: the same norms of random models of depth 2, over step and feature.
        crowded: the same norms [depth, irrelevant_strength, seed, feature] at the end of training,
            and left_behind, the predicted order of |W_1 v_1| [depth, irrelevant_strength].
        heads, dimensions: of `nonlinear_head`.
    """
    figure = Figure(figsize=(11, 9.6), layout="constrained")
    rows: Any = figure.subfigures(2, 1, height_ratios=(5.2, 4.4))
    above, under = rows
    axes: Any = above.subplots(1, 3)
    first, second, third = axes
    two_layers = modes.sel(depth=2).isel(seed=0)
    _over_time(first, two_layers)
    _against(second, two_layers, random)
    _left(third, crowded)
    nonlinear_head(under.subplots(1, 4), heads, dimensions)
    return figure


def _over_time(axis: Any, modes: xr.Dataset) -> None:
    time = modes.step * float(modes.step_size.max())
    for feature in FEATURES:
        look, lane = {"color": parts.colour(feature)}, modes.sel(feature=feature)
        axis.plot(time, lane.feature_norms, **parts.LINE, **look)
        axis.plot(time, lane.pre_feature_norms, **BELOW, **look)
        half = float(lane.feature_norms[-1]) / 2
        axis.plot(float(lane.escape_time), half, **parts.DIAMOND, **look)
    axis.set(xscale="log", yscale="log", xlim=(0.5, 60), ylim=(8e-3, 3), ylabel="feature norm")
    axis.set_xlabel("flow time, learning rate x step")
    axis.set_title("two layers, commuting moments")
    strokes = {
        "after the head, $|W v_j|$": parts.LINE,
        "below it, $|W_1 v_j|$": BELOW,
        "predicted half of its limit": parts.DIAMOND,
    }
    parts.legend(axis, FEATURES, strokes, **parts.under(), ncols=2)


def _against(axis: Any, modes: xr.Dataset, random: xr.Dataset) -> None:
    end = random.isel(step=-1)
    every = {"step": slice(None, None, 10)}
    for feature in FEATURES:
        look = {"color": parts.colour(feature), "marker": parts.marker(feature), "ls": "none"}
        lane, trained = modes.isel(every).sel(feature=feature), end.sel(feature=feature)
        axis.plot(trained.feature_norms, trained.pre_feature_norms, ms=4.5, alpha=0.6, **look)
        axis.plot(lane.feature_norms, lane.pre_feature_norms, ms=2, **look)
    line = np.geomspace(1e-3, 3, 50)
    axis.plot(line, line**0.5, color=parts.GREY, **parts.BOUND)
    axis.plot(line, line, color=parts.GREY, **parts.LIMIT)
    axis.set(xscale="log", yscale="log", xlim=(3e-3, 3), ylim=(3e-3, 3))
    axis.set(xlabel="after the head, $|W v_j|$", ylabel="below it, $|W_1 v_j|$")
    axis.set_title("two layers")
    strokes = {
        f"{end.feature_norms.size // end.sizes['feature']} random models, trained": {
            "marker": "o",
            **parts.POINT,
        },
        "commuting moments, all times": {"marker": "o", "ms": 2, "ls": "none"},
        "predicted bound $|W v_j|^{1/2}$, reached if moments commute": parts.BOUND,
        "without a head": parts.LIMIT,
    }
    parts.legend(axis, strokes=strokes, **parts.under())


def _left(axis: Any, crowded: xr.Dataset) -> None:
    depths = crowded.depth.values.tolist()
    strengths = crowded.irrelevant_strength
    lanes = crowded.sel(feature="class").median("seed")
    strokes: dict[str, dict[str, Any]] = {}
    for depth, hue in zip(depths, parts.purples(len(depths))[::-1], strict=True):
        lane = lanes.sel(depth=depth)
        if depth > 1:
            axis.plot(strengths, lane.feature_norms, color=hue, **BELOW)
        axis.plot(strengths, lane.pre_feature_norms, color=hue, marker="o", ms=5, **parts.LINE)
        axis.plot(strengths, crowded.left_behind.sel(depth=depth), color=hue, **parts.DIAMOND)
        strokes[f"{depth} layer{'s' * (depth > 1)}"] = {"color": hue, **parts.LINE}
    axis.set(yscale="log", ylim=(0.015, 1.2), ylabel="class left at $p = 4$")
    axis.set_xlabel("strength of irrelevant features (class: 1)")
    axis.set_title("crowded out, one end-to-end start")
    strokes |= {
        "below the head, $|W_1 v_1|$": {"marker": "o", **parts.LINE},
        "after it, $|W v_1|$": BELOW,
        "predicted order of $|W_1 v_1|$": parts.DIAMOND,
    }
    parts.legend(axis, strokes=strokes, **parts.under(), ncols=2)
