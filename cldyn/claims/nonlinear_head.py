"""Projection heads after Xue et al. (2024): a linear one, a diagonal network, symmetric units."""

from typing import Any

import jax.numpy as jnp
import numpy as np
import xarray as xr
from jax import Array

from cldyn import theory
from cldyn.batches import Iid
from cldyn.claims.table import (
    Row,
    Subject,
    at_least,
    at_most,
    close,
    found,
    highest,
    lowest,
    spread,
)
from cldyn.data import FeatureModel, Gaussian
from cldyn.encoders import DeepLinear, Diagonal, Mlp
from cldyn.experiment import Experiment, Training, numerics
from cldyn.losses import Pairs, Supervised, Unsupervised
from cldyn.nouns import noun
from cldyn.optimizers import Flow, Momentum
from cldyn.sources import Population, views
from cldyn.sweeps import Group, sweep

# A small run changes SEEDS, STARTS and all ..._STEPS.
SEEDS, STARTS = 8, 64
NORMS = ("pre_feature_norms", "feature_norms")
BELOW, AFTER = "below the head", "after it"


@noun
class Everywhere(Gaussian):
    """`Gaussian` noise on all inputs, those of the features too."""

    everywhere = True


def features(strengths: Any, keeps: Any, noise: float) -> FeatureModel:
    """Features of these strengths, class and subclass first, and noise along every input."""
    strengths, keeps = (one.tolist() for one in np.broadcast_arrays(strengths, keeps))
    d = len(strengths) + 1
    return FeatureModel(
        d=d,
        class_strength=strengths[0],
        subclass_strength=strengths[1],
        irrelevant_strength=tuple(strengths[2:]),
        irrelevant_keep=tuple(keeps[2:]),
        class_keep=keeps[0],
        subclass_keep=keeps[1],
        subclass_mean=0.0,
        noise=Everywhere(noise * d**0.5),
    )


# The follow-up's Figure 1: views redraw a sign with probability alpha; strengths fall by halves.
SIGMA = 0.1
ALPHAS = np.array([0.0, 0.25, 0.5, 0.75, 1.0])
PHI = 3.2 / 2 ** np.arange(6)
DISRUPTED, STRENGTHS = features(1.0, 1 - ALPHAS, SIGMA), features(PHI, 1.0, SIGMA)

# Theorem 3.5: two linear layers, exact moments.
LINEAR = Training(
    DeepLinear(3, init_scale=0.3, bias=False), positives=Unsupervised(), optimizer=Flow(0.01)
)
LINEAR_STEPS = [0, 30_000]

# Its experiments: two layers of symmetric units without offsets, fresh batches.
SYMMETRIC = Training(
    Mlp((20,), 20, 0.5, "symmetric", bias=False, rectified=True),
    positives=Unsupervised(),
    optimizer=Momentum(0.05, momentum=0.9),
    batch=Iid(128),
)
SYMMETRIC_STEPS = [0, 1000]

# Theorems 3.8 and 4.2: two signs, the first of which is the class; views redraw the second.
RATE = 0.4
SIGNS = np.array([[[1, 1], [1, -1]], [[-1, 1], [-1, -1]]])
DIAGONAL = Experiment(
    views(SIGNS, [1, -1], directions=np.eye(2)),
    Training(Diagonal(), positives=Unsupervised(), optimizer=Flow(RATE)),
    "float64",
)
DIAGONAL_STEPS = [0, 1, 3, 8, 20, 50, 120, 300, 800, 2500]
SQUARED_RATE, SQUARED_STEPS = 0.05, [0, 20, 40, 400]
DECAY, DECAY_STEPS = 1e-3, [0, 1250, 2250]
B0 = 0.1
SCALES, DRAWS = (0.5, 1.0, 2.0), 100_000


def squared_error(embeddings: Array, pairs: Pairs) -> Array:
    """Mean squared error of the first output against the class, and of the others against 0."""
    sign = jnp.array([-1.0, 1.0]) @ jnp.sign(pairs.member)
    targets = jnp.repeat(sign, pairs.within.shape[0])[:, None] * jnp.eye(1, embeddings.shape[1])
    return jnp.mean(jnp.sum((embeddings - targets) ** 2, axis=1))


ARMS: dict[str, dict[str, Any]] = {
    "UCL": {},
    "SCL": {"positives": Supervised()},
    "squared error": {
        "positives": Supervised(),
        "loss": squared_error,
        "learning_rate": SQUARED_RATE,
    },
}


