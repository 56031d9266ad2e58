"""The paper's figures of class collapse, at its own numbers: figures 1, 2 and 6."""

import numpy as np
import xarray as xr

from cldyn import plots, theory
from cldyn.claims.settings import START, coded
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
    within,
)
from cldyn.data import FeatureModel, OneHot
from cldyn.experiment import Experiment, Training
from cldyn.optimizers import Gd
from cldyn.sources import Stored
from cldyn.sweeps import forecast, sweep, with_predictions

# A small run changes SETTING, SEEDS and WIDE.
# n = 1000 is no multiple of 16, the number of (class, subclass, irrelevant feature, sign): the
# paper's data cannot be balanced over all of them, and are so over class and subclass alone.
MODEL = FeatureModel(d=2000, irrelevant="sparse", irrelevant_strength=(1.0, 1.0), noise=OneHot(2.0))
SETTING = Experiment(
    Stored(MODEL, n=1000, m=5),
    Training(START, optimizer=Gd(0.05)),
    "float64",
)
SEEDS = 16
WIDE = 500  # p of figure 2b
PANELS = (0, 45, 60, 100)
STEPS = [*range(121), *range(125, 401, 25)]
MEASURES = ("feature_norms", "class_gap", "subclass_gap", "gradient_balance", "embeddings")
# 10 to 90 % (first) and all (peak) of 32 starts on another draw of the data, by another
# implementation; where starts do not matter, a range about it.
RANGES = {
    "class_gap": {45: (0.074, 0.332), 60: (0.83, 1.93), 80: (1.99, 2.0), 100: (1.99, 2.0)},
    "subclass_gap": {
        20: (0.021, 0.073), 30: (0.51, 0.69), 45: (0.240, 0.319), 60: (0.073, 0.095),
        80: (0.0125, 0.024), 100: (0.0034, 0.0044),
    },
}  # fmt: skip
PEAK, PEAK_STEP = (0.342, 0.345), (29, 34)
BALANCED = 1.05
CAREFUL = 0.04  # a rate at which the bound of the peak is one; that of the figure is larger


