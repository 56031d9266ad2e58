"""Dimensional collapse of a linear encoder under InfoNCE, after Jing et al. (2022), case 1."""

import jax
import numpy as np
import xarray as xr
from jax import Array

from cldyn.batches import Subset
from cldyn.claims.table import Row, Subject, at_most, found, highest, spread
from cldyn.encoders import Linear
from cldyn.experiment import Experiment, Training
from cldyn.losses import InfoNce, Unsupervised
from cldyn.observed import Measure
from cldyn.optimizers import Gd
from cldyn.sources import Augmented, augmented
from cldyn.sweeps import sweep

# A small run changes POINTS, SEEDS and STEPS.
D, NOISY, NOISE, TAU = 16, 8, 1.5, 0.1  # views add noise to the last NOISY directions
POINTS, SEEDS, STEPS = 10_000, 8, [0, 250, 500, 1000]
SIMILARITIES = ("dot", "cosine")
DEVIATION = np.r_[np.zeros(D - NOISY), np.full(NOISY, NOISE)].astype(np.float32)
COLUMNS = Measure(
    "columns", "W", lambda seen: seen.embed("directions"), ("directions",), ("input", "output")
)


def noisy(key: Array, x: Array) -> Array:
    """A view."""
    return x + DEVIATION * jax.random.normal(key, x.shape, x.dtype)


def points() -> Augmented:
    """Gaussian points; every step views its batch anew."""
    x = np.random.default_rng(0).normal(size=(POINTS, D)).astype(np.float32)
    return augmented(x, np.arange(POINTS) % 2, noisy, directions=np.eye(D))


def collapse() -> tuple[list[Row], xr.Dataset]:
    """Rows, and singular values of the embedding covariance [similarity, seed, step, value]."""
    source = points()
    training = Training(
        Linear(D, init_scale=(1 / (3 * D)) ** 0.5, bias=False),  # as of U(-1/4, 1/4)
        positives=Unsupervised(),
        optimizer=Gd(0.01),
        batch=Subset(min(128, POINTS)),
    )
    covariance, parts = np.cov(source.x.T), []
    for similarity in SIMILARITIES:
        loss = InfoNce(TAU, similarity, "cross_view")
        one = Experiment(source, training).replace(loss=loss)
        swept = sweep(one, [{"seed": range(SEEDS)}], STEPS, measure=[COLUMNS])
        w = swept.columns.transpose("seed", "step", "output", "input").values.astype(float)
        singular = np.linalg.svd(w @ covariance @ w.swapaxes(-1, -2), compute_uv=False)
        part = swept.drop_vars("columns").assign(singular=(("seed", "step", "value"), singular))
        parts.append(part)
    dataset = xr.concat(parts, "similarity", combine_attrs="drop")
    dataset = dataset.assign_coords(similarity=[*SIMILARITIES], value=np.arange(1, D + 1))
    dataset = dataset.assign(predicted=("value", infinite_batches()))
    return _rows(dataset), dataset


def infinite_batches() -> np.ndarray:
    """Singular values of the dot product's limit in infinite batches [D].

        tau P/M^2,   P = 1 shared by views, M = 1 + noise^2

    Source: derived here. Of gaussian views ln E exp(f.f'/tau) = f^T C f/(2 tau^2), C = W M W^T, so
    InfoNCE of dot products is -tr(W P W^T)/tau + |W M W^T|^2/(2 tau^2): the spectral loss of
    W/tau^(1/2), over 2, whose limit has W^T W = tau P/M^2.
    """
    return TAU / (1 + DEVIATION.astype(float) ** 2) ** 2


def _rows(dataset: xr.Dataset) -> list[Row]:
    kept, rows = D - NOISY, []
    for similarity in SIMILARITIES:
        end = dataset.singular.sel(similarity=similarity).isel(step=-1)
        setting = f"linear encoder, InfoNCE, {similarity}, noise {NOISE} on {NOISY} of {D}"
        subject = Subject(setting, "singular value 9 over 8 of embeddings", "largest of seeds")
        ratio = highest(end.sel(value=kept + 1) / end.sel(value=kept))
        said = float(dataset.predicted[kept] / dataset.predicted[kept - 1])
        dot = similarity == "dot"
        rows.append(at_most(subject, 2 * said, ratio) if dot else found(subject, ratio))
        for told, part in (("the first 8", slice(1, kept)), ("the others", slice(kept + 1, D))):
            values = end.sel(value=part)
            subject = Subject(setting, f"singular values, {told}", "10-90 %, seeds and values")
            said = dataset.predicted.sel(value=part).values[0]
            beside = f"{said:.3g} in infinite batches" if dot else ""
            rows.append(found(subject, spread(values), beside))
    return rows
