"""Projection head: what linear layers above an encoder do to the features below them."""

from dataclasses import replace

import jax.numpy as jnp
import numpy as np
import xarray as xr

from cldyn import plots, theory
from cldyn.axes import Group
from cldyn.claims.class_collapse import PAPER
from cldyn.claims.table import Claim, Row, Study, at_least, at_most, close, found, within
from cldyn.data import FeatureModel
from cldyn.experiment import Experiment, Problem, Training
from cldyn.lanes import forecast, sweep

DEPTHS = (1, 2, 3)
SCALE = 1e-2  # of the end-to-end encoder W_L ... W_1 at the start, for every depth
MEASURES = ("feature_norms", "first_layer_norms", "imbalance", "distance")

# Four irrelevant features fill four dimensions: what is left of the class, with and without a head.
STRENGTHS = {"irrelevant_strength": [1.05, 1.2, 1.5, 2.0]}
CROWDED = Experiment(
    Problem(
        FeatureModel(d=7, irrelevant_strength=(2.0,) * 4, subclass_mean=0.0, noise=0.0),
        bias=False,
        population=True,
        precision="float64",
    ),
    Training("ucl", embed_dim=4, learning_rate=0.01),
)
# Moments and start commute (p = D): every mode is by itself.
MODES = Experiment(
    Problem(
        FeatureModel(
            d=4, irrelevant_strength=(2.0,), subclass_strength=0.7, class_keep=0.9, subclass_keep=0.9, subclass_mean=0.0, noise=0.3, noise_keep=0.5
        ),
        bias=False, population=True, precision="float64",
    ),
    Training("ucl", embed_dim=4, optimizer="flow", learning_rate=0.01),
)  # fmt: skip
# They do not: a mean and a bias, p < D.
MIXED = Experiment(
    Problem(
        FeatureModel(d=6, irrelevant_strength=(1.5,), irrelevant_keep=(0.8,), class_keep=0.9, subclass_mean=0.5, noise=0.3, noise_keep=0.2),
        population=True, precision="float64",
    ),
    Training("joint", depth=3, init_scale=0.3, embed_dim=3),
)  # fmt: skip


def study() -> Study:
    """Run every setting of the claim."""
    modes, random, crowded = commuting(), random_models(), crowd()
    drift_rows, drift = _drift()
    collapse_rows, collapse = _collapse()
    rows = _modes(modes) + _random(random) + drift_rows + _crowded(crowded) + collapse_rows
    trajectories = {
        "": crowded,
        "modes": modes,
        "random": random,
        "drift": drift,
        "collapse": collapse,
    }
    return Study(rows, trajectories, figure(modes, random, crowded))


def figure(modes: xr.Dataset, random: xr.Dataset, crowded: xr.Dataset) -> plots.Figure:
    """The picture of the claim."""
    return plots.projection_head(
        modes, random, crowded.isel(step=-1), escapes(), left_behind(crowded)
    )


def at_depth(experiment: Experiment, depth: int) -> Experiment:
    """The experiment with layers that start from one end-to-end scale."""
    scale = SCALE ** (1 / depth) if depth > 1 else SCALE / experiment.problem.data.d**0.5  # type: ignore[union-attr]
    return replace(experiment, training=replace(experiment.training, depth=depth, init_scale=scale))


def escapes() -> dict[tuple[int, str], float]:
    """Predicted flow time at which each feature of the commuting setting leaves its start, by depth and feature."""
    model: FeatureModel = MODES.problem.data  # type: ignore[assignment]
    shared = np.asarray(model.keeps() ** 2 * model.variances())
    names = ("class", "subclass", "irrelevant_1")
    return {
        (depth, name): float(theory.escape_time(SCALE, c, depth))
        for depth in DEPTHS[1:]
        for name, c in zip(names, shared, strict=True)
    }


