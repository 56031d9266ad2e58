"""One lane of an experiment: here names pick objects, and it is put together, run and predicted."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array, lax

from cldyn import data, dynamics, encoders, losses, measures, moments, theory
from cldyn.data import FeatureModel, Views
from cldyn.experiment import Experiment, Problem, Training, cast, check, check_steps, numerics

_REGISTER = 8  # a row of w is padded to whole vector registers: 201 coordinates cost a quarter more than 208
DEFAULT_MEASURES = tuple(name for name in measures.MEASURES if name != "embeddings")
PREDICTED_MEASURES = tuple(name for name in DEFAULT_MEASURES if name != "distance")


class Run(NamedTuple):
    """records: measure name -> [t, ...]. finite_steps: steps before divergence. weights: the last W in input coordinates [p, D].
    learning_rate: the step size in use."""

    records: dict[str, np.ndarray]
    finite_steps: int
    weights: np.ndarray
    learning_rate: float


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


class Prepared(NamedTuple):
    """A problem ready for lanes: its frame, probe inputs {name: [s, D]}, their coordinates [s, r] and what is left of them."""

    frame: moments.Frame
    coords: dict[str, Array]
    rest: dict[str, Array]


class Target(NamedTuple):
    """What theory says of one (problem, embed_dim, beta, weight decay): minimizer [rows, r], its loss, the critical rate."""

    w: Array
    loss: Array
    critical: Array


class Structure(NamedTuple):
    """What is static of a group of lanes. decays, critical: whether weight decay or the critical rate plays a part at all."""

    rows: int
    decays: bool
    critical: bool
    measures: tuple[str, ...]


def prepare(problem: Problem, measure: Sequence[str] = ()) -> Prepared:
    """Data, frame and probes of a problem: once for all lanes that share it. A test sample is drawn if a measure needs one."""
    dtype = jnp.dtype(problem.precision)
    key = jax.random.key(problem.data_seed)
    model = problem.data
    if isinstance(model, Views):
        frame = moments.frame(model, problem.bias)
        probes = {"feature_norms": model.directions, **_group_contrasts(model)}
    else:
        if problem.population:
            frame = moments.population_frame(model, problem.bias, dtype)
            directions = jnp.eye(model.features, model.d, dtype=dtype)
        else:
            sampled = data.sample(key, model, problem.n, problem.m, balanced=problem.balanced, dtype=dtype)
            frame, directions = moments.frame(sampled, problem.bias), sampled.directions
        gaps = 2 * model.strengths(dtype)[:2, None] * directions[:2]
        probes = {"feature_norms": directions, "class_gap": gaps[:1], "subclass_gap": gaps[1:]}
    wide = frame.basis.shape[0]
    probes = {name: jnp.pad(probe, ((0, 0), (0, wide - probe.shape[1]))) for name, probe in probes.items()}
    if isinstance(model, FeatureModel) and "embeddings" in measure:
        test = data.sample_test(key, model, problem.test_size, dtype=dtype)
        probes["embeddings"] = moments.append_one(test.x[:, 0], problem.bias)
    coords = {name: probe @ frame.basis for name, probe in probes.items()}
    return Prepared(frame, coords, {name: probe - coords[name] @ frame.basis.T for name, probe in probes.items()})


def _group_contrasts(views: Views) -> dict[str, Array]:
    """Differences between the means of every two classes and every two subclasses."""
    means = views.x.mean(axis=1)
    contrasts = {}
    for name, code, groups in (("class_gap", views.label, views.classes), ("subclass_gap", views.subclass, views.subclasses)):
        member = (code[None] == jnp.array(groups)[:, None]).astype(means.dtype)
        centres = member @ means / member.sum(axis=1, keepdims=True)
        first, second = np.triu_indices(len(groups), 1)
        contrasts[name] = centres[first] - centres[second]
    return contrasts


def settle(prepared: Prepared, training: Training, structure: Structure) -> Target:
    """The minimizer, its loss, and the critical rate where somebody asks for it (else NaN)."""
    second, factor = prepared.frame.second, prepared.frame.factor(training.loss, training.beta)
    decay = training.weight_decay
    w = theory.frame_minimizer(second, factor, training.embed_dim, decay, rows=structure.rows, decays=structure.decays)
    critical = jnp.full((), jnp.nan, w.dtype)
    if structure.critical:
        critical = theory.frame_critical_learning_rate(w, second, factor, training.embed_dim, decay)
    return Target(w, losses.spectral_in_frame(w, second, factor) + decay * jnp.sum(w**2), critical)


def begin(prepared: Prepared, training: Training, rows: int) -> tuple[Array, Array]:
    """W_0 in the frame [rows, > r], rows from embed_dim on zero, and the unit vectors [rows, D] of its parts outside.

    The last coordinate of a row is the length of what W_0 has outside the frame. No data reach it, so its direction
    never changes, and its length obeys the same optimizer (weight decay, momentum, clipping by global norm) exactly.
    Coordinates between the frame's r and the last one are zero and stay so.
    """
    basis = prepared.frame.basis
    key = jax.random.key(training.seed)
    raw = encoders.linear(rows, bias=False).init(key, basis.shape[0], jnp.asarray(training.init_scale, basis.dtype))
    raw = jnp.where(jnp.arange(rows)[:, None] < training.embed_dim, raw, 0)
    inside = raw @ basis
    outside = raw - inside @ basis.T
    length = jnp.linalg.norm(outside, axis=1, keepdims=True)
    spare = jnp.zeros((rows, -(inside.shape[1] + 1) % _REGISTER), inside.dtype)
    return jnp.concatenate([inside, spare, length], axis=1), outside / jnp.where(length > 0, length, 1)


def weights(prepared: Prepared, w: Array, outside: Array) -> Array:
    """W [rows, D] in input coordinates from the frame's w and the vectors of `begin`."""
    return _inside(prepared, w) @ prepared.frame.basis.T + w[:, -1:] * outside


