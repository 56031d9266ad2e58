"""Digits: both failures of networks on real images, and their cures."""

from itertools import pairwise
from typing import Any

import numpy as np
import xarray as xr
from jax import Array

from cldyn import linalg, plots
from cldyn.batches import Subset
from cldyn.claims.settings import seeds
from cldyn.claims.table import Claim, Row, Study, Subject, at_least, found, showing, spread
from cldyn.data import images
from cldyn.data.images import Augment
from cldyn.encoders import Mlp
from cldyn.experiment import Experiment, Training
from cldyn.losses import InfoNce, Joint, SupCon, Supervised, Unsupervised
from cldyn.observables import variance_ratio
from cldyn.observed import Measure, Observed
from cldyn.optimizers import Adam, Momentum
from cldyn.sources import Digits, views
from cldyn.sweeps import Group, sweep

# A small run changes these.
SEEDS, COLLAPSE_SEEDS = 8, 16
STEPS, WHOLE_STEPS = 600, 1000
COLLAPSE_STEPS = [0, *range(20, 201, 20), *range(250, 651, 50), *range(750, 1550, 100), 1570]
BITS, WIDTHS, TEMPERATURES = (0, 2, 4, 8, 16), (4, 16, 64), (0.05, 0.1, 0.2, 0.5)
BETAS = (0.0, 0.2, 0.5, 0.8, 1.0)

CHANCE = 0.15  # accuracies below are those of guessing, whose order is nobody's
BELOW = ("class_accuracy", "pre_class_accuracy", "input_class_accuracy")

RANDBIT = Experiment(
    Digits(),
    Training(
        Mlp((128,), 16),
        InfoNce(0.5, negatives="cross_view"),
        Unsupervised(),
        Adam(1e-3),
        Subset(128),
    ),
)

# Two superclasses, even and odd digits.
PARITY = Digits(superclass="parity")
BOTH = Experiment(
    PARITY, Training(Mlp((128,), 16), InfoNce(0.5), Joint(0.5), Adam(1e-3), Subset(128))
)
WHOLE = BOTH.replace(augmentation=Augment(crop=0.5), optimizer=Momentum(0.05))
COLLAPSE = Training(Mlp((128,), 4), SupCon(0.1), Supervised(), Momentum(0.02), Subset(128))
FALLS = ("direction_ratio", "subclass_accuracy_ridge", "subclass_accuracy_knn")


def _direction_ratio(seen: Observed) -> Array:
    groups = seen.member("test", "cell"), seen.member("test", "class")
    return variance_ratio(linalg.unit(seen.embed("test")), *groups)


# Of directions, since cosines are all that the loss sees: lengths drift.
RATIO = Measure(
    FALLS[0], "R: variance between digits of a superclass over that within, of directions",
    _direction_ratio, ("test",),
)  # fmt: skip


def study() -> Study:
    """Run every setting of the claim."""
    temperatures = _temperatures()
    widths, collapse = _widths(temperatures), _collapse()
    both = _joint(BOTH.replace(bits=8), STEPS, BETAS)
    whole = _joint(WHOLE, WHOLE_STEPS, (BETAS[0], *BETAS[-2:]))
    rows = [
        *showing("Fig. 5", _randbit_rows(widths, temperatures)),
        *showing("Fig. 3", _collapse_rows(collapse)),
        *showing("Table 4", _joint_rows(both)),
        *showing("Table 3", _whole_rows(whole)),
    ]
    parts = {
        "": widths, "temperatures": temperatures, "collapse": collapse, "both": both,
        "whole": whole,
    }  # fmt: skip
    return Study(rows, parts, plots.digits(widths, temperatures, collapse, both))


# --- suppression -----------------------------------------------------------------------------


def _temperatures() -> xr.Dataset:
    """Every number of bits at every temperature."""
    axes: list[Group] = [seeds(SEEDS), {"bits": BITS}, {"temperature": TEMPERATURES}]
    return sweep(RANDBIT, axes, [0, STEPS], measure=BELOW)


def _widths(temperatures: xr.Dataset) -> xr.Dataset:
    """Every number of bits at every width of the output; one width has run at its temperature."""
    training = RANDBIT.training
    axes: list[Group] = [seeds(SEEDS), {"bits": BITS}]
    parts = []
    for width in WIDTHS:
        if width == training.encoder.embed_dim:
            part = temperatures.sel(temperature=training.loss.temperature, drop=True)
        else:
            part = sweep(RANDBIT.replace(embed_dim=width), axes, [0, STEPS], measure=BELOW)
        parts.append(part[[*BELOW]])
    return xr.concat(parts, xr.DataArray([*WIDTHS], dims="embed_dim", name="embed_dim"))


