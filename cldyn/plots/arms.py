"""Pictures of a setting trained by different batches and optimizers."""

from typing import Any

import matplotlib
import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from cldyn.plots.style import CLASS, IRRELEVANT, STYLE, SUBCLASS

_LOOKS = (("class", CLASS, "-"), ("subclass", SUBCLASS, "--"), ("irrelevant_1", IRRELEVANT, ":"))


def arms(dataset: xr.Dataset, columns: int = 4) -> Figure:
    """Feature norms over time, a panel for every arm: median and 10 to 90 % band over seeds.

    Args:
        dataset: feature_norms over arm, seed, time and feature, and which lanes are finite; diverged ones are left out, and counted.
        columns: panels in a row.
    """
    names = dataset.arm.values.tolist()
    looks = [look for look in _LOOKS if look[0] in dataset.feature.values]
    with matplotlib.rc_context(STYLE):
        rows = -(-len(names) // columns)
        wide = 2.9 if columns > 1 else 5.0
        figure = Figure(figsize=(wide * columns, 0.8 * wide * rows + 0.4), layout="constrained")
        axes: Any = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
        for axis, name in zip(axes.flat, names, strict=False):
            _panel(axis, dataset.sel(arm=name), looks)
            axis.set_title(name, fontsize=8)
        for axis in axes.flat[len(names) :]:
            axis.set_axis_off()
        for axis in axes.flat[max(0, len(names) - columns) : len(names)]:
            axis.set_xlabel(dataset.time.attrs["long_name"])
            axis.tick_params(labelbottom=True)
        for axis in axes[:, 0]:
            axis.set_ylabel("$|W v_j|$")
        figure.legend(
            *axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=len(looks)
        )
    return figure


def _panel(axis: Any, arm: xr.Dataset, looks: list[tuple[str, str, str]]) -> None:
    finite = arm.finite.values.astype(bool)
    for feature, colour, style in looks:
        curves = arm.feature_norms.sel(feature=feature).transpose("seed", "time").values[finite]
        if not len(curves):
            continue
        low, middle, high = np.quantile(curves, (0.1, 0.5, 0.9), axis=0)
        axis.fill_between(arm.time, low, high, color=colour, alpha=0.2, linewidth=0)
        axis.plot(arm.time, middle, style, color=colour, label=feature.replace("_", " "))
    if not finite.all():
        axis.text(
            0.97,
            0.05,
            f"{int((~finite).sum())} of {finite.size} diverged",
            transform=axis.transAxes,
            ha="right",
            fontsize=7,
        )
