"""Stochastic collapse: batches, momentum and Adam in the setting of class collapse."""

import numpy as np
import xarray as xr

from cldyn import plots
from cldyn.batches import Epochs, Subset
from cldyn.claims.arms import ends, found_arms, sgd_arms, train_arms
from cldyn.claims.settings import COLLAPSE, seeds
from cldyn.claims.table import Claim, Row, Study, Subject, at_least, at_most, close, found, spread
from cldyn.experiment import Experiment
from cldyn.optimizers import Adam, Lion, Momentum
from cldyn.phases import Phases, phases
from cldyn.sources import Population
from cldyn.sweeps import Group, forecast, sweep
from cldyn.trajectory import gradient_noise

# A small run changes SEEDS, TIMES and LAST.
SEEDS = 8
TIMES = np.concatenate([np.arange(0, 8, 0.1), np.arange(8, 20.1, 0.5)])
LAST = 20_000
FRACTIONS = (0.1, 0.3, 0.5, 0.7, 0.9)


def collapse_arms() -> dict[str, Experiment]:
    """SGD beside gradient descent in the collapse setting."""
    base = COLLAPSE.replace(precision="float32")
    fresh = Population(base.problem.model, base.problem.m)
    return {
        "gradient descent, rate 0.05": base,
        **sgd_arms(base, (8, 32), (0.05, 0.0125), {"stored": base.problem}),
        **sgd_arms(base, (8,), (0.05, 0.0125), {"online": fresh}),
    }


def optimizer_arms() -> dict[str, Experiment]:
    """Other optimizers there; Adam on batches too, and where features lie across coordinates."""
    base = COLLAPSE.replace(precision="float32")
    adam = base.replace(optimizer=Adam(0.01))
    return {
        "momentum 0.9, rate 0.005": base.replace(optimizer=Momentum(0.005, momentum=0.9)),
        "Adam, rate 0.01": adam,
        "Adam, rate 0.01, b = 32": adam.replace(batch=Epochs(32)),
        "Adam, rate 0.01, rotated features": adam.replace(rotated=True),
        "Lion, rate 0.0025": base.replace(optimizer=Lion(0.0025)),
    }


def study() -> Study:
    """Run every setting of the claim."""
    by_batch = train_arms(collapse_arms(), seeds(SEEDS), TIMES)
    measure = ("feature_norms", "excess_loss", "train_subclass_gap", "subclass_gap")
    by_optimizer = train_arms(optimizer_arms(), seeds(SEEDS), TIMES, measure)
    critical_rows, critical = _near_critical()
    rows = [*_collapse(by_batch), *_optimizers(by_optimizer), *critical_rows]
    trajectories = {"": by_batch, "optimizers": by_optimizer, "near-critical": critical}
    return Study(rows, trajectories, figure(by_batch, by_optimizer))


def figure(*parts: xr.Dataset) -> plots.Figure:
    """The picture of the claim: arms at the same times."""
    shown = [part[["feature_norms", "finite"]] for part in parts]
    return plots.arms(xr.concat(shown, "arm", combine_attrs="drop_conflicts"))


def _subclass(arm: xr.Dataset) -> Phases:
    return phases(arm.time, arm.feature_norms.sel(feature="subclass").transpose("seed", "time"))


def _unlearned(arm: xr.Dataset) -> dict[str, str]:
    """How high the subclass came, and in how many seeds it then fell below half."""
    subclass = _subclass(arm)
    fell = np.isfinite(subclass.unlearned)
    return {"peak": spread(subclass.peak), "unlearned": f"{fell.sum()} of {fell.size}"} | ends(arm)


