"""Feature suppression by augmentation: noise that all views of an example keep suppresses the class
at any width; better augmentation cures it.
"""

import numpy as np
import xarray as xr

from cldyn import plots, theory
from cldyn.claims.settings import seeds
from cldyn.claims.table import (
    Claim,
    Row,
    Study,
    Subject,
    at_most,
    close,
    found,
    highest,
    norm_of,
    within,
)
from cldyn.data import DistinctBasis, FeatureModel
from cldyn.encoders import Linear
from cldyn.experiment import Experiment, Training, numerics
from cldyn.losses import Unsupervised
from cldyn.sources import Stored
from cldyn.sweeps import Group, forecast, sweep, with_predictions

# A small run changes SETTING, REFERENCE, EQUAL, ORTHOGONAL (their d, not n), LENGTHS, KEEPS,
# EQUAL_LENGTHS, WIDTHS (up to p >= n), SEEDS, LIMIT_SEEDS, STEPS and REFERENCE_STEPS.
N = 64
SETTING = Experiment(
    Stored(FeatureModel(d=2000, subclass_mean=0.0), n=N, m=4),
    Training(Linear(N, bias=False), positives=Unsupervised()),
    "float64",
)
LENGTHS = (2.0, 4.0, 5.7, 8.0, 11.3, 16.0, 22.6, 32.0)
KEEPS = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
STEPS = [0, 100, 400]
SEEDS, LIMIT_SEEDS = 2, 12

# The loudest noise, 8 views: ranges of |W v_1| over draws of another implementation, by noise_keep.
REFERENCE = SETTING.replace(d=4000, m=8, noise_length=32.0, test_size=2000)
REFERENCE_STEPS = [0, 400, 1000]
NORM_RANGES = {0.0: (0.357, 0.371), 0.5: (0.111, 0.115), 0.9: (0.071, 0.075), 1.0: (0.059, 0.061)}

# Equal views, at widths below and above n.
EQUAL = SETTING.replace(d=4000, m=2, noise_keep=1.0, test_size=1000)
EQUAL_LENGTHS = (2.0, 8.0, 16.0, 32.0)
WIDTHS = (2, 4, 16, 48, 64, 80)

# Noise along directions of its own.
ORTHOGONAL = SETTING.replace(d=300, noise=DistinctBasis())


def study() -> Study:
    """Run every setting of the claim."""
    axes: list[Group] = [loud(LENGTHS), {"noise_keep": KEEPS}]
    main = sweep(SETTING, axes, STEPS, measure=("feature_norms",))
    known = forecast(SETTING, axes, critical=False)
    axes = [loud((REFERENCE.problem.model.noise.noise_length,)), {"noise_keep": [*NORM_RANGES]}]
    measures = ("feature_norms", "class_accuracy")
    reference = sweep(REFERENCE, [*axes, seeds(SEEDS)], REFERENCE_STEPS, measure=measures)
    reference = reference.squeeze("noise_length")
    limit = forecast(REFERENCE, [*axes, seeds(LIMIT_SEEDS)], critical=False).squeeze("noise_length")
    axes = [loud(EQUAL_LENGTHS), {"embed_dim": WIDTHS}, seeds(SEEDS)]
    widths = sweep(EQUAL, axes, STEPS, measure=measures)
    rows = _exact() + _grid(main, known) + _reference(reference, limit) + _cure(reference)
    return Study(
        rows + _widths(widths),
        {
            "": with_predictions(main, known),
            "reference": with_predictions(reference, limit),
            "widths": widths,
        },
        plots.suppression_augmentation(
            diagram(), main.isel(step=-1), curves(), reference.isel(step=-1)
        ),
    )


def loud(lengths: tuple[float, ...]) -> Group:
    """Noise, and with each the step that its largest second moment allows, about half of the
    critical one.
    """
    rates = [0.09 / (1 + length**2 / N) for length in lengths]
    return {"noise_length": lengths, "learning_rate": rates}


def diagram() -> xr.Dataset:
    """Predicted |W v_1| over noise_keep and noise_length.

    `boundary`: the noise_length above which half of it is lost. Attribute `edge`: that of equal
    views.
    """
    m, phi = SETTING.problem.m, SETTING.problem.model.class_strength
    keep, length = np.linspace(0, 1, 101), np.geomspace(1.7, 38, 201)
    norm = theory.augmentation_norm(phi, length, keep[:, None], N, m)
    # Half of the class is lost where sigma^2 (1 + (m - 1) noise_keep) = n m phi^2.
    boundary = np.sqrt(N * m * phi**2 / (1 + (m - 1) * keep))
    return xr.Dataset(
        {
            "norm": (("noise_keep", "noise_length"), np.asarray(norm)),
            "boundary": ("noise_keep", boundary),
        },
        {"noise_keep": keep, "noise_length": length},
        {"edge": float(boundary[-1])},
    )


def curves() -> xr.Dataset:
    """Predicted |W v_1| and probe accuracy of the reference setting over noise_keep."""
    keep = np.linspace(0, 1, 101)
    return xr.Dataset(
        {
            "norm": ("noise_keep", np.asarray(theory.augmentation_norm(*_numbers(keep)))),
            "accuracy": ("noise_keep", _accuracy(keep)),
        },
        {"noise_keep": keep},
    )


