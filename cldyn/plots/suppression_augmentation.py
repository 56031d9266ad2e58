"""Picture of suppression by augmentation: noise that views share drowns the class."""

from typing import Any

import xarray as xr
from matplotlib.figure import Figure

from cldyn.plots import parts


@parts.styled
def suppression_augmentation(
    diagram: xr.Dataset, end: xr.Dataset, curves: xr.Dataset, reference: xr.Dataset
) -> Figure:
    """Norm of the class over the noise and what views keep of it, and what a probe recovers.

    Args:
        diagram: predicted |W v_1|, norm [noise_keep, noise_length], and the noise length at which
            half of it is lost, boundary [noise_keep]; attrs["edge"] is that of equal views.
        end: trained feature_norms [noise_length, noise_keep, feature].
        curves: predicted norm and accuracy of a probe for the class [noise_keep], at one noise.
        reference: trained feature_norms and class_accuracy [noise_keep, seed] at that noise.
    """
    figure = Figure(figsize=(11, 5.2), layout="constrained")
    axes: Any = figure.subplot_mosaic(
        [["map", "norm"], ["map", "accuracy"]], width_ratios=(1.25, 1)
    )
    _map(axes["map"], diagram, end)
    norms = reference.feature_norms.sel(feature="class")
    _over_keep(axes["norm"], curves.norm, norms, "norm of the class $|W v_1|$")
    accuracy = reference.class_accuracy
    _over_keep(axes["accuracy"], curves.accuracy, accuracy, "probe accuracy for it")
    axes["norm"].set(ylim=(0, None))
    axes["norm"].tick_params(labelbottom=False)
    axes["accuracy"].set(ylim=(0.45, 1.02), xlabel="noise_keep, what views share of the noise")
    axes["accuracy"].axhline(0.5, color=parts.GREY, **parts.LIMIT)
    if "noise_length" in reference.coords:
        axes["norm"].set_title(rf"length of the noise $\sigma$ = {float(reference.noise_length):g}")
    look = {"color": parts.colour("class")}
    strokes = {
        f"trained, median and range of {reference.sizes['seed']} seeds": {
            **look,
            **parts.POINT,
            "marker": parts.marker("class"),
        },
        "predicted": {**look, **parts.CURVE},
        "chance": parts.LIMIT,
    }
    parts.legend(axes["accuracy"], strokes=strokes, ncols=3, **parts.under(-0.28))
    return figure


def _map(axis: Any, diagram: xr.Dataset, end: xr.Dataset) -> None:
    trained = end.feature_norms.sel(feature="class").transpose("noise_keep", "noise_length")
    parts.field(axis, diagram.norm, trained, "$|W v_1|$; map: closed form, predicted")
    half, equal = ({**one, **parts.ON_MAP} for one in (parts.CURVE, parts.LIMIT))
    axis.plot(diagram.boundary, diagram.noise_keep, color=parts.GREY, **half)
    axis.axvline(diagram.attrs["edge"], color=parts.GREY, **equal)
    axis.set_title("norm of the class", pad=10)
    axis.set(xscale="log", ylim=(0, 1), ylabel="noise_keep, what views share of the noise")
    axis.set_xlabel(r"length of the noise $\sigma$")
    axis.set_xticks(end.noise_length, [f"{length:g}" for length in end.noise_length.values])
    axis.minorticks_off()
    half_lost = r"predicted: half is lost, $\sigma^2(1+(m-1)\,$noise_keep$) = nm\phi_1^2$"
    strokes = {
        "trained": parts.RINGED,
        half_lost: half,
        r"predicted of equal views: half is lost, $\sigma^2 = n\phi_1^2$": equal,
    }
    parts.legend(axis, strokes=strokes, **parts.under())


def _over_keep(axis: Any, predicted: xr.DataArray, trained: xr.DataArray, name: str) -> None:
    axis.plot(predicted.noise_keep, predicted, color=parts.colour("class"), **parts.CURVE)
    parts.spread(axis, trained, "noise_keep", "class")
    axis.set_ylabel(name)
