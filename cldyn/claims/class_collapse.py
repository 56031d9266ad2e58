"""Class collapse: supervised contrastive learning learns subclasses early, unlearns them later."""

import numpy as np
import xarray as xr

from cldyn import plots, theory
from cldyn.claims.settings import COLLAPSE, coded, seeds
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
    lowest,
    showing,
    within,
)
from cldyn.data import FeatureModel, Gaussian
from cldyn.experiment import Experiment
from cldyn.phases import Phases, phases
from cldyn.sources import Population
from cldyn.sweeps import Group, forecast, sweep, with_predictions

# A small run changes SEEDS, FEW_SEEDS, RATES (FIGURE_RATE is told of), FRACTIONS, BIASLESS_STEPS.
SEEDS, FEW_SEEDS = 32, 4
FIGURE_RATE = 0.05
RATES = (0.01, 0.015, 0.02, 0.03, 0.04, FIGURE_RATE, 0.065, 0.08)
FRACTIONS = (0.2, 0.35, 0.5, 0.65, 0.8, 0.95)
BIASLESS_STEPS = [0, 50, 100, 200, 400, 1000, 2000, 5000, 10_000, 20_000, 50_000, 100_000]

PANELS = (0, 45, 60, 100)
EARLY = [*range(150), *range(150, 401, 5)]
STEPS = [*EARLY, *np.unique(np.geomspace(401, 20_000, 60).astype(int)).tolist()]
# The subclass decays at a closed rate near the population's minimizer. In the last two settings the
# class's row rules; in the last but one from the start of the window, in the last one only once the
# faster constant's row has died out. The last but one was chosen, among eighteen tried, so that the
# slower rate shows in the window at all; the last was not.
SETTINGS = {
    "class_strength": (1.0, 1.0, 1.0, 1.0, 1.0, 2.0, 1.0),
    "subclass_strength": (1.0, 0.5, 1.0, 0.25, 1.0, 1.0, 1.0),
    "subclass_mean": (1.0, 1.0, 0.5, 1.0, 2.0, 0.3, 1.0),
    "class_keep": (1.0, 1.0, 1.0, 1.0, 1.0, 0.5, 0.5),
    "learning_rate": (0.05, 0.05, 0.05, 0.05, 0.02, 0.02, 0.05),
}
WINDOW, LATE_WINDOW = (1e-2, 1e-7), (1e-8, 1e-10)
# Least and most over 60 independent draws of data and initialization by another implementation of
# the figure's setting.
RANGES = {
    "class_gap": {
        45: (0.08, 1.55), 60: (1.09, 1.990), 100: (1.989, 1.991), 400: (1.989, 1.991),
    },
    "subclass_gap": {
        45: (0.17, 0.25), 60: (0.051, 0.078), 100: (0.0102, 0.0124), 400: (0.0085, 0.0106),
    },
}  # fmt: skip
PEAK_RANGE = (0.684, 0.689)


def study() -> Study:
    """Run every setting of the claim."""
    axes: list[Group] = [seeds(SEEDS), {"learning_rate": RATES}]
    main, known = sweep(COLLAPSE, axes, EARLY), forecast(COLLAPSE, axes)
    lanes = sweep(COLLAPSE, [seeds(SEEDS), {"learning_rate": [FIGURE_RATE]}], STEPS)
    decay_rows, decay = _decay()
    convergence_rows, convergence = _convergence(known)
    bias_rows, no_bias = _no_bias()
    mean_rows, no_mean = _no_mean()
    learned = _learning(main, known, "class") + showing(
        "Thm 4.5", _learning(main, known, "subclass")
    )
    rows = [*_finite(main, lanes), *learned, *_peak(main, known)]
    rows += [*_figure_numbers(lanes), *_limit(lanes, known), *decay_rows, *convergence_rows]
    embedded = embeddings()
    trajectories = {"": with_predictions(main, known), "figure": lanes, "decay": decay}
    trajectories |= {"convergence": convergence, "no-bias": no_bias, "no-mean": no_mean}
    trajectories |= {"embeddings": embedded}
    rows = [*rows, *bias_rows, *mean_rows]
    return Study(rows, trajectories, figure(lanes, known, embedded.sel(step=[*PANELS])))


def _finite(*parts: xr.Dataset) -> list[Row]:
    rows = []
    for part in parts:
        last, rates = int(part.step[-1]), part.learning_rate.values
        setting = f"rate {rates[0]:g}" + f" .. {rates[-1]:g}" * (rates.size > 1)
        subject = Subject(setting, "trajectories that stay finite", f"share, {last} steps")
        rows.append(at_least(subject, 1.0, float((part.finite_steps == last).mean())))
    return rows


