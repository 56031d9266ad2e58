"""What is run: an experiment is a problem and a training. Here its numbers are checked and get their precision."""

import json
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any, Literal, get_args

import jax
import numpy as np

from cldyn.data import FeatureModel, Views, check_model, check_room, check_sizes, static, views
from cldyn.refusal import is_real, is_size, is_whole, require

Optimizer = Literal["gd", "momentum", "nesterov", "adam", "adamw", "rmsprop", "lion", "flow"]
COMMUTES = ("gd", "momentum", "nesterov", "flow")  # with rotations of the inputs
_WHOLE = ("data_seed", "seed", "embed_dim", "label", "subclass", "irrelevant")


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Problem:
    """What is learned from.

    Args:
        data: a FeatureModel, or a user's own arrays as `views(...)`.
        n, m: examples and views of each, >= 1, n a multiple of 4 when balanced (own arrays bring theirs). balanced: as in `sample`.
        bias: whether the encoder has one. population: train on the model's exact moments instead of a sample; a batch is of fresh examples.
        fresh_views: train on all views of the n originals instead of m stored ones: their exact moments, or m fresh views of a batch.
        test_size: originals in the test sample, >= 1. data_seed: seed of training and test data, from 0 to 2^31 - 1.
        precision: "float32" or "float64".
    """

    data: FeatureModel | Views = FeatureModel()
    n: int = static(100)
    m: int = static(2)
    balanced: bool = static(True)
    bias: bool = static(True)
    population: bool = static(False)
    fresh_views: bool = static(False)
    test_size: int = static(400)
    precision: Literal["float32", "float64"] = static("float32")
    data_seed: int = 0

    @property
    def stored(self) -> bool:
        """Whether it is learned from rows that are drawn once."""
        return not self.population and not self.fresh_views


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Training:
    """How it is learned.

    Args:
        loss: "scl", "ucl" or "joint" = beta scl + (1 - beta) ucl. beta: in [0, 1], used by joint alone.
        batch: what a step sees. "full": everything, exactly. Else `batch_size` units drawn by step and seed, the same for all lanes of a
            problem that share a seed: "iid" independently (stored units with replacement, fresh examples of a population), "subset"
            without replacement, "epochs" in the order of a fresh shuffle, each unit at most once in an epoch of whole batches. A unit
            is a row for scl on stored views, else an example with its m views. Gradients are unbiased. batch_size: b >= 2.
        optimizer: "gd" (SGD on batches), "momentum", "nesterov", "adam", "adamw", "rmsprop" or "lion" as in optax; "flow": gradient flow,
            each step one of Runge-Kutta over learning_rate units of time; or a function from the training, its numbers traced, to an optax
            transformation. The last five take inputs as they are, the others commute with rotations and run in the frame of the data.
        learning_rate: step size > 0, a number, or a fraction of the lane's critical one if `learning_rate_unit` is "critical".
        schedule: of the learning rate at step t. "constant"; "warmup_cosine": up from 0 over `warmup_steps`, then down a cosine to 0 at
            `decay_steps`; "inverse_time": learning_rate/(1 + t/decay_steps).
        momentum: in [0, 1), of momentum and nesterov, and b1 of adam, adamw and lion.
        square_decay: in [0, 1), b2 of adam, adamw and lion, decay of rmsprop. epsilon: > 0, of adam, adamw and rmsprop.
        clip_norm: largest norm of a gradient > 0, infinity for none.
        weight_decay: lambda >= 0 of lambda |W|^2, bias included. adamw and lion decouple it: W shrinks by 1 - 2 learning_rate lambda a step,
            the `weight_decay` 2 lambda of optax, as it would under "gd" on the penalty.
        init_scale: standard deviation of the entries of W_0, >= 0.
        depth: layers L >= 1 of a linear encoder W_L ... W_1, all embed_dim wide: those above the first are a projection head. From 2 on
            it starts balanced, init_scale x orthonormal rows below init_scale x identities, without weight decay or critical rates.
        embed_dim: p >= 1. seed: of the initialization and the batches, from 0 to 2^31 - 1.
    """

    loss: Literal["scl", "ucl", "joint"] = static("scl")
    learning_rate_unit: Literal["absolute", "critical"] = static("absolute")
    optimizer: Optimizer = static("gd")
    depth: int = static(1)
    batch: Literal["full", "iid", "subset", "epochs"] = static("full")
    batch_size: int = static(32)
    schedule: Literal["constant", "warmup_cosine", "inverse_time"] = static("constant")
    beta: float = 0.5
    learning_rate: float = 0.05
    warmup_steps: float = 0.0
    decay_steps: float = 1000.0
    momentum: float = 0.9
    square_decay: float = 0.999
    epsilon: float = 1e-8
    clip_norm: float = math.inf
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


