"""Projection head: what linear layers above an encoder do to the features below them."""

from itertools import pairwise

import numpy as np
import xarray as xr

from cldyn import plots, theory
from cldyn.claims.dimensional_collapse import collapse
from cldyn.claims.nonlinear_head import heads
from cldyn.claims.settings import COLLAPSE, WIDTH_MODEL, seeds
from cldyn.claims.table import (
    Claim,
    Row,
    Study,
    Subject,
    at_least,
    at_most,
    close,
    found,
    highest,
    within,
)
from cldyn.data import FeatureModel, Gaussian
from cldyn.encoders import DeepLinear, Linear
from cldyn.experiment import Experiment, Training
from cldyn.losses import Joint, Unsupervised
from cldyn.optimizers import Flow, Gd
from cldyn.sources import Population
from cldyn.sweeps import Group, forecast, sweep

# A small run changes the counts of seeds and models, all ..._STEPS, DRIFT_TIME, and sizes of
# COLLAPSE_HEAD.
DEPTHS = (1, 2, 3)
SCALE = 1e-2  # of the end-to-end encoder W_L ... W_1 at the start, for every depth
NORMS = ("feature_norms", "pre_feature_norms")

# Moments and start commute (p = D): every mode is by itself.
MODES = Experiment(
    Population(
        FeatureModel(
            d=4,
            irrelevant_strength=(2.0,),
            subclass_strength=0.7,
            class_keep=0.9,
            subclass_keep=0.9,
            subclass_mean=0.0,
            noise=Gaussian(0.3, 0.5),
        )
    ),
    Training(Linear(4, bias=False), positives=Unsupervised(), optimizer=Flow(0.01)),
    "float64",
)
MODES_STEPS = [*range(0, 1000, 5), *range(1000, 10_001, 25)]

# They do not: a mean and a bias, p < D.
MIXED = Experiment(
    Population(
        FeatureModel(
            d=6,
            irrelevant_strength=(1.5,),
            irrelevant_keep=(0.8,),
            class_keep=0.9,
            subclass_mean=0.5,
            noise=Gaussian(0.3, 0.2),
        )
    ),
    Training(DeepLinear(3, init_scale=0.3, depth=3), positives=Joint()),
    "float64",
)
RANGES = {
    "class_strength": (0.5, 2),
    "class_keep": (0.3, 1),
    "subclass_strength": (0.5, 2),
    "subclass_keep": (0.3, 1),
    "subclass_mean": (0, 1),
    "irrelevant_strength": (0.5, 2),
    "irrelevant_keep": (0.3, 1),
    "beta": (0, 1),
}
RANDOM_MODELS, RANDOM_STEPS = 64, [0, 300, 1000, 5000]
RATES, DRIFT_TIME, DRIFT_SEEDS = (0.02, 0.01, 0.005, 0.0025), 60, 8

# Four irrelevant features fill four dimensions: what is left of the class, with and without a head.
CROWDED = Experiment(
    Population(WIDTH_MODEL),
    Training(Linear(4, bias=False), positives=Unsupervised(), optimizer=Gd(0.01)),
    "float64",
).replace(d=7, noise_length=0.0)
STRENGTHS = (1.05, 1.2, 1.5, 2.0)
CROWDED_SEEDS, CROWDED_STEPS = 16, [0, 100, 1000, 20_000, 40_000]

# The collapse setting with a head.
COLLAPSE_HEAD = COLLAPSE.replace(encoder=DeepLinear(3, SCALE**0.5, depth=2))
COLLAPSE_SEEDS, COLLAPSE_STEPS = 4, [0, *range(200, 5000, 100), 10_000, 20_000]


def study() -> Study:
    """Run every setting of the claim."""
    modes, random, crowded = commuting(), random_models(), crowd()
    drift_rows, drift = _drift()
    collapse_rows, collapsed = _collapse()
    head_rows, after = heads()
    dimension_rows, dimensions = collapse()
    linear = _modes(modes) + _random(random) + drift_rows + _crowded(crowded) + collapse_rows
    found = {"modes": modes, "random": random, "drift": drift, "collapse": collapsed}
    return Study(
        linear + head_rows + dimension_rows,
        {"": crowded, **found, **after, "dimensions": dimensions},
        plots.projection_head(modes, random, crowded.isel(step=-1), after, dimensions),
    )