def left_behind(crowded: xr.Dataset) -> xr.DataArray:
    """Predicted order of |W_1 v_1| of the crowded setting [depth, strength], from where the first layer starts."""
    start = crowded.first_layer_norms.isel(step=0).sel(feature="class").median("seed")
    order = theory.left_behind(
        jnp.asarray(start.transpose("depth", ...).values),
        1.0,
        jnp.array(STRENGTHS["irrelevant_strength"]),
    )
    return start.copy(data=np.asarray(order))


def commuting() -> xr.Dataset:
    """Modes by themselves, by flow, at every depth."""
    return _by_depth(MODES, [{"seed": range(2)}], [*range(0, 1000, 5), *range(1000, 10_001, 25)])


def crowd(seeds: int = 16) -> xr.Dataset:
    """The class and four stronger features in four dimensions, at every depth."""
    crowded = _by_depth(
        CROWDED, [STRENGTHS, {"seed": range(seeds)}], [0, 100, 1000, 20_000, 40_000]
    )
    return crowded.assign_coords(STRENGTHS)  # one number stands for four


def random_models(count: int = 64) -> xr.Dataset:
    """Random populations with means and a bias, trained by flow from balanced layers."""
    draw = np.random.default_rng(1)
    numbers: Group = {
        name: draw.uniform(low, high, count).tolist()
        for name, low, high in (
            ("class_strength", 0.5, 2), ("class_keep", 0.3, 1), ("subclass_strength", 0.5, 2), ("subclass_keep", 0.3, 1),
            ("subclass_mean", 0, 1), ("irrelevant_strength", 0.5, 2), ("irrelevant_keep", 0.3, 1), ("beta", 0, 1),
        )
    } | {"seed": list(range(count))}  # fmt: skip
    training = replace(MIXED.training, depth=2, optimizer="flow", learning_rate=0.01)
    return sweep(
        replace(MIXED, training=training), [numbers], [0, 300, 1000, 5000], measure=MEASURES
    )


def _by_depth(experiment: Experiment, axes: list[Group], steps: list[int]) -> xr.Dataset:
    lanes = [sweep(at_depth(experiment, depth), axes, steps, measure=MEASURES) for depth in DEPTHS]
    return xr.concat(lanes, "depth", combine_attrs="drop").assign_coords(depth=list(DEPTHS))


def _modes(modes: xr.Dataset) -> list[Row]:
    """Every mode of balanced layers is a power of the end-to-end one, and escapes when predicted."""
    error = np.abs(modes.first_layer_norms / modes.feature_norms ** (1 / modes.depth) - 1).max()
    rows = [
        at_most(
            "commuting moments: |W_1 v_j| against |W v_j|^(1/L), all times and L = 1 .. 3, relative error, largest",
            1e-6,
            float(error),
        )
    ]
    time = modes.step.values * MODES.training.learning_rate
    for (depth, feature), predicted in escapes().items():
        curve = modes.feature_norms.sel(depth=depth, feature=feature, seed=0).values
        half = curve[-1] / 2
        after = int(np.argmax(curve > half))
        measured = float(np.interp(half, curve[after - 1 : after + 1], time[after - 1 : after + 1]))
        name = f"commuting moments, L = {depth}: flow time at which |W v| of {feature} reaches half its limit, from scale {SCALE:g}"
        rows.append(close(name, predicted, measured, 0.05))
    return rows


def _random(random: xr.Dataset) -> list[Row]:
    trained = random.first_layer_norms / random.feature_norms ** (1 / 2)
    return [
        at_least(
            "random models with means, L = 2, flow: share of lanes that stayed finite",
            1.0,
            float((random.finite_steps == random.step[-1]).mean()),
        ),
        at_most(
            "the same: |W_1 v_j| over |W v_j|^(1/2), largest at any time",
            1 + 1e-6,
            float(trained.max()),
        ),
    ]


