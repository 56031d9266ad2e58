"""Picture of SGD's noise: what it brings back over step size, batch size and time."""

from typing import Any

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from cldyn.plots import parts


@parts.styled
def stochastic_gradients(plane: xr.Dataset, courses: xr.Dataset) -> Figure:
    """The plane of step and batch size, trained and predicted, and time courses.

    Args:
        plane: feature_norms [batch_size, learning_rate, seed, feature], predicted [batch_size,
            learning_rate, level], whether the law promises it, and crossing [batch_size], the step
            at which half is back; the flow time among its attributes.
        courses: feature_norms [batch_size, seed, time, feature], predicted [batch_size, time,
            level].
    """
    figure = Figure(figsize=(12, 4.6), layout="constrained")
    axes: Any = figure.subplots(1, 3, width_ratios=(1, 1, 1.1))
    median = plane.feature_norms.sel(feature="class").median("seed", skipna=False)
    time = plane.attrs["flow_time"]
    _map(
        axes[0],
        plane,
        median,
        f"trained, medians of {plane.sizes['seed']} seeds\n(white: diverged)",
    )
    mesh = _map(axes[1], plane, plane.predicted.sel(level=0.5), "predicted by the law\n")
    told = f"class: {parts.CLASS} at flow time {time:g}"
    figure.colorbar(mesh, ax=axes[:2].tolist(), label=told, pad=0.02)
    strokes = {"half is back, by the law": {**parts.CURVE, **parts.ON_MAP}}
    parts.legend(axes[0], strokes=strokes, **parts.under())
    outside = {"marker": "x", "color": "white", "ls": "none", "ms": 5}
    rate, size = np.meshgrid(plane.learning_rate, plane.batch_size)
    lost = ~plane.promised.transpose("batch_size", "learning_rate").values
    axes[1].plot(rate[lost], size[lost], **outside)
    strokes = {"outside of the law's conditions": {**outside, "color": parts.GREY}}
    parts.legend(axes[1], strokes=strokes, **parts.under())
    _courses(axes[2], courses)
    return figure


def _map(axis: Any, plane: xr.Dataset, values: xr.DataArray, title: str) -> Any:
    rates, sizes = plane.learning_rate.values, plane.batch_size.values
    look: dict[str, Any] = {"cmap": "cividis", "vmin": 0, "vmax": 1, "rasterized": True}
    cells = values.transpose("batch_size", "learning_rate")
    mesh = axis.pcolormesh(rates, sizes, cells, shading="nearest", **look)
    edge = {**parts.CURVE, **parts.ON_MAP}
    axis.plot(plane.crossing, sizes, color=parts.GREY, **edge)
    axis.set(xscale="log", yscale="log", xlabel=r"learning rate $\eta$", xlim=_around(rates))
    axis.set_ylabel("batch size $b$")
    axis.set_yticks(sizes, [str(size) for size in sizes])
    axis.minorticks_off()
    axis.set_title(title)
    return mesh


def _around(values: np.ndarray) -> tuple[float, float]:
    """Edges of cells around values that are spaced evenly in their logarithm."""
    step = (values[1] / values[0]) ** 0.5
    return values[0] / step, values[-1] * step


def _courses(axis: Any, courses: xr.Dataset) -> None:
    norms = courses.feature_norms.sel(feature="class")
    for i, size in enumerate(courses.batch_size.values):
        hue = parts.shade(parts.HUES["class"][0], (0.0, 0.45)[i % 2])
        look = {"color": hue, "marker": ("o", "s")[i % 2], "markevery": 4}
        parts.band(axis, norms.sel(batch_size=size), "time", "class", **look)
        known = courses.predicted.sel(batch_size=size)
        for level, width in ((0.5, 1.6), (0.1, 0.8), (0.9, 0.8)):
            axis.plot(courses.time, known.sel(level=level), ls="--", lw=width, color="black")
        axis.text(float(courses.time[-1]), float(norms.sel(batch_size=size).median("seed")[-1]),
                  f" b = {size}", va="center", color=hue)  # fmt: skip
    axis.set(ylim=(-0.02, 1.05), xlabel=courses.time.attrs["long_name"], ylabel=parts.CLASS)
    axis.set_title("time courses of the class")
    strokes = {
        f"trained, median and 10-90 % of {courses.sizes['seed']} seeds": {
            **parts.LINE, "color": parts.colour("class"),
        },
        "predicted, the same": {**parts.CURVE, "color": "black"},
    }  # fmt: skip
    parts.legend(axis, strokes=strokes, **parts.under())
