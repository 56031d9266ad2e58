"""Picture of a sweep beside theory."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, StrMethodFormatter

from cldyn.plots import parts

COLUMNS = 3


@parts.styled
def compared(rows: pd.DataFrame) -> Figure:
    """Measured against predicted, a panel for every quantity, a mark for every trajectory.

    Args:
        rows: with columns quantity, measured and predicted.
    """
    groups = [*rows.groupby("quantity", sort=False)]
    high = -(-len(groups) // COLUMNS)
    figure = Figure(figsize=(11, 3.6 * high), layout="constrained")
    axes: Any = figure.subplots(high, COLUMNS, squeeze=False)
    for axis, (name, some) in zip(axes.flat, groups, strict=False):
        there = some[np.isfinite(some.measured) & np.isfinite(some.predicted)]
        axis.plot(there.predicted, there.measured, **parts.POINT, marker="o", alpha=0.5,
                  color=parts.GREY)  # fmt: skip
        ends = [*axis.get_xlim(), *axis.get_ylim()]
        span = min(ends), max(ends)
        axis.plot(span, span, color=parts.GREY, **parts.LIMIT)
        for along in (axis.xaxis, axis.yaxis):
            along.set_major_locator(MaxNLocator(3))
            along.set_major_formatter(StrMethodFormatter("{x:.7g}"))
        lost = len(some) - len(there)
        axis.set(title=str(name), xlabel="predicted", ylabel="measured")
        if lost:
            axis.text(0.97, 0.05, f"{lost} without one of them", transform=axis.transAxes,
                      ha="right", fontsize=8)  # fmt: skip
    for axis in axes.flat[len(groups) :]:
        axis.set_axis_off()
    return figure