def heads() -> tuple[list[Row], dict[str, xr.Dataset]]:
    """Rows and trajectories of all settings."""
    (diagonal, decayed), arms = diagonals(), symmetric()
    linear = {"disrupted": (DISRUPTED, 3), "strengths": (STRENGTHS, STRENGTHS.d)}
    trained = {name: _trained(*one) for name, one in linear.items()}
    rows = [row for name, one in linear.items() for row in _linear(*one, trained[name])]
    rows += _diagonal(diagonal) + _decayed(decayed) + _starts() + _symmetric(arms)
    named = {f"linear_{name}": one for name, one in trained.items()}
    named |= {f"diagonal_{arm.replace(' ', '_')}": one for arm, one in diagonal.items()}
    return rows, named | {"diagonal_decayed": decayed} | arms


def law(model: FeatureModel, embed_dim: int) -> xr.DataArray:
    """Norms that theorem 3.5 predicts [layer, feature]."""
    with numerics("float64"):
        norms = theory.linear_head(model.strengths(), model.keeps(), SIGMA, embed_dim)
    return xr.DataArray(np.asarray(norms), dims=("layer", "feature"))


def _trained(model: FeatureModel, embed_dim: int) -> xr.Dataset:
    one = Experiment(Population(model), LINEAR, "float64").replace(embed_dim=embed_dim)
    return sweep(one, [{"seed": range(SEEDS)}], LINEAR_STEPS, measure=NORMS)


def _linear(model: FeatureModel, embed_dim: int, trained: xr.Dataset) -> list[Row]:
    predicted = law(model, embed_dim)
    setting = (
        f"Thm 3.5, two linear layers, p = {embed_dim}, {model.features} features, sigma = {SIGMA}"
    )
    rows = []
    for name, said, told in zip(NORMS, predicted, ("|f_1(e)|", "|f_2(e)|"), strict=True):
        end, kept = trained[name].isel(step=-1), said.values > 0
        error = np.abs(end.isel(feature=kept) / said.values[kept] - 1)
        subject = Subject(setting, told, "off the law, largest of kept features and seeds")
        rows.append(at_most(subject, 0.01, highest(error)))
        if not kept.all():
            subject = Subject(setting, told, "of the others, largest")
            rows.append(at_most(subject, 0.01, highest(end.isel(feature=~kept))))
    return rows


def starts() -> tuple[np.ndarray, np.ndarray]:
    """Starts w_1, w_2 that the theorems ask for."""
    draw = np.random.default_rng(1)
    second = draw.uniform(0.1, B0**0.5, STARTS)
    return B0 + B0 / second * draw.uniform(1, 2, STARTS), second


def diagonals() -> tuple[dict[str, xr.Dataset], xr.Dataset]:
    """Diagonal networks by every loss, with `decay`, the predicted f_2(e_2) of the spectral loss,
    and `bound`, that of f_1(e_2), over the flow time; and one with weight decay.
    """
    first, second = starts()
    axes: list[Group] = [{"seed": range(STARTS), "first": first, "second": second}]
    arms = {}
    for name, change in ARMS.items():
        steps = SQUARED_STEPS if "loss" in change else DIAGONAL_STEPS
        arm = sweep(DIAGONAL.replace(**change), axes, steps, measure=NORMS)
        time = arm.step.values * change.get("learning_rate", RATE)
        with numerics("float64"):
            said = np.asarray(theory.diagonal_decay(first[:, None], second[:, None], B0, time))
        given = {"decay": (("seed", "step"), said), "time": ("step", time), "bound": B0**0.5}
        arms[name] = arm.assign(given)
    decayed = DIAGONAL.replace(weight_decay=DECAY)
    return arms, sweep(decayed, [{"seed": range(SEEDS)}], DECAY_STEPS, measure=NORMS)


def _diagonal(arms: dict[str, xr.Dataset]) -> list[Row]:
    """Theorems 3.8 and 4.2, with the closed form and the decay laws."""
    with numerics("float64"):
        end = np.asarray(theory.diagonal_end(*starts(), B0)[0])
        rate = np.asarray(theory.diagonal_rate(*starts(), B0))
    rows = []
    for name, arm in arms.items():
        theorem = "Thm 3.8" if name == "UCL" else "Thm 4.2"
        setting = f"{theorem}, diagonal network, {name}, {STARTS} starts"
        below, after = (
            arm[norm].isel(feature=1).transpose("seed", "step").values for norm in NORMS
        )
        if name == "squared error":
            time = float(arm.time[2] - arm.time[1])
            off = np.log(after[:, 1] / after[:, 2]) / (rate * time)
            quantity = "rate of f_2(e_2) over 2 (h^2 + 2 v^2 + 1)"
        else:
            off, quantity = after[:, -1] / arm.decay.values[:, -1], "f_2(e_2) over its decay law"
        form = Subject(setting, "f_1(e_2) off its closed form", "largest")
        rows += [
            at_least(Subject(setting, "f_1(e_2)", "least"), B0**0.5, lowest(below[:, -1])),
            at_most(form, 5e-3, highest(np.abs(below[:, -1] - end))),
            at_most(Subject(setting, quantity, "off 1, largest"), 0.03, highest(np.abs(off - 1))),
            found(Subject(setting, "f_1(e_2) left", "10-90 %"), spread(below[:, -1])),
            found(Subject(setting, "f_2(e_2) left", "10-90 %"), spread(after[:, -1])),
        ]
    return rows


