"""Stochastic gradients: which features survive the noise of batches, momentum and Adam."""

import numpy as np
import xarray as xr

from cldyn import plots, theory
from cldyn.batches import Epochs
from cldyn.claims import joint_loss
from cldyn.claims.arms import ends, found_arms, sgd_arms, train_arms
from cldyn.claims.settings import WIDTH, seeds
from cldyn.claims.table import Claim, Row, Study, Subject, at_most, close
from cldyn.experiment import Experiment
from cldyn.optimizers import Adam, Momentum
from cldyn.sources import Stored

# A small run changes SEEDS, WIDTH_TIMES and JOINT_TIMES.
SEEDS = 8
WIDTH_TIMES = np.array([0.0, 0.5, *np.arange(1, 20.1)])
JOINT_TIMES = np.array([0.0, 1.0, 2.0, *np.arange(4, 40.1, 2)])


def width_arms() -> dict[str, Experiment]:
    """SGD and other optimizers where the class is crowded out, p = 4, and where it is not."""
    base = WIDTH.replace(precision="float32", embed_dim=4, learning_rate=0.01)
    wide, adam = base.replace(embed_dim=6), Adam(0.01)
    return {
        "gradient descent, rate 0.01": base,
        **sgd_arms(base, (8, 32), (0.01, 0.0025), {"stored": base.problem}),
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
    adam, heavy = Adam(0.01), Momentum(0.002, momentum=0.9)
    return {
        "population, gradient descent, rate 0.02": population,
        "stored, gradient descent, rate 0.02": stored,
        **sgd_arms(stored, (8, 32), (0.02,), {"stored": stored.problem}),
        **sgd_arms(stored, (32,), (0.02, 0.005), {"online": population.problem}),
        "population, momentum 0.9, rate 0.002": population.replace(optimizer=heavy),
        "population, Adam, rate 0.01": population.replace(optimizer=adam),
        "stored, Adam, rate 0.01": stored.replace(optimizer=adam),
    }


def study() -> Study:
    """Run every setting of the claim."""
    width = train_arms(width_arms(), seeds(SEEDS), WIDTH_TIMES)
    joint = train_arms(joint_arms(), seeds(SEEDS), JOINT_TIMES)
    trajectories = {"": width, "joint": joint}
    return Study([*_width(width), *_joint(joint)], trajectories, plots.arms(width))


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
    return [at_most(subject, 1.0, careful / large), *found_arms(arms, "width: |W v_j|", ends)]


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
    return [*rows, *found_arms(arms, "joint, beta 0.5: |W v_j|", ends)]


CLAIM = Claim(
    name="stochastic-gradients",
    says="the noise of SGD undoes part of feature suppression by width; nothing undoes what the "
    "joint loss learned",
    shows=(),
    source="this project; Xue et al. (2023) prove their claims for gradient descent",
    cost="a minute on 2 cores",
    study=study,
)
