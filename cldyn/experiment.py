"""An experiment: a problem to learn from, a training on it, and a precision."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import jax

from cldyn import nouns
from cldyn.batches import BATCHES, Full
from cldyn.checks import require
from cldyn.data import NOISES, DistinctBasis, FeatureModel
from cldyn.data.images import Augment
from cldyn.encoders import ENCODERS, DeepLinear, Linear, is_linear
from cldyn.fields import choice, number, part, whole
from cldyn.losses import LOSSES, PARTS, POSITIVES, Spectral, Supervised, check_views
from cldyn.nouns import noun
from cldyn.optimizers import OPTIMIZERS, SCHEDULES, Gd
from cldyn.sources import SOURCES, Population, Stored, unit_shape

# The names of nouns on the command line; code is never imported by a string.
NAMES: dict[str, dict[str, Any]] = {
    "problem": SOURCES,
    "noise": NOISES,
    "encoder": ENCODERS,
    "loss": LOSSES,
    "by_class": PARTS,
    "by_view": PARTS,
    "positives": POSITIVES,
    "optimizer": OPTIMIZERS,
    "schedule": SCHEDULES,
    "batch": BATCHES,
}


@noun
class Training:
    """How it is learned.

    Example:
        >>> import cldyn
        >>> cldyn.Training(positives=cldyn.Joint(0.3), optimizer=cldyn.Adam(learning_rate=0.02))
    """

    encoder: Any = part(Linear(), "what is trained", ENCODERS)
    loss: Any = part(Spectral(), "of embeddings and pairs", LOSSES)
    positives: Any = part(Supervised(), "who is positive to whom", POSITIVES)
    optimizer: Any = part(Gd(), "what makes steps of gradients", OPTIMIZERS)
    batch: Any = part(Full(), "what a step sees", BATCHES)
    weight_decay: float = number(0.0, "lambda of the penalty lambda |W|^2, bias included", 0)
    seed: int = whole(0, "seed of the initialization and the batches")


@noun
class Experiment:
    """A problem and a training; the defaults are the class-collapse setting.

    Example:
        >>> import cldyn
        >>> experiment = cldyn.Experiment(cldyn.Stored(cldyn.FeatureModel(d=100), n=40))
        >>> faster = experiment.replace(learning_rate=0.1, embed_dim=4, noise_length=0.5)
        >>> cldyn.run(faster, [0, 100]).records["class_gap"].shape
        (2,)
    """

    problem: Any = part(Stored(), "what is learned from", SOURCES)
    training: Training = part(Training(), "how it is learned", {"training": Training})
    precision: str = choice("float32", "of all numbers", "float32", "float64")

    def replace(self, **values: Any) -> "Experiment":
        """The experiment with other values of some fields, wherever they stand.

        Args:
            values: fields by name: nouns and their numbers. Nouns are put in first.

        Returns:
            Experiment.

        Raises:
            ValueError: a name that is none, or that stands in more than one place.

        Example:
            >>> import cldyn
            >>> cldyn.Experiment().replace(optimizer=cldyn.Momentum(), momentum=0.8, n=40)
        """
        return nouns.replaced(self, values)


@contextmanager
def numerics(precision: str) -> Iterator[None]:
    """Precision of everything inside, as a context of this thread: no global setting is touched."""
    with jax.enable_x64(precision == "float64"), jax.default_matmul_precision("highest"):
        yield


def check(experiment: Experiment) -> None:
    """Refuse with one line naming field, value and what is allowed, if anything makes no sense."""
    allowed = "an Experiment(problem, training)"
    require(isinstance(experiment, Experiment), "experiment", experiment, allowed)
    problem, training = experiment.problem, experiment.training
    allowed = "a source: Stored, FreshViews, Population or cldyn.views(...)"
    require(hasattr(type(problem), "units"), "problem", problem, allowed)
    require(isinstance(training, Training), "training", training, "a Training")
    precisions = ("float32", "float64")
    good = isinstance(experiment.precision, str) and experiment.precision in precisions
    require(good, "precision", experiment.precision, f"one of {precisions}")
    for name, needs in (
        ("encoder", ("init", "apply")),
        ("loss", ("__call__",)),
        ("positives", ("by_class", "by_view", "share")),
        ("optimizer", ("transform",)),
        ("batch", ("draws",)),
    ):
        value = getattr(training, name)
        good = not isinstance(value, type) and all(hasattr(value, need) for need in needs)
        words = ", ".join(NAMES[name])
        require(good, name, value, f"a noun ({words}, or your own) with {', '.join(needs)}")
    nouns.check(problem, experiment.precision)
    check_training(training, experiment.precision)
    _check_together(problem, training)


def check_training(training: Training, precision: str) -> None:
    """`check` of the half that touches no data."""
    nouns.check(training, precision)
    optimizer, encoder = training.optimizer, training.encoder
    unit = getattr(optimizer, "learning_rate_unit", "absolute")
    if isinstance(encoder, DeepLinear):
        decay = training.weight_decay
        require(decay == 0, "weight_decay", decay, "0 for a deep linear encoder")
    if not isinstance(encoder, Linear) or not by_moments(training):
        allowed = "'absolute' but for a linear encoder and the spectral loss"
        require(unit == "absolute", "learning_rate_unit", unit, allowed)
    whole_batch = getattr(optimizer, "takes_batches", True) or not training.batch.draws
    require(whole_batch, "batch", training.batch, "Full() for flow, which is exact")


def _check_together(problem: Any, training: Training) -> None:
    """Refuse what does not go together in a problem and a training."""
    batch, positives = training.batch, training.positives
    if hasattr(training.encoder, "check_inputs"):
        training.encoder.check_inputs(problem)
    new = isinstance(problem, Population)
    paired = positives.by_view or (problem.fresh and batch.draws and not new)
    allowed = "at least 2 where views of one example are positive pairs"
    require(problem.shape[1] >= 2 or not paired, "m", problem.shape[1], allowed)
    check_views(training.loss, unit_shape(problem, positives)[1])
    noise = getattr(getattr(problem, "model", None), "noise", None)
    if noise is not None and not problem.has_rows and by_moments(training):
        known = hasattr(noise, "moments") and hasattr(noise, "about")
        allowed = "a kind with exact moments, which fresh views of this encoder and loss need"
        require(known, "noise", noise, allowed)
    if batch.draws:
        _check_batch(problem, batch, positives)
    else:
        exact = by_moments(training) or problem.has_rows
        allowed = "batches for this encoder or loss: fresh views are known by moments alone"
        require(exact, "batch", batch, allowed)
        stored = getattr(problem, "stored_size", problem.shape[0])
        allowed = f"batches: views of {stored} examples are stored, of {problem.shape[0]}"
        require(problem.shape[0] <= stored, "batch", batch, allowed)


def _check_batch(problem: Any, batch: Any, positives: Any) -> None:
    """Refuse batches that a source cannot give."""
    new = isinstance(problem, Population)
    noise = getattr(getattr(problem, "model", None), "noise", None)
    distinct = problem.fresh and isinstance(noise, DistinctBasis)
    require(not distinct, "noise", noise, "gaussian or basis for batches of fresh views")
    count, views = unit_shape(problem, positives)
    if new:
        require(batch.replaces, "batch", batch, "Full() or Iid() for a population")
    elif not batch.replaces:
        allowed = f"a whole number from 2 to {count}, the number of "
        allowed += "rows" if views == 1 else "examples"
        require(batch.batch_size <= count, "batch_size", batch.batch_size, allowed)


def by_moments(training: Training) -> bool:
    """Whether second moments are all that the loss knows of the data."""
    return is_linear(training.encoder) and getattr(training.loss, "by_moments", False)


def describe(experiment: Experiment) -> str:
    """The experiment as one line of JSON; arrays by shape and digest."""
    return json.dumps(nouns.described(experiment))


def rebuild(described: str) -> Experiment:
    """The experiment that `describe` told in one line of JSON.

    Raises:
        ValueError: it holds nouns, functions or arrays of one's own.
    """
    named = {kind.__name__: kind for known in NAMES.values() for kind in known.values()}
    named |= {kind.__name__: kind for kind in (FeatureModel, Augment, Training, Experiment)}
    return nouns.rebuilt(json.loads(described), named)
