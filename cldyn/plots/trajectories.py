"""Pictures over training time."""

from typing import Any

import matplotlib
import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from cldyn.plots.style import CLASS, IRRELEVANT, PREDICTED, STYLE, SUBCLASS

CLUSTERS = {(-1, -1): "#0072B2", (-1, 1): "#56B4E9", (1, -1): "#D55E00", (1, 1): "#E69F00"}


def class_collapse(
    panels: tuple[int, ...],
    embeddings: np.ndarray,
    codes: tuple[np.ndarray, np.ndarray],
    lanes: xr.Dataset,
    prediction: xr.Dataset,
    decay: float,
) -> Figure:
    """Test embeddings at some steps, and feature norms over all of them.

    Args:
        panels: steps [t]. embeddings: [t, s, 3]. codes: class and subclass of the test sample, each [s].
        lanes: feature_norms over seed, step and feature, at one learning rate. prediction: forecast of the same, median over seeds.
        decay: predicted rate of unlearning per step.
    """
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(11, 7.2), layout="constrained")
        parts: Any = figure.subfigures(2, 1, height_ratios=(1, 1.45))
        above, below = parts
        for i, step in enumerate(panels):
            axis: Any = above.add_subplot(1, len(panels), i + 1, projection="3d")
            _clusters(axis, embeddings[i], codes)
            axis.set_title(f"step {step}", y=0.96)
        handles, labels = above.axes[0].get_legend_handles_labels()
        below.legend(
            handles,
            labels,
            loc="lower right",
            bbox_to_anchor=(0.95, 0.2),
            fontsize=8,
            title="test embeddings",
        )
        _norms(below.add_subplot(), lanes, prediction, decay)
    return figure


def _clusters(axis: Any, points: np.ndarray, codes: tuple[np.ndarray, np.ndarray]) -> None:
    for (label, subclass), colour in CLUSTERS.items():
        chosen = points[(codes[0] == label) & (codes[1] == subclass)]
        marker = "o" if label < 0 else "^"
        axis.scatter(
            *chosen.T,
            s=14,
            c=colour,
            marker=marker,
            label=f"class {label:+d}, subclass {subclass:+d}",
            depthshade=False,
        )
    reach = float(np.abs(points).max()) * 1.1
    axis.set(xlim=(-reach, reach), ylim=(-reach, reach), zlim=(-reach, reach))
    axis.locator_params(nbins=3)
    exponent = int(np.floor(np.log10(reach)))
    for one in (axis.xaxis, axis.yaxis, axis.zaxis):
        one.set_major_formatter(lambda value, _, e=exponent: f"{value / 10.0 ** min(e, 0):.2g}")
    unit = "" if exponent >= 0 else f" / $10^{{{exponent}}}$"
    axis.tick_params(labelsize=7, pad=-2)
    for name in ("x", "y", "z"):
        getattr(axis, f"set_{name}label")(
            f"$f_{'xyz'.index(name) + 1}${unit}", labelpad=-7, fontsize=8
        )
    axis.set_box_aspect(None, zoom=0.88)


def _norms(axis: Any, lanes: xr.Dataset, prediction: xr.Dataset, decay: float) -> None:
    steps = lanes.step.values
    for feature, colour, style in (("class", CLASS, "-"), ("subclass", SUBCLASS, "--")):
        curves = lanes.feature_norms.sel(feature=feature)
        low, middle, high = (curves.quantile(share, "seed").values for share in (0.1, 0.5, 0.9))
        axis.fill_between(steps, low, high, color=colour, alpha=0.25, lw=0)
        axis.plot(
            steps,
            middle,
            color=colour,
            ls=style,
            label=f"{feature}, measured (median, 10-90 % of seeds)",
        )
        axis.plot(
            float(prediction.learning_step.sel(feature=feature)),
            0.1,
            "D",
            mfc="white",
            mec=colour,
            ms=7,
            mew=1.6,
            label=f"{feature}, predicted learning step (0.1)",
        )
        axis.axhline(
            float(prediction.feature_norms.sel(feature=feature)),
            color=colour,
            ls=":",
            lw=1.2,
            label=f"{feature}, predicted limit",
        )
    bound = float(prediction.peak_bound)
    axis.hlines(
        bound,
        12,
        80,
        color=PREDICTED,
        ls="-.",
        lw=1.2,
        label="subclass, predicted bound of the peak",
    )
    subclass = lanes.feature_norms.sel(feature="subclass").median("seed")
    from_step = int(subclass.argmax("step")) + 22
    start = steps[from_step]
    line = np.arange(start, start + 50)
    axis.plot(
        line,
        1.5 * float(subclass[from_step]) * np.exp(-decay * (line - start)),
        color=PREDICTED,
        lw=1.5,
        label=f"subclass, predicted rate of unlearning ({decay:.3f} per step, slope only)",
    )
    axis.set(
        xscale="symlog",
        yscale="log",
        xlim=(0, steps[-1]),
        ylim=(1e-4, 3),
        xlabel="training step",
        ylabel=r"feature norm $|W v_j|$",
    )
    axis.set_xscale("symlog", linthresh=10)
    axis.set_title(
        f"learning rate {float(lanes.learning_rate):g}, {lanes.sizes['seed']} seeds", loc="left"
    )
    axis.figure.legend(loc="outside right upper", fontsize=8, title="feature norms")