def _inside(prepared: Prepared, w: Array) -> Array:
    return w[..., : prepared.frame.second.size]


def observe(
    prepared: Prepared, training: Training, target: Target, names: Sequence[str], w: Array, outside: Array
) -> dict[str, Array]:
    """Measures of an encoder given as in `weights`."""
    second, factor = prepared.frame.second, prepared.frame.factor(training.loss, training.beta)
    inside = _inside(prepared, w)

    def embed(name: str) -> Array:
        return prepared.coords[name] @ inside.T + (prepared.rest[name] @ outside.T) * w[:, -1]

    gaps = {name: measures.gap(embed(name)) for name in ("class_gap", "subclass_gap")}
    loss = losses.spectral_in_frame(inside, second, factor) + training.weight_decay * jnp.sum(w**2)
    available = {
        "feature_norms": lambda: measures.feature_norms(embed("feature_norms")),
        "class_gap": lambda: gaps["class_gap"],
        "subclass_gap": lambda: gaps["subclass_gap"],
        "subclass_to_class": lambda: gaps["subclass_gap"] / gaps["class_gap"],
        "loss": lambda: loss,
        "excess_loss": lambda: loss - target.loss,
        "distance": lambda: measures.gram_distance(jnp.where(second > 0, inside, 0), target.w),
        "embeddings": lambda: embed("embeddings"),
    }
    return {name: available[name]() for name in names}


