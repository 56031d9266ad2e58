"""Hovering: at a constant step SGD stays above its minimum by a known amount."""

from collections.abc import Sequence

import numpy as np
import xarray as xr

from cldyn import plots, theory
from cldyn.batches import Epochs, Subset
from cldyn.claims.table import Claim, Row, Study, Subject, at_most, close, found, within
from cldyn.data import FeatureModel
from cldyn.encoders import Linear
from cldyn.experiment import Experiment, Training
from cldyn.losses import Unsupervised
from cldyn.optimizers import Gd, InverseTime, Momentum
from cldyn.sources import Stored
from cldyn.sweeps import sweep
from cldyn.trajectory import gradient_noise

# A small run changes SEEDS, DRAWS, TIME and COOLED.
SEEDS, DRAWS, TIME, COOLED = 16, 32_768, 100.0, 160_000

# A sample without ties or slow directions, on which SGD hovers before long.
NOISY = Experiment(
    Stored(FeatureModel(d=10, class_strength=1.5, class_keep=0.9, subclass_keep=0.6), n=64),
    Training(Linear(embed_dim=2, init_scale=0.05), positives=Unsupervised(), batch=Subset(16)),
    "float64",
)
RATES = (0.004, 0.002, 0.001)


def study() -> Study:
    """Run every setting of the claim."""
    noise, _ = gradient_noise(NOISY, DRAWS)
    rows, hovering = _hovering(noise)
    cooled_rows, cooled = _cooled(noise)
    trajectories = {"": hovering, "cooled": cooled}
    return Study([*rows, *cooled_rows], trajectories, figure(hovering, noise))


def figure(hovering: xr.Dataset, noise: float) -> plots.Figure:
    """The picture of the claim."""
    predicted = np.asarray(theory.stationary_excess(noise, hovering.rate.values))
    return plots.hovering(hovering.excess_loss, np.sqrt(hovering.square_distance), predicted)


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
    # Epochs, whose every step orders all rows anew, spare the longer runs: NaN there.
    reached = RATES, RATES, RATES[:1]
    parts = [_hover(arm, some) for arm, some in zip(arms.values(), reached, strict=True)]
    hovering = xr.concat(parts, "arm", join="left").assign_coords(arm=[*arms])
    excess, square = hovering.excess_loss.mean("seed"), hovering.square_distance.mean("seed")
    rates = np.array(RATES)
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
        last = round(TIME / rate)
        steps = np.linspace(last // 4, last, 200).astype(int)
        one, lanes = arm.replace(learning_rate=rate * damping), {"seed": range(SEEDS)}
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
    lanes = {"seed": range(SEEDS)}
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


CLAIM = Claim(
    name="hovering",
    says="at a constant step SGD hovers above its minimum by a loss that its noise foretells; "
    "with steps that shrink it converges",
    shows=(),
    source="this project; Xue et al. (2023) prove their claims for gradient descent",
    cost="a minute on 2 cores",
    study=study,
)
