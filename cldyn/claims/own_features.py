"""Theorem 5.4: features of an example's own, which all its views keep, suppress the class at every
width; gradient descent learns the class first and unlearns it.
"""

from typing import Any

import numpy as np
import xarray as xr

from cldyn import plots, theory
from cldyn.claims.settings import drawn, seeds
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
    norm_of,
    showing,
    spread,
)
from cldyn.data import FeatureModel, Perturbed
from cldyn.encoders import Linear
from cldyn.experiment import Experiment, Training, numerics
from cldyn.losses import Unsupervised
from cldyn.optimizers import Gd
from cldyn.phases import phases
from cldyn.sources import Stored
from cldyn.sweeps import Group, forecast, sweep

# A small run changes SETTING, LARGE, SEEDS, STEPS, OWN, CHANGES (.5 is told of), RANKS and what is
# trained of them.
N, M = 16, 4
SPAN = N * (M - 1) - 2  # ranks of the change up to which views still tell the class apart
SETTING = Experiment(
    Stored(
        FeatureModel(
            d=1500,
            subclass_mean=0.0,
            class_change=0.5,
            subclass_change=0.5,
            irrelevant="own",
            irrelevant_strength=(2.0,),
            own_count=512,
            noise=Perturbed(1.0),
        ),
        n=N,
        m=M,
    ),
    Training(Linear(N, 1e-4), positives=Unsupervised(), optimizer=Gd(0.05)),
    "float64",
)
LARGE = SETTING.replace(n=64, own_count=4096, d=6000)  # K of order n^2
WIDTHS = (3, 8, 9, 16, 17, 40)
SEEDS = 4
STEPS = [*range(0, 200, 4), *range(200, 8001, 50)]
WINDOW = (1e-4, 1e-8)
# What an example has of its own, and how deep views change class and subclass.
OWN = {
    "irrelevant_strength": (2.0, 1.0, 4.0, 2.0, 2.0, 2.0),
    "class_change": (0.5, 0.5, 0.5, 0.3, 1.0, 1.0),
    "subclass_change": (0.5, 0.5, 0.5, 0.3, 0.5, 0.0),
}
CHANGES = (0.0, 0.1, 0.2, 0.35, 0.5, 0.7, 1.0, 1.4, 2.0)
RANKS = (0, M // 2, M, 16, SPAN, SPAN + 1, 64, 128, 400, 900)
TRAINED_RANKS, TRAINED_STEPS = (0, 64, 400), [0, 10_000]


def study() -> Study:
    """Run every setting of the claim."""
    zeros, over_rank = _zeros()
    unlearned_rows, lanes, known = _unlearned()
    cure, trained = diagram()
    rows = showing("Thm 5.4", [*zeros, *_broken()]) + unlearned_rows + _depth(cure)
    first = lanes.isel(irrelevant_strength=0)
    return Study(
        rows,
        {"": lanes, "minimum-norm": over_rank, "depth": trained},
        plots.own_features(first, known[0].median("seed"), cure, trained.isel(step=-1)),
    )


def _zeros() -> tuple[list[Row], xr.Dataset]:
    """Zero at every width, and up to a rank far above the theorem's m/2."""
    axes: list[Group] = [{"embed_dim": WIDTHS}, {"change_rank": RANKS}, {"data_seed": range(2)}]
    known = forecast(SETTING, axes, critical=False)
    norms, what = norm_of(known, "class"), "|W v_1|, minimum norm"
    wide = LARGE.problem.n + 16
    large = forecast(LARGE, [{"embed_dim": (3, LARGE.problem.n, wide)}], critical=False)
    setting = f"n = {N}, m = {M}, K = {SETTING.problem.model.features}, p = 3 .. {WIDTHS[-1]}"
    model = LARGE.problem.model
    biggest = f"n = {LARGE.problem.n}, m = {M}, K = {model.features}, p = 3 .. {wide}"
    kept, beyond = (
        norms.sel(change_rank=slice(0, SPAN)),
        norms.sel(change_rank=slice(SPAN + 1, None)),
    )
    theirs = kept.sel(change_rank=slice(0, M // 2))
    return [
        at_most(Subject(setting, what, "largest, rank <= m/2"), 1e-10, highest(theirs)),
        at_most(Subject(biggest, what, "largest, rank 0"), 1e-10, highest(norm_of(large, "class"))),
        at_most(
            Subject(setting, what, f"largest, rank <= n(m - 1) - 2 = {SPAN}: m/2 is not needed"),
            1e-10,
            highest(kept),
        ),
        at_least(Subject(setting, what, f"least, rank > {SPAN}"), 1e-6, lowest(beyond)),
    ], known


def _broken() -> list[Row]:
    """The theorem's other conditions, broken one by one."""
    axes: list[Group] = [{"embed_dim": WIDTHS}, {"data_seed": range(2)}]

    def norms(**changed: Any) -> xr.DataArray:
        return norm_of(forecast(SETTING.replace(**changed), axes, critical=False), "class")

    model, what = SETTING.problem.model, "|W v_1|, minimum norm"
    length = np.hypot(model.irrelevant_strength[0], model.noise.noise_length)
    with numerics("float64"):
        closed = float(theory.augmentation_norm(model.class_strength, length, 1.0, N, M))
    still, shared = norms(class_change=0.0), norms(own_count=N // 2)
    bare = norms(own_count=N // 2, noise_length=0.0)
    carried = N // 2 + 1  # functions that own features and the constant carry
    narrow, wide = (
        bare.sel(embed_dim=slice(0, carried)),
        bare.sel(embed_dim=slice(carried + 1, None)),
    )
    two = "own features shared by two examples"
    unchanged = still.values.ravel()
    farthest = float(unchanged[np.abs(unchanged - closed).argmax()])
    return [
        close(Subject("no change of the class", what, "farthest"), closed, farthest, 1e-8),
        at_most(
            Subject(f"{two}, noise of their own kept", what, "largest"), 1e-10, highest(shared)
        ),
        at_most(Subject(f"{two}, no noise", what, "largest, p <= n/2 + 1"), 1e-10, highest(narrow)),
        at_least(Subject(f"{two}, no noise", what, "least, p > n/2 + 1"), 0.1, lowest(wide)),
    ]


def _parts(problem: Stored) -> tuple[np.ndarray, np.ndarray]:
    """Second moment between examples, and covariance within, of the features that views change."""
    model = problem.model
    changed = [j for j, change in enumerate((model.class_change, model.subclass_change)) if change]
    views = drawn(problem)
    z = (np.asarray(views.x) @ np.asarray(views.directions).T)[..., changed]
    means = z.mean(axis=1)
    apart = (z - means[:, None]).reshape(-1, len(changed))
    return means.T @ means / len(means), apart.T @ apart / len(apart)


def _predicted(experiment: Experiment) -> xr.Dataset:
    """Bound of the peak and rate of unlearning per step, by what each sample has in it."""
    model, n = experiment.problem.model, experiment.problem.n
    own = model.irrelevant_strength[0] ** 2 + model.noise.noise_length**2
    rate, peaks, decays = experiment.training.optimizer.learning_rate, [], []
    for seed in range(SEEDS):
        between, within = _parts(experiment.replace(data_seed=seed).problem)
        with numerics("float64"):
            peaks.append(float(theory.own_peak(between[0, 0], within[0, 0], own, n)))
            decays.append(float(theory.own_unlearning_rate(between, within, own, n)))
    decay = -np.log1p(-rate * np.array(decays))
    return xr.Dataset({"peak": ("seed", peaks), "decay_rate": ("seed", decay)})


def _unlearned() -> tuple[list[Row], xr.Dataset, list[xr.Dataset]]:
    """Gradient descent learns the class first, then unlearns it at the rate of the law."""
    lanes = sweep(SETTING, [OWN, seeds(SEEDS)], STEPS, measure=("feature_norms",))
    rows, predicted = [], []
    for i, (own, *changes) in enumerate(zip(*OWN.values(), strict=True)):
        given = dict(zip([*OWN][1:], changes, strict=True))
        known = _predicted(SETTING.replace(irrelevant_strength=(own,), **given))
        predicted.append(known)
        curves = lanes.feature_norms.sel(feature="class").isel(irrelevant_strength=i)
        curves = curves.transpose("seed", "step")
        timed = phases(lanes.step, curves, fit_high=WINDOW[0], fit_low=WINDOW[1])
        setting = "n = p = {}, own feature {:g}, changes {:g}, {:g}".format(N, own, *changes)
        ratio = timed.decay_rate / known.decay_rate.values
        share = timed.peak / known.peak.values
        peak, decay = "peak of |W v_1| over its bound", "decay rate of |W v_1| / predicted"
        rows += [
            at_most(Subject(setting, peak, "largest"), 1.0, highest(share)),
            at_least(Subject(setting, peak, "least"), 0.6, lowest(share)),
            close(
                Subject(setting, decay, "median, fit 1e-4 to 1e-8"),
                1.0,
                float(np.median(ratio)),
                0.02,
            ),
            found(Subject(setting, decay, "median, 10-90 %"), spread(ratio)),
        ]
    return rows, lanes, predicted


def diagram() -> tuple[xr.DataArray, xr.Dataset]:
    """|W v_1| of the minimum norm over depth and rank of the change, and some cells trained."""
    axes: list[Group] = [{"change_rank": RANKS}, {"class_change": CHANGES}]
    known = forecast(SETTING, axes, critical=False)
    some: list[Group] = [
        {"change_rank": TRAINED_RANKS},
        {"class_change": [CHANGES[1], 0.5, CHANGES[-1]], "learning_rate": [0.05, 0.05, 0.02]},
    ]
    trained = sweep(SETTING, some, TRAINED_STEPS, measure=("feature_norms",))
    return norm_of(known, "class").assign_attrs(edge=SPAN), trained


def _depth(cure: xr.DataArray) -> list[Row]:
    """A change of the noise of rank enough cures suppression."""
    told = {
        f"rank {int(rank)}": float(cure.sel(class_change=0.5, change_rank=rank)) for rank in RANKS
    }
    return [found(Subject("class change 0.5", "|W v_1|, minimum norm", "over rank"), told)]


CLAIM = Claim(
    name="own-features",
    says="features of an example's own, which views keep while they change the class, suppress it "
    "at every width; gradient descent learns it first and unlearns it",
    shows=("Thm 5.4",),
    source="theorem 5.4 of Xue et al. (2023); the rank that is enough, the law of unlearning and "
    "the bound of the peak derived here",
    cost="under a minute on 2 cores",
    study=study,
)
