"""Class collapse: supervised contrastive learning learns subclasses early, unlearns them later."""

import jax
import numpy as np
import xarray as xr

from cldyn import plots
from cldyn.claims.settings import COLLAPSE, seeds
from cldyn.claims.table import Claim, Row, Study, Subject, at_least, at_most, close, found, within
from cldyn.data import FeatureModel, Gaussian, sample_test
from cldyn.phases import Phases, phases
from cldyn.sources import Population
from cldyn.sweeps import forecast, sweep
from cldyn.trajectory import predict

# Tests run the study on fewer of these.
SEEDS, FEW_SEEDS, STARTS = seeds(32), seeds(8), {"seed": range(16)}
FIGURE_RATE = 0.05
RATES = {"learning_rate": (0.01, 0.015, 0.02, 0.03, 0.04, FIGURE_RATE, 0.065, 0.08)}
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
    main = sweep(COLLAPSE, [SEEDS, RATES], EARLY)
    lanes = sweep(COLLAPSE, [SEEDS, {"learning_rate": [FIGURE_RATE]}], STEPS)
    known = forecast(COLLAPSE, [SEEDS, RATES], critical=False)
    rows = [*_learning(main, known), *_peak(main, known)]
    rows += [*_finite(main, lanes), *_figure_numbers(lanes), *_limit(lanes, known)]
    trajectories = {"": main, "figure": lanes}
    for name, part in (
        ("decay", _decay),
        ("convergence", _convergence),
        ("no-bias", _no_bias),
        ("no-mean", _no_mean),
    ):
        more, trajectories[name] = part()
        rows += more
    return Study(rows, trajectories, figure(lanes, known))


def _phases(main: xr.Dataset, feature: str) -> Phases:
    return phases(main.step, main.feature_norms.sel(feature=feature).transpose(..., "step"))


def _learning(main: xr.Dataset, known: xr.Dataset) -> list[Row]:
    """Learning steps against early growth."""
    rows = []
    for feature in ("class", "subclass"):
        predicted = known.sel(feature=feature)
        learned = _phases(main, feature).learned
        error = np.abs(learned - predicted.learning_step) / predicted.efold
        error = np.where(np.isnan(error), np.inf, error)
        what = "all rates", f"learning step of {feature}, off by"
        rows += [
            at_most(Subject(*what, "median, in e-folding times"), 0.4, float(np.median(error))),
            at_most(Subject(*what, "90th percentile"), 1.0, float(np.quantile(error, 0.9))),
        ]
    return rows


def _peak(main: xr.Dataset, known: xr.Dataset) -> list[Row]:
    """The peak of the subclass against its bound, which holds for careful rates."""
    peak = main.feature_norms.sel(feature="subclass").max("step")
    share = peak / known.peak_bound.max("learning_rate")  # it does not depend on the rate
    careful = known.step_size <= 1 / (8 * known.largest_second)
    what = "peak of |W v_2| over its bound"
    setting = "rates <= 1/(8 lambda_max(M))"
    rows = [
        at_most(Subject(setting, what, "largest"), 1.0, float(share.where(careful).max())),
        at_least(Subject(setting, what, "smallest"), 0.6, float(share.where(careful).min())),
    ]
    for rate in share.learning_rate[~careful.any("seed")].values:
        values = share.sel(learning_rate=rate)
        measured = {"median": float(values.median()), "largest": float(values.max())}
        rows.append(found(Subject(f"rate {rate:g}, which is larger", what), measured))
    return rows


def _figure_numbers(main: xr.Dataset) -> list[Row]:
    """The gaps of the paper's figure, against ranges over independent draws."""
    lanes, setting = main.sel(learning_rate=FIGURE_RATE), f"rate {FIGURE_RATE}"
    rows = []
    for name, ranges in RANGES.items():
        for step, (low, high) in ranges.items():
            subject = Subject(setting, name.replace("_", " "), f"step {step}, median over seeds")
            measured = float(lanes[name].sel(step=step).median("seed"))
            rows.append(within(subject, low, high, measured))
    peak = float(lanes.subclass_gap.max("step").median("seed"))
    return [*rows, within(Subject(setting, "peak of subclass gap", "median over seeds"), *PEAK_RANGE, peak)]


def _limit(main: xr.Dataset, known: xr.Dataset) -> list[Row]:
    """Where the figure's setting ends."""
    last, limit = (
        float(part.sel(learning_rate=FIGURE_RATE).median("seed"))
        for part in (main.subclass_gap.isel(step=-1), known.subclass_gap)
    )
    subject = Subject(f"rate {FIGURE_RATE}, step {STEPS[-1]}", "subclass gap", "median over seeds")
    return [close(subject, limit, last, 0.05)]