def _drift() -> tuple[list[Row], xr.Dataset]:
    """Flow conserves balance, gradient descent drifts from it at first order in the step."""
    rates = (0.02, 0.01, 0.005, 0.0025)
    axes: list[Group] = [{"learning_rate": rates}, {"seed": range(8)}]
    steps = sorted({round(60 / rate) for rate in rates})
    dataset = sweep(MIXED, axes, steps, measure=MEASURES)
    flow = sweep(replace(MIXED, training=replace(MIXED.training, optimizer="flow")), [{"learning_rate": (0.01,)}, {"seed": range(8)}], [0, 6000],
                 measure=MEASURES)  # fmt: skip
    drift = [
        dataset.imbalance.sel(learning_rate=rate, step=round(60 / rate)).values for rate in rates
    ]
    name = "L = 3, noncommuting: imbalance of gradient descent at flow time 60"
    rows = [
        within(
            f"{name}, step {rate:g} over step {rate / 2:g}, median over seeds",
            1.9,
            2.1,
            float(np.median(wide / narrow)),
        )
        for rate, wide, narrow in zip(rates, drift[:-1], drift[1:], strict=False)
    ]
    rows.append(
        found(f"{name}, step {rates[0]:g}, median over seeds", f"{np.median(drift[0]):.2g}")
    )
    rows.append(
        at_most(
            "the same by Runge-Kutta flow, step 0.01, largest", 1e-6, float(flow.imbalance.max())
        )
    )
    return rows, dataset


def _crowded(crowded: xr.Dataset) -> list[Row]:
    """A head leaves more of a suppressed feature, by the power law of its first layer's start."""
    end = crowded.isel(step=-1).sel(feature="class").median("seed")
    predicted = left_behind(crowded)
    off = np.exp(np.abs(np.log(end.first_layer_norms / predicted)))
    rows = [
        at_most(
            "crowded out, p = 4: |W_1 v_1| left over start^(1 - phi_1^2/phi_k^2) or its inverse, L = 1 .. 3, largest",
            3.0,
            float(off.max()),
        )
    ]
    for strength in STRENGTHS["irrelevant_strength"]:
        at = end.sel(irrelevant_strength=strength)
        for name, norms in (("|W v_1|", at.feature_norms), ("|W_1 v_1|", at.first_layer_norms)):
            text = " / ".join(f"{float(value):.3f}" for value in norms)
            rows.append(
                found(
                    f"crowded out, irrelevant strength {strength:g}: {name} left, L = 1 / 2 / 3 from one end-to-end scale {SCALE:g}",
                    text,
                )
            )
    return rows


def _collapse() -> tuple[list[Row], xr.Dataset]:
    """The collapse setting with a head: the layer below collapses too."""
    training = replace(PAPER.training, depth=2, init_scale=SCALE**0.5)
    experiment = replace(PAPER, training=training)
    axes: list[Group] = [{"seed": range(4), "data_seed": range(4)}]
    dataset = sweep(experiment, axes, [0, *range(200, 5000, 100), 10_000, 20_000], measure=MEASURES)
    limit = forecast(experiment, axes, critical=False).first_layer_norms
    end, peak = dataset.isel(step=-1).median("seed"), dataset.max("step").median("seed")
    below = {name: float(end.first_layer_norms.sel(feature=name)) for name in ("class", "subclass")}
    norms = f"{float(end.feature_norms.sel(feature='subclass')):.4f} and {below['subclass']:.4f}"
    most = f"{float(peak.feature_norms.sel(feature='subclass')):.3f} and {float(peak.first_layer_norms.sel(feature='subclass')):.3f}"
    return [
        close("collapse setting, L = 2: |W_1 v_1| trained against balanced layers of the minimum norm", float(limit.sel(feature="class").median()),
              below["class"], 0.02),
        found("collapse setting, L = 2: |W v_2| and |W_1 v_2| at the end, median over seeds (the head does not save the subclass)", norms),
        found("collapse setting, L = 2: |W v_2| and |W_1 v_2| at their peaks", most),
    ], dataset  # fmt: skip


CLAIM = Claim(
    name="projection-head",
    says="layers below a linear projection head are more even: they keep more of a suppressed feature, but not of a collapsed subclass",
    source="after Xue et al. (2024), arXiv 2403.11391; escape times and what rivals leave derived here",
    cost="under a minute on 2 cores",
    study=study,
)
