"""Picture of SGD at constant steps: how far above the minimum it stays."""

from typing import Any

import numpy as np
import xarray as xr
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator, StrMethodFormatter

from cldyn.plots import parts

MARKERS = "osD"


@parts.styled
def hovering(excess: xr.DataArray, distance: xr.DataArray, predicted: np.ndarray) -> Figure:
    """Excess loss and distance against the step.

    Args:
        excess: of the loss [arm, rate, seed].
        distance: root mean square over late times [arm, rate, seed].
        predicted: excess loss [rate].
    """
    figure = Figure(figsize=(10, 4.6), layout="constrained")
    axes: Any = figure.subplots(1, 2)
    rates, names = excess.rate.values, excess.arm.values.tolist()
    hues = parts.purples(len(names))
    for axis, values in zip(axes, (excess, distance), strict=True):
        for name, mark, hue in zip(names, MARKERS, hues, strict=True):
            parts.spread(axis, values.sel(arm=name), "rate", "loss", fmt=mark, color=hue)
        axis.set(xscale="log", yscale="log", xlabel="flow time of a step")
        axis.set_xticks(rates, [f"{rate:g}" for rate in rates])
        axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        for side in (axis.xaxis, axis.yaxis):
            side.set_minor_locator(NullLocator())
    root = float(distance.isel(arm=0, rate=0).mean()) * np.sqrt(rates / rates[0])
    for axis, curve in zip(axes, (predicted, root), strict=True):
        axis.plot(rates, curve, color=parts.GREY, **parts.CURVE)
    axes[0].set_title("excess loss, mean over late times")
    axes[1].set_title("distance to the minimum norm, root mean square")
    arms = {
        name: {**parts.POINT, "marker": mark, "color": hue}
        for name, mark, hue in zip(names, MARKERS, hues, strict=True)
    }
    law = {r"predicted, $\eta C/4$": parts.CURVE}
    parts.legend(axes[0], strokes={**arms, **law}, loc="upper left")
    parts.legend(axes[1], strokes={r"order $\frac{1}{2}$": parts.CURVE}, loc="upper left")
    return figure
