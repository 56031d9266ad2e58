"""Pictures of where training ends, over the numbers of model and training."""

from typing import Any

import matplotlib
import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from cldyn.plots.style import CLASS, IRRELEVANT, PREDICTED, STYLE, SUBCLASS


def minimizers(
    members: xr.Dataset, expected: xr.DataArray, end: xr.Dataset, kept: xr.DataArray
) -> Figure:
    """Gaps along a family of minimizers, and where training from larger starts ends.

    Args:
        members: loss and gaps over seed and size. expected: test subclass gap predicted of them. end: trained lanes over init_scale and
            seed. kept: subclass gap that their start has off the training rows.
    """
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(10.5, 4.4), layout="constrained")
        axes: Any = figure.subplots(1, 2)
        left, right = axes
        size = members["size"].values
        left.plot(
            size,
            expected.median("seed"),
            color=PREDICTED,
            lw=1.2,
            label="subclass gap on test data, predicted",
        )
        left.plot(
            size,
            members.subclass_gap.median("seed"),
            "o",
            color=SUBCLASS,
            label="subclass gap on test data",
        )
        left.plot(
            size,
            np.maximum(members.train_subclass_gap.max("seed"), 1e-17),
            "s",
            color=CLASS,
            mfc="none",
            label="subclass gap on training rows, largest",
        )
        drift = np.abs(members.loss - members.loss.sel(size=0)).max("seed")
        left.plot(
            size[1:],
            np.maximum(drift[1:], 1e-17),
            "^",
            color=IRRELEVANT,
            mfc="none",
            label="change of the training loss, largest (none: $10^{-17}$)",
        )
        left.set_xscale("symlog", linthresh=1)
        left.set(
            yscale="log",
            ylim=(1e-18, 1e4),
            xlim=(-0.1, 1400),
            ylabel="gap, or loss",
            xlabel=r"size $s$ of $W + s\,z\,v_\perp^\top$ (0: minimum norm)",
        )
        left.set_title("minimizers of one training loss", loc="left")
        left.legend(loc="center right", bbox_to_anchor=(1, 0.48), fontsize=8)
        gap = end.subclass_gap
        middle = gap.median("seed")
        spread = np.abs(gap.quantile([0, 1], "seed") - middle)
        scales = end.init_scale.values
        least = members.subclass_gap.sel(size=0)
        right.plot(
            scales,
            np.hypot(kept, least).median("seed"),
            color=PREDICTED,
            lw=1.2,
            label=r"predicted: what $W_0$ has along $v_\perp$, and the minimum norm",
        )
        right.errorbar(
            scales,
            middle,
            yerr=spread.values,
            fmt="o",
            color=SUBCLASS,
            capsize=3,
            label="trained, median and range of seeds",
        )
        right.axhline(2, color=CLASS, ls=":", label="class gap")
        right.set(
            xscale="log",
            yscale="log",
            xlabel="init_scale, standard deviation of the entries of $W_0$",
            ylabel="subclass gap on test data",
        )
        right.set_title("which of them gradient descent finds", loc="left")
        right.legend(loc="upper left", bbox_to_anchor=(0, 0.9), fontsize=8)
    return figure