def _decayed(decayed: xr.Dataset) -> list[Row]:
    """Weight decay takes what is below the head by its own rate."""
    left = decayed.pre_feature_norms.isel(feature=1).transpose("seed", "step").values
    time = RATE * (DECAY_STEPS[2] - DECAY_STEPS[1])
    setting = f"diagonal network, UCL, weight decay {DECAY:g}"
    subject = Subject(setting, "f_1(e_2) left", f"over flow time {time:g}, median")
    left_over = float(np.median(left[:, 2] / left[:, 1]))
    return [close(subject, float(np.exp(-2 * DECAY * time)), left_over, 0.01)]


def _starts() -> list[Row]:
    """How many gaussian starts the theorems speak of, and how many keep the feature anyway."""
    rows, draw = [], np.random.default_rng(2)
    for scale in SCALES:
        first, second = np.abs(draw.normal(0, scale, (2, DRAWS)))
        seen = second * (first - B0) > B0
        admissible = seen & (second <= B0**0.5)
        with numerics("float64"):
            below = np.asarray(theory.diagonal_end(first, second, B0)[0])
        told = {
            "admissible": f"{admissible.mean():.1%}",
            "that f_2 sees": f"{seen.mean():.1%}",
            "and of these f_1(e_2) >= b_0^(1/2)": f"{(below >= B0**0.5)[seen].mean():.1%}",
            "> 0.1": f"{(below > 0.1)[seen].mean():.1%}",
        }
        setting = f"diagonal network, starts N(0, {scale:g}^2)"
        rows.append(found(Subject(setting, "share of starts", "closed form"), told))
    return rows


def symmetric() -> dict[str, xr.Dataset]:
    """Two layers of symmetric units, Figures 1 and 2: `shares` of the best feature at the end
    [layer, seed, feature], and `law` of a linear head, the same [layer, feature].
    """
    two = features((1.0, 1.0), 1.0, SIGMA)
    # From the start of the others a strength of 3.2 kills all units in the first steps.
    slow = {"learning_rate": 0.003, "init_scale": 0.3, "threshold": 0.02}
    arms: dict[str, tuple[FeatureModel, Any, dict[str, Any]]] = {
        "disrupted": (DISRUPTED, ALPHAS, {}),
        "strengths": (STRENGTHS, PHI, slow),
        "collapsed": (two, np.ones(2), {"positives": Supervised()}),
    }
    axes, swept = [{"seed": range(SEEDS)}], {}
    for name, (model, x, change) in arms.items():
        one = Experiment(Population(model), SYMMETRIC).replace(**change)
        arm = sweep(one, axes, SYMMETRIC_STEPS, measure=NORMS)
        norms, said = xr.concat([arm[norm] for norm in NORMS], "layer"), law(model, len(x))
        shares = (norms / norms.max("feature")).isel(step=-1, drop=True)
        given = {"shares": shares, "law": said / said.max("feature"), "x": ("feature", x)}
        swept[name] = arm.assign(given)
    return swept


def _symmetric(arms: dict[str, xr.Dataset]) -> list[Row]:
    """What is left of every feature over the best one, beside the law of a linear head."""
    rows = []
    for name, figure, letter in (
        ("disrupted", "Fig. 1 left", "alpha"),
        ("strengths", "Fig. 1 right", "phi"),
    ):
        arm = arms[name]
        for i, layer in enumerate((BELOW, AFTER)):
            shares, said = arm.shares.isel(layer=i).median("seed").values, arm.law[i].values
            told = {f"{x:g}": float(one) for x, one in zip(arm.x.values, shares, strict=True)}
            setting = f"{figure}, symmetric units, {layer}"
            subject = Subject(setting, f"feature over the best, by {letter}", "median")
            rows.append(found(subject, told, f"linear: {', '.join(f'{x:.2g}' for x in said)}"))
    for i, layer in enumerate((BELOW, AFTER)):
        share = arms["collapsed"].shares.isel(layer=i).sel(feature="subclass")
        setting = f"Fig. 2, symmetric units, SCL, {layer}"
        rows.append(found(Subject(setting, "subclass over class", "10-90 %"), spread(share)))
    return rows
