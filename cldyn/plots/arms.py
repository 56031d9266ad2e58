"""Picture of a setting trained by different batches and optimizers."""

from textwrap import fill
from typing import Any

import xarray as xr
from matplotlib.figure import Figure

from cldyn.plots import parts

FEATURES = ("class", "subclass", "irrelevant_1")
WIDTH = 11
LETTERS = 14  # of a title, in an inch


@parts.styled
def arms(dataset: xr.Dataset, columns: int = 4) -> Figure:
    """Feature norms over time, a panel for every arm: median and 10 to 90 % band over seeds.

    Args:
        dataset: feature_norms over arm, seed, time and feature, and which trajectories are finite
            [arm, seed]; diverged ones are left out, and counted.
        columns: panels in a row.
    """
    names = dataset.arm.values.tolist()
    features = [feature for feature in FEATURES if feature in dataset.feature]
    rows, wide = -(-len(names) // columns), WIDTH / columns
    titles = [fill(_kept(name), int(LETTERS * wide)) for name in names]
    high = rows * (0.85 * wide + 0.13 * max(title.count("\n") for title in titles)) + 0.7
    figure = Figure(figsize=(WIDTH, high), layout="constrained")
    axes: Any = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    for axis, name, title in zip(axes.flat, names, titles, strict=False):
        _panel(axis, dataset.sel(arm=name), features)
        axis.set_title(title, fontsize=8)
    for axis in axes.flat[len(names) :]:
        axis.set_axis_off()
    for axis in axes.flat[max(0, len(names) - columns) : len(names)]:
        axis.set_xlabel(dataset.time.attrs["long_name"])
        axis.tick_params(labelbottom=True)
    for axis in axes[:, 0]:
        axis.set_ylabel("$|W v_j|$")
    strokes = {f"trained, median and 10-90 % of {dataset.sizes['seed']} seeds": parts.LINE}
    parts.legend(figure, features, strokes, loc="outside lower center", ncols=4)
    return figure


def _kept(name: str) -> str:
    """A name whose lines do not break before its numbers."""
    return name.replace(" = ", "\u00a0=\u00a0").replace("rate ", "rate\u00a0")


def _panel(axis: Any, arm: xr.Dataset, features: list[str]) -> None:
    finite = arm.finite.astype(bool)
    for feature in features if finite.any() else ():
        curves = arm.feature_norms.sel(feature=feature).isel(seed=finite.values)
        parts.band(axis, curves, "time", feature, ms=3)
    parts.diverged(axis, finite)
