"""Stochastic gradients: which features survive the noise of batches, beside the law of it."""

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

from cldyn import plots, theory
from cldyn.batches import Iid
from cldyn.claims.noise_law import LEVELS, MODEL, SETTING, STRONG, law, point_rows, trained
from cldyn.claims.table import Claim, Row, Study, Subject, at_most, found
from cldyn.experiment import Experiment
from cldyn.sweeps import with_predictions

# A small run changes these.
SEEDS, MANY = 100, 200
SIZES = (4, 6, 9, 14, 21, 32, 48, 72)  # of the plane
RATES = np.geomspace(0.0006, 0.06, 12)
TIME, COURSE = 5.0, 40.0  # flow times


def study() -> Study:
    """Run every setting of the claim."""
    plane, courses = _plane(), _courses()
    rows = [*_plane_rows(plane), *point_rows(points(), MANY)[0]]
    figure = plots.stochastic_gradients(plane, courses)
    trajectories = {"": _with_law(plane), "courses": _with_law(courses)}
    return Study(rows, trajectories, figure)


def _with_law(measured: xr.Dataset) -> xr.Dataset:
    """The median that the law tells of the class, as a prediction of its norm."""
    law = measured.predicted.sel(level=0.5, drop=True).expand_dims(feature=["class"])
    return with_predictions(measured, law.to_dataset(name="feature_norms"))


# --- the plane -------------------------------------------------------------------------------


def _plane() -> xr.Dataset:
    """Every batch size at every step size, at one flow time, beside the law."""
    rows = []
    for size in SIZES:
        cells = [
            trained(SETTING.replace(batch=Iid(size), learning_rate=float(rate)), TIME, SEEDS)
            for rate in RATES
        ]
        rates = xr.DataArray(RATES, dims="learning_rate", name="learning_rate")
        rows.append(xr.concat(cells, rates).isel(time=0, drop=True))
    sizes = xr.DataArray([*SIZES], dims="batch_size", name="batch_size")
    norms = xr.concat(rows, sizes)
    weak, strong = MODEL.class_strength**2, jnp.full(SETTING.training.encoder.embed_dim, STRONG**2)

    def cell(size: Any, rate: Any) -> Any:
        given = weak, strong, size, rate, TIME
        return theory.regrowth(*given, bounded=False), theory.regrowth(*given)[0]

    # The step at which half is back at the plane's flow time, from one so small that tau is all.
    outputs, scale = strong.size, SETTING.training.encoder.init_scale
    begin, small = np.log(1 / (scale * STRONG * outputs**0.5)) / (4 * STRONG**2), 1e-4

    def crossing(size: Any) -> Any:
        time = theory.halfway_time(weak, strong, size, small)
        return small * (time - begin) / (TIME - begin)

    sizes_of, over = jnp.array(SIZES, float), jax.vmap(jax.vmap(cell, (None, 0)), (0, None))
    known, promised = over(sizes_of, jnp.array(RATES))
    return xr.Dataset(
        {
            "feature_norms": norms,
            "predicted": (("batch_size", "learning_rate", "level"), np.asarray(known)),
            "promised": (("batch_size", "learning_rate"), np.isfinite(promised)),
            "crossing": ("batch_size", np.asarray(jax.vmap(crossing)(sizes_of))),
        },
        coords={"level": LEVELS},
        attrs={"flow_time": TIME},
    )


def _plane_rows(plane: xr.Dataset) -> list[Row]:
    """The law over the plane, and the other side of it: what keeps the class suppressed."""
    median = plane.feature_norms.sel(feature="class").median("seed", skipna=False)
    known, inside = plane.predicted.sel(level=0.5), plane.promised
    error = np.abs(median / known - 1).values[inside]
    cells = f"{len(SIZES)} batch sizes x {len(RATES)} steps"
    setting = f"width, p = 4, SGD, {cells}, flow time {TIME:g}"
    statistic = f"mean over cells inside its conditions, medians of {SEEDS} seeds"
    mean = Subject(setting, "|W v_1| against the law, relative", statistic)
    told = {
        "cells inside": float(inside.sum()),
        "of": float(inside.size),
        "largest error": float(error.max(initial=0)),
        "where a seed diverged": float(median.isnull().sum()),
    }
    large = plane.where(plane.batch_size >= 10, drop=True)
    once = large.crossing * TIME / (large.batch_size * np.log(large.batch_size))
    crossing = Subject(setting, "eta T*/(b ln b) at which half is back, b >= 10", "least .. most")
    return [
        at_most(mean, 0.12, float(np.mean(error)) if error.size else np.nan),
        found(mean._replace(quantity="the law's conditions"), told),
        found(crossing, f"{float(once.min()):.3g} .. {float(once.max()):.3g}"),
    ]


# --- over time -------------------------------------------------------------------------------


def points() -> dict[str, tuple[Experiment, float]]:
    """Settings inside the law's conditions, and flow times at which it is read."""
    wide, two = SETTING.replace(batch=Iid(32)), SETTING.replace(embed_dim=2)
    weaker = replace(MODEL, subclass_strength=2**0.5, irrelevant_strength=(2**0.5,) * 2)
    unequal = replace(MODEL, subclass_strength=1.2, irrelevant_strength=(1.5, 2.0, 2.5))
    return {
        "b = 32, rate 0.0003": (wide.replace(learning_rate=0.0003), 4.0),
        "b = 128, rate 0.03": (SETTING.replace(batch=Iid(128), learning_rate=0.03), 20.0),
        "p = 2, b = 8, rate 0.002": (
            two.replace(
                model=replace(MODEL, irrelevant_strength=(STRONG,)), batch=Iid(8),
                learning_rate=0.002,
            ), 20.0,
        ),
        "p = 3, phi_k^2 = 2, rate 0.005": (
            SETTING.replace(model=weaker, embed_dim=3, learning_rate=0.005), 20.0,
        ),
        "phi_k = 1.2, 1.5, 2, 2.5": (SETTING.replace(model=unequal), 30.0),
    }  # fmt: skip


def _courses() -> xr.Dataset:
    """Two batch sizes over time, beside the law."""
    times = np.linspace(0, COURSE, 21)[1:]
    arms = {size: SETTING.replace(batch=Iid(size)) for size in (8, 32)}
    sizes = xr.DataArray([*arms], dims="batch_size", name="batch_size")
    norms = xr.concat([trained(arm, times, SEEDS) for arm in arms.values()], sizes)
    known = np.array([[law(arm, time) for time in times] for arm in arms.values()])
    predicted = ("batch_size", "time", "level"), known
    return xr.Dataset({"feature_norms": norms, "predicted": predicted}, {"level": LEVELS})


CLAIM = Claim(
    name="stochastic-gradients",
    says="the noise of SGD brings back what width suppressed, by a law of step size, batch size "
    "and time",
    shows=(),
    source="this project; Xue et al. (2023) prove their claims for gradient descent",
    cost="a minute on 2 cores",
    study=study,
)
