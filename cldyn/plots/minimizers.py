"""Picture of the minimizers of one training loss, and of the one that training finds."""

from typing import Any

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from cldyn.plots import parts

LEAST = 1e-17  # stands for zero on a logarithmic axis
NONE = 0.15  # where size 0 stands on one


@parts.styled
def minimizers(members: xr.Dataset, end: xr.Dataset) -> Figure:
    """Gaps along a family of minimizers, and where training from larger starts ends.

    Args:
        members: loss, subclass_gap, train_subclass_gap and expected_gap, the predicted
            subclass_gap [seed, size].
        end: trained subclass_gap, and kept_gap, that their start has off the training rows
            [init_scale, seed].
    """
    figure = Figure(figsize=(11, 4.8), layout="constrained")
    axes: Any = figure.subplots(1, 2)
    _family(axes[0], members)
    _trained(axes[1], members, end)
    return figure


def _family(axis: Any, members: xr.Dataset) -> None:
    size, hue = members["size"].values, parts.colour("subclass")
    x = np.where(size > 0, size, NONE)
    train = {"mfc": parts.shade(hue, 0.6), "mec": hue, "marker": "v", **parts.POINT}
    drift = {"color": parts.GREY, "marker": "x", **parts.POINT}
    expected = members.expected_gap.median("seed")
    axis.plot(x[size > 0], expected[size > 0], color=hue, **parts.CURVE)
    axis.plot(x[size == 0], expected[size == 0], color=hue, **parts.DIAMOND | {"ms": 10})
    axis.plot(x, members.subclass_gap.median("seed"), "s", color=hue, ms=5.5)
    axis.plot(x, np.maximum(members.train_subclass_gap.max("seed"), LEAST), **train)
    change = np.abs(members.loss - members.loss.sel(size=0)).max("seed")
    axis.plot(x[size > 0], np.maximum(change, LEAST)[size > 0], **drift)
    axis.axvline(NONE * 2.2, color="#bbbbbb", lw=0.8)
    ticks = {NONE: "0", **{10.0**k: f"{10**k}" for k in range(4)}}
    axis.set(xscale="log", yscale="log", ylim=(1e-18, 1e4), ylabel="gap, or change of the loss")
    axis.set_xticks([*ticks], [*ticks.values()])
    axis.set_xlabel(r"size $s$ of $W + s\,z\,v_\perp^\top$ (0: minimum norm)")
    axis.set_title("minimizers of one training loss")
    strokes = {
        "subclass gap on test data, median": {"color": hue, "marker": "s", **parts.POINT},
        "the same, predicted": {"color": hue, **parts.CURVE},
        "subclass gap on training rows, largest": train,
        f"change of the training loss, largest (none: {LEAST:g})": drift,
    }
    parts.legend(axis, strokes=strokes, loc="center right", bbox_to_anchor=(1, 0.5))


def _trained(axis: Any, members: xr.Dataset, end: xr.Dataset) -> None:
    hue = parts.colour("subclass")
    parts.spread(axis, end.subclass_gap, "init_scale", "subclass")
    least = members.subclass_gap.sel(size=0, drop=True)
    axis.plot(
        end.init_scale, np.hypot(end.kept_gap, least).median("seed"), color=hue, **parts.CURVE
    )
    axis.axhline(2, color=parts.colour("class"), **parts.LIMIT)
    axis.set(xscale="log", yscale="log", ylabel="subclass gap on test data")
    axis.set_xlabel("init_scale, standard deviation of the entries of $W_0$")
    axis.set_title("which of them gradient descent finds")
    seeds = f"trained, median and range of {end.sizes['seed']} seeds"
    strokes = {
        seeds: {"color": hue, "marker": "s", **parts.POINT},
        r"predicted: $W_0$ along $v_\perp$, and minimum norm": {"color": hue, **parts.CURVE},
        "class gap": {"color": parts.colour("class"), **parts.LIMIT},
    }
    parts.legend(axis, strokes=strokes, loc="upper left", bbox_to_anchor=(0, 0.93))