def _ordered(values: xr.DataArray, along: str, sign: int) -> tuple[int, int]:
    """How many neighbours have ordered medians, and of how many that are not both chance."""
    median = values.median("seed").transpose(..., along)
    pairs = [*pairwise(np.moveaxis(median.values, -1, 0))]
    told = [np.maximum(one, other) > CHANCE for one, other in pairs]
    right = [
        (sign * (other - one) > 0) & there for (one, other), there in zip(pairs, told, strict=True)
    ]
    return int(np.sum(right)), int(np.sum(told))


def _randbit_rows(widths: xr.Dataset, temperatures: xr.Dataset) -> list[Row]:
    """More bits are worse, wider outputs better, lower temperatures resist."""
    setting = f"RandBit, {STEPS} steps of Adam, InfoNCE"
    statistic = f"neighbouring medians of {SEEDS} seeds in order, where not both are chance"
    wide, hot = (one.class_accuracy.isel(step=-1) for one in (widths, temperatures))
    rows = []
    for what, values, along, sign in (
        ("fewer digits with more bits, over widths", wide, "bits", -1),
        ("more digits in wider outputs, over bits", wide, "embed_dim", 1),
        ("fewer digits with more bits, at temperatures from .2 on",
         hot.sel(temperature=slice(0.2, None)), "bits", -1),
        ("fewer digits at higher temperatures, from .1 on", hot.sel(bits=slice(1, None),
         temperature=slice(0.1, None)), "temperature", -1),
    ):  # fmt: skip
        count, of = _ordered(values, along, sign)
        rows.append(at_least(Subject(setting, what, statistic), of, count))
    # Low temperatures resist: few bits change little there, and one is as good as the other.
    low = hot.sel(temperature=slice(0.1))
    for what, values, along in (
        ("fewer digits with more bits, at temperatures up to .1", low, "bits"),
        ("fewer digits at temperature .1 than at .05", low.sel(bits=slice(1, None)), "temperature"),
    ):
        count, of = _ordered(values, along, -1)
        rows.append(found(Subject(setting, what, statistic), f"{count} of {of}"))
    for width in WIDTHS:
        part = widths.sel(embed_dim=width)
        told = {f"{bits} bits": spread(part.class_accuracy.sel(bits=bits)[:, -1]) for bits in BITS}
        for bits in (BITS[0], BITS[-1]):
            untrained = part.class_accuracy.sel(bits=bits).isel(step=0)
            told[f"untrained, {bits} bits"] = spread(untrained)
        told["hidden layer, most bits"] = spread(part.pre_class_accuracy.isel(bits=-1, step=-1))
        told["pixels"] = spread(part.input_class_accuracy.sel(bits=0)[:, 0])
        subject = Subject(f"{setting}, p = {width}", "accuracy of a probe for the digit", "10-90 %")
        rows.append(found(subject, told))
    return rows


# --- collapse --------------------------------------------------------------------------------


def _collapse() -> xr.Dataset:
    """The digits inside a superclass over training, on digits as they are."""
    held: list[Any] = [*PARITY.contents()[:2]]
    train, test = ((one.x.reshape(len(one.x), -1), one.label, one.fine) for one in held)
    x, parity, digit = train
    problem = views(x[:, None], parity, digit, test=test)
    measure = (RATIO, *FALLS[1:], "class_accuracy", "pre_subclass_accuracy_ridge")
    return sweep(
        Experiment(problem, COLLAPSE),
        [{"seed": range(COLLAPSE_SEEDS)}],
        COLLAPSE_STEPS,
        measure=measure,
    )


