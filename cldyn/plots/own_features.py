"""Picture of suppression by features of an example's own."""

from typing import Any

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from cldyn.plots import parts

FEATURES = ("class", "subclass")


@parts.styled
def own_features(
    lanes: xr.Dataset, known: xr.Dataset, cure: xr.DataArray, trained: xr.Dataset
) -> Figure:
    """The class is learned and unlearned; and what depth of augmentation saves it.

    Args:
        lanes: feature_norms [seed, step, feature].
        known: peak and decay_rate per step, predicted of the class.
        cure: |W v_1| of the minimum norm [change_rank, class_change]; attrs["edge"] is the rank up
            to which it is zero.
        trained: feature_norms [change_rank, class_change, feature] of some cells.
    """
    figure = Figure(figsize=(11, 4.8), layout="constrained")
    axes: Any = figure.subplots(1, 2, width_ratios=(1, 1.15))
    _course(axes[0], lanes, known)
    _map(axes[1], cure, trained.feature_norms.sel(feature="class"))
    return figure


def _course(axis: Any, lanes: xr.Dataset, known: xr.Dataset) -> None:
    lanes = lanes.isel(step=slice(1, None))  # a logarithm has no 0
    for feature in FEATURES:
        parts.band(axis, lanes.feature_norms.sel(feature=feature), "step", feature)
    hue = parts.colour("class")
    axis.axhline(float(known.peak), color=hue, **parts.BOUND)
    curve = lanes.feature_norms.sel(feature="class").median("seed")
    top = int(curve.argmax("step"))
    start = top + int((curve[top:] < curve.max() / 4).argmax("step"))
    steps = curve.step[start:]
    fall = 2 * float(curve[start]) * np.exp(-float(known.decay_rate) * (steps - steps[0]))
    axis.plot(steps, fall, color=hue, **parts.CURVE)
    gone = float(steps[int((curve[start:] < 1e-6).argmax("step"))])
    axis.set(xscale="log", xlim=(float(lanes.step[0]), max(gone, float(steps[1]))))
    axis.set(yscale="log", ylim=(1e-6, 2), xlabel="training step", ylabel="feature norm $|W v_j|$")
    axis.set_title("learned first, unlearned later")
    strokes = {
        f"trained, median and 10-90 % of {lanes.sizes['seed']} seeds": parts.LINE,
        "predicted bound of the peak": parts.BOUND,
        "predicted rate of unlearning": parts.CURVE,
    }
    parts.legend(axis, FEATURES, strokes, ncols=2, **parts.under())


def _map(axis: Any, cure: xr.DataArray, trained: xr.DataArray) -> None:
    """Ranks by their number in the list: they span decades and begin with 0."""
    ranks = cure.change_rank.values
    place = {"change_rank": np.arange(ranks.size)}
    some = trained.assign_coords(change_rank=np.searchsorted(ranks, trained.change_rank))
    shown = cure.assign_coords(place).transpose("change_rank", "class_change")
    some = some.transpose("change_rank", "class_change")
    parts.field(axis, shown, some, "$|W v_1|$; map: minimum norm")
    edge = float(np.searchsorted(ranks, cure.attrs["edge"], side="right")) - 0.5
    line = {**parts.CURVE, **parts.ON_MAP}
    axis.axhline(edge, color=parts.GREY, **line)
    axis.set_yticks(place["change_rank"], [str(rank) for rank in ranks])
    axis.set(xlabel="change of the class $s_1$", ylabel="rank of the change of the noise")
    axis.set_title("norm of the class")
    told = "predicted: zero below, rank $n(m-1)-2$"
    parts.legend(axis, strokes={"trained": parts.RINGED, told: line}, ncols=2, **parts.under())
