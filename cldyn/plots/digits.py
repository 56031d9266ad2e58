"""Picture of networks on digits: bits, width and temperature, collapse, and the joint loss."""

from typing import Any

import xarray as xr
from matplotlib.figure import Figure

from cldyn.plots import parts

MARKERS = "osD^v"


@parts.styled
def digits(
    widths: xr.Dataset, temperatures: xr.Dataset, collapse: xr.Dataset, both: xr.Dataset
) -> Figure:
    """Probes of trained networks, medians over seeds with a band of 10 to 90 %.

    Args:
        widths: class_accuracy [embed_dim, seed, bits, step].
        temperatures: class_accuracy [seed, bits, temperature, step].
        collapse: direction_ratio, subclass_accuracy_ridge and class_accuracy [seed, step].
        both: class_accuracy and subclass_accuracy [seed, beta, step].
    """
    figure = Figure(figsize=(13, 4.4), layout="constrained")
    axes: Any = figure.subplots(1, 4)
    end = widths.class_accuracy.isel(step=-1)
    _family(axes[0], end, "embed_dim", "bits", "p = {:g}")
    axes[0].legend(loc="center right", bbox_to_anchor=(1, 0.62))  # where no line is
    start = widths.class_accuracy.isel(step=0, bits=0).median("seed")
    for level, hue in zip(start.values, parts.purples(len(start)), strict=True):
        axes[0].plot(0, level, marker="x", color=hue, ls="none", ms=7, clip_on=False)
    axes[0].set(xlabel="random bits", ylabel="accuracy of a probe for the digit")
    axes[0].set_title("bits suppress digits, width cures\n(crosses: untrained)")
    end = temperatures.class_accuracy.isel(step=-1)
    _family(axes[1], end, "temperature", "bits", r"$\tau$ = {:g}")
    axes[1].set(xlabel="random bits", title="lower temperatures resist\n(p = 16)")
    for name, feature, label in (
        ("direction_ratio", "loss", "R: variance between digits\nover variance within"),
        ("subclass_accuracy_ridge", "subclass", "probe for the digit"),
        ("class_accuracy", "class", "probe for the superclass"),
    ):
        parts.band(axes[2], collapse[name], "step", feature, label=label)
    axes[2].set(xlabel="steps", title="SupCon on parity, p = 4:\ndigits are learned, then collapse")
    axes[2].legend(loc="upper right")
    for name, feature, label in (
        ("class_accuracy", "class", "superclass"), ("subclass_accuracy", "subclass", "digit"),
    ):  # fmt: skip
        parts.band(axes[3], both[name].isel(step=-1), "beta", feature, label=label)
    axes[3].set(xlabel=r"weight $\beta$ of the supervised loss", ylabel="accuracy of a probe")
    axes[3].set_title("parity and 8 bits: either loss fails,\nthe joint one does not")
    axes[3].legend(loc="lower right")
    for axis, most in zip(axes, (1.02, 1.02, 1.5, 1.02), strict=True):
        axis.set_ylim(0, most)
    return figure


def _family(axis: Any, values: xr.DataArray, of: str, along: str, label: str) -> None:
    """A band for every value of one axis."""
    hues = parts.purples(values.sizes[of])
    for one, hue, mark in zip(values[of].values, hues, MARKERS, strict=False):
        look = {"color": hue, "marker": mark, "markevery": 1, "label": label.format(one)}
        parts.band(axis, values.sel({of: one}), along, "loss", **look)
    axis.legend(loc="upper right")
