"""What figures share: colours, strokes, maps, legends and how they are written.

Colour says which feature: the class is blue, the subclass vermillion, irrelevant features are
shades of green, directions of one's own shades of brown; what belongs to no feature is grey.
Depths and learning rates are shades of purple, and norms on a map are those of cividis.

Stroke says who speaks. What is measured is solid: lines with bands, filled markers. What is
predicted is broken or open: dashed curves, dotted limits and edges, dash-dotted bounds, open
diamonds. On a map of predictions what was trained are ringed cells.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import xarray as xr
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke

GREY = "#444444"
HUES = {
    "class": ("#0072B2", "o"),
    "subclass": ("#D55E00", "s"),
    "irrelevant": ("#009E73", "^v<>"),
    "feature": ("#8C6239", "oPXp"),
    "loss": (GREY, "d"),
}
SHADES = (0.0, 0.45, -0.45, 0.65, -0.7)  # towards white, or black

CLASS = r"$\phi_1 |W v_1|$"  # how much of the class is learned, 1 at most

LINE: dict[str, Any] = {"ls": "-", "lw": 1.7}
POINT: dict[str, Any] = {"ls": "none", "ms": 5.5}
CURVE: dict[str, Any] = {"ls": "--", "lw": 1.3}
LIMIT: dict[str, Any] = {"ls": ":", "lw": 1.5}
BOUND: dict[str, Any] = {"ls": "-.", "lw": 1.2}
DIAMOND: dict[str, Any] = {"marker": "D", "mfc": "white", "ms": 7, "mew": 1.5, "ls": "none"}
RINGED: dict[str, Any] = {"marker": "o", "mfc": "#999999", "mec": "black", "ms": 8, "ls": "none"}
ON_MAP: dict[str, Any] = {"lw": 2.2, "path_effects": [withStroke(linewidth=4, foreground="white")]}

styled = matplotlib.rc_context(
    {
        "font.size": 9,
        "axes.titlesize": 9.5,
        "axes.titlelocation": "left",
        "figure.constrained_layout.h_pad": 0.08,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "legend.frameon": False,
        "legend.fontsize": 8.5,
        "svg.hashsalt": "cldyn",
    }
)


def colour(feature: str) -> Any:
    """Colour of a feature: a hue for its kind, a shade for its number."""
    kind, _, number = feature.partition("_")
    return shade(HUES[kind][0], SHADES[(int(number or 1) - 1) % len(SHADES)])


def marker(feature: str) -> str:
    """Marker of a feature, for whom colours do not tell enough."""
    kind, _, number = feature.partition("_")
    markers = HUES[kind][1]
    return markers[(int(number or 1) - 1) % len(markers)]


def shade(hue: str, share: float) -> Any:
    """A colour on its way to white (share > 0) or to black."""
    return tuple(one + abs(share) * ((share > 0) - one) for one in to_rgb(hue))


def purples(count: int) -> Any:
    """Shades for an ordered axis, from the darkest for its first value on."""
    return matplotlib.colormaps["RdPu"](np.linspace(1, 0.4, count))


def band(axis: Any, curves: xr.DataArray, along: str, feature: str, **line: Any) -> None:
    """Median over seeds of [seed, along], and its 10 to 90 % band."""
    shares = curves.quantile([0.1, 0.5, 0.9], "seed").transpose("quantile", along)
    x, (low, middle, high), hue = curves[along].values, shares.values, colour(feature)
    axis.fill_between(x, low, high, color=hue, alpha=0.22, lw=0)
    mark = {"marker": marker(feature), "ms": 4, "markevery": [-1]}
    axis.plot(x, middle, **{**LINE, **mark, "color": hue, **line})


def spread(axis: Any, values: xr.DataArray, along: str, feature: str, **points: Any) -> None:
    """Median over seeds of [seed, along] as points, with bars from the least to the largest."""
    shares = values.quantile([0, 0.5, 1], "seed", skipna=False)
    low, middle, high = shares.transpose("quantile", along).values
    look = {"fmt": marker(feature), "ms": 5.5, "capsize": 3, "color": colour(feature), **points}
    axis.errorbar(values[along], middle, yerr=[middle - low, high - middle], **look)


def field(axis: Any, predicted: xr.DataArray, trained: xr.DataArray, label: str) -> None:
    """A map of predicted norms [y, x], and ringed cells [y, x] that were trained."""
    look: dict[str, Any] = {"cmap": "cividis", "vmin": 0, "vmax": max(1.0, float(predicted.max()))}
    (y, x), (row, column) = predicted.dims, trained.dims
    mesh = axis.pcolormesh(predicted[x], predicted[y], predicted, rasterized=True, **look)
    across, along = np.meshgrid(trained[column], trained[row])
    axis.scatter(across, along, c=trained.values, s=60, ec="white", lw=1.6, clip_on=False, **look)
    axis.scatter(across, along, s=105, fc="none", ec="black", lw=0.8, clip_on=False)
    axis.figure.colorbar(mesh, ax=axis, label=label, pad=0.02)


def diverged(axis: Any, finite: xr.DataArray) -> None:
    """How many seeds are not drawn, if any."""
    lost = int((~finite).sum())
    if lost:
        told = f"{lost} of {finite.size} diverged"
        look = {"ha": "right", "fontsize": 8, "bbox": {"fc": "white", "ec": "none", "pad": 1}}
        axis.text(0.97, 0.06, told, transform=axis.transAxes, zorder=6, **look)


def named(feature: str) -> str:
    """A feature in words."""
    return feature.replace("_", " ")


def under(drop: float = -0.13) -> dict[str, Any]:
    """The place under one panel, `drop` of its height below it."""
    return {"loc": "upper center", "bbox_to_anchor": (0.5, drop)}


def legend(
    at: Any,
    features: Iterable[str] = (),
    strokes: dict[str, dict[str, Any]] | None = None,
    **place: Any,
) -> None:
    """A legend of colours and of strokes.

    Args:
        at: figure or axes.
        features: whose colours are told.
        strokes: what each other label looks like; grey unless it says otherwise.
        place: where the legend is, in matplotlib's words.
    """
    looks = {named(one): {**LINE, "color": colour(one), "marker": marker(one)} for one in features}
    looks |= {label: {"color": GREY, **look} for label, look in (strokes or {}).items()}
    handles = [Line2D([], [], label=label, **look) for label, look in looks.items()]
    at.legend(handles=handles, **place)


@styled
def save(figure: Figure, path: Path) -> None:
    """Write a figure by the ending of its path."""
    figure.savefig(path, dpi=150)