def step_size(
    main: xr.Dataset,
    flow: xr.Dataset,
    small: dict[str, xr.Dataset],
    edges: dict[str, float],
    known: xr.Dataset,
) -> Figure:
    """The subclass over flow time for many steps, what is left at the end, and where training converges.

    Args:
        main: lanes over seed, learning_rate (of the critical) and step. flow: gradient flow over seed and step. small: settings with edges known.
        edges: where they diverge, of the critical rate. known: forecast of main, median over seeds.
    """
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(15, 5.4), layout="constrained")
        axes: Any = figure.subplots(1, 3, width_ratios=(1.15, 1, 1))
        first, second, third = axes
        fractions = main.learning_rate.values
        shown = [
            fraction for fraction in (0.03, 0.1, 0.3, 0.7, 0.98, 1.1, 1.5) if fraction in fractions
        ]
        for fraction, colour in zip(
            shown, matplotlib.colormaps["viridis"](np.linspace(0, 0.95, len(shown))), strict=True
        ):
            lane = main.sel(learning_rate=fraction)
            curve = lane.feature_norms.sel(feature="subclass").median("seed")
            first.plot(
                lane.step_size.median() * main.step,
                curve,
                color=colour,
                lw=1.3,
                label=f"{fraction:g} of the critical rate",
            )
        step = float(flow.step_size.median())
        first.plot(
            flow.step * step,
            flow.feature_norms.sel(feature="subclass").median("seed"),
            "k--",
            lw=1.5,
            label="gradient flow",
        )
        first.axhline(
            float(known.feature_norms.sel(feature="subclass")),
            color=PREDICTED,
            ls=":",
            label="predicted limit",
        )
        first.axhline(
            float(known.peak_bound),
            color=PREDICTED,
            ls="-.",
            lw=1.2,
            label="predicted bound of the peak",
        )
        first.set(
            xscale="log",
            yscale="log",
            xlim=(0.2, 60),
            ylim=(1e-3, 1.5),
            xlabel="flow time, learning rate x step",
            ylabel=r"subclass norm $|W v_2|$",
        )
        first.set_title("collapse setting, p = 2, median over seeds", loc="left")
        first.legend(loc="upper center", bbox_to_anchor=(0.5, -0.14), ncols=2, fontsize=8)
        end = main.feature_norms.isel(step=-1)
        finite = (main.finite_steps == main.step[-1]).all("seed")
        for name, values, colour, style in (
            ("class at the end", end.sel(feature="class"), CLASS, "o-"),
            (
                "subclass at its peak",
                main.feature_norms.sel(feature="subclass").max("step"),
                IRRELEVANT,
                "^-.",
            ),
            ("subclass at the end", end.sel(feature="subclass"), SUBCLASS, "s--"),
        ):
            second.plot(
                fractions,
                values.median("seed").where(finite),
                style,
                color=colour,
                ms=4,
                label=name,
            )
        second.axvline(1, color=PREDICTED, ls=":", label="predicted: critical rate")
        second.set(
            yscale="log",
            ylim=(1e-3, 3),
            xlabel="learning rate / critical rate",
            ylabel=r"feature norm $|W v_j|$",
        )
        second.set_title(f"collapse setting, at step {int(main.step[-1])}", loc="left")
        second.legend(loc="upper center", bbox_to_anchor=(0.5, -0.14), ncols=2, fontsize=8)
        _regimes(third, {"collapse setting": main, **small}, edges)
    return figure


def _regimes(axis: Any, settings: dict[str, xr.Dataset], edges: dict[str, float]) -> None:
    """Final distance to the minimizer over the step; diverged lanes along the top."""
    for (name, dataset), colour, marker in zip(
        settings.items(), (SUBCLASS, CLASS, IRRELEVANT), "so^", strict=True
    ):
        distance = dataset.distance.isel(step=-1).median("seed").values
        axis.plot(
            dataset.learning_rate,
            np.where(np.isnan(distance), 30, np.maximum(distance, 1e-16)),
            marker,
            color=colour,
            mfc="none",
            label=name,
        )
        if name in edges:
            axis.axvline(
                edges[name],
                color=colour,
                ls="--",
                lw=1.2,
                label=f"{name}: predicted edge of divergence",
            )
    axis.axvline(1, color=PREDICTED, ls=":", label="predicted: critical rate")
    axis.axhline(8, color=PREDICTED, lw=0.6)
    axis.set(
        yscale="log",
        ylim=(1e-17, 300),
        xlabel="learning rate / critical rate",
        ylabel="distance to the minimum norm (diverged: above line)",
    )
    axis.set_title("where training converges, median over seeds", loc="left")
    axis.legend(loc="upper center", bbox_to_anchor=(0.5, -0.14), ncols=2, fontsize=8)


