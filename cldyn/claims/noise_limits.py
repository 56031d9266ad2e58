"""The limits of SGD's noise: other batches, broken ties, what wins at last, and what is immune."""

from dataclasses import replace

import numpy as np
import xarray as xr

from cldyn import plots, theory
from cldyn.batches import Epochs, Full, Iid, Subset
from cldyn.claims import joint_loss
from cldyn.claims.noise_law import MODEL, SETTING, STRONG, law, point_rows, trained
from cldyn.claims.table import Claim, Row, Study, Subject, at_least, at_most, close, found, spread
from cldyn.experiment import Experiment
from cldyn.optimizers import Adam, Momentum
from cldyn.sources import Stored

# A small run changes these.
SEEDS, MANY, JOINT_SEEDS = 100, 200, 16
LONG, JOINT = 250.0, 20.0  # flow times

# Five strengths that compete for two outputs.
LADDER = SETTING.replace(
    model=replace(MODEL, subclass_strength=1.25, irrelevant_strength=(1.5, 1.75, 2.0)),
    embed_dim=2, batch=Iid(8), learning_rate=0.005,
)  # fmt: skip


def study() -> Study:
    """Run every setting of the claim."""
    rows, quantiles = point_rows(points(), MANY)
    ladder, joint = _ladder(), trained(joint_arm(), JOINT, JOINT_SEEDS)
    rows += [*_beyond_rows(), *_ladder_rows(ladder), *_joint_rows(joint)]
    trajectories = {"": ladder, "points": quantiles}
    return Study(rows, trajectories, plots.noise_limits(quantiles, ladder))


def _stored(batch: object) -> Experiment:
    return SETTING.replace(problem=Stored(MODEL, n=64), batch=batch)


def points() -> dict[str, tuple[Experiment, float]]:
    """Batches without replacement and momentum, which the law knows too."""
    heavy = Momentum(0.00025, momentum=0.9)
    return {
        "subsets of 64": (_stored(Subset(16)), 10.0),
        "epochs of 64": (_stored(Epochs(16)), 10.0),
        "momentum 0.9, b = 32": (SETTING.replace(batch=Iid(32), optimizer=heavy), 10.0),
    }


def beyond() -> dict[str, tuple[Experiment, float]]:
    """Settings outside the law's conditions, and the flow time at which they are looked at."""
    more = replace(MODEL, d=7, subclass_strength=1.0, irrelevant_strength=(STRONG,) * 4)
    return {
        "class keep 0.97": (SETTING.replace(class_keep=0.97), 5.0),
        "irrelevant keep 0.97": (SETTING.replace(irrelevant_keep=(0.97,) * 3), 5.0),
        "bias": (SETTING.replace(bias=True), 10.0),
        "class mean 0.5": (SETTING.replace(class_mean=0.5), 10.0),
        "two weak features": (SETTING.replace(model=more), 10.0),
        "rate 0.03": (SETTING.replace(learning_rate=0.03), 10.0),
        "Adam, rate 0.01": (SETTING.replace(optimizer=Adam(0.01)), 10.0),
        "stored, epochs of 64, b = 8": (_stored(Epochs(8)), 10.0),
    }


def _beyond_rows() -> list[Row]:
    """What is found where the law makes no promise."""
    rows = []
    for name, (experiment, time) in beyond().items():
        end = trained(experiment, time, SEEDS).sel(feature="class").values
        finite = end[np.isfinite(end)]
        told = spread(finite) if finite.size else "diverged"
        if finite.size < end.size:
            told += f"; diverged: {end.size - finite.size} of {end.size}"
        beside = f"law without it: {law(SETTING, time)[0]:.3g}"
        setting = f"width, SGD, {name}, flow time {time:g}"
        rows.append(found(Subject(setting, "|W v_1|", "median, 10-90 %"), told, beside))
    return rows


# --- in the long run -------------------------------------------------------------------------


def _ladder() -> xr.Dataset:
    """Five features and two outputs: which are learned at last, with the noise and without."""
    arms = {"SGD": LADDER, "gradient descent": LADDER.replace(batch=Full())}
    ends = [trained(arm, LONG, SEEDS).isel(time=0, drop=True) for arm in arms.values()]
    norms = xr.concat(ends, xr.DataArray([*arms], dims="arm", name="arm"))
    strengths = "feature", np.asarray(LADDER.problem.model.strengths())
    return xr.Dataset({"feature_norms": norms, "strength": strengths})


def _ladder_rows(ladder: xr.Dataset) -> list[Row]:
    """Noise prefers the smallest variances, the start the largest."""
    learned = (ladder.feature_norms * ladder.strength).median("seed")
    ratio = learned.isel(feature=0) / learned.isel(feature=-1)
    setting, quantity = f"five strengths, p = 2, flow time {LONG:g}", "weakest over strongest"
    statistic = f"phi_j |W v_j|, medians of {SEEDS} seeds"
    noisy, still = (Subject(f"{setting}, {arm}", quantity, statistic) for arm in ladder.arm.values)
    return [
        at_least(noisy, 1.0, float(ratio.sel(arm="SGD"))),
        at_most(still, 1.0, float(ratio.sel(arm="gradient descent"))),
    ]


# --- where nothing ties ----------------------------------------------------------------------


def joint_arm() -> Experiment:
    """Fresh data with both failures, and the joint loss."""
    return joint_loss.SETTING.replace(
        precision="float32", beta=0.5, batch=Iid(32), learning_rate=0.005
    )


def _joint_rows(norms: xr.DataArray) -> list[Row]:
    """Fresh data follow the law of the population up to noise that shrinks with the step."""
    one = joint_arm()
    positives, encoder = one.training.positives, one.training.encoder
    known = theory.population_norms(one.problem.model, positives, encoder.embed_dim, bias=False)
    setting = "joint, beta 0.5, SGD on fresh data, b = 32, rate 0.005"
    return [
        close(
            Subject(setting, f"|W v_{j + 1}|", "median over seeds"),
            float(known[j]), float(norms.isel(feature=j).median()), 0.02,
        )
        for j in range(2)
    ]  # fmt: skip


CLAIM = Claim(
    name="noise-limits",
    says="SGD's noise at last prefers the weakest features; ties that augmentation breaks and the "
    "joint loss resist it",
    shows=(),
    source="this project; Xue et al. (2023) prove their claims for gradient descent",
    cost="a minute on 2 cores",
    study=study,
)