def at_depth(experiment: Experiment, depth: int) -> Experiment:
    """The experiment with layers that start from one end-to-end scale."""
    now, d = experiment.training.encoder, experiment.problem.model.d
    if depth == 1:
        return experiment.replace(encoder=Linear(now.embed_dim, SCALE / d**0.5, now.bias))
    scale = SCALE ** (1 / depth)
    return experiment.replace(encoder=DeepLinear(now.embed_dim, scale, now.bias, depth))


def _by_depth(experiment: Experiment, axes: list[Group], steps: list[int]) -> xr.Dataset:
    names, first = NORMS
    parts = []
    for depth in DEPTHS:
        measure = NORMS if depth > 1 else [names]
        part = sweep(at_depth(experiment, depth), axes, steps, measure=measure)
        # The first of one layer is all of them.
        parts.append(part if depth > 1 else part.assign({first: part[names]}))
    return xr.concat(parts, "depth", combine_attrs="drop").assign_coords(depth=list(DEPTHS))


def commuting() -> xr.Dataset:
    """Modes by themselves, by flow, at every depth.

    `escape_time`: the predicted flow time at which a feature leaves its start; none for one layer.
    """
    modes = _by_depth(MODES, [{"seed": range(2)}], MODES_STEPS)
    model = MODES.problem.model
    shared = np.asarray(model.keeps() ** 2 * model.variances())
    times = [
        theory.escape_time(SCALE, shared, depth) if depth > 1 else np.full_like(shared, np.nan)
        for depth in DEPTHS
    ]
    return modes.assign(escape_time=(("depth", "feature"), np.stack(times)))


def random_models() -> xr.Dataset:
    """Random populations with means and a bias, trained by flow from balanced layers."""
    draw = np.random.default_rng(1)
    numbers = {name: draw.uniform(*ends, RANDOM_MODELS).tolist() for name, ends in RANGES.items()}
    axes: list[Group] = [{**numbers, "seed": range(RANDOM_MODELS)}]
    return sweep(MIXED.replace(depth=2, optimizer=Flow(0.01)), axes, RANDOM_STEPS, measure=NORMS)


def crowd() -> xr.Dataset:
    """The class and four stronger features in four dimensions, at every depth.

    `left_behind`: the predicted order of |W_1 v_1|, from where the first layer starts.
    """
    axes: list[Group] = [{"irrelevant_strength": STRENGTHS}, {"seed": range(CROWDED_SEEDS)}]
    crowded = _by_depth(CROWDED, axes, CROWDED_STEPS)
    start = crowded.pre_feature_norms.sel(feature="class", step=0).median("seed")
    start = start.transpose("depth", "irrelevant_strength")
    phi = WIDTH_MODEL.class_strength
    order = theory.left_behind(start.values, phi, np.array(STRENGTHS))
    return crowded.assign(left_behind=(start.dims, np.asarray(order)))


def _modes(modes: xr.Dataset) -> list[Row]:
    """Modes of balanced layers are powers of the end-to-end ones, and escape when predicted."""
    error = np.abs(modes.pre_feature_norms / modes.feature_norms ** (1 / modes.depth) - 1).max()
    setting = "commuting moments"
    subject = Subject(setting, "|W_1 v_j| / |W v_j|^(1/L)", "off 1, largest, any time and L")
    rows = [at_most(subject, 1e-6, float(error))]
    time = modes.step.values * MODES.training.optimizer.learning_rate
    for depth in DEPTHS[1:]:
        for feature in modes.feature.values.tolist():
            one = modes.sel(depth=depth, feature=feature)
            curve = one.feature_norms.sel(seed=0).values
            half = curve[-1] / 2
            after = int(np.argmax(curve > half))
            measured = np.interp(half, curve[after - 1 : after + 1], time[after - 1 : after + 1])
            subject = Subject(f"{setting}, L = {depth}", f"{feature}: |W v| escapes", "flow time")
            rows.append(close(subject, float(one.escape_time), float(measured), 0.05))
    return rows