def cast(tree: Any, precision: str) -> Any:
    """Leaves as arrays of this precision; seeds, dimensions and codes as int32."""

    def one(path: Any, leaf: Any) -> np.ndarray:
        whole = any(getattr(entry, "name", None) in _WHOLE for entry in path)
        return np.asarray(leaf, np.int32 if whole else precision)

    return jax.tree_util.tree_map_with_path(one, tree)


def check_steps(record_at: Sequence[int]) -> np.ndarray:
    """Record steps as int32 [t]."""
    try:
        steps = np.asarray(record_at)
    except ValueError:
        steps = np.empty(0)
    whole = steps.ndim == 1 and steps.size > 0 and np.issubdtype(steps.dtype, np.integer)
    good = whole and steps[0] >= 0 and (steps[1:] > steps[:-1]).all() and steps[-1] < 2**31
    require(good, "record_at", record_at, "a list of increasing whole numbers from 0 to 2^31 - 1")
    return steps.astype(np.int32)


def check(experiment: Experiment) -> None:
    """Refuse with one line naming field, value and what is allowed, if anything makes no sense."""
    require(isinstance(experiment, Experiment), "experiment", experiment, "an Experiment(problem, training)")
    require(isinstance(experiment.problem, Problem), "problem", experiment.problem, "a Problem")
    require(isinstance(experiment.training, Training), "training", experiment.training, "a Training")
    _check_problem(experiment.problem)
    check_training(experiment.training, experiment.problem.precision)
    if experiment.training.batch != "full":
        _check_batch(experiment.problem, experiment.training)


def units(problem: Problem, loss: str) -> tuple[int, int]:
    """How many units batches are drawn from, and views of each: rows for scl on stored views, else examples."""
    n, m = problem.data.x.shape[:2] if isinstance(problem.data, Views) else (problem.n, problem.m)
    return (n * m, 1) if loss == "scl" and problem.stored else (n, m)


def _check_batch(problem: Problem, training: Training) -> None:
    size = training.batch_size
    count, m = units(problem, training.loss)
    require(is_size(size) and size >= 2, "batch_size", size, "a whole number >= 2")
    if problem.population:
        require(training.batch == "iid", "batch", training.batch, "'full' or 'iid' for a population")
    elif training.batch != "iid":
        require(size <= count, "batch_size", size, f"a whole number from 2 to {count}, the number of {'rows' if m == 1 else 'examples'}")
    paired = problem.fresh_views or training.loss != "scl"
    require(problem.stored or not paired or m >= 2, "m", m, "at least 2 where positive pairs are fresh views of one example")
    distinct = not problem.stored and getattr(problem.data, "noise_kind", "") == "distinct_basis"
    require(not distinct, "noise_kind", "distinct_basis", "'gaussian' or 'basis' for fresh views")


def _check_problem(problem: Problem) -> None:
    for name in ("balanced", "bias", "population", "fresh_views"):
        require(isinstance(getattr(problem, name), bool), name, getattr(problem, name), "True or False")
    _one_of(problem, "precision", ("float32", "float64"))
    require(is_size(problem.test_size), "test_size", problem.test_size, "a whole number from 1 to 2^31 - 1")
    _whole_from(problem, "data_seed", 0)
    given = problem.data
    if isinstance(given, Views):
        require(not problem.population, "population", True, "False for own arrays, which have none")
        require(not problem.fresh_views, "fresh_views", True, "False for own arrays, which are the views there are")
        again = views(given.x, given.label, given.subclass, given.directions)
        for name, groups, known in (("label", again.classes, given.classes), ("subclass", again.subclasses, given.subclasses)):
            require(set(groups) <= set(known), name, groups, f"among {known}")
    else:
        require(isinstance(given, FeatureModel), "data", given, "a FeatureModel or cldyn.views(...)")
        check_model(given)
        check_sizes(problem.n, problem.m, problem.balanced and not problem.population)
        require(not (problem.population and problem.fresh_views), "fresh_views", True, "False for a population, whose examples are fresh too")
        if problem.stored:
            check_room(given, problem.n, problem.m)
    with np.errstate(over="ignore"):
        for field in fields(given):
            if not field.metadata.get("static"):
                value = getattr(given, field.name)
                require(np.isfinite(np.asarray(value, problem.precision)).all(), field.name, value, f"finite in {problem.precision}")