def suppression_width(
    strengths: np.ndarray,
    predicted: np.ndarray,
    edges: list[float],
    end: xr.Dataset,
    known: xr.Dataset,
    cells: tuple[float, ...],
) -> Figure:
    """Norm of the class over width and irrelevant strength, and all norms over width.

    Args:
        strengths: [x]. predicted: minimum-norm |W v_1| of the population at widths 1, 2, ... [width, x]. edges: strength at which early
            growth leaves half of the class behind, for the first widths. end, known: trained and predicted norms. cells: trained strengths.
    """
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(13, 4.8), layout="constrained")
        axes: Any = figure.subplots(1, 2, width_ratios=(1.15, 1))
        left, right = axes
        widths = np.arange(1, len(predicted) + 1)
        image = left.pcolormesh(
            strengths, widths, predicted, cmap="cividis", vmin=0, vmax=1, rasterized=True
        )
        x, y = np.meshgrid(cells, end.embed_dim.values)
        norms = (
            end.feature_norms.sel(feature="class")
            .median("seed")
            .transpose("embed_dim", "irrelevant_strength")
            .values
        )
        left.scatter(
            x,
            y,
            c=norms,
            s=55,
            cmap="cividis",
            vmin=0,
            vmax=1,
            edgecolors="white",
            lw=1.6,
            label="trained, median over seeds",
        )
        left.scatter(x, y, s=105, facecolors="none", edgecolors="black", lw=0.8)
        heights = np.repeat(np.arange(len(edges) + 1) + 0.5, 2)[1:-1]
        left.plot(
            np.repeat(edges, 2),
            heights,
            color="#CC79A7",
            ls="--",
            lw=2,
            label="predicted by early growth: half is left behind",
        )
        left.axvline(
            1,
            ymax=4 / 9,
            color="white",
            ls=":",
            lw=1.5,
            label="predicted by minimum norm: equal variances",
        )
        left.set(
            xlabel=r"strength of the four irrelevant features $\phi_k$ (class: 1)",
            ylabel="embedding dimension $p$",
            ylim=(0.5, 9.5),
        )
        left.legend(
            loc="lower center",
            bbox_to_anchor=(0.5, 1.0),
            fontsize=8,
            facecolor="#bbbbbb",
            frameon=True,
        )
        figure.colorbar(image, ax=left, label="$|W v_1|$; map: minimum norm, predicted")
        strongest = {"irrelevant_strength": len(cells) - 1}
        for feature, colour, style in (
            ("class", CLASS, "-"),
            ("subclass", SUBCLASS, "--"),
            ("irrelevant_1", IRRELEVANT, "-."),
        ):
            trained = end.feature_norms.isel(strongest).sel(feature=feature)
            low, middle, high = (trained.quantile(share, "seed") for share in (0.1, 0.5, 0.9))
            right.fill_between(end.embed_dim, low, high, color=colour, alpha=0.25, lw=0)
            right.plot(
                end.embed_dim,
                middle,
                color=colour,
                ls=style,
                marker="o",
                ms=4,
                label=f"{feature.replace('_1', ' (one of four)')}, trained",
            )
            limit = known.feature_norms.isel(strongest).sel(feature=feature).median("seed")
            right.plot(
                known.embed_dim,
                limit,
                "D",
                mfc="none",
                mec=colour,
                ms=9,
                label=f"{feature.replace('_1', '')}, predicted (minimum norm)",
            )
        right.set(
            xlabel="embedding dimension $p$",
            ylabel=r"feature norm $|W v_j|$",
            xscale="log",
            ylim=(-0.04, 1.08),
        )
        right.set_xticks(end.embed_dim.values, [str(width) for width in end.embed_dim.values])
        right.minorticks_off()
        right.set_title(
            f"irrelevant strength {cells[-1]:g}, {end.sizes['seed']} seeds, 10-90 %", loc="left"
        )
        figure.legend(
            *right.get_legend_handles_labels(),
            loc="outside right center",
            fontsize=8,
            title="norms of the right panel",
        )
    return figure


def suppression_augmentation(
    diagram: tuple[np.ndarray, np.ndarray, np.ndarray],
    boundary: tuple[np.ndarray, np.ndarray],
    edge: float,
    end: xr.Dataset,
    predicted: tuple[np.ndarray, np.ndarray, np.ndarray],
    reference: xr.Dataset,
) -> Figure:
    """Norm of the class over the noise and what views keep of it, and what a probe recovers.

    Args:
        diagram: noise [x], noise_keep [y] and predicted |W v_1| [y, x]. boundary: noise and noise_keep where half of it is lost.
        edge: noise of that boundary where views keep all of it. end: trained cells over noise and noise_keep.
        predicted: noise_keep [x], norm and accuracy there. reference: the same trained over noise_keep and seed.
    """
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(12, 4.8), layout="constrained")
        axes: Any = figure.subplots(1, 2, width_ratios=(1.2, 1))
        left, right = axes
        image = left.pcolormesh(*diagram, cmap="cividis", vmin=0, vmax=1, rasterized=True)
        x, y = np.meshgrid(end.noise.values, end.noise_keep.values)
        norms = end.feature_norms.sel(feature="class").transpose("noise_keep", "noise").values
        left.scatter(
            x,
            y,
            c=norms,
            s=55,
            cmap="cividis",
            vmin=0,
            vmax=1,
            edgecolors="white",
            lw=1.6,
            label="trained",
        )
        left.scatter(x, y, s=105, facecolors="none", edgecolors="black", lw=0.8)
        left.plot(
            *boundary,
            color="#CC79A7",
            ls="--",
            lw=2.5,
            label=r"predicted: half is lost, $\sigma^2(1+(m-1)\,$noise_keep$) = nm\phi_1^2$",
        )
        left.axvline(
            edge,
            color="white",
            ls=":",
            lw=1.8,
            label=r"predicted for equal views: $\sigma^2 = n\phi_1^2$",
        )
        left.set(
            xscale="log",
            xlabel=r"length of the noise $\sigma$",
            ylabel="noise_keep, what views share of it",
            ylim=(-0.08, 1.08),
        )
        left.set_xticks(end.noise.values, [f"{sigma:g}" for sigma in end.noise.values])
        left.minorticks_off()
        left.legend(
            loc="lower center",
            bbox_to_anchor=(0.5, 1.0),
            fontsize=8,
            facecolor="#bbbbbb",
            frameon=True,
        )
        figure.colorbar(image, ax=left, label="$|W v_1|$; map: closed form, predicted")
        keep, norm, accuracy = predicted
        for values, measured, colour, style, name in (
            (
                accuracy,
                reference.class_accuracy,
                SUBCLASS,
                "--",
                "accuracy of a linear probe for the class",
            ),
            (
                norm,
                reference.feature_norms.sel(feature="class"),
                CLASS,
                "-",
                "norm of the class $|W v_1|$",
            ),
        ):
            right.plot(keep, values, color=colour, ls=style, label=f"{name}, predicted")
            middle = measured.median("seed")
            spread = np.abs(measured.quantile([0, 1], "seed") - middle)
            right.errorbar(
                measured.noise_keep,
                middle,
                yerr=spread.values,
                fmt="o",
                color=colour,
                capsize=3,
                label="trained, range of seeds",
            )
        right.axhline(0.5, color=PREDICTED, ls=":", lw=1, label="accuracy of chance")
        right.set(
            xlabel="noise_keep, what views share of the noise",
            ylabel="norm, or accuracy",
            ylim=(0, 1.02),
        )
        right.set_title(r"$\sigma = 32$, n = 64, m = 8, d = 4000, p = 64", loc="left")
        right.legend(loc="upper right", bbox_to_anchor=(1, 0.48), fontsize=8)
    return figure