def _decay() -> tuple[list[Row], xr.Dataset]:
    """Rates of unlearning in the population."""
    base = COLLAPSE.replace(
        problem=Population(FeatureModel(d=3, noise=Gaussian(0.0))), embed_dim=2
    )
    steps = [*range(1000), *range(1000, 4001, 10)]
    dataset = sweep(base, [SETTINGS, STARTS], steps, measure=["feature_norms"])
    rows = []
    for i, values in enumerate(zip(*SETTINGS.values(), strict=True)):
        lane = base.replace(**dict(zip(SETTINGS, values, strict=True)))
        predicted = float(-np.log1p(-values[-1] * predict(lane).unlearning_rate))
        curves = dataset.feature_norms.sel(feature="subclass").isel(class_strength=i)
        curves = curves.transpose("seed", "step")
        setting = "phi {:g}, {:g}; mu_2 {:g}; keep_1 {:g}; rate {:g}".format(*values)
        late = i == len(SETTINGS["class_keep"]) - 1
        for high, low in (WINDOW, LATE_WINDOW) if late else (WINDOW,):
            fits = phases(dataset.step, curves, fit_high=high, fit_low=low)
            spans = f"{np.nanmax(fits.decay_from):.0e} to {np.nanmin(fits.decay_to):.0e}"
            subject = Subject(setting, "decay rate of |W v_2| per step", f"median, fit {spans}")
            measured = float(np.median(fits.decay_rate))
            if late and (high, low) == WINDOW:
                rows.append(found(subject, {"both rows take part": measured}))
            else:
                rows.append(close(subject, predicted, measured, 0.03))
    return rows, dataset


def _convergence() -> tuple[list[Row], xr.Dataset]:
    """Below the critical step all lanes reach the minimum-norm minimizer, above it none does."""
    experiment = COLLAPSE.replace(embed_dim=2, learning_rate_unit="critical")
    axes = [FEW_SEEDS, {"learning_rate": (*FRACTIONS, 1.05)}]
    known = forecast(experiment, axes)
    # 20 e-folding times of the slowest direction.
    last = int(np.ceil((20 / (4 * known.step_size * known.smallest_second)).max()))
    steps = np.unique(np.linspace(0, last, 41).astype(int))
    dataset = sweep(experiment, axes, steps, measure=["distance", "excess_loss", "feature_norms"])
    below = dataset.distance.sel(learning_rate=list(FRACTIONS)).isel(step=-1).fillna(np.inf)
    above = dataset.distance.sel(learning_rate=1.05).fillna(np.inf)
    what, settings = "distance to the minimum norm", "p = 2, {} of the critical rate"
    below_it = Subject(settings.format("0.2 to 0.95"), what, f"step {last}, largest")
    above_it = Subject(settings.format("1.05"), what, "least over records")
    rows = [at_most(below_it, 1e-6, float(below.max())), at_least(above_it, 1e-3, float(above.min()))]
    return rows, dataset


def _no_bias() -> tuple[list[Row], xr.Dataset]:
    """Without a bias the subclass stands in for the constant; noise directions bend the way."""
    experiment = COLLAPSE.replace(noise_length=0.3, bias=False, learning_rate=0.1)
    dataset = sweep(experiment, [SEEDS], BIASLESS_STEPS, measure=["feature_norms", "distance"])
    model = experiment.problem.model
    predicted = model.subclass_mean / (model.subclass_mean**2 + model.subclass_strength**2)
    curve = dataset.feature_norms.sel(feature="subclass").median("seed")
    known = forecast(experiment, [SEEDS], critical=False).feature_norms.sel(feature="subclass")
    setting, statistic = "no bias, noise 0.3", "median over seeds"
    top = {"norm": float(curve.max()), "step": float(curve.idxmax("step"))}
    last = f"|W v_2| at step {BIASLESS_STEPS[-1]}"
    return [
        close(Subject(setting, "|W v_2| of minimum norm", statistic), predicted, float(known.median()), 0.02),
        close(Subject(setting, last, statistic), predicted, float(curve[-1]), 0.02),
        found(Subject(setting, "largest |W v_2| on the way", statistic), top),
    ], dataset


def _no_mean() -> tuple[list[Row], xr.Dataset]:
    """Nothing carries a subclass without a mean; learned is 0.1."""
    steps = [*range(0, 400, 2), 400]
    dataset = sweep(COLLAPSE.replace(subclass_mean=0.0), [SEEDS], steps)
    peak, setting = dataset.feature_norms.max("step"), "subclass mean 0"
    largest, least = float(peak.sel(feature="subclass").max()), float(peak.sel(feature="class").min())
    return [
        at_most(Subject(setting, "|W v_2| at its peak", "largest of seeds"), 0.1, largest),
        at_least(Subject(setting, "|W v_1| at its peak", "least of seeds"), 0.1, least),
    ], dataset


def figure(main: xr.Dataset, known: xr.Dataset) -> plots.Figure:
    """The picture of the claim."""
    problem = COLLAPSE.problem
    test = sample_test(jax.random.key(problem.data_seed), problem.model, problem.test_size)
    codes = {name: ("test", np.asarray(getattr(test, name))) for name in ("label", "subclass")}
    clusters = sweep(COLLAPSE, [], PANELS, measure=["embeddings"]).assign_coords(codes)
    bound = known.peak_bound.max("learning_rate")  # of a careful rate
    prediction = known.sel(learning_rate=FIGURE_RATE).assign(peak_bound=bound).median("seed")
    decay = -np.log1p(-FIGURE_RATE * predict(COLLAPSE).unlearning_rate)
    lanes = main.sel(learning_rate=FIGURE_RATE)
    return plots.class_collapse(clusters, lanes, prediction.assign(decay_rate=decay))


CLAIM = Claim(
    name="class-collapse",
    says="supervised contrastive learning learns subclasses early in training and unlearns them "
    "later: classes collapse",
    source="claims 1 and 2 of Xue et al. (2023); step sizes, bounds and rates derived here",
    cost="under a minute on 2 cores",
    study=study,
)