def _phases(main: xr.Dataset, feature: str) -> Phases:
    return phases(main.step, main.feature_norms.sel(feature=feature).transpose(..., "step"))


def _learning(main: xr.Dataset, known: xr.Dataset, feature: str) -> list[Row]:
    """Learning steps against early growth."""
    predicted = known.sel(feature=feature)
    error = np.abs(_phases(main, feature).learned - predicted.learning_step) / predicted.efold
    error = np.where(np.isnan(error), np.inf, error)
    what = "all rates", f"learning step of {feature}, off by"
    return [
        at_most(Subject(*what, "median, in e-folding times"), 0.4, float(np.median(error))),
        at_most(Subject(*what, "90th percentile"), 1.0, float(np.quantile(error, 0.9))),
    ]


def _peak(main: xr.Dataset, known: xr.Dataset) -> list[Row]:
    """The peak of the subclass against its bound, which holds for careful rates."""
    peak = main.feature_norms.sel(feature="subclass").max("step")
    share = peak / known.peak_bound.max("learning_rate")  # it does not depend on the rate
    careful = known.step_size <= 1 / (8 * known.largest_second)
    what = "peak of |W v_2| over its bound"
    setting = "rates <= 1/(8 lambda_max(M))"
    rows = [
        at_most(Subject(setting, what, "largest"), 1.0, highest(share.where(careful, -np.inf))),
        at_least(Subject(setting, what, "smallest"), 0.6, lowest(share.where(careful, np.inf))),
    ]
    for rate in share.learning_rate[~careful.any("seed")].values:
        values = share.sel(learning_rate=rate)
        measured = {"median": float(values.median()), "largest": float(values.max())}
        rows.append(found(Subject(f"rate {rate:g}, above 1/(8 lambda_max(M))", what), measured))
    return rows


def _figure_numbers(lanes: xr.Dataset) -> list[Row]:
    """The gaps of the paper's figure, against ranges over independent draws."""
    setting, statistic = f"rate {FIGURE_RATE}", "median over seeds"
    rows = []
    for name, ranges in RANGES.items():
        gaps = lanes[name].sel(learning_rate=FIGURE_RATE).median("seed")
        for step, (low, high) in ranges.items():
            subject = Subject(setting, f"{name.replace('_', ' ')} at step {step}", statistic)
            rows.append(within(subject, low, high, float(gaps.sel(step=step))))
    peak = float(lanes.subclass_gap.max("step").median())
    return [
        *rows,
        within(Subject(setting, "peak of the subclass gap", statistic), *PEAK_RANGE, peak),
    ]


def _limit(lanes: xr.Dataset, known: xr.Dataset) -> list[Row]:
    """Where the figure's setting ends."""
    limit = float(known.subclass_gap.sel(learning_rate=FIGURE_RATE).median("seed"))
    subject = Subject(
        f"rate {FIGURE_RATE}", f"subclass gap at step {STEPS[-1]}", "median over seeds"
    )
    return [close(subject, limit, float(lanes.subclass_gap.isel(step=-1).median()), 0.05)]


def _decay_rate(experiment: Experiment) -> float:
    """Predicted rate of unlearning per step."""
    rate = experiment.training.optimizer.learning_rate
    return float(-np.log1p(-rate * theory.unlearning_rate(experiment.problem.model)))


def _decay() -> tuple[list[Row], xr.Dataset]:
    """Rates of unlearning in the population."""
    base = COLLAPSE.replace(problem=Population(FeatureModel(d=3, noise=Gaussian(0.0))), embed_dim=2)
    steps = [*range(1000), *range(1000, 4001, 10)]
    dataset = sweep(base, [SETTINGS, {"seed": range(16)}], steps, measure=["feature_norms"])
    rows = []
    for i, values in enumerate(zip(*SETTINGS.values(), strict=True)):
        predicted = _decay_rate(base.replace(**dict(zip(SETTINGS, values, strict=True))))
        curves = dataset.feature_norms.sel(feature="subclass").isel(class_strength=i)
        curves = curves.transpose("seed", "step")
        setting = "population, phi {:g}, {:g}; mu_2 {:g}; keep_1 {:g}; rate {:g}".format(*values)
        late = i == len(SETTINGS["class_keep"]) - 1
        for high, low in (WINDOW, LATE_WINDOW) if late else (WINDOW,):
            fits = phases(dataset.step, curves, fit_high=high, fit_low=low)
            spans = f"{np.nanmax(fits.decay_from):.0e} to {np.nanmin(fits.decay_to):.0e}"
            subject = Subject(setting, "decay rate of |W v_2| per step", f"median, fit {spans}")
            measured = float(np.median(fits.decay_rate))
            if late and (high, low) == WINDOW:
                rows.append(found(subject, {"both rows of W take part": measured}))
            else:
                rows.append(close(subject, predicted, measured, 0.03))
    return rows, dataset