def _collapse_rows(collapse: xr.Dataset) -> list[Row]:
    """What rises and falls, and in how many seeds."""
    setting = "parity, SupCon, p = 4"
    rows = []
    for name, what in zip(FALLS, ("R", "ridge probe", "10 nearest neighbours"), strict=True):
        curve = collapse[name].transpose("seed", "step").values
        peak = curve.max(axis=1)
        rises, falls = peak > 1.05 * curve[:, 0], curve[:, -1] < 0.9 * peak
        counted = f"seeds of {COLLAPSE_SEEDS}"
        least = 14 * COLLAPSE_SEEDS // 16
        quantity = f"{what} of digits inside a superclass"
        rise, fall = (
            Subject(setting, f"{quantity} rises", counted),
            Subject(setting, f"{quantity} falls", counted),
        )
        if name == FALLS[0]:
            rows.append(at_least(rise, least, int(rises.sum())))
        else:
            rows.append(found(rise, int(rises.sum())))
        rows.append(at_least(fall, least, int(falls.sum())))
        told = {
            "untrained": spread(curve[:, 0]), "peak": spread(peak), "end": spread(curve[:, -1]),
            "at step": spread(np.array(COLLAPSE_STEPS)[curve.argmax(axis=1)]),
        }  # fmt: skip
        rows.append(found(Subject(setting, quantity, "10-90 %"), told))
    last = collapse.isel(step=-1)
    told = {"superclass": spread(last.class_accuracy),
            "digit, hidden layer": spread(last.pre_subclass_accuracy_ridge)}  # fmt: skip
    return [*rows, found(Subject(setting, "accuracy of probes at the end", "10-90 %"), told)]


# --- both, and the joint loss ----------------------------------------------------------------


def _joint(experiment: Experiment, steps: int, betas: tuple[float, ...]) -> xr.Dataset:
    """Superclass and digit over the weight of the supervised loss."""
    measure = ("class_accuracy", "subclass_accuracy")
    axes: list[Group] = [seeds(SEEDS), {"beta": betas}]
    return sweep(experiment, axes, [0, steps], measure=measure)


def _joint_rows(both: xr.Dataset) -> list[Row]:
    """The joint loss beside either loss alone, 8 bits."""
    setting = "parity and 8 bits, p = 16, beta = .8"
    end = both.isel(step=-1)
    superclass, digit = (
        end[name].median("seed") for name in ("class_accuracy", "subclass_accuracy")
    )
    statistic = f"difference of medians of {SEEDS} seeds"

    def above(what: str, values: xr.DataArray, beta: float) -> tuple[Subject, float]:
        told = "UCL" if beta == 0 else "SCL"
        difference = float(values.sel(beta=0.8) - values.sel(beta=beta))
        return Subject(setting, f"{what} above {told}", statistic), difference

    rows = []
    for (subject, measured), bound in (
        (above("superclass", superclass, 0), 0.15),
        (above("digit", digit, 0), 0.2),
        (above("digit", digit, 1), 0.08),
    ):
        rows.append(at_least(subject, bound, measured))
    ratio = float(superclass.sel(beta=0.8) / superclass.sel(beta=1))
    subject = Subject(setting, "superclass over that of SCL", f"medians of {SEEDS} seeds")
    rows.append(at_least(subject, 0.97, ratio))
    return [*rows, *_by_beta("parity and 8 bits, p = 16", both)]


def _whole_rows(whole: xr.Dataset) -> list[Row]:
    """The joint loss keeps the subclasses that the supervised one collapses, without bits."""
    end = whole.isel(step=-1).subclass_accuracy.median("seed")
    subject = Subject(
        "parity, p = 16, SGD", "digit of beta = .8 above SCL", f"medians of {SEEDS} seeds"
    )
    rows = [at_least(subject, 0.08, float(end.sel(beta=0.8) - end.sel(beta=1)))]
    return [*rows, *_by_beta("parity, p = 16, SGD", whole)]


def _by_beta(setting: str, both: xr.Dataset) -> list[Row]:
    rows = []
    for name, what in (("class_accuracy", "superclass"), ("subclass_accuracy", "digit")):
        told = {
            f"beta {beta:g}": spread(both[name].sel(beta=beta)[:, -1]) for beta in both.beta.values
        }
        told["untrained"] = spread(both[name].isel(beta=0)[:, 0])
        rows.append(found(Subject(setting, f"accuracy of a probe for the {what}", "10-90 %"), told))
    return rows


CLAIM = Claim(
    name="digits",
    says="networks on images fail and are cured as the theory says: random bits suppress digits, "
    "parity collapses them, width, temperature and the joint loss help",
    shows=("Fig. 3", "Fig. 5", "Table 3", "Table 4"),
    source="the paper's experiments in small, on digits that ship with scikit-learn; Chen, Luo "
    "and Li (2021) for RandBit",
    cost="130 s on 2 cores",
    study=study,
    ready=images.digits,
)
