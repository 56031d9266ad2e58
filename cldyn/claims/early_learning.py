"""Theorem 4.5 as a law: when supervised training learns the subclass, over the start's scale, the
input dimension and the embedding dimension.
"""

import numpy as np
import xarray as xr

from cldyn import plots
from cldyn.claims.settings import START
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
    spread,
)
from cldyn.data import FeatureModel, OneHot
from cldyn.experiment import Experiment, Training
from cldyn.optimizers import Gd
from cldyn.phases import phases
from cldyn.sources import Stored
from cldyn.sweeps import Group, sweep

# A small run changes DIMENSIONS, WIDTHS, SCALES and SEEDS.
# The theorem wants small noise; n, m and sigma are not said.
MODEL = FeatureModel(irrelevant="sparse", irrelevant_strength=(1.0, 1.0), noise=OneHot(0.3))
SETTING = Experiment(
    Stored(MODEL, n=64, m=2),
    Training(START, optimizer=Gd(0.05)),
    "float32",
)
DIMENSIONS = (200, 2000, 20_000)
WIDTHS = (3, 30, 300)
SCALES = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2)
SEEDS = 4
STEPS = [*range(66)]
# Other growth rates; in the last setting 1 + mu_2^2 > phi_1^2, which the theorem asks for, fails.
OTHERS = {
    "subclass_mean": (0.5, 1.0, 2.0, 1.0),
    "class_strength": (1.0, 1.0, 1.0, 2.0),
    "learning_rate": (0.08, 0.02, 0.02, 0.02),
}
OTHER_STEPS = [*range(151)]


def study() -> Study:
    """Train every dimension, width and scale, and other growth rates."""
    parts = [
        sweep(
            SETTING.replace(d=d),
            [{"embed_dim": WIDTHS}, {"init_scale": SCALES}, {"seed": range(SEEDS)}],
            STEPS,
            measure=("feature_norms",),
        )
        for d in DIMENSIONS
    ]
    main = xr.concat(parts, xr.DataArray([*DIMENSIONS], dims="d", name="d"))
    axes: list[Group] = [OTHERS, {"init_scale": SCALES}, {"seed": range(SEEDS)}]
    others = sweep(SETTING, axes, OTHER_STEPS, measure=("feature_norms",))
    law_rows, law = _law(main)
    probe_rows, probes = _probe()
    rows = law_rows + _other_rates(others) + probe_rows
    return Study(
        showing("Thm 4.5", rows),
        {"": main, "rates": others, "probe": probes},
        plots.early_learning(law, _slope(SETTING), probes),
    )


def _slope(experiment: Experiment) -> float:
    """Predicted steps per unit of ln(sqrt(d/p)/sigma_0): the e-folding time of the mean."""
    rate, mean = experiment.training.optimizer.learning_rate, experiment.problem.model.subclass_mean
    return float(1 / np.log1p(4 * rate * (1 + mean**2)))


def learned(runs: xr.Dataset) -> xr.DataArray:
    """Steps at which |W v_2| reaches 0.1."""
    norms = runs.feature_norms.sel(feature="subclass").transpose(..., "step")
    steps = phases(runs.step, norms).learned
    return norms.isel(step=0, drop=True).copy(data=steps)


def fitted(x: xr.DataArray, steps: xr.DataArray) -> tuple[float, float, float]:
    """Slope and intercept of steps over x, and the standard deviation about the line."""
    x, steps = xr.broadcast(x, steps)
    slope, intercept = np.polyfit(x.values.ravel(), steps.values.ravel(), 1)
    return float(slope), float(intercept), float((steps - slope * x - intercept).std())


def _law(main: xr.Dataset) -> tuple[list[Row], xr.DataArray]:
    """One line for all scales, dimensions and widths."""
    steps = learned(main)
    x = np.log(np.sqrt(main.d / main.embed_dim) / main.init_scale)
    slope, intercept, deviation = fitted(x, steps)
    predicted, setting = _slope(SETTING), "sigma_0, d and p together"
    size = steps.size
    rows = [
        close(Subject(setting, "steps per unit of ln(sqrt(d/p)/sigma_0)", f"fit of {size}"),
              predicted, slope, 0.03),
        at_most(Subject(setting, "spread about the line, in e-folding times", "standard deviation"),
                1.0, deviation / predicted),
        found(Subject(setting, "learning step where the logarithm is 0", "fit"), intercept),
    ]  # fmt: skip
    residual = steps - slope * x - intercept
    for name, along in (("sigma_0", "init_scale"), ("d", "d"), ("p", "embed_dim")):
        off = residual.mean([dim for dim in residual.dims if dim != along])
        subject = Subject(f"every {name}", "mean off the line, in e-folding times", "largest")
        rows.append(at_most(subject, 0.5, highest(np.abs(off)) / predicted))
    return rows, steps.assign_coords(logarithm=x)


def _other_rates(others: xr.Dataset) -> list[Row]:
    """The slope goes with the e-folding time of the mean, also where a stronger class comes first,
    in an output of its own: the theorem's condition is not needed.
    """
    rows = []
    for i, (mean, strength, rate) in enumerate(zip(*OTHERS.values(), strict=True)):
        runs = others.isel(subclass_mean=i)
        steps = learned(runs)
        slope, _, _ = fitted(-np.log(steps.init_scale), steps)
        predicted = _slope(SETTING.replace(subclass_mean=mean, learning_rate=rate))
        setting = f"mu_2 {mean:g}, phi_1 {strength:g}, rate {rate:g}"
        subject = Subject(setting, "steps per unit of ln(1/sigma_0)", "fit")
        rows.append(close(subject, predicted, slope, 0.03))
        if 1 + mean**2 <= strength**2:
            peak = runs.feature_norms.sel(feature="subclass").max("step")
            setting += ": condition not met"
            rows.append(found(Subject(setting, "peak of |W v_2|", "median, 10-90 %"), spread(peak)))
    return rows


def _probe() -> tuple[list[Row], xr.Dataset]:
    """At the learning step a probe fitted on training rows reads the subclass of test rows."""
    runs = sweep(
        SETTING,
        [{"seed": range(SEEDS)}],
        STEPS,
        measure=("feature_norms", "subclass_accuracy"),
    )
    at = learned(runs).round().astype(int)
    accuracy = runs.subclass_accuracy.sel(step=at)
    setting = f"sigma_0 {SETTING.training.encoder.init_scale:g}, p = 3"
    subject = Subject(setting, "probe accuracy of the subclass at the learning step", "least")
    return [at_least(subject, 0.99, lowest(accuracy))], runs


CLAIM = Claim(
    name="early-learning",
    says="supervised training learns the subclass at a step that grows as ln(sqrt(d/p)/sigma_0), "
    "by the e-folding time of the mean",
    shows=("Thm 4.5",),
    source="theorem 4.5 of Xue et al. (2023); the slope 1/ln(1 + 4 eta (1 + mu_2^2)) derived here",
    cost="under a minute on 2 cores",
    study=study,
)