def _random(random: xr.Dataset) -> list[Row]:
    finite = (random.finite_steps == random.step[-1]).mean()
    largest = (random.pre_feature_norms / random.feature_norms ** (1 / 2)).max()
    setting = "random models with means, L = 2, flow"
    return [
        at_least(Subject(setting, "models that stayed finite", "share"), 1.0, float(finite)),
        at_most(
            Subject(setting, "|W_1 v_j| / |W v_j|^(1/2)", "largest at any time"),
            1 + 1e-6,
            float(largest),
        ),
    ]


def _drift() -> tuple[list[Row], xr.Dataset]:
    """Flow conserves balance, gradient descent drifts from it at first order in the step."""
    steps = {rate: round(DRIFT_TIME / rate) for rate in RATES}
    axes: list[Group] = [{"learning_rate": RATES}, {"seed": range(DRIFT_SEEDS)}]
    dataset = sweep(MIXED, axes, sorted(steps.values()), measure=("imbalance",))
    flow = sweep(
        MIXED.replace(optimizer=Flow(0.01)), axes[1:], [0, 100 * DRIFT_TIME], measure=("imbalance",)
    )
    drift = {
        rate: dataset.imbalance.sel(learning_rate=rate, step=step) for rate, step in steps.items()
    }
    setting, quantity = "noncommuting moments, L = 3", "imbalance of gradient descent"
    rows = [
        within(
            Subject(setting, quantity, f"step {wide:g} / {narrow:g}, median"),
            1.9,
            2.1,
            float(np.median(drift[wide].values / drift[narrow].values)),
        )
        for wide, narrow in pairwise(RATES)
    ]
    subject = Subject(setting, quantity, f"step {RATES[0]:g}, median")
    bounded = Subject(setting, "imbalance of Runge-Kutta flow", "step 0.01, largest")
    return [
        *rows,
        found(subject, float(drift[RATES[0]].median())),
        at_most(bounded, 1e-6, highest(flow.imbalance)),
    ], dataset


def _crowded(crowded: xr.Dataset) -> list[Row]:
    """A head leaves more of a suppressed feature, by the power law of its first layer's start."""
    end = crowded.isel(step=-1).sel(feature="class").median("seed")
    off = np.exp(np.abs(np.log(end.pre_feature_norms / end.left_behind)))
    law = "|W_1 v_1| / start^(1 - phi_1^2/phi_k^2)"
    rows = [
        at_most(Subject("crowded out, p = 4", law, "or its inverse, largest"), 3.0, highest(off))
    ]
    for strength in STRENGTHS:
        setting = f"crowded out, irrelevant strength {strength:g}"
        for name, norms in (("|W v_1|", end.feature_norms), ("|W_1 v_1|", end.pre_feature_norms)):
            left = norms.sel(irrelevant_strength=strength)
            told = {f"L = {depth}": float(left.sel(depth=depth)) for depth in DEPTHS}
            rows.append(found(Subject(setting, f"{name} left", "median"), told))
    return rows


def _collapse() -> tuple[list[Row], xr.Dataset]:
    """The layer below a head collapses too: the head does not save the subclass."""
    axes: list[Group] = [seeds(COLLAPSE_SEEDS)]
    dataset = sweep(COLLAPSE_HEAD, axes, COLLAPSE_STEPS, measure=NORMS)
    limit = forecast(COLLAPSE_HEAD, axes, critical=False).pre_feature_norms
    setting = "collapse setting, L = 2"
    end, peak = dataset.isel(step=-1).median("seed"), dataset.max("step").median("seed")
    rows = [
        close(
            Subject(setting, "|W_1 v_1| against minimum norm", "median"),
            float(limit.sel(feature="class").median()),
            float(end.pre_feature_norms.sel(feature="class")),
            0.02,
        )
    ]
    for statistic, part in (("at the end, median", end), ("at the peak, median", peak)):
        both = part.sel(feature="subclass")
        told = {
            "|W v_2|": float(both.feature_norms),
            "|W_1 v_2|": float(both.pre_feature_norms),
        }
        rows.append(found(Subject(setting, "subclass, above and below the head", statistic), told))
    return rows, dataset


CLAIM = Claim(
    name="projection-head",
    says="layers below a projection head are more even: they keep more of a suppressed feature, of "
    "a collapsed subclass only where the head is not linear",
    shows=(),
    source="after Xue et al. (2024), arXiv 2403.11391, and Jing et al. (2022); escape times, what "
    "rivals leave and where diagonal networks end derived here",
    cost="about a minute on 2 cores",
    study=study,
)