def projection_head(
    modes: xr.Dataset,
    random: xr.Dataset,
    crowded: xr.Dataset,
    escapes: dict[tuple[int, str], float],
    left: xr.DataArray,
) -> Figure:
    """Norms below and above a head over time, one against the other, and what rivals leave of the class.

    Args:
        modes: lanes over depth, seed and step. random: lanes of depth 2 over seed and step. crowded: trained over depth, irrelevant_strength and
            seed. escapes: predicted flow times by depth and feature. left: predicted |W_1 v_1| of crowded.
    """
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(14, 6), layout="constrained")
        axes: Any = figure.subplots(1, 3)
        first, second, third = axes
        time = modes.step * float(modes.step_size.max())
        for feature, colour, style in (
            ("class", CLASS, "-"),
            ("subclass", SUBCLASS, "--"),
            ("irrelevant_1", IRRELEVANT, "-."),
        ):
            name = feature.replace("_1", "")
            lane = modes.sel(depth=2, feature=feature, seed=0)
            first.plot(time, lane.feature_norms, color=colour, ls=style, label=f"{name}, $|W v|$")
            first.plot(
                time,
                lane.first_layer_norms,
                color=colour,
                ls=style,
                lw=0.8,
                alpha=0.7,
                label=f"{name}, $|W_1 v|$",
            )
            first.plot(
                escapes[2, feature],
                0.02,
                "D",
                mfc="white",
                mec=colour,
                ms=7,
                mew=1.6,
                label=f"{name}, predicted escape",
            )
        first.set(
            yscale="log",
            xscale="log",
            xlim=(0.5, 60),
            ylim=(8e-3, 3),
            xlabel="flow time, learning rate x step",
            ylabel="feature norm",
        )
        first.set_title("two layers, commuting moments", loc="left")
        line = np.geomspace(1e-3, 2, 50)
        second.plot(
            line,
            line**0.5,
            color=PREDICTED,
            label=r"predicted bound, commuting equality $|W v|^{1/2}$",
        )
        second.plot(line, line, color=PREDICTED, ls=":", lw=1, label="no head")
        norms = modes.sel(depth=2, seed=0).isel(step=slice(None, None, 10))
        second.plot(
            norms.feature_norms.values.ravel(),
            norms.first_layer_norms.values.ravel(),
            "s",
            color=CLASS,
            ms=4,
            label="commuting moments, all times",
        )
        end = random.isel(step=-1)
        second.plot(
            end.feature_norms.values.ravel(),
            end.first_layer_norms.values.ravel(),
            "o",
            color=SUBCLASS,
            mfc="none",
            ms=4,
            label=f"{end.sizes['class_strength']} random models, trained",
        )
        second.set(
            xscale="log",
            yscale="log",
            xlim=(3e-3, 3),
            ylim=(3e-3, 3),
            xlabel="norm after the head $|W v_j|$",
            ylabel="norm below it $|W_1 v_j|$",
        )
        second.set_title("two layers", loc="left")
        strengths = crowded.irrelevant_strength.values
        for depth, colour, marker in zip(
            crowded.depth.values.tolist(), (CLASS, SUBCLASS, IRRELEVANT), "os^", strict=True
        ):
            lanes = crowded.sel(depth=depth, feature="class").median("seed")
            third.plot(
                strengths,
                lanes.feature_norms,
                marker + "-",
                color=colour,
                label=f"{depth} layer{'s' * (depth > 1)}, $|W v_1|$",
            )
            if depth > 1:
                third.plot(
                    strengths,
                    lanes.first_layer_norms,
                    marker + "--",
                    color=colour,
                    mfc="none",
                    label=f"{depth} layers, $|W_1 v_1|$",
                )
            third.plot(
                strengths,
                left.sel(depth=depth),
                ":",
                color=colour,
                label=f"{depth} layer{'s' * (depth > 1)}, predicted order",
            )
        third.set(
            yscale="log",
            ylim=(0.015, 1.2),
            xlabel=r"strength of four irrelevant features $\phi_k$ (class: 1)",
            ylabel="class left at p = 4",
        )
        third.set_title("crowded out, one end-to-end start", loc="left")
        for axis in axes:
            axis.legend(
                loc="upper center",
                bbox_to_anchor=(0.5, -0.14),
                ncols=1 if axis is second else 2,
                fontsize=8,
            )
    return figure
