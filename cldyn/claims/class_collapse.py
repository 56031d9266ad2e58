"""Class collapse: supervised contrastive learning learns subclasses early and unlearns them later."""

from dataclasses import replace

import jax
import numpy as np
import xarray as xr

from cldyn import plots
from cldyn.axes import Group
from cldyn.claims.arms import ARM_SEEDS, found_arms, setting, sgd_arms, spread, train_arms
from cldyn.claims.table import Claim, Row, Study, at_least, at_most, close, found, within
from cldyn.data import FeatureModel, sample_test
from cldyn.experiment import Experiment, Problem, Training
from cldyn.lane import gradient_noise, predict, run
from cldyn.lanes import forecast, sweep
from cldyn.measures import Phases, phases

PAPER = Experiment(Problem(FeatureModel(), precision="float64"), Training())
FIGURE_RATE = 0.05
PANELS = (0, 45, 60, 100)
SEEDS = {"seed": range(32), "data_seed": range(32)}
RATES = {"learning_rate": (0.01, 0.015, 0.02, 0.03, 0.04, FIGURE_RATE, 0.065, 0.08)}
STEPS = [
    *range(150),
    *range(150, 400, 5),
    *np.unique(np.geomspace(400, 20_000, 60).astype(int)).tolist(),
]
# The subclass decays at a closed rate near the population's minimizer. In the last two settings the class's row rules; in
# the last but one from the start of the window, in the last one only once the faster constant's row has died out.
# The last but one was chosen, among eighteen tried, so that the slower rate shows in the window at all; the last was not.
SETTINGS = {
    "class_strength": (1.0, 1.0, 1.0, 1.0, 1.0, 2.0, 1.0),
    "subclass_strength": (1.0, 0.5, 1.0, 0.25, 1.0, 1.0, 1.0),
    "subclass_mean": (1.0, 1.0, 0.5, 1.0, 2.0, 0.3, 1.0),
    "class_keep": (1.0, 1.0, 1.0, 1.0, 1.0, 0.5, 0.5),
    "learning_rate": (0.05, 0.05, 0.05, 0.05, 0.02, 0.02, 0.05),
}
WINDOW, LATE_WINDOW = (1e-2, 1e-7), (1e-8, 1e-10)
FRACTIONS = (0.2, 0.35, 0.5, 0.65, 0.8, 0.95)
# Least and most over 60 independent draws of data and initialization by another implementation of the figure's setting.
CLASS_RANGES = {45: (0.08, 1.55), 60: (1.09, 1.990), 100: (1.989, 1.991), 400: (1.989, 1.991)}
SUBCLASS_RANGES = {
    45: (0.17, 0.25),
    60: (0.051, 0.078),
    100: (0.0102, 0.0124),
    400: (0.0085, 0.0106),
}
PEAK_RANGE = (0.684, 0.689)
ARM_TIMES = np.concatenate([np.arange(0, 8, 0.1), np.arange(8, 20.1, 0.5)])


def study() -> Study:
    """Run every setting of the claim."""
    main = sweep(PAPER, [SEEDS, RATES], STEPS)
    known = forecast(PAPER, [SEEDS, RATES])
    curves = main.feature_norms.sel(feature="subclass")
    finite = float((main.finite_steps == main.step[-1]).mean())
    rows = [at_least("share of the lanes of the main sweep that stayed finite", 1.0, finite)]
    rows += _learning(main, known) + _peak(curves, known) + _figure_numbers(main)
    decay_rows, decay = _decay()
    convergence_rows, convergence = _convergence()
    bias_rows, no_bias = _no_bias()
    mean_rows, no_mean = _no_mean()
    by_batch = train_arms(stochastic_arms(), ARM_SEEDS, ARM_TIMES)
    by_optimizer = train_arms(
        optimizer_arms(),
        ARM_SEEDS,
        ARM_TIMES,
        ("feature_norms", "excess_loss", "train_subclass_gap", "subclass_gap"),
    )
    rows += (
        decay_rows
        + convergence_rows
        + _limit(main, known)
        + bias_rows
        + mean_rows
        + _stochastic(by_batch)
        + _optimizers(by_optimizer)
    )
    trajectories = {
        "": main,
        "decay": decay,
        "convergence": convergence,
        "no-bias": no_bias,
        "no-mean": no_mean,
    }
    trajectories |= {"stochastic": by_batch, "optimizers": by_optimizer}
    return Study(rows, trajectories, figure(main, known))


def _norm_phases(dataset: xr.Dataset, feature: str) -> Phases:
    return phases(dataset.step, dataset.feature_norms.sel(feature=feature).transpose(..., "step"))


