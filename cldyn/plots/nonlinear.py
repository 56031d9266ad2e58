"""Picture of nonlinear encoders: what of the linear theory survives in them."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from cldyn.plots import parts

UNTRAINED: dict[str, Any] = {"marker": "x", "ms": 5, "ls": "none", "color": parts.GREY}
DIRECTIONS: dict[str, Any] = {"lw": 0.8, "alpha": 0.8}
ARMS = {"linear": 0.45, "spectral": 0.0, "infonce": -0.45}  # shades
NAMES = {"linear": "linear", "spectral": "MLP, spectral", "infonce": "MLP, InfoNCE"}
HEIGHTS = {"collapse": 3.2, "width": 2.9, "joint": 2.9}


@parts.styled
def nonlinear(rows: Mapping[str, Any]) -> Figure:
    """A row of panels for every part that is given.

    Args:
        rows: "collapse": test_class_gap, test_subclass_gap and directions_gap, and accuracy of
            probes of the subclass, subclass_accuracy and pre_subclass_accuracy [arm, seed, step].
            "width": by the name of an arm class_accuracy, and of networks linear_share
            [embed_dim, seed, step]. "joint": test_class_gap and test_subclass_gap [beta, seed,
            step], and law, of the latter [share], at finer beta.
    """
    heights = [HEIGHTS[name] for name in rows]
    figure = Figure(figsize=(11, sum(heights)), layout="constrained")
    places = figure.subfigures(len(rows), 1, height_ratios=heights, squeeze=False)
    draw: Any = {"collapse": _collapse, "width": _width, "joint": _joint}
    for place, (name, data) in zip(places.flat, rows.items(), strict=True):
        draw[name](place, data)
    return figure


def _collapse(place: Any, arms: xr.Dataset) -> None:
    names = arms.arm.values.tolist()
    axes = place.subplots(1, len(names) + 1, width_ratios=[1] * len(names) + [1.5])
    for axis, name in zip(axes, names, strict=False):
        arm = arms.sel(arm=name)
        for feature in ("class", "subclass"):
            parts.band(axis, arm[f"test_{feature}_gap"], "step", feature)
        if "SupCon" in name:
            curve = arm.directions_gap.median("seed")
            axis.plot(curve.step, curve, color=parts.colour("subclass"), **DIRECTIONS)
        axis.set_xscale("symlog", linthresh=3)
        axis.set(yscale="log", ylim=(1e-3, 4), xlim=(0, arms.step[-1]), xlabel="step")
        axis.set_xticks([0, 3, 30, 300], ["0", "3", "30", "300"])
        axis.set_title(_folded(name), fontsize=8.5)
        if axis is not axes[0]:
            axis.tick_params(labelleft=False)
    axes[0].set_ylabel("gap, supervised loss, $p = 3$")
    _probes(axes[-1], arms, names)
    strokes = {
        f"median and 10-90 % of {arms.sizes['seed']} seeds": parts.LINE,
        "of directions, which is all that SupCon sees": DIRECTIONS,
        "probe of the untrained output": UNTRAINED,
        "of the hidden layer, trained": {"marker": "^", **parts.POINT},
    }
    parts.legend(place, ("class", "subclass"), strokes, loc="outside lower center", ncols=3)


def _folded(name: str) -> str:
    first, _, rest = name.partition(", ")
    return f"{first}\n{rest}" if rest else f"{first}\n"


def _probes(axis: Any, arms: xr.Dataset, names: list[str]) -> None:
    """What probes read before and after training, least to most over seeds."""
    hue, place = parts.colour("subclass"), np.arange(len(names), dtype=float)
    marks: Any = (
        ("subclass_accuracy", 0, UNTRAINED, -0.2),
        ("subclass_accuracy", -1, {"marker": "s", "color": hue, "ms": 5, "ls": "none"}, 0.0),
        ("pre_subclass_accuracy", -1, {"marker": "^", "color": parts.GREY, **parts.POINT}, 0.2),
    )
    for name, step, look, shift in marks:
        ends = arms[name].isel(step=step).transpose("arm", "seed").values
        low, middle, high = np.quantile(ends, (0, 0.5, 1), axis=1)
        given = {"capsize": 2, "elinewidth": 0.8, **look}
        axis.errorbar(place + shift, middle, yerr=[middle - low, high - middle], **given)
    axis.axhline(0.5, color=parts.GREY, lw=0.6)
    short = [
        name.removeprefix("MLP, ").replace(", ", "\n").replace("He x ", "x ") for name in names
    ]
    axis.set_xticks(place, short, fontsize=6.5)
    axis.set(ylim=(0.44, 1.03), title="probe of the subclass\n")


def _width(place: Any, arms: Mapping[str, xr.Dataset]) -> None:
    first, second = place.subplots(1, 2, width_ratios=(1.5, 1))
    strokes: dict[str, dict[str, Any]] = {}
    for (name, share), mark in zip(ARMS.items(), "osD", strict=True):
        arm, hue = arms[name], parts.shade(parts.HUES["class"][0], share)
        look: dict[str, Any] = {"color": hue, "fmt": mark, "ls": "-", "lw": 1.4}
        parts.spread(first, arm.class_accuracy.isel(step=-1), "embed_dim", "class", **look)
        if name != "infonce":  # whose start is that of the spectral loss, scaled
            start = arm.class_accuracy.isel(step=0).median("seed")
            first.plot(arm.embed_dim, start, **UNTRAINED | {"color": hue, "ls": ":", "lw": 0.8})
        if name != "linear":
            parts.spread(second, arm.linear_share.isel(step=-1), "embed_dim", "class", **look)
        strokes[NAMES[name]] = {"color": hue, "marker": mark, **parts.LINE}
    wide = arms["spectral"].embed_dim.values
    for axis in (first, second):
        axis.set_xscale("log", base=2)
        axis.set_xticks(wide, [str(p) for p in wide])
        axis.minorticks_off()
        axis.set(xlabel="$p$", ylim=(0, 1.05))
    first.axhline(0.5, color=parts.GREY, lw=0.6)
    first.set(ylim=(0.44, 1.03), ylabel="probe of the class")
    first.set_title("unsupervised loss, a weak class and four strong irrelevant features")
    second.set_title("share of variance linear in the features")
    strokes |= {"untrained": UNTRAINED | {"ls": ":", "lw": 0.8}}
    parts.legend(place, strokes=strokes, loc="outside lower center", ncols=4)


def _joint(place: Any, joint: xr.Dataset) -> None:
    first, second = place.subplots(1, 2, width_ratios=(1, 1.5), sharey=True)
    hue = parts.colour("subclass")
    first.plot(joint.share, joint.law, color=hue, **parts.CURVE)
    for feature in ("class", "subclass"):
        parts.spread(first, joint[f"test_{feature}_gap"].isel(step=-1), "beta", feature)
    first.set(xlabel=r"weight $\beta$ of the supervised loss", ylabel="gap, $p = 8$")
    first.set_title("joint loss, MLP, at the end")
    shares = joint.beta.values
    strokes: dict[str, dict[str, Any]] = {"law of linear encoders": parts.CURVE}
    for beta, shade in zip(shares, parts.purples(shares.size), strict=True):
        curves = joint.test_subclass_gap.sel(beta=beta)
        look = {"color": shade, "marker": "", "markevery": None}
        parts.band(second, curves, "step", "subclass", **look)
        second.axhline(float(np.interp(beta, joint.share, joint.law)), color=shade, **parts.LIMIT)
        strokes[rf"subclass, $\beta = {beta:g}$"] = {**parts.LINE, "color": shade}
    second.set_xscale("symlog", linthresh=10)
    second.set(xlim=(0, joint.step[-1]), xlabel="step", ylim=(-0.05, 2.15))
    second.set_title("on the way, and where the law says that it ends (dotted)")
    parts.legend(place, ("class", "subclass"), strokes, loc="outside lower center", ncols=7)
