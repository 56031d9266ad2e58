"""What theory says of a trajectory, in the records of its run."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from cldyn import theory
from cldyn.batches import Full
from cldyn.checks import is_size, require
from cldyn.encoders import Layers, Linear
from cldyn.experiment import Experiment, by_moments, check, numerics
from cldyn.losses import Supervised
from cldyn.measures import EXACT
from cldyn.optimizers import follows_gradient
from cldyn.trajectory.frame import begin, in_frame
from cldyn.trajectory.limit import Setting, with_step
from cldyn.trajectory.plan import Plan, plan_of
from cldyn.trajectory.train import observe, ready, setting_of, step_size, system_of


class Prediction(NamedTuple):
    """What theory says of a trajectory; NaN wherever the condition of a prediction fails.

    records: those of `run` that theory knows at the asked steps [t, ...]: early growth while
        |W M W^T| < 0.1, then NaN; the minimum-norm minimizer at infinity.
    learning_step: step at which every |W v_j| reaches 0.1 [K].
    efold: time in which it grows by e, then [K].
    peak_bound: upper bound of |W v_2|.
    unlearning_rate: of |W v_2| per flow time.
    critical_learning_rate: above which training cannot converge.
    smallest_second, largest_second: extreme eigenvalues of M on its range.
    """

    records: dict[str, np.ndarray]
    learning_step: np.ndarray
    efold: np.ndarray
    peak_bound: float
    unlearning_rate: float
    critical_learning_rate: float
    smallest_second: float
    largest_second: float


def forecast_plan(experiment: Experiment, varied: Any = None, *, critical: bool = True) -> Plan:
    """The plan of what theory knows of a training: everything by moments, in their frame."""
    allowed = "a linear encoder and the spectral loss, of which there is a theory"
    training = experiment.training
    given = type(training.encoder).__name__, type(training.loss).__name__
    require(by_moments(training), "encoder, loss", given, allowed)
    directions = getattr(experiment.problem, "directions", None)
    there = directions is None or len(directions) > 0
    known = [name for name in EXACT if name != "distance" and (there or name != "feature_norms")]
    layers = getattr(training.encoder, "layers", ()) if there else ()
    more = [f"{layer}_feature_norms" for layer in layers]
    plan = plan_of(experiment, known + more, varied)
    return replace(plan, in_frame=True, draws=False, critical=plan.critical or critical)


def without_batches(training: Any) -> Any:
    """The training with full batches, so that forecasts of all kinds of batch share programs."""
    return replace(training, batch=Full())


def forecast(setting: Setting, plan: Plan, supervised: bool) -> dict[str, Array]:
    """What theory says of one trajectory: the limit in the records of `train`, and numbers.

    Args:
        setting: of a prepared problem without batches.
        plan: from `forecast_plan`.
        supervised: whether the bound of the peak is sought at all.
    """
    training, limit = setting.training, setting.limit
    frame = setting.prepared.frame
    system = in_frame(setting)
    first, head = Layers(limit.w, system.start.head)
    if training.encoder.depth > 1:
        first, head = theory.balanced_layers(limit.w, training.encoder.depth)
    second = frame.second
    found = {"critical_learning_rate": jnp.asarray(setting.critical())} if plan.critical else {}
    return found | {
        **observe(setting, system, plan, Layers(first.at[:, -1].set(0), head)),
        **_growth(setting, supervised),
        "smallest_second": jnp.min(jnp.where(second > 0, second, jnp.inf)),
        "largest_second": jnp.max(second),
        "step_size": step_size(training),
    }


def _growth(setting: Setting, supervised: bool) -> dict[str, Array]:
    """Learning steps and the bound of the peak, where there are feature directions."""
    training, prepared = setting.training, setting.prepared
    second, factor = prepared.frame.second, setting.factor()
    start, _ = begin(setting)
    directions = prepared.probes["directions"].inside
    flow = getattr(training.optimizer, "takes_batches", True) is False
    nan = jnp.full((), jnp.nan, second.dtype)
    count = directions.shape[0]
    if not grows_linearly(training):
        return {
            "learning_step": nan + jnp.zeros(count),
            "efold": nan + jnp.zeros(count),
            "peak_bound": nan,
        }
    rate, decay = training.optimizer.learning_rate, training.weight_decay

    def learned(direction: Array) -> tuple[Array, Array]:
        return theory.learning_step(
            start.first, factor, direction, rate, weight_decay=decay, flow=flow, second=second
        )

    step, efold = jax.vmap(learned)(directions)
    bound = nan
    if count > 1 and supervised:
        bound = theory.peak_bound(
            second, factor, directions[1], start=start.first, learning_rate=rate, flow=flow
        )
    return {"learning_step": step, "efold": efold, "peak_bound": bound}


def grows_linearly(training: Any) -> bool:
    """Whether `theory.early_growth` is the growth of this training, or its mean over batches."""
    return follows_gradient(training.optimizer) and isinstance(training.encoder, Linear)


def bounds_peak(experiment: Experiment) -> bool:
    """Whether the bound of the peak is that of this kind of training at all."""
    training = experiment.training
    supervised = isinstance(training.positives, Supervised) and training.encoder.bias
    known = hasattr(experiment.problem, "model")  # else the second direction is no subclass
    return bool(supervised) and known and not training.batch.draws


def predict(experiment: Experiment, steps: Sequence[float] = (np.inf,)) -> Prediction:
    """What theory says of a trajectory, in the records of `run`.

    Args:
        experiment: what to predict: a linear encoder with the spectral loss.
        steps: training steps, infinity for the minimum-norm minimizer.

    Returns:
        Prediction; NaN where no closed form is known or its condition fails: growth but with
        unclipped gd or flow at a constant rate and one layer, critical rates with more layers or
        optimizers that do not commute with rotations, and the rate of unlearning where it is not
        that of plain supervised training of a feature model with a bias, embed_dim >= 2, no
        class_mean and no class_change.

    Raises:
        ValueError: as `run`.

    Example:
        >>> import cldyn
        >>> known = cldyn.predict(cldyn.Experiment())
        >>> print(known.records["feature_norms"], known.learning_step)
    """
    check(experiment)
    try:
        when = np.asarray(steps, float)
    except (TypeError, ValueError):
        when = np.empty(())
    good = when.ndim == 1 and (when >= 0).all()
    require(good, "steps", steps, "a list of numbers >= 0, or infinity")
    plan = forecast_plan(experiment)
    with numerics(experiment.precision):
        problem, training = ready(experiment)
        training = without_batches(training)
        finite = when[np.isfinite(when)].astype(experiment.precision)
        setting = setting_of(problem, training, plan)
        done = _predict(setting, finite, plan, bounds_peak(experiment))
        early, known = jax.device_get(done)
        rate = float(_unlearning_rate(experiment))
    records = {}
    for name in early:
        records[name] = np.empty((when.size, *np.shape(known[name])), known[name].dtype)
        records[name][np.isfinite(when)], records[name][~np.isfinite(when)] = (
            early[name],
            known[name],
        )
    names = ("critical_learning_rate", "smallest_second", "largest_second")
    numbers = (float(known[name]) for name in names)
    growth = known["learning_step"], known["efold"], float(known["peak_bound"])
    return Prediction(records, *growth, rate, *numbers)


@partial(jax.jit, static_argnames=("plan", "supervised"))
def _predict(
    setting: Setting, steps: Array, plan: Plan, supervised: bool
) -> tuple[dict[str, Array], dict[str, Array]]:
    """Early growth at finite steps [t], and `forecast`."""
    setting = with_step(setting)
    system, start, second = in_frame(setting), begin(setting)[0], setting.prepared.frame.second
    if grows_linearly(setting.training):
        optimizer, decay = setting.training.optimizer, setting.training.weight_decay
        flow = not optimizer.takes_batches
        early = theory.early_growth(
            start.first, setting.factor(), optimizer.learning_rate, steps, decay, flow=flow
        )
        small = jnp.linalg.norm((early * second) @ jnp.swapaxes(early, 1, 2), axis=(1, 2)) < 0.1
    else:
        early = jnp.broadcast_to(start.first, (steps.size, *start.first.shape))
        small = jnp.zeros(steps.size, bool)

    def watch(first: Array) -> dict[str, Array]:
        return observe(setting, system, plan, Layers(first, start.head))

    def known(value: Array) -> Array:
        return jnp.where(jnp.expand_dims(small, range(1, value.ndim)), value, jnp.nan)

    grown = jax.tree.map(known, jax.vmap(watch)(early))
    return grown, forecast(setting, plan, supervised)


def _unlearning_rate(experiment: Experiment) -> Any:
    model, training = getattr(experiment.problem, "model", None), experiment.training
    encoder, positives = training.encoder, training.positives
    plain = isinstance(positives, Supervised) and encoder.bias and encoder.embed_dim >= 2
    plain = plain and not training.weight_decay and grows_linearly(training)
    if not plain or model is None or model.class_mean or model.class_change:
        return float("nan")
    unlearned = model.class_strength and model.class_keep
    unlearned = unlearned and model.subclass_strength and model.subclass_mean
    return theory.unlearning_rate(model) if unlearned else float("nan")


def gradient_noise(experiment: Experiment, draws: int = 4096) -> tuple[float, float]:
    """How much batches disagree where training would end.

        C = E|g_b|^2 at the minimum-norm minimizer

    From C `theory.stationary_excess` tells the excess loss of SGD.

    Args:
        experiment: with batches; of more layers the gradient is that of their product W.
        draws: batches that are averaged, >= 2.

    Returns:
        C and its standard error. 0 where every batch has the same minimizer.

    Raises:
        ValueError: as `run`, and for a training without batches.

    Example:
        >>> import cldyn
        >>> cldyn.gradient_noise(cldyn.Experiment().replace(batch=cldyn.Subset(32)), draws=16)
    """
    check(experiment)
    batch = experiment.training.batch
    require(batch.draws, "batch", batch, "one that draws: Iid, Subset or Epochs")
    require(is_size(draws, 2), "draws", draws, "a whole number >= 2")
    allowed = "a linear encoder and the spectral loss"
    require(by_moments(experiment.training), "encoder", experiment.training.encoder, allowed)
    with numerics(experiment.precision):
        problem, training = ready(experiment)
        plan = plan_of(experiment, ())
        setting = setting_of(problem, training, plan)
        squares = np.asarray(_noise(setting, np.arange(draws), plan), float)
    return float(squares.mean()), float(squares.std() / np.sqrt(draws))


@partial(jax.jit, static_argnames="plan")
def _noise(setting: Setting, steps: Array, plan: Plan) -> Array:
    """|g_b|^2 at the minimizer in every step [t]."""
    prepared, training, limit = setting
    names = "embed_dim", "init_scale", "bias", "rows", "window"
    one = Linear(**{name: getattr(training.encoder, name) for name in names})
    setting = Setting(prepared, replace(training, encoder=one), limit)
    system = system_of(setting, plan)
    w = limit.w if plan.in_frame else limit.w @ prepared.frame.basis.T
    beyond = system.start.first.shape[1] - w.shape[1]  # a window's
    w = jnp.pad(w, ((0, 0), (0, beyond)))
    layers, root = Layers(w, jnp.zeros((0, *2 * (len(w),)), w.dtype)), prepared.units.key

    def square(step: Array) -> Array:
        slope = system.gradient(layers, jax.random.fold_in(root, step), step).first
        return jnp.sum((slope + 2 * training.weight_decay * w) ** 2)

    return lax.map(square, steps)