def _learning(main: xr.Dataset, known: xr.Dataset) -> list[Row]:
    """Learning steps against early growth, in e-folding times."""
    rows = []
    for feature in ("class", "subclass"):
        predicted = known.sel(feature=feature)
        error = (
            np.abs(_norm_phases(main, feature).learned - predicted.learning_step) / predicted.efold
        )
        error = np.where(np.isnan(error), np.inf, error)
        rows.append(
            at_most(
                f"error of the learning step of {feature}, in e-folding times, median over lanes",
                0.4,
                float(np.median(error)),
            )
        )
        rows.append(
            at_most(
                f"error of the learning step of {feature}, 90th percentile",
                1.0,
                float(np.quantile(error, 0.9)),
            )
        )
    return rows


def _peak(curves: xr.DataArray, known: xr.Dataset) -> list[Row]:
    share = curves.max("step") / known.peak_bound
    careful = known.step_size <= 1 / (8 * known.largest_second)
    rows = [
        at_most(
            "peak of |W v_2| over its bound, largest of lanes with step <= 1/(8 lambda_max(M))",
            1.0,
            float(share.where(careful).max()),
        ),
        at_least(
            "peak of |W v_2| over its bound, smallest of these lanes",
            0.6,
            float(share.where(careful).min()),
        ),
    ]
    for rate in curves.learning_rate.values:
        if not careful.sel(learning_rate=rate).any():
            values = share.sel(learning_rate=rate).values
            text = f"{np.median(values):.3f} (at most {values.max():.3f})"
            rows.append(
                found(f"peak of |W v_2| over its bound at the larger step {rate:g}, median", text)
            )
    return rows


def _figure_numbers(main: xr.Dataset) -> list[Row]:
    """The gaps of the paper's figure, median over seeds, against ranges over independent draws."""
    lane = main.sel(learning_rate=FIGURE_RATE).median("seed")
    rows = []
    for feature, ranges in (("class", CLASS_RANGES), ("subclass", SUBCLASS_RANGES)):
        for step, (low, high) in ranges.items():
            measured = float(lane[f"{feature}_gap"].sel(step=step))
            rows.append(
                within(
                    f"{feature} gap at step {step}, learning rate {FIGURE_RATE}, median over seeds",
                    low,
                    high,
                    measured,
                )
            )
    peak = float(main.subclass_gap.sel(learning_rate=FIGURE_RATE).max("step").median("seed"))
    return [
        *rows,
        within(
            f"peak of the subclass gap, learning rate {FIGURE_RATE}, median over seeds",
            *PEAK_RANGE,
            peak,
        ),
    ]


def _decay() -> tuple[list[Row], xr.Dataset]:
    """Rates of unlearning in the population."""
    base = replace(PAPER.problem, data=FeatureModel(d=3, noise=0.0), population=True)
    experiment = Experiment(base, replace(PAPER.training, embed_dim=2))
    dataset = sweep(
        experiment,
        [SETTINGS, {"seed": range(16)}],
        [*range(1000), *range(1000, 4001, 10)],
        measure=("feature_norms",),
    )
    rows = []
    for i, (class_strength, strength, mean, keep, rate) in enumerate(
        zip(*SETTINGS.values(), strict=True)
    ):
        numbers = {
            "class_strength": class_strength,
            "subclass_strength": strength,
            "subclass_mean": mean,
            "class_keep": keep,
        }
        lane = Experiment(
            replace(base, data=replace(base.data, **numbers)),
            replace(experiment.training, learning_rate=rate),
        )
        predicted = float(-np.log1p(-rate * predict(lane).unlearning_rate))
        curves = (
            dataset.feature_norms.sel(feature="subclass")
            .isel(class_strength=i)
            .transpose("seed", "step")
        )
        setting = f"phi_1 = {class_strength}, phi_2 = {strength}, mu_2 = {mean}, keep_1 = {keep}, step {rate}"
        late = i == len(SETTINGS["class_keep"]) - 1
        for high, low in (WINDOW, LATE_WINDOW) if late else (WINDOW,):
            fits = phases(dataset.step, curves, fit_high=high, fit_low=low)
            spans = f"fit from {np.nanmax(fits.decay_from):.0e} to {np.nanmin(fits.decay_to):.0e}"
            measured = float(np.median(fits.decay_rate))
            name = f"decay rate of |W v_2| per step: {setting}; {spans}"
            mixed = late and (high, low) == WINDOW
            rows.append(
                found(f"{name} (both rows take part)", f"{measured:.4g}")
                if mixed
                else close(name, predicted, measured, 0.03)
            )
    return rows, dataset


