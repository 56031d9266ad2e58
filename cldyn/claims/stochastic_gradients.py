"""Stochastic gradients: what batches, momentum and Adam do to the claims, and where SGD hovers."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import xarray as xr

from cldyn import plots, theory
from cldyn.batches import Epochs, Subset
from cldyn.claims.arms import collapse_arms, joint_arms, optimizer_arms, train_arms, width_arms
from cldyn.claims.settings import COLLAPSE, seeds
from cldyn.claims.table import (
    Claim,
    Row,
    Study,
    Subject,
    at_least,
    at_most,
    close,
    found,
    spread,
    within,
)
from cldyn.data import FeatureModel
from cldyn.encoders import Linear
from cldyn.experiment import Experiment, Training
from cldyn.losses import Unsupervised
from cldyn.optimizers import Gd, InverseTime, Momentum
from cldyn.phases import Phases, phases
from cldyn.sources import Stored
from cldyn.sweeps import Group, forecast, sweep
from cldyn.trajectory import gradient_noise

# A small run changes SEEDS, FEW_SEEDS, HOVER_SEEDS, the TIMES, LAST, DRAWS, HOVER_TIME and COOLED.
SEEDS, FEW_SEEDS, HOVER_SEEDS = 8, 8, 16
COLLAPSE_TIMES = np.concatenate([np.arange(0, 8, 0.1), np.arange(8, 20.1, 0.5)])
WIDTH_TIMES = np.array([0.0, 0.5, *np.arange(1, 20.1)])
JOINT_TIMES = np.array([0.0, 1.0, 2.0, *np.arange(4, 40.1, 2)])
LAST, DRAWS = 20_000, 32_768
HOVER_TIME, COOLED = 100.0, 160_000

# A sample without ties or slow directions, on which SGD hovers before long.
NOISY = Experiment(
    Stored(FeatureModel(d=10, class_strength=1.5, class_keep=0.9, subclass_keep=0.6), n=64),
    Training(Linear(embed_dim=2, init_scale=0.05), positives=Unsupervised(), batch=Subset(16)),
    "float64",
)
HOVER_RATES = (0.004, 0.002, 0.001)
FRACTIONS = (0.1, 0.3, 0.5, 0.7, 0.9)


def study() -> Study:
    """Run every setting of the claim."""
    by_batch = train_arms(collapse_arms(), seeds(SEEDS), COLLAPSE_TIMES)
    measure = ("feature_norms", "excess_loss", "train_subclass_gap", "subclass_gap")
    by_optimizer = train_arms(optimizer_arms(), seeds(SEEDS), COLLAPSE_TIMES, measure)
    width = train_arms(width_arms(), seeds(SEEDS), WIDTH_TIMES)
    joint = train_arms(joint_arms(), seeds(SEEDS), JOINT_TIMES)
    noise, _ = gradient_noise(NOISY, DRAWS)
    hovering_rows, hovering = _hovering(noise)
    cooled_rows, cooled = _cooled(noise)
    critical_rows, critical = _near_critical()
    rows = [*_collapse(by_batch), *_optimizers(by_optimizer), *_width(width), *_joint(joint)]
    rows += [*hovering_rows, *cooled_rows, *critical_rows]
    trajectories = {"": by_batch, "optimizers": by_optimizer, "width": width, "joint": joint}
    trajectories |= {"hovering": hovering, "cooled": cooled, "near-critical": critical}
    return Study(rows, trajectories, figure(by_batch, by_optimizer))


def figure(*parts: xr.Dataset) -> plots.Figure:
    """The picture of the claim: arms at the same times."""
    shown = [part[["feature_norms", "finite"]] for part in parts]
    return plots.arms(xr.concat(shown, "arm", combine_attrs="drop_conflicts"))


def found_arms(
    arms: xr.Dataset, quantity: str, tell: Callable[[xr.Dataset], str | Mapping[str, object]]
) -> list[Row]:
    """A row for every arm, with what is told of its end: median (10 .. 90 % of the seeds)."""
    statistic = f"flow time {float(arms.time[-1]):g}, 10-90 %"
    return [
        found(Subject(name, quantity, statistic), tell(arms.sel(arm=name)))
        for name in arms.arm.values.tolist()
    ]


def _ends(arm: xr.Dataset) -> dict[str, str]:
    """The last |W v_j| of the trajectories that stayed finite."""
    finite = arm.finite.values.astype(bool)
    if not finite.any():
        return {"diverged": "all"}
    last = arm.feature_norms.isel(time=-1, seed=finite)
    told = {name: spread(last.sel(feature=name)) for name in last.feature.values.tolist()}
    return told if finite.all() else told | {"diverged": f"{(~finite).sum()} of {finite.size}"}


def _subclass(arm: xr.Dataset) -> Phases:
    return phases(arm.time, arm.feature_norms.sel(feature="subclass").transpose("seed", "time"))


def _unlearned(arm: xr.Dataset) -> dict[str, str]:
    """How high the subclass came, and in how many seeds it then fell below half."""
    subclass = _subclass(arm)
    fell = np.isfinite(subclass.unlearned)
    return {"peak": spread(subclass.peak), "unlearned": f"{fell.sum()} of {fell.size}"} | _ends(arm)


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
    ends = sweep(sgd, [seeds(SEEDS)], [0, LAST], measure=["subclass_gap"]).subclass_gap[:, -1]
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
        close(end, float(known.subclass_gap.median()), float(ends.median()), 0.05),
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


def _width(arms: xr.Dataset) -> list[Row]:
    """Every mix of tied directions is a minimizer, and noise moves W among them.

    What gradient descent left behind comes back, slower at smaller steps.
    """
    end = arms.feature_norms.sel(feature="class").isel(time=-1).median("seed")
    careful, large = (
        float(end.sel(arm=f"SGD, stored, b = 32, rate {rate}")) for rate in (0.0025, 0.01)
    )
    subject = Subject(
        "width, p = 4, SGD, b = 32", "|W v_1|, rate 0.0025 over rate 0.01", "medians over seeds"
    )
    return [at_most(subject, 1.0, careful / large), *found_arms(arms, "width: |W v_j|", _ends)]


def _joint(arms: xr.Dataset) -> list[Row]:
    """Fresh data follow the law of the population up to noise that shrinks with the step.

    Nothing tied is left to drift along.
    """
    one = joint_arms()["population, gradient descent, rate 0.02"]
    positives, encoder = one.training.positives, one.training.encoder
    law = theory.population_norms(one.problem.model, positives, encoder.embed_dim, bias=False)
    online = arms.sel(arm="SGD, online, b = 32, rate 0.005").feature_norms.isel(time=-1)
    setting = "joint, SGD, online, b = 32, rate 0.005"
    rows = [
        close(
            Subject(setting, f"|W v_{j + 1}|", "median over seeds"),
            float(law[j]), float(online.isel(feature=j).median()), 0.02,
        )
        for j in range(2)
    ]  # fmt: skip
    return [*rows, *found_arms(arms, "joint, beta 0.5: |W v_j|", _ends)]


def _hovering(noise: float) -> tuple[list[Row], xr.Dataset]:
    """At a constant step SGD hovers above the minimum.

    Its excess loss is of first order in the step, its distance of order one half.
    """
    sgd, heavy = Gd(), Momentum(momentum=0.8)
    arms = {
        "SGD": NOISY.replace(optimizer=sgd),
        "SGD, momentum 0.8": NOISY.replace(optimizer=heavy),
        "SGD, epochs": NOISY.replace(optimizer=sgd, batch=Epochs(16)),
    }
    # Epochs, whose every step orders all rows anew, spare the longest runs: NaN there.
    reached = HOVER_RATES, HOVER_RATES, HOVER_RATES[:2]
    parts = [_hover(arm, some) for arm, some in zip(arms.values(), reached, strict=True)]
    hovering = xr.concat(parts, "arm", join="left").assign_coords(arm=[*arms])
    excess, square = hovering.excess_loss.mean("seed"), hovering.square_distance.mean("seed")
    rates = np.array(HOVER_RATES)
    predicted = theory.stationary_excess(noise, rates)  # whatever the momentum, at equal flow time
    rows = []
    for name in [*arms][:2]:
        setting = f"noisy sample, {name}"
        for rate, eta_c, measured in zip(
            rates, predicted, excess.sel(arm=name).values, strict=True
        ):
            subject = Subject(
                f"{setting}, flow rate {rate:g}", "excess loss against eta C/4", "mean"
            )
            rows.append(close(subject, float(eta_c), float(measured), 0.06))
        for power, what, curve in (
            (1.0, "excess loss", excess), (0.5, "distance", np.sqrt(square)),
        ):  # fmt: skip
            ends = curve.sel(arm=name).values[[0, -1]]
            order = float(np.log(ends[0] / ends[1]) / np.log(rates[0] / rates[-1]))
            subject = Subject(setting, f"{what}, order in the step", "of its mean")
            rows.append(within(subject, power - 0.1, power + 0.1, order))
    shares = excess.sel(arm="SGD, epochs").values / np.asarray(predicted)
    told = {f"rate {rate:g}": share for rate, share in zip(reached[-1], shares, strict=False)}
    subject = Subject("noisy sample, SGD, epochs", "excess loss over that of free batches", "mean")
    return [*rows, found(subject, told)], hovering


def _hover(arm: Experiment, reached: Sequence[float]) -> xr.Dataset:
    """Excess loss and square of the distance, mean over late times [rate, seed]."""
    damping = 1 - getattr(arm.training.optimizer, "momentum", 0.0)  # steps last longer by 1 over it
    parts = []
    for rate in reached:
        last = round(HOVER_TIME / rate)
        steps = np.linspace(last // 4, last, 200).astype(int)
        one, lanes = arm.replace(learning_rate=rate * damping), {"seed": range(HOVER_SEEDS)}
        part = sweep(one, [lanes], steps, measure=["excess_loss", "distance"])
        parts.append(part.assign(square_distance=part.distance**2).mean("step"))
    rates = xr.DataArray([*reached], dims="rate", name="rate")
    return xr.concat(parts, rates, combine_attrs="drop_conflicts")


def _cooled(noise: float) -> tuple[list[Row], xr.Dataset]:
    """With steps that shrink like 1/t SGD converges.

    Slowly enough it hovers where the step of the moment puts it.
    """
    start, decay = 0.004, COOLED // 16
    arm = NOISY.replace(schedule=InverseTime(float(decay)), learning_rate=start)
    steps = [*range(decay, 2 * decay, 100), *range(COOLED - decay, COOLED, 100)]
    lanes = {"seed": range(HOVER_SEEDS)}
    dataset = sweep(arm, [lanes], steps, measure=["excess_loss", "distance"])
    early, late = (
        dataset.sel(step=part) for part in (slice(0, 2 * decay), slice(COOLED - decay, None))
    )
    moment = start / (1 + late.step.values / decay)
    predicted = float(theory.stationary_excess(noise, moment).mean())
    square = [float((part.distance**2).mean()) for part in (late, early)]
    setting = f"noisy sample, SGD, {start:g}/(1 + t/{decay})"
    excess = Subject(setting, "excess loss against eta_t C/4", f"mean, to step {COOLED}")
    fell = Subject(setting, "distance, late over early", "root mean squares")
    return [
        close(excess, predicted, float(late.excess_loss.mean()), 0.1),
        at_most(fell, 0.5, (square[0] / square[1]) ** 0.5),
    ], dataset


def _near_critical() -> tuple[list[Row], xr.Dataset]:
    """How large a step batches stand in the collapse setting."""
    base = COLLAPSE.replace(embed_dim=2, learning_rate_unit="critical")
    last, rows, parts = 4000, [], []
    for size in (8, 32):
        axes: list[Group] = [seeds(FEW_SEEDS), {"learning_rate": FRACTIONS}]
        arm = base.replace(batch=Epochs(size))
        part = sweep(arm, axes, [0, last], measure=["feature_norms"]).isel(step=-1)
        finite = (part.finite_steps == last).sum("seed").values
        left = part.feature_norms.sel(feature="subclass").median("seed", skipna=True).values
        setting, statistic = f"collapse, p = 2, SGD, b = {size}", f"step {last}, by fraction"
        named = [f"{fraction:g} of critical" for fraction in FRACTIONS]
        counts = [f"{count} of {FEW_SEEDS}" for count in finite]
        told = dict(zip(named, counts, strict=True))
        rows.append(found(Subject(setting, "trajectories that stay finite", statistic), told))
        told = {name: norm for name, norm, count in zip(named, left, finite, strict=True) if count}
        if told:
            rows.append(found(Subject(setting, "|W v_2| of these", f"{statistic}, median"), told))
        parts.append(part.expand_dims(batch_size=[size]))
    return rows, xr.concat(parts, "batch_size", combine_attrs="drop_conflicts")


CLAIM = Claim(
    name="stochastic-gradients",
    says="under SGD classes collapse as under gradient descent, while its noise undoes part of "
    "feature suppression; Adam finds other minimizers",
    shows=(),
    source="this project; Xue et al. (2023) prove their claims for gradient descent",
    cost="some minutes on 2 cores",
    study=study,
)
