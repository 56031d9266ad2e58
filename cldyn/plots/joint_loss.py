"""Picture of the joint loss: between both ends both features are learned."""

from typing import Any

import xarray as xr
from matplotlib.figure import Figure

from cldyn.plots import parts

FEATURES = ("class", "subclass", "irrelevant_1")
TITLES = {
    "collapse": "collapse setting, $p = 3$",
    "width": "four strong irrelevant features, $p = 4$",
    "augmentation": r"noise kept, $\sigma = 16$, $p = n = 64$",
}


@parts.styled
def joint_loss(
    end: xr.Dataset,
    predicted: xr.DataArray,
    samples: dict[str, xr.Dataset],
    limits: dict[str, xr.DataArray],
) -> Figure:
    """Feature norms over the weight of the supervised loss.

    Args:
        end: feature_norms [beta, seed, feature], in the population where both ends fail.
        predicted: of them [beta, feature]; attrs["threshold"] is the beta above which the class is
            learned.
        samples: the same of other settings, by name.
        limits: their minimum norm [beta, feature].
    """
    figure = Figure(figsize=(11, 6.4), layout="constrained")
    mosaic: Any = [["main"] * len(samples), [*samples]]
    axes: Any = figure.subplot_mosaic(mosaic, height_ratios=(1.3, 1))
    _norms(axes["main"], end, predicted, parts.CURVE)
    axes["main"].axvline(predicted.attrs["threshold"], color=parts.GREY, **parts.LIMIT)
    axes["main"].set(xlim=(-0.012, 1.012), xlabel=r"weight $\beta$ of the supervised loss")
    axes["main"].set_ylabel("feature norm $|W v_j|$")
    axes["main"].set_title(
        "population, $p = 2$: the class is suppressed at the left end, the subclass collapses at "
        "the right end, neither in between"
    )
    for name, dataset in samples.items():
        _norms(axes[name], dataset, limits[name], parts.DIAMOND | {"mfc": "none", "ms": 10})
        axes[name].set(xlabel=r"$\beta$", title=TITLES[name])
    axes[next(iter(samples))].set_ylabel("$|W v_j|$")
    strokes = {
        "trained, median over seeds": {"marker": "o", **parts.POINT},
        "predicted": parts.CURVE,
        "predicted by minimum norm": parts.DIAMOND,
        f"predicted threshold {predicted.attrs['threshold']:.3f}": parts.LIMIT,
    }
    parts.legend(figure, FEATURES, strokes, loc="outside lower center", ncols=7)
    return figure


def _norms(axis: Any, trained: xr.Dataset, predicted: xr.DataArray, stroke: dict[str, Any]) -> None:
    for feature in FEATURES:
        if feature in trained.feature:
            look = {"color": parts.colour(feature)}
            curve = predicted.sel(feature=feature)
            axis.plot(curve.beta, curve, **look, **stroke)
            norms = trained.feature_norms.sel(feature=feature).median("seed")
            axis.plot(trained.beta, norms, parts.marker(feature), ms=5.5, **look)
    axis.set(ylim=(-0.03 * axis.get_ylim()[1], None))