def _convergence() -> tuple[list[Row], xr.Dataset]:
    """Below the critical step every lane reaches the minimum-norm minimizer, above it none does."""
    experiment = Experiment(
        PAPER.problem, replace(PAPER.training, embed_dim=2, learning_rate_unit="critical")
    )
    axes: list[Group] = [
        {"seed": range(8), "data_seed": range(8)},
        {"learning_rate": (*FRACTIONS, 1.05)},
    ]
    known = forecast(experiment, axes)
    last = int(np.ceil((20 / (4 * known.step_size * known.smallest_second)).max()))
    dataset = sweep(
        experiment,
        axes,
        np.unique(np.linspace(0, last, 41).astype(int)).tolist(),
        measure=("distance", "excess_loss", "feature_norms"),
    )
    below = dataset.distance.sel(learning_rate=list(FRACTIONS)).isel(step=-1).values
    above = dataset.distance.sel(learning_rate=1.05).values
    setting = f"p = 2, {last} steps"
    rows = [
        at_most(
            f"distance to the minimum-norm minimizer, 0.2 to 0.95 of the critical rate, {setting}, largest of {below.size} lanes",
            1e-6,
            float(np.where(np.isnan(below), np.inf, below).max()),
        ),
        at_least(
            f"distance at 1.05 of the critical rate, {setting}, least over lanes and records",
            1e-3,
            float(np.where(np.isnan(above), np.inf, above).min()),
        ),
    ]
    return rows, dataset


def _limit(main: xr.Dataset, known: xr.Dataset) -> list[Row]:
    """Where the figure's setting (p = 3) ends: the distance left to the minimum-norm minimizer is a finding."""
    end = main.subclass_gap.isel(step=-1).sel(learning_rate=FIGURE_RATE)
    limit = known.subclass_gap.sel(learning_rate=FIGURE_RATE)
    return [
        close(
            f"subclass gap after {int(main.step[-1])} steps against the minimum-norm limit, median over seeds",
            float(limit.median()),
            float(end.median()),
            0.05,
        )
    ]


def _no_bias() -> tuple[list[Row], xr.Dataset]:
    """Without a bias the subclass stands in for the constant; noise directions bend |W v_2| on the way there."""
    model = FeatureModel(noise=0.3)
    experiment = Experiment(
        replace(PAPER.problem, data=model, bias=False), replace(PAPER.training, learning_rate=0.1)
    )
    steps = [0, 50, 100, 200, 400, 1000, 2000, 5000, 10_000, 20_000, 50_000, 100_000]
    dataset = sweep(experiment, [SEEDS], steps, measure=("feature_norms", "distance"))
    predicted = model.subclass_mean / (model.subclass_mean**2 + model.subclass_strength**2)
    curve = dataset.feature_norms.sel(feature="subclass").median("seed")
    limit = forecast(experiment, [SEEDS]).feature_norms.sel(feature="subclass").median("seed")
    setting = "no bias, no collapse: |W v_2|, noise 0.3, median over seeds"
    return [
        close(f"{setting}, minimum-norm minimizer of the samples", predicted, float(limit), 0.02),
        close(f"{setting}, after {steps[-1]} steps", predicted, float(curve[-1]), 0.02),
        found(
            f"{setting}, largest on the way",
            f"{float(curve.max()):.4g} at step {int(curve.step[int(curve.argmax('step'))])}",
        ),
    ], dataset


def _no_mean() -> tuple[list[Row], xr.Dataset]:
    experiment = Experiment(
        replace(PAPER.problem, data=FeatureModel(subclass_mean=0.0)), PAPER.training
    )
    dataset = sweep(experiment, [SEEDS], [*range(0, 400, 2), 400])
    peak = dataset.feature_norms.max("step")
    return [
        at_most(
            "subclass mean zero: largest |W v_2| ever, over lanes (learned is 0.1)",
            0.1,
            float(peak.sel(feature="subclass").max()),
        ),
        at_least(
            "subclass mean zero: largest |W v_1|, least of the same lanes",
            0.1,
            float(peak.sel(feature="class").min()),
        ),
    ], dataset


def stochastic_arms() -> dict[str, Experiment]:
    """SGD beside gradient descent."""
    base = setting(PAPER, {"precision": "float32"})
    return {"gradient descent, rate 0.05": base, **sgd_arms(base, (8, 32), (0.05, 0.0125))}


def optimizer_arms() -> dict[str, Experiment]:
    """Other optimizers on the whole sample, and Adam on batches and where features lie across the coordinates."""
    base = setting(PAPER, {"precision": "float32"})
    turned = {"precision": "float32", "data": FeatureModel(rotated=True)}
    return {
        "momentum 0.9, rate 0.005": setting(base, optimizer="momentum", learning_rate=0.005),
        "Nesterov 0.9, rate 0.005": setting(base, optimizer="nesterov", learning_rate=0.005),
        "Adam, rate 0.01": setting(base, optimizer="adam", learning_rate=0.01),
        "Adam, rate 0.0025": setting(base, optimizer="adam", learning_rate=0.0025),
        "Adam, rate 0.01, b = 32": setting(
            base, optimizer="adam", learning_rate=0.01, batch="epochs"
        ),
        "Adam, rate 0.01, rotated features": setting(
            PAPER, turned, optimizer="adam", learning_rate=0.01
        ),
        "RMSprop, rate 0.01": setting(base, optimizer="rmsprop", learning_rate=0.01),
        "Lion, rate 0.0025": setting(base, optimizer="lion", learning_rate=0.0025),
    }