def _collapse(arms: xr.Dataset) -> list[Row]:
    """SGD learns the subclass early and unlearns it; at the collapsed embedding its noise is gone.

    A pair pulls f_i by 4 w_ij (f_i.f_j - (n/n_c) 1[same class]) f_j, which is zero for every pair
    where f_i.f_j = (n/n_c) 1[same class]: all batches have the collapsed minimizer in common, and
    SGD gets there with a constant step.
    """
    timed = [_subclass(arms.sel(arm=name)) for name in arms.arm.values]
    bent = np.mean([np.isfinite(one.learned) & np.isfinite(one.unlearned) for one in timed])
    rate = 0.0125
    careful = _subclass(arms.sel(arm=f"SGD, stored, b = 32, rate {rate}")).learned / rate
    known = forecast(COLLAPSE.replace(learning_rate=rate), [seeds(SEEDS)], critical=False)
    predicted = known.sel(feature="subclass")
    error = float(np.median(np.abs(careful - predicted.learning_step) / predicted.efold))
    sgd = COLLAPSE.replace(batch=Subset(32))
    noise, _ = gradient_noise(sgd, draws=64)
    reached = sweep(sgd, [seeds(SEEDS)], [0, LAST], measure=["subclass_gap"]).subclass_gap[:, -1]
    setting, what = "collapse, SGD, b = 32", "learning step of subclass, off by"
    end = Subject(f"{setting}, rate 0.05", f"subclass gap, step {LAST}", "median over seeds")
    both = Subject(
        "collapse, SGD and gradient descent", "subclass learned, then unlearned", "share"
    )
    still = Subject(setting, "|gradient|^2 at the minimum norm", "mean over batches")
    return [
        at_least(both, 1.0, float(bent)),
        at_most(Subject(f"{setting}, rate {rate}", what, "median, in e-folding times"), 0.4, error),
        at_most(still, 1e-20, noise),
        close(end, float(known.subclass_gap.median()), float(reached.median()), 0.05),
        *found_arms(arms, "collapse: subclass and class", _unlearned),
    ]


def _optimizers(arms: xr.Dataset) -> list[Row]:
    """Adam and its kin cancel the subclass on the training rows alone."""

    def gaps(arm: xr.Dataset) -> dict[str, str]:
        last = arm.isel(time=-1)
        return {
            "training rows": spread(last.train_subclass_gap),
            "test": spread(last.subclass_gap),
            "excess loss": spread(last.excess_loss),
        }

    rows = found_arms(arms, "collapse: subclass and class", _unlearned)
    return [*rows, *found_arms(arms, "collapse: subclass gap", gaps)]


def _near_critical() -> tuple[list[Row], xr.Dataset]:
    """How large a step batches stand in the collapse setting."""
    base = COLLAPSE.replace(embed_dim=2, learning_rate_unit="critical")
    last, rows, parts = 4000, [], []
    for size in (8, 32):
        axes: list[Group] = [seeds(SEEDS), {"learning_rate": FRACTIONS}]
        arm = base.replace(batch=Epochs(size))
        part = sweep(arm, axes, [0, last], measure=["feature_norms"]).isel(step=-1)
        finite = (part.finite_steps == last).sum("seed").values
        left = part.feature_norms.sel(feature="subclass").median("seed", skipna=True).values
        setting, statistic = f"collapse, p = 2, SGD, b = {size}", f"step {last}, by fraction"
        named = [f"{fraction:g} of critical" for fraction in FRACTIONS]
        counts = [f"{count} of {SEEDS}" for count in finite]
        told = dict(zip(named, counts, strict=True))
        rows.append(found(Subject(setting, "trajectories that stay finite", statistic), told))
        told = {name: norm for name, norm, count in zip(named, left, finite, strict=True) if count}
        if told:
            rows.append(found(Subject(setting, "|W v_2| of these", f"{statistic}, median"), told))
        parts.append(part.expand_dims(batch_size=[size]))
    return rows, xr.concat(parts, "batch_size", combine_attrs="drop_conflicts")


CLAIM = Claim(
    name="stochastic-collapse",
    says="under SGD classes collapse as under gradient descent; Adam collapses the training rows "
    "alone",
    shows=(),
    source="this project; Xue et al. (2023) prove their claims for gradient descent",
    cost="a minute on 2 cores",
    study=study,
)