def joint_loss(
    end: xr.Dataset,
    predicted: tuple[np.ndarray, np.ndarray],
    threshold: float,
    samples: dict[str, xr.Dataset],
    limits: dict[str, xr.DataArray],
) -> Figure:
    """Feature norms over the weight of the supervised loss.

    Args:
        end: trained norms over beta and seed, in the setting where both ends fail. predicted: beta [x] and norms there [x, K].
        threshold: beta above which the class is learned. samples: other settings, trained over beta and seed. limits: their minimum norm.
    """
    curves = (
        ("class", CLASS, "-", "o"),
        ("subclass", SUBCLASS, "--", "s"),
        ("irrelevant_1", IRRELEVANT, "-.", "^"),
    )
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(12, 7), layout="constrained")
        axes: Any = figure.subplot_mosaic([["main"] * 3, [*samples]], height_ratios=(1.3, 1))
        axis = axes["main"]
        for j, (feature, colour, style, marker) in enumerate(curves):
            axis.plot(
                predicted[0],
                predicted[1][:, j],
                color=colour,
                ls=style,
                label=f"{feature.replace('_1', '')}, predicted",
            )
            norms = end.feature_norms.sel(feature=feature)
            axis.plot(
                end.beta,
                norms.median("seed"),
                marker,
                color=colour,
                mfc="white",
                mew=1.5,
                ms=7,
                label=f"{feature.replace('_1', '')}, trained",
            )
        axis.axvline(
            threshold, color=PREDICTED, ls=":", lw=1.5, label=f"predicted threshold {threshold:.3f}"
        )
        axis.set(
            xlabel=r"weight $\beta$ of the supervised loss",
            ylabel=r"feature norm $|W v_j|$",
            xlim=(-0.012, 1.012),
            ylim=(-0.03, 1.05),
        )
        axis.set_title(
            "population, p = 2: class suppressed at the left end, subclass collapsed at the right end, neither in between",
            loc="left",
        )
        figure.legend(*axis.get_legend_handles_labels(), loc="outside right upper", fontsize=8)
        titles = {
            "collapse": "collapse setting, p = 3",
            "width": "four strong irrelevant features, p = 4",
            "augmentation": r"noise kept, $\sigma=16$, p = n = 64",
        }
        for name, dataset in samples.items():
            axis = axes[name]
            for feature, colour, style, marker in curves:
                if feature in dataset.feature.values:
                    axis.plot(
                        dataset.beta, limits[name].sel(feature=feature), color=colour, ls=style
                    )
                    middle = dataset.feature_norms.sel(feature=feature).median("seed")
                    axis.plot(
                        dataset.beta, middle, marker, color=colour, mfc="white", mew=1.2, ms=5
                    )
            axis.set(xlabel=r"$\beta$", ylim=(-0.01, None))
            axis.set_title(titles[name], loc="left")
        axes[next(iter(samples))].set_ylabel(r"$|W v_j|$")
    return figure