def _convergence(known: xr.Dataset) -> tuple[list[Row], xr.Dataset]:
    """Below the critical step all lanes reach the minimum-norm minimizer, above it none does."""
    experiment = COLLAPSE.replace(embed_dim=2, learning_rate_unit="critical")
    # 20 e-folding times of the slowest direction; the third output of `known` changes nothing here.
    slowest = 4 * FRACTIONS[0] * known.critical_learning_rate * known.smallest_second
    last = int(np.ceil(20 / slowest.min()))
    dataset = sweep(
        experiment,
        [seeds(2), {"learning_rate": (*FRACTIONS, 1.05)}],
        np.linspace(0, last, 41).astype(int),
        measure=["distance", "excess_loss", "feature_norms"],
    )
    distance, what = dataset.distance.fillna(np.inf), "distance to the minimum norm"
    below, above = distance.sel(learning_rate=[*FRACTIONS]), distance.sel(learning_rate=1.05)
    setting = "p = 2, {} of critical".format
    careful = Subject(setting("0.2 .. 0.95"), what, f"step {last}, largest")
    return [
        at_most(careful, 1e-6, highest(below.isel(step=-1))),
        at_least(Subject(setting("1.05"), what, "least over steps"), 1e-3, lowest(above)),
    ], dataset


def _no_bias() -> tuple[list[Row], xr.Dataset]:
    """Without a bias the subclass stands in for the constant; noise directions bend the way."""
    experiment = COLLAPSE.replace(noise_length=0.3, bias=False, learning_rate=0.1)
    axes, last = [seeds(FEW_SEEDS)], BIASLESS_STEPS[-1]
    dataset = sweep(experiment, axes, BIASLESS_STEPS, measure=["feature_norms", "distance"])
    model = experiment.problem.model
    predicted = model.subclass_mean / (model.subclass_mean**2 + model.subclass_strength**2)
    curve, limit = (
        part.feature_norms.sel(feature="subclass").median("seed")
        for part in (dataset, forecast(experiment, axes, critical=False))
    )
    top = {"norm": float(curve.max()), "step": float(curve.idxmax("step"))}

    def of(quantity: str) -> Subject:
        return Subject("no bias, no collapse, noise 0.3", quantity, "median over seeds")

    return [
        close(of("|W v_2| of minimum norm"), predicted, float(limit), 0.02),
        close(of(f"|W v_2| at step {last}"), predicted, float(curve[-1]), 0.02),
        found(of("|W v_2|, largest on the way"), top),
    ], dataset


def _no_mean() -> tuple[list[Row], xr.Dataset]:
    """Without its mean nothing carries the subclass."""
    axes: list[Group] = [seeds(FEW_SEEDS), {"learning_rate": RATES}]  # compiled by the main sweep
    dataset = sweep(COLLAPSE.replace(subclass_mean=0.0), axes, EARLY)
    peak = dataset.feature_norms.max("step")
    subclass, of_class = peak.sel(feature="subclass"), peak.sel(feature="class")
    learned, setting = 0.1, "subclass mean 0, all rates"
    return [
        at_most(Subject(setting, "peak of |W v_2|", "largest"), learned, highest(subclass)),
        at_least(Subject(setting, "peak of |W v_1|", "least"), learned, lowest(of_class)),
    ], dataset


def embeddings() -> xr.Dataset:
    """Test embeddings of one trajectory, step by step."""
    steps = np.union1d(range(0, 160, 2), PANELS)
    return coded(sweep(COLLAPSE, [], steps, measure=["embeddings"]), COLLAPSE)


def figure(lanes: xr.Dataset, known: xr.Dataset, clusters: xr.Dataset) -> plots.Figure:
    """The picture of the claim.

    Args:
        lanes: trajectories over seed and step, at the figure's learning rate.
        known: forecast over seed and learning rates, some of them careful.
        clusters: test embeddings of one trajectory at the steps that are shown.
    """
    prediction = known.sel(learning_rate=FIGURE_RATE).assign(
        peak_bound=known.peak_bound.max("learning_rate"),  # that of a careful rate
        decay_rate=_decay_rate(COLLAPSE),
    )
    chosen = lanes.sel(learning_rate=FIGURE_RATE)
    return plots.class_collapse(clusters, chosen, prediction.median("seed"))


CLAIM = Claim(
    name="class-collapse",
    says="supervised contrastive learning learns subclasses early in training and unlearns them "
    "later: classes collapse",
    shows=("Thm 4.5",),
    source="theorem 4.5 and figures 1 and 2 of Xue et al. (2023), in a smaller setting; step "
    "sizes, bounds and rates derived here",
    cost="under a minute on 2 cores",
    study=study,
)