def _numbers(keep: np.ndarray) -> tuple[float, float, np.ndarray, int, int]:
    """Arguments of the theory in the reference setting."""
    problem = REFERENCE.problem
    model = problem.model
    return model.class_strength, model.noise.noise_length, keep, problem.n, problem.m


def _accuracy(keep: np.ndarray) -> np.ndarray:
    d = REFERENCE.problem.model.d
    return np.asarray(theory.augmentation_accuracy(*_numbers(keep), d))


def _closed(norms: xr.DataArray, experiment: Experiment) -> xr.DataArray:
    """The closed form for every cell of norms over noise_length and noise_keep."""
    with numerics("float64"):
        phi, m = experiment.problem.model.class_strength, experiment.problem.m
        length, keep = norms.noise_length.values[:, None], norms.noise_keep.values
        closed = theory.augmentation_norm(phi, length, keep, N, m)
    return xr.DataArray(np.asarray(closed), dims=("noise_length", "noise_keep"))


def _exact() -> list[Row]:
    """Noise along directions of its own is orthogonal: the closed form is exact."""
    axes: list[Group] = [loud(EQUAL_LENGTHS), {"noise_keep": (0.0, 1.0)}]
    norms = norm_of(forecast(ORTHOGONAL, axes, critical=False), "class")
    error = np.abs(norms / _closed(norms, ORTHOGONAL) - 1)
    subject = Subject(
        "orthogonal noise, n = 64, m = 4",
        "|W v_1|, minimum norm / closed form",
        "off 1, largest, noise_keep 0, 1",
    )
    return [at_most(subject, 1e-9, highest(error))]


def _grid(main: xr.Dataset, known: xr.Dataset) -> list[Row]:
    setting = "gaussian noise, n = p = 64, m = 4, d = 2000"
    limit = norm_of(known, "class")
    error = np.abs(norm_of(main, "class") / limit - 1)
    # Gaussian noise in 2000 dimensions is not quite orthogonal.
    raised = limit / _closed(limit, SETTING)
    return [
        at_most(
            Subject(setting, "|W v_1|, trained / minimum norm", f"off 1, largest of {error.size}"),
            0.05,
            highest(error),
        ),
        found(
            Subject(setting, "|W v_1|, minimum norm / closed form", f"range of {error.size}"),
            f"{float(raised.min()):.3f} .. {float(raised.max()):.3f}",
        ),
    ]


_REFERENCE = "sigma = 32, n = 64, m = 8, d = 4000"


def _reference(reference: xr.Dataset, limit: xr.Dataset) -> list[Row]:
    norms = norm_of(limit, "class")
    rows = [
        within(
            Subject(
                _REFERENCE,
                "|W v_1|, minimum norm",
                f"noise_keep {keep}, median",
            ),
            low,
            high,
            float(norms.sel(noise_keep=keep).median()),
        )
        for keep, (low, high) in NORM_RANGES.items()
    ]
    error = np.abs(norm_of(reference, "class") / norms - 1)
    subject = Subject(
        _REFERENCE, "|W v_1|, trained / minimum norm", f"off 1, largest of {error.size}"
    )
    return [*rows, at_most(subject, 0.02, highest(error))]


def _cure(reference: xr.Dataset) -> list[Row]:
    """What a linear probe recovers grows as views share less of the noise."""
    keeps = np.array([*NORM_RANGES])
    measured = reference.class_accuracy.isel(step=-1).median("seed").sel(noise_keep=keeps)
    return [
        close(
            Subject(_REFERENCE, "probe accuracy of the class", f"noise_keep {keep}, median"),
            float(predicted),
            float(accuracy),
            0.03,
        )
        for keep, predicted, accuracy in zip(keeps, _accuracy(keeps), measured, strict=True)
    ]


def _widths(widths: xr.Dataset) -> list[Row]:
    """The class is suppressed at every width, below n even more."""
    norms, accuracy = norm_of(widths, "class").median("seed"), widths.class_accuracy.isel(step=-1)
    accuracy = accuracy.median("seed")
    closed = _closed(norms.expand_dims(noise_keep=[1.0]), EQUAL).squeeze("noise_keep")
    rows = []
    for i, length in enumerate(norms.noise_length.values):
        setting = f"equal views, sigma = {length:g}, d = 4000"
        cell, told = norms.isel(noise_length=i), accuracy.isel(noise_length=i)
        wide = float(cell.where(cell.embed_dim >= N).mean())
        rows += [
            close(
                Subject(setting, "|W v_1|, trained", "median, p = 64, 80"),
                float(closed[i]),
                wide,
                0.05,
            ),
            found(Subject(setting, "|W v_1|, trained", "median, by p"), _by_width(cell)),
            found(Subject(setting, "probe accuracy of the class", "median, by p"), _by_width(told)),
        ]
    subject = Subject("equal views, d = 4000", "|W v_1|, trained / closed form", "largest")
    return [*rows, at_most(subject, 1.05, highest(norms / closed))]


def _by_width(values: xr.DataArray) -> dict[str, float]:
    return {f"p = {int(one.embed_dim)}": float(one) for one in values}


CLAIM = Claim(
    name="suppression-augmentation",
    says="noise that all views of an example keep suppresses the class at any width; better "
    "augmentation cures it",
    shows=(),
    source="after theorem 5.4 of Xue et al. (2023), with noise in place of features; closed "
    "forms of norm and probe accuracy derived here",
    cost="about a minute on 2 cores",
    study=study,
)