def study() -> Study:
    """Train the paper's setting, from many starts with p = 3 and from one with p = 500."""
    starts = [{"seed": range(SEEDS)}]
    seen = sweep(SETTING, starts, STEPS, measure=MEASURES)
    lanes = seen.drop_vars("embeddings")
    middle = int(np.argsort(lanes.class_gap.sel(step=PANELS[1]).values)[SEEDS // 2])
    clusters = coded(seen[["embeddings"]].isel(seed=middle).sel(step=[*PANELS]), SETTING)
    one = [{"seed": [0], "embed_dim": [WIDE]}]
    early = [step for step in STEPS if step <= PANELS[-1]]
    wide = sweep(SETTING.replace(precision="float32"), one, early, measure=("feature_norms",))
    rate = SETTING.training.optimizer.learning_rate
    known = forecast(SETTING, [*starts, {"learning_rate": (rate, CAREFUL)}], critical=False)
    bound = known.peak_bound.max("learning_rate")
    known = known.sel(learning_rate=rate).assign(peak_bound=bound)
    rows = showing("Fig. 1", _gaps(lanes)) + showing("Fig. 2", _norms(lanes, wide, known))
    rows += showing("Fig. 6", _balance(lanes))
    figure = plots.collapse_figures(clusters, lanes, wide, known.median("seed"))
    trajectories = {"": with_predictions(lanes, known), "wide": wide, "clusters": clusters}
    return Study(rows, trajectories, figure)


def _gaps(lanes: xr.Dataset) -> list[Row]:
    """How far apart groups of test embeddings are, at the epochs of the figure."""
    rows = []
    for name, ranges in RANGES.items():
        for step, (low, high) in ranges.items():
            subject = Subject("p = 3", f"{name.replace('_', ' ')} at step {step}", "median")
            measured = float(lanes[name].sel(step=step).median("seed"))
            rows.append(within(subject, low, high, measured))
    return rows


def _peak(lanes: xr.Dataset) -> tuple[xr.DataArray, xr.DataArray]:
    """Height and step of the peak of |W v_2| [seed]."""
    norms = lanes.feature_norms.sel(feature="subclass")
    return norms.max("step"), norms.idxmax("step")


def _norms(lanes: xr.Dataset, wide: xr.Dataset, known: xr.Dataset) -> list[Row]:
    """The subclass is learned first and unlearned, the class stays; a wide embedding does alike."""
    height, when = _peak(lanes)
    peak = "peak of |W v_2|"
    rows = [
        within(Subject("p = 3", peak, "median"), *PEAK, float(height.median())),
        within(Subject("p = 3", f"step of the {peak}", "median"), *PEAK_STEP, float(when.median())),
        found(
            Subject("p = 3", f"{peak} over its bound", "largest"),
            highest(height / known.peak_bound),
            "<= 1 for rates <= 1/(8 lambda_max(M))",
        ),
    ]
    ends, limits = lanes.feature_norms.isel(step=-1), known.feature_norms.median("seed")
    of_class, subclass = (ends.sel(feature=name) for name in ("class", "subclass"))
    limit, last = float(limits.sel(feature="class")), f"at step {STEPS[-1]}"
    below = f"{float(limits.sel(feature='subclass')):.2g} in the limit"
    one = wide.feature_norms.isel(seed=0)
    curve = one.sel(feature="subclass")
    told = {
        "peak": float(curve.max()),
        "its step": float(curve.idxmax("step")),
        f"step {int(curve.step[-1])}": float(curve[-1]),
    }
    end = float(one.sel(feature="class")[-1])
    return [
        *rows,
        close(Subject("p = 3", f"|W v_1| {last}", "median"), limit, float(of_class.median()), 0.01),
        found(Subject("p = 3", f"|W v_2| {last}", "median, 10-90 %"), spread(subclass), below),
        close(
            Subject(f"p = {WIDE}", f"|W v_1| at step {PANELS[-1]}", "one start"), limit, end, 0.01
        ),
        found(Subject(f"p = {WIDE}", "|W v_2|", "one start"), told),
    ]


def _balance(lanes: xr.Dataset) -> list[Row]:
    """The two terms of the gradient, and when they balance."""
    ratio = lanes.gradient_balance.transpose("seed", "step")
    _, when = _peak(lanes)
    at_peak = ratio.sel(step=when)
    first = ratio.step[(ratio < BALANCED).argmax("step")]
    bound = float(theory.peak_balance(MODEL.subclass_strength, MODEL.subclass_mean))
    late = ratio.sel(step=slice(80, None))
    what = "|W P|/|W M W^T W M|"

    def of(quantity: str, statistic: str) -> Subject:
        return Subject("p = 3", quantity, statistic)

    course = {f"step {step}": float(ratio.sel(step=step).median()) for step in (0, 20, 30, 60)}
    return [
        at_most(
            of(f"steps between balance, {what} < {BALANCED}, and the peak of |W v_2|", "median"),
            3.0,
            float(np.abs(first - when).median()),
        ),
        at_most(of(f"{what} at the peak of |W v_2|", "largest"), bound, highest(at_peak)),
        at_least(of(f"{what} at the peak of |W v_2|", "least"), 1.0, lowest(at_peak)),
        at_most(of(f"{what} - 1 from step 80 on", "largest"), 0.005, highest(np.abs(late - 1))),
        found(of(what, "median"), course),
    ]


CLAIM = Claim(
    name="collapse-figures",
    says="the paper's pictures of class collapse at its own numbers: four groups become two, "
    "|W v_2| rises and falls, and the two terms of the gradient balance at its peak",
    shows=("Fig. 1", "Fig. 2", "Fig. 6"),
    source="figures 1, 2 and 6 of Xue et al. (2023); why both coincide at the peak derived here",
    cost="under a minute on 2 cores",
    study=study,
)