def train(
    prepared: Prepared, training: Training, target: Target, record_at: Array, structure: Structure
) -> tuple[dynamics.Trajectory, Array]:
    """Gradient descent of one lane in the frame; also returns the vectors of `begin`."""
    w, outside = begin(prepared, training, structure.rows)
    beyond = (0, w.shape[1] - prepared.frame.second.size)
    second = jnp.pad(prepared.frame.second, beyond)
    factor = jnp.pad(prepared.frame.factor(training.loss, training.beta), ((0, 0), beyond))

    def gradient(w: Array, key: Array) -> Array:
        slope = losses.spectral_gradient(w, second, factor)
        return slope + 2 * training.weight_decay * w if structure.decays else slope

    def record(w: Array, step: Array) -> dict[str, Array]:
        return observe(prepared, training, target, structure.measures, w, outside)

    optimizer = optax.sgd(training.learning_rate, training.momentum if training.optimizer == "momentum" else None)
    key = jax.random.fold_in(jax.random.key(training.seed), 1)
    state = dynamics.start(w, optimizer)
    return dynamics.simulate(key, state, gradient, optimizer, record_at=record_at, record=record), outside


@partial(jax.jit, static_argnames="structure")
def _run(problem: Problem, training: Training, record_at: Array, structure: Structure) -> tuple[Any, ...]:
    prepared = prepare(problem, structure.measures)
    target = settle(prepared, training, structure)
    training = with_step(training, target)
    trajectory, outside = train(prepared, training, target, record_at, structure)
    state = trajectory.state
    return trajectory.records, state.finite_steps, weights(prepared, state.params, outside), training.learning_rate


def with_step(training: Training, target: Target) -> Training:
    """The training with its learning rate as an absolute number."""
    if training.learning_rate_unit == "absolute":
        return training
    return replace(training, learning_rate=training.learning_rate * target.critical)  # type: ignore[arg-type]  # a traced number


def run(experiment: Experiment, record_at: Sequence[int], *, measure: Sequence[str] = DEFAULT_MEASURES) -> Run:
    """Train one lane.

    Args:
        experiment: what to run. record_at: increasing steps >= 0; the run ends at the last.
        measure: names among `cldyn.MEASURES`.

    Returns:
        Run. Equal to the same lane of a sweep up to rounding (a batch of another shape sums in another order).

    Raises:
        ValueError: one line naming the field, the value and what is allowed.
    """
    check(experiment)
    structure = structure_of(experiment, measure)
    steps = check_steps(record_at)
    with numerics(experiment.problem.precision):
        problem, training = cast(experiment.problem, experiment.problem), cast(experiment.training, experiment.problem)
        records, finite, last, rate = jax.device_get(_run(problem, training, steps, structure))
    return Run(records, int(finite), last, float(rate))


def structure_of(experiment: Experiment, measure: Sequence[str], embed_dim: Any = None, weight_decay: Any = None) -> Structure:
    """Static side of an experiment, or of lanes with these values."""
    training, problem = experiment.training, experiment.problem
    if isinstance(measure, str):
        raise ValueError(f"measure: {measure!r}, allowed is a list of names")
    rows = int(np.max(training.embed_dim if embed_dim is None else embed_dim))
    decays = bool(np.any(np.asarray(training.weight_decay if weight_decay is None else weight_decay) != 0))
    for name in measure:
        if name not in measures.MEASURES:
            raise ValueError(f"measure: {name!r}, allowed are {', '.join(measures.MEASURES)}")
        if name == "embeddings" and (problem.population or isinstance(problem.data, Views)):
            raise ValueError("measure: 'embeddings', allowed with a sample of a FeatureModel, which has a test sample")
    if isinstance(problem.data, Views) and not len(problem.data.directions):
        measure = [name for name in measure if name != "feature_norms"]
    return Structure(rows, decays, training.learning_rate_unit == "critical", tuple(measure))


# --- predictions -----------------------------------------------------------------------------------------------------