def check_training(training: Training, precision: str) -> None:
    """`check` of the half that touches no data."""

    def number(name: str, good: Any, allowed: str, finite: bool = True) -> None:
        value = getattr(training, name)
        require(is_real(value), name, value, allowed)
        with np.errstate(over="ignore", under="ignore"):
            used = np.asarray(value, precision)
        require((np.isfinite(used) or not finite) and good(used), name, value, f"{allowed} in {precision}")

    _one_of(training, "loss", ("scl", "ucl", "joint"))
    _one_of(training, "learning_rate_unit", ("absolute", "critical"))
    if not callable(training.optimizer):
        _one_of(training, "optimizer", get_args(Optimizer))
    _one_of(training, "batch", ("full", "iid", "subset", "epochs"))
    _one_of(training, "schedule", ("constant", "warmup_cosine", "inverse_time"))
    require(is_size(training.depth), "depth", training.depth, "a whole number >= 1")
    _whole_from(training, "seed", 0)
    _whole_from(training, "embed_dim", 1)
    number("beta", lambda value: 0 <= value <= 1, "a number in [0, 1]")
    number("learning_rate", lambda value: value > 0, "a finite number > 0")
    number("momentum", lambda value: 0 <= value < 1, "a number in [0, 1)")
    number("square_decay", lambda value: 0 <= value < 1, "a number in [0, 1)")
    number("epsilon", lambda value: value > 0, "a finite number > 0")
    number("warmup_steps", lambda value: value >= 0, "a finite number >= 0")
    number("decay_steps", lambda value: value > 0, "a finite number > 0")
    number("clip_norm", lambda value: value > 0, "a number > 0, infinity for none", finite=False)
    number("weight_decay", lambda value: value >= 0, "a finite number >= 0")
    number("init_scale", lambda value: value >= 0, "a finite number >= 0")
    if training.schedule == "warmup_cosine":
        require(training.decay_steps > training.warmup_steps, "decay_steps", training.decay_steps, f"above warmup_steps = {training.warmup_steps}")
    if training.optimizer == "flow":
        for name, only in (("batch", "full"), ("schedule", "constant"), ("clip_norm", math.inf)):
            require(getattr(training, name) == only, name, getattr(training, name), f"{only!r} for flow, which is exact")
    if training.optimizer not in COMMUTES:
        unit = training.learning_rate_unit
        require(unit == "absolute", "learning_rate_unit", unit, f"'absolute' unless the optimizer is one of {COMMUTES}")
    if training.depth > 1:
        require(training.learning_rate_unit == "absolute", "learning_rate_unit", training.learning_rate_unit, "'absolute' for depth > 1")
        require(training.weight_decay == 0, "weight_decay", training.weight_decay, "0 for depth > 1")


def _one_of(owner: Any, name: str, allowed: tuple[str, ...]) -> None:
    value = getattr(owner, name)
    require(isinstance(value, str) and value in allowed, name, value, f"one of {allowed}")


def _whole_from(owner: Any, name: str, least: int) -> None:
    value = getattr(owner, name)
    require(is_whole(value) and least <= int(value) < 2**31, name, value, f"a whole number from {least} to 2^31 - 1")


def describe(experiment: Experiment) -> str:
    """The experiment as one line of JSON; arrays by shape."""

    def plain(value: Any) -> Any:
        if callable(value):
            return getattr(value, "__qualname__", repr(value))
        if is_dataclass(value):
            named = {field.name: getattr(value, field.name) for field in fields(value)}
            return {name: "inf" if isinstance(one, float) and math.isinf(one) else one for name, one in named.items()}
        return f"array {np.shape(value)}" if np.ndim(value) else np.asarray(value).item()

    problem = experiment.problem
    if isinstance(problem.data, Views):
        problem = replace(problem, n=problem.data.x.shape[0], m=problem.data.x.shape[1])
    return json.dumps(replace(experiment, problem=problem), default=plain)