def _subclass_phases(arm: xr.Dataset) -> Phases:
    return phases(arm.time, arm.feature_norms.sel(feature="subclass").transpose("seed", "time"))


def _ends(arm: xr.Dataset) -> str:
    subclass, last = _subclass_phases(arm), arm.feature_norms.isel(time=-1)
    left = spread(last.sel(feature="subclass")), spread(last.sel(feature="class"))
    return f"{spread(subclass.peak)}; {int(np.isfinite(subclass.unlearned).sum())} of {arm.sizes['seed']}; {'; '.join(left)}"


_ENDS = (
    "peak of |W v_2|; seeds in which it then fell below half; |W v_2| and |W v_1| at flow time 20"
)


def _stochastic(arms: xr.Dataset) -> list[Row]:
    """SGD learns the subclass early and unlearns it later; at the collapsed embedding its noise is gone.

    A pair pulls f_i by 4 w_ij (f_i.f_j - (n/n_c) 1[same class]) f_j, which is zero for every pair where f_i.f_j = (n/n_c) 1[same class]: all
    batches have the collapsed minimizer in common, and SGD gets there with a constant step.
    """
    timed = [_subclass_phases(arms.sel(arm=name)) for name in arms.arm.values]
    bent = np.mean([np.isfinite(one.learned) & np.isfinite(one.unlearned) for one in timed])
    predicted = forecast(setting(PAPER, learning_rate=0.0125), [ARM_SEEDS], critical=False).sel(
        feature="subclass"
    )
    careful = _subclass_phases(arms.sel(arm="SGD, stored, b = 32, rate 0.0125")).learned / 0.0125
    error = np.abs(careful - predicted.learning_step) / predicted.efold
    noise, _ = gradient_noise(setting(PAPER, batch="subset"), draws=64)
    steps = [0, STEPS[-1]]
    ends = sweep(
        setting(PAPER, batch="subset"), [ARM_SEEDS], steps, measure=("subclass_gap",)
    ).subclass_gap[:, -1]
    return [
        at_least("SGD and gradient descent: share of lanes that learn the subclass and then unlearn it", 1.0, float(bent)),
        at_most("SGD, b = 32, rate 0.0125: error of the learning step of subclass, in e-folding times, median", 0.4, float(np.median(error))),
        at_most("SGD, b = 32: mean square of a batch's gradient at the minimum-norm minimizer", 1e-20, noise),
        close(f"SGD, b = 32: subclass gap after {steps[-1]} steps at rate 0.05 against the minimum-norm limit, median over seeds",
              float(predicted.subclass_gap.median()), float(ends.median()), 0.05),
        *found_arms(arms, _ENDS, _ends),
    ]  # fmt: skip


def _optimizers(arms: xr.Dataset) -> list[Row]:
    """Adam and its kin cancel the subclass on the training rows alone."""

    def gaps(arm: xr.Dataset) -> str:
        last = arm.isel(time=-1)
        return f"{spread(last.train_subclass_gap)}; {spread(last.subclass_gap)}; {spread(last.excess_loss)}"

    return found_arms(arms, _ENDS, _ends) + found_arms(
        arms, "subclass gap of training rows; of the distribution; excess loss", gaps
    )


def figure(main: xr.Dataset, known: xr.Dataset) -> plots.Figure:
    """The picture of the claim."""
    problem = PAPER.problem
    shown = run(PAPER, PANELS, measure=("embeddings",))
    test = sample_test(jax.random.key(problem.data_seed), problem.data, problem.test_size)  # type: ignore[arg-type]
    per_step = -np.log1p(-FIGURE_RATE * predict(PAPER).unlearning_rate)
    lanes = main.sel(learning_rate=FIGURE_RATE)
    prediction = known.sel(learning_rate=FIGURE_RATE).median("seed")
    codes = np.asarray(test.label), np.asarray(test.subclass)
    return plots.class_collapse(
        PANELS, shown.records["embeddings"], codes, lanes, prediction, float(per_step)
    )


CLAIM = Claim(
    name="class-collapse",
    says="supervised contrastive learning learns subclasses early in training and unlearns them later: classes collapse",
    source="claims 1 and 2 of Xue et al. (2023); step sizes, bounds and rates derived here",
    cost="under two minutes on 2 cores",
    study=study,
)
