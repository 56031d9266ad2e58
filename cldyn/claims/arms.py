"""Arms of a claim: its setting by other batches and optimizers, compared at equal flow time."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import xarray as xr

from cldyn.batches import Epochs, Iid
from cldyn.claims import joint_loss
from cldyn.claims.settings import COLLAPSE, WIDTH, WIDTH_MODEL
from cldyn.experiment import Experiment
from cldyn.optimizers import Adam, Lion, Momentum, Nesterov, RmsProp, duration
from cldyn.sources import Population, Stored
from cldyn.sweeps import Group, sweep


def collapse_arms() -> dict[str, Experiment]:
    """SGD beside gradient descent in the collapse setting."""
    base = COLLAPSE.replace(precision="float32")
    # Fresh noise in all 1000 dimensions would take most of these arms' time.
    fresh = Population(replace(base.problem.model, d=200), base.problem.m)
    problems = {"stored": base.problem, "online (d = 200)": fresh}
    sgd = sgd_arms(base, (8, 32), (0.05, 0.0125), problems)
    return {"gradient descent, rate 0.05": base, **sgd}


def optimizer_arms() -> dict[str, Experiment]:
    """Other optimizers there; Adam on batches too, and where features lie across coordinates."""
    base = COLLAPSE.replace(precision="float32")
    adam = base.replace(optimizer=Adam(0.01))
    return {
        "momentum 0.9, rate 0.005": base.replace(optimizer=Momentum(0.005, momentum=0.9)),
        "Nesterov 0.9, rate 0.005": base.replace(optimizer=Nesterov(0.005, momentum=0.9)),
        "Adam, rate 0.01": adam,
        "Adam, rate 0.0025": adam.replace(learning_rate=0.0025),
        "Adam, rate 0.01, b = 32": adam.replace(batch=Epochs(32)),
        "Adam, rate 0.01, rotated features": adam.replace(rotated=True),
        "RMSprop, rate 0.01": base.replace(optimizer=RmsProp(0.01)),
        "Lion, rate 0.0025": base.replace(optimizer=Lion(0.0025)),
    }


def width_arms() -> dict[str, Experiment]:
    """SGD and other optimizers where the class is crowded out, p = 4, and where it is not."""
    base = WIDTH.replace(precision="float32", embed_dim=4, learning_rate=0.01)
    wide, adam = base.replace(embed_dim=6), Adam(0.01)
    fresh = base.replace(problem=Population(replace(WIDTH_MODEL, d=200), base.problem.m))
    return {
        "gradient descent, rate 0.01": base,
        **sgd_arms(base, (8, 32), (0.01, 0.0025), {"stored": base.problem}),
        **sgd_arms(base, (8,), (0.0025,), {"online (d = 200)": fresh.problem}),
        "momentum 0.9, rate 0.001": base.replace(optimizer=Momentum(0.001, momentum=0.9)),
        "Adam, rate 0.01": base.replace(optimizer=adam),
        "p = 6, gradient descent, rate 0.01": wide,
        "p = 6, SGD, stored, b = 32, rate 0.01": wide.replace(batch=Epochs(32)),
        "p = 6, Adam, rate 0.01": wide.replace(optimizer=adam),
    }


def joint_arms() -> dict[str, Experiment]:
    """SGD and other optimizers on the population with both failures and on samples of it."""
    population = joint_loss.SETTING.replace(precision="float32", beta=0.5, m=4)
    stored = population.replace(problem=Stored(population.problem.model, m=4))
    problems = {"stored": stored.problem, "online": population.problem}
    adam, heavy = Adam(0.01), Momentum(0.002, momentum=0.9)
    return {
        "population, gradient descent, rate 0.02": population,
        "stored, gradient descent, rate 0.02": stored,
        **sgd_arms(stored, (8, 32), (0.02, 0.005), problems),
        "population, momentum 0.9, rate 0.002": population.replace(optimizer=heavy),
        "population, Adam, rate 0.01": population.replace(optimizer=adam),
        "stored, Adam, rate 0.01": stored.replace(optimizer=adam),
    }


def sgd_arms(
    base: Experiment, sizes: Sequence[int], rates: Sequence[float], problems: Mapping[str, Any]
) -> dict[str, Experiment]:
    """Batch sizes x learning rates on problems by name: epochs of stored views, or new examples."""
    arms = {}
    for name, problem in problems.items():
        batch = Iid if problem.fresh else Epochs
        for size in sizes:
            for rate in rates:
                arms[f"SGD, {name}, b = {size}, rate {rate:g}"] = base.replace(
                    problem=problem, batch=batch(size), learning_rate=rate
                )
    return arms


def train_arms(
    arms: Mapping[str, Experiment],
    axis: Group,
    times: np.ndarray,
    measure: Sequence[str] = ("feature_norms", "excess_loss"),
) -> xr.Dataset:
    """Train every arm, and look at equal flow times.

    Args:
        arms: experiments by name.
        axis: of seeds, named after "seed".
        times: increasing flow times.
        measure: names of measures.

    Returns:
        Dataset of the measures over arm, seed and time; `finite` tells trajectories that did not
        diverge.
    """
    parts = []
    for one in arms.values():
        steps = np.round(times / duration(one.training.optimizer)).astype(int)
        part = sweep(one, [axis], steps, measure=measure)
        finite = part.finite_steps == steps[-1]
        part = part[[*measure]].assign(finite=finite)
        parts.append(part.drop_vars("step").rename(step="time"))
    names = xr.DataArray(np.array([*arms], object), dims="arm", name="arm")
    told = {"long_name": "flow time", "units": "learning rate x steps"}
    named = xr.concat(parts, names, combine_attrs="drop_conflicts")
    return named.assign_coords(time=("time", times, told))
