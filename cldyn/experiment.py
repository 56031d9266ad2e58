"""What is run: an experiment is a problem and a training. Here its numbers are checked and get their precision."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal

import jax
import numpy as np

from cldyn.data import FeatureModel, Views, check_model, check_sizes, static, views
from cldyn.refusal import is_real, is_whole, refuse, require

_WHOLE = ("data_seed", "seed", "embed_dim", "label", "subclass", "irrelevant")


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Problem:
    """What is learned from.

    Args:
        data: a FeatureModel, or a user's own arrays as `views(...)`.
        n, m: examples and views of each, >= 1, n a multiple of 4 when balanced (own arrays bring theirs). balanced: as in `sample`.
        bias: whether the encoder has one. population: train on the model's exact moments instead of a sample.
        test_size: originals in the test sample, >= 1. data_seed: seed of training and test data, from 0 to 2^31 - 1.
        precision: "float32" or "float64".
    """

    data: FeatureModel | Views = FeatureModel()
    n: int = static(100)
    m: int = static(2)
    balanced: bool = static(True)
    bias: bool = static(True)
    population: bool = static(False)
    test_size: int = static(400)
    precision: Literal["float32", "float64"] = static("float32")
    data_seed: int = 0


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Training:
    """How it is learned.

    Args:
        loss: "scl", "ucl" or "joint" = beta scl + (1 - beta) ucl. beta: in [0, 1], used by joint alone.
        learning_rate: step size > 0, a number, or a fraction of the lane's critical one if `learning_rate_unit` is "critical".
        optimizer: "gd", "momentum" with `momentum` in [0, 1), or "flow": gradient flow, each step one of Runge-Kutta over
            learning_rate units of time.
        weight_decay: lambda >= 0 of lambda |W|^2, bias included. init_scale: standard deviation of the entries of W_0, >= 0.
        embed_dim: p >= 1. seed: of the initialization, from 0 to 2^31 - 1.
    """

    loss: Literal["scl", "ucl", "joint"] = static("scl")
    learning_rate_unit: Literal["absolute", "critical"] = static("absolute")
    optimizer: Literal["gd", "momentum", "flow"] = static("gd")
    beta: float = 0.5
    learning_rate: float = 0.05
    momentum: float = 0.9
    weight_decay: float = 0.0
    init_scale: float = 1e-4
    embed_dim: int = 3
    seed: int = 0


@dataclass(frozen=True)
class Experiment:
    """A problem and a training; the defaults are the paper's class-collapse setting."""

    problem: Problem = Problem()
    training: Training = Training()


@contextmanager
def numerics(precision: str) -> Iterator[None]:
    """Precision of everything inside, as a context of this thread: no global setting is touched."""
    with jax.enable_x64(precision == "float64"), jax.default_matmul_precision("highest"):
        yield


def cast(tree: Any, problem: Problem) -> Any:
    """Leaves as arrays of the problem's precision; seeds, dimensions and codes as int32."""

    def one(path: Any, leaf: Any) -> np.ndarray:
        whole = any(getattr(entry, "name", None) in _WHOLE for entry in path)
        return np.asarray(leaf, np.int32 if whole else problem.precision)

    return jax.tree_util.tree_map_with_path(one, tree)


def check_steps(record_at: Sequence[int]) -> np.ndarray:
    """Record steps as int32 [t]."""
    try:
        steps = np.asarray(record_at)
    except ValueError:
        steps = np.empty(0)
    whole = steps.ndim == 1 and steps.size > 0 and np.issubdtype(steps.dtype, np.integer)
    good = whole and steps[0] >= 0 and (steps[1:] > steps[:-1]).all() and steps[-1] < 2**31
    require(good, "record_at", record_at, "a list of increasing whole numbers >= 0")
    return steps.astype(np.int32)


def check(experiment: Experiment) -> None:
    """Refuse with one line naming field, value and what is allowed, if anything makes no sense."""
    require(isinstance(experiment, Experiment), "experiment", experiment, "an Experiment(problem, training)")
    problem, training = experiment.problem, experiment.training
    require(isinstance(problem, Problem), "problem", problem, "a Problem")
    require(isinstance(training, Training), "training", training, "a Training")

    def number(name: str, good: Any, allowed: str) -> None:
        value = getattr(training, name)
        require(is_real(value), name, value, allowed)
        with np.errstate(over="ignore", under="ignore"):
            used = np.asarray(value, problem.precision)
        require(np.isfinite(used) and good(used), name, value, f"{allowed} in {problem.precision}")

    for name in ("balanced", "bias", "population"):
        require(isinstance(getattr(problem, name), bool), name, getattr(problem, name), "True or False")
    choices: tuple[tuple[Any, str, tuple[str, ...]], ...]
    choices = ((problem, "precision", ("float32", "float64")), (training, "loss", ("scl", "ucl", "joint")))
    choices += ((training, "learning_rate_unit", ("absolute", "critical")), (training, "optimizer", ("gd", "momentum", "flow")))
    for owner, name, allowed in choices:
        value = getattr(owner, name)
        require(isinstance(value, str) and value in allowed, name, value, f"one of {allowed}")
    for owner, name, least in ((problem, "test_size", 1), (problem, "data_seed", 0), (training, "seed", 0), (training, "embed_dim", 1)):
        value = getattr(owner, name)
        require(is_whole(value) and least <= int(value) < 2**31, name, value, f"a whole number from {least} to 2^31 - 1")
    number("beta", lambda value: 0 <= value <= 1, "a number in [0, 1]")
    number("learning_rate", lambda value: value > 0, "a finite number > 0")
    number("momentum", lambda value: 0 <= value < 1, "a number in [0, 1)")
    number("weight_decay", lambda value: value >= 0, "a finite number >= 0")
    number("init_scale", lambda value: value >= 0, "a finite number >= 0")
    if isinstance(problem.data, Views):
        require(not problem.population, "population", True, "False for own arrays, which have none")
        given = problem.data
        again = views(given.x, given.label, given.subclass, given.directions)
        for name, groups, known in (("label", again.classes, given.classes), ("subclass", again.subclasses, given.subclasses)):
            require(set(groups) <= set(known), name, groups, f"among {known}")
    else:
        require(isinstance(problem.data, FeatureModel), "data", problem.data, "a FeatureModel or cldyn.views(...)")
        check_model(problem.data)
        for name in _infinite(problem.data, problem.precision):
            refuse(name, getattr(problem.data, name), f"finite in {problem.precision}")
        if not problem.population:
            check_sizes(problem.data, problem.n, problem.m, problem.balanced)


def _infinite(model: FeatureModel, precision: str) -> list[str]:
    """Fields whose numbers are infinite in this precision."""
    names = [field.name for field in fields(model) if not field.metadata.get("static")]
    with np.errstate(over="ignore"):
        return [name for name in names if not np.isfinite(np.asarray(getattr(model, name), precision)).all()]


def describe(experiment: Experiment) -> str:
    """The experiment as one line of JSON; arrays by shape."""

    def plain(value: Any) -> Any:
        return f"array {np.shape(value)}" if np.ndim(value) else np.asarray(value).item()

    problem = experiment.problem
    if isinstance(problem.data, Views):
        problem = replace(problem, n=problem.data.x.shape[0], m=problem.data.x.shape[1])
    return json.dumps(asdict(replace(experiment, problem=problem)), default=plain)
