"""What theory says of a lane, in the records of its run."""

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from cldyn import encoders, measures, theory
from cldyn.data import FeatureModel
from cldyn.experiment import Experiment, Problem, Training, cast, check, numerics
from cldyn.lane.observed import inside_of, leave_apart, observe
from cldyn.lane.prepared import Prepared, prepare
from cldyn.lane.structure import Structure, structure_of
from cldyn.lane.target import Target, critical_of, settle, with_step
from cldyn.lane.training import begin, slope_of, widen
from cldyn.refusal import is_size, require


def predicted_measures(training: Training) -> tuple[str, ...]:
    """Measures that theory knows of a training."""
    known = tuple(name for name in measures.EXACT if name != "distance")
    return known if training.depth == 1 else (*known, "first_layer_norms")


class Prediction(NamedTuple):
    """records: those of `run` that theory knows at the asked steps [t, ...]: early growth while |W M W^T| < 0.1, then NaN; the
    minimum-norm minimizer at infinity. learning_step, efold: of each feature [K]. peak_bound: of |W v_2|. unlearning_rate: of |W v_2|
    per flow time. critical_learning_rate, smallest_second, largest_second: bounds on steps and time, extreme eigenvalues of M on its range."""

    records: dict[str, np.ndarray]
    learning_step: np.ndarray
    efold: np.ndarray
    peak_bound: float
    unlearning_rate: float
    critical_learning_rate: float
    smallest_second: float
    largest_second: float


def forecast(prepared: Prepared, training: Training, target: Target, structure: Structure) -> dict[str, Array]:
    """What theory says of one lane: the limit in the records of `train`, and the numbers of Prediction."""
    second, factor = prepared.frame.second, prepared.frame.factor(training.loss, training.beta)
    start, outside = begin(prepared, training, structure.rows)
    inside = inside_of(prepared, start.first)
    directions, flow = prepared.coords["feature_norms"], training.optimizer == "flow"

    def learned(direction: Array) -> tuple[Array, Array]:
        return theory.learning_step(inside, factor, direction, training.learning_rate, weight_decay=training.weight_decay, flow=flow)

    step, efold = jax.vmap(learned)(directions)
    bound = theory.peak_bound(second, factor, directions[1]) if directions.shape[0] > 1 else jnp.full((), jnp.nan, second.dtype)
    if not _grows_linearly(training):
        step, efold, bound = jnp.nan * step, jnp.nan * efold, jnp.nan * bound
    first, head = encoders.Layers(target.w, start.head) if training.depth == 1 else theory.balanced_layers(target.w, training.depth)
    limit = encoders.Layers(jnp.pad(first, ((0, 0), (0, 1))), head)
    found = {"critical_learning_rate": critical_of(training, target)} if structure.critical else {}
    return found | {
        **observe(prepared, training, target, structure.measures, limit, leave_apart(prepared, outside)),
        "learning_step": step,
        "efold": efold,
        "peak_bound": bound,
        "smallest_second": jnp.min(jnp.where(second > 0, second, jnp.inf)),
        "largest_second": jnp.max(second),
        "step_size": jnp.asarray(training.learning_rate),
    }


def predict(experiment: Experiment, steps: Sequence[float] = (np.inf,)) -> Prediction:
    """What theory says of a lane, in the records of `run`.

    Args:
        experiment: what to predict. steps: training steps, infinity for the minimum-norm minimizer.

    Returns:
        Prediction; NaN where no closed form is known: growth but with gd or flow at a constant rate and depth 1,
        critical rates with depth > 1 or optimizers that do not commute with rotations, and the rate of
        unlearning where it is not that of plain supervised training of a FeatureModel with a bias, embed_dim >= 2 and no class_mean.

    Raises:
        ValueError: as `run`.
    """
    check(experiment)
    try:
        when = np.asarray(steps, float)
    except (TypeError, ValueError):
        when = np.empty(())
    require(when.ndim == 1 and (when >= 0).all(), "steps", steps, "a list of numbers >= 0, or infinity")
    structure = structure_of(experiment, predicted_measures(experiment.training))._replace(critical=True, batches=False)
    with numerics(experiment.problem.precision):
        problem, training = (cast(half, experiment.problem.precision) for half in (experiment.problem, experiment.training))
        finite = when[np.isfinite(when)].astype(experiment.problem.precision)
        early, known = jax.device_get(_predict(problem, training, finite, structure))
        rate = float(_unlearning_rate(experiment))
    records = {}
    for name in structure.measures:
        records[name] = np.empty((when.size, *np.shape(known[name])), known[name].dtype)
        records[name][np.isfinite(when)], records[name][~np.isfinite(when)] = early[name], known[name]
    numbers = (float(known[name]) for name in ("critical_learning_rate", "smallest_second", "largest_second"))
    return Prediction(records, known["learning_step"], known["efold"], float(known["peak_bound"]), rate, *numbers)


