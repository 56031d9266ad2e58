"""Picture of a phase diagram."""

from typing import Any

import xarray as xr
from matplotlib.figure import Figure

from cldyn.plots import parts


@parts.styled
def phase_diagram(predicted: xr.DataArray, trained: xr.DataArray | None = None) -> Figure:
    """A map of what is predicted, and ringed cells of what was trained on a coarser grid.

    Args:
        predicted: norms over two axes [y, x].
        trained: the same over two axes of the same names; None: nothing was trained.
    """
    y, x = predicted.dims
    figure = Figure(figsize=(6.4, 4.8), layout="constrained")
    axis: Any = figure.subplots()
    none = predicted.isel({y: slice(0), x: slice(0)})
    shown = none if trained is None else trained.transpose(y, x)
    parts.field(axis, predicted, shown, str(predicted.attrs.get("long_name", predicted.name)))
    axis.set(xlabel=str(x).replace("_", " "), ylabel=str(y).replace("_", " "))
    if trained is not None:
        strokes = {"trained": parts.RINGED}
        parts.legend(axis, strokes=strokes, loc="lower left", bbox_to_anchor=(0, 1))
    return figure