def forecast(prepared: Prepared, training: Training, target: Target, structure: Structure) -> dict[str, Array]:
    """What theory says of one lane: the limit in the records of `train`, and the numbers of Prediction."""
    second, factor = prepared.frame.second, prepared.frame.factor(training.loss, training.beta)
    w, outside = begin(prepared, training, structure.rows)
    directions = prepared.coords["feature_norms"]

    def learned(direction: Array) -> tuple[Array, Array]:
        return theory.learning_step(_inside(prepared, w), factor, direction, training.learning_rate)

    step, efold = lax.map(learned, directions)
    bound = theory.peak_bound(second, factor, directions[1]) if directions.shape[0] > 1 else jnp.nan
    limit = jnp.pad(target.w, ((0, 0), (0, 1)))
    return {
        **observe(prepared, training, target, structure.measures, limit, outside),
        "learning_step": step,
        "efold": efold,
        "peak_bound": jnp.asarray(bound, second.dtype),
        "critical_learning_rate": target.critical,
        "smallest_second": jnp.min(jnp.where(second > 0, second, jnp.inf)),
        "largest_second": jnp.max(second),
        "step_size": training.learning_rate,
    }


def predict(experiment: Experiment, steps: Sequence[float] = (np.inf,)) -> Prediction:
    """What theory says of a lane, in the records of `run`.

    Args:
        experiment: what to predict. steps: gradient descent steps, infinity for the minimum-norm minimizer.

    Returns:
        Prediction; NaN where no closed form is known (momentum, a subclass that is not unlearned, own arrays).

    Raises:
        ValueError: as `run`.
    """
    check(experiment)
    when = np.asarray(steps, float)
    if when.ndim != 1 or not (when >= 0).all():
        raise ValueError(f"steps: {steps!r}, allowed are numbers >= 0, or infinity")
    structure = structure_of(experiment, PREDICTED_MEASURES)._replace(critical=True)
    with numerics(experiment.problem.precision):
        problem, training = cast(experiment.problem, experiment.problem), cast(experiment.training, experiment.problem)
        finite = when[np.isfinite(when)].astype(experiment.problem.precision)
        early, known = jax.device_get(_predict(problem, training, finite, structure))
        rate = float(_unlearning_rate(experiment))
    records = {}
    for name in structure.measures:
        records[name] = np.empty((when.size, *np.shape(known[name])), known[name].dtype)
        records[name][np.isfinite(when)], records[name][~np.isfinite(when)] = early[name], known[name]
    numbers = (float(known[name]) for name in ("critical_learning_rate", "smallest_second", "largest_second"))
    return Prediction(records, known["learning_step"], known["efold"], float(known["peak_bound"]), rate, *numbers)


def _unlearning_rate(experiment: Experiment) -> Any:
    model, training, problem = experiment.problem.data, experiment.training, experiment.problem
    plain = training.loss == "scl" and problem.bias and training.embed_dim >= 2 and not training.weight_decay
    if plain and isinstance(model, FeatureModel) and not model.class_mean:
        return theory.unlearning_rate(model)
    return float("nan")


@partial(jax.jit, static_argnames="structure")
def _predict(problem: Problem, training: Training, steps: Array, structure: Structure) -> tuple[dict[str, Array], dict[str, Array]]:
    """Early growth at finite steps [t], and `forecast`."""
    prepared = prepare(problem, structure.measures)
    target = settle(prepared, training, structure)
    training = with_step(training, target)
    rate, decay = training.learning_rate, training.weight_decay
    w, outside = begin(prepared, training, structure.rows)
    inside = theory.early_growth(_inside(prepared, w), prepared.frame.factor(training.loss, training.beta), rate, steps, decay)
    small = jnp.linalg.norm((inside * prepared.frame.second) @ jnp.swapaxes(inside, 1, 2), axis=(1, 2)) < 0.1
    small &= training.optimizer == "gd"
    length = (1 - 2 * rate * decay) ** steps[:, None, None] * w[:, -1:]
    early = jnp.concatenate([inside, length], axis=2)
    grown = jax.vmap(lambda w: observe(prepared, training, target, structure.measures, w, outside))(early)
    grown = {name: jnp.where(jnp.expand_dims(small, range(1, value.ndim)), value, jnp.nan) for name, value in grown.items()}
    return grown, forecast(prepared, training, target, structure)