def gradient_noise(experiment: Experiment, draws: int = 4096) -> tuple[float, float]:
    """How much batches disagree where training would end: the mean square of a batch's gradient at the minimum-norm minimizer.

        C = E|g_b|^2,   from which `theory.stationary_excess` tells the excess loss of SGD

    Args:
        experiment: with batches; of more layers the gradient is that of their product W. draws: batches that are averaged, >= 2.

    Returns:
        C and its standard error. 0 where every batch has the same minimizer.

    Raises:
        ValueError: as `run`, and for a training without batches.
    """
    check(experiment)
    require(experiment.training.batch != "full", "batch", experiment.training.batch, "one of ('iid', 'subset', 'epochs')")
    require(is_size(draws) and draws >= 2, "draws", draws, "a whole number >= 2")
    with numerics(experiment.problem.precision):
        problem, training = (cast(half, experiment.problem.precision) for half in (experiment.problem, experiment.training))
        squares = np.asarray(_noise(problem, training, np.arange(draws), structure_of(experiment, ())), float)
    return float(squares.mean()), float(squares.std() / np.sqrt(draws))


@partial(jax.jit, static_argnames="structure")
def _noise(problem: Problem, training: Training, steps: Array, structure: Structure) -> Array:
    """|g_b|^2 at the minimizer in every step [t]."""
    prepared = prepare(problem, training, structure)
    w = settle(prepared, training, structure).w
    w = widen(w) if structure.frame else w @ prepared.frame.basis.T
    slope, root = slope_of(prepared, training, structure), prepared.source.key  # type: ignore[union-attr]
    return lax.map(lambda step: jnp.sum((slope(w, jax.random.fold_in(root, step), step) + 2 * training.weight_decay * w) ** 2), steps)


def _grows_linearly(training: Training) -> bool:
    """Whether `theory.early_growth` is the growth of this training, or its mean over batches: other optimizers and depth have another."""
    return training.optimizer in ("gd", "flow") and training.schedule == "constant" and training.depth == 1


def _unlearning_rate(experiment: Experiment) -> Any:
    model, training, problem = experiment.problem.data, experiment.training, experiment.problem
    plain = training.loss == "scl" and problem.bias and training.embed_dim >= 2 and not training.weight_decay
    if not plain or not _grows_linearly(training) or not isinstance(model, FeatureModel) or model.class_mean:
        return float("nan")
    unlearned = model.class_strength and model.class_keep and model.subclass_strength and model.subclass_mean
    return theory.unlearning_rate(model) if unlearned else float("nan")


@partial(jax.jit, static_argnames="structure")
def _predict(problem: Problem, training: Training, steps: Array, structure: Structure) -> tuple[dict[str, Array], dict[str, Array]]:
    """Early growth at finite steps [t], and `forecast`."""
    prepared = prepare(problem, training, structure)
    target = settle(prepared, training, structure)
    training = with_step(training, target)
    rate, decay, flow = training.learning_rate, training.weight_decay, training.optimizer == "flow"
    start, outside = begin(prepared, training, structure.rows)
    inside = theory.early_growth(inside_of(prepared, start.first), prepared.frame.factor(training.loss, training.beta), rate, steps, decay, flow=flow)
    small = jnp.linalg.norm((inside * prepared.frame.second) @ jnp.swapaxes(inside, 1, 2), axis=(1, 2)) < 0.1
    small &= _grows_linearly(training)
    shrink = -2 * rate * decay
    length = jnp.exp(steps[:, None, None] * (shrink if flow else jnp.log1p(shrink))) * start.first[:, -1:]
    early = jnp.concatenate([inside, length], axis=2)
    apart = leave_apart(prepared, outside)

    def watch(first: Array) -> dict[str, Array]:
        return observe(prepared, training, target, structure.measures, encoders.Layers(first, start.head), apart)

    grown = jax.vmap(watch)(early)
    grown = {name: jnp.where(jnp.expand_dims(small, range(1, value.ndim)), value, jnp.nan) for name, value in grown.items()}
    return grown, forecast(prepared, training, target, structure)
