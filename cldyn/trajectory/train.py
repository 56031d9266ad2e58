"""One trajectory: trained, observed, and run from the outside."""

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array

from cldyn import dynamics, nouns
from cldyn.checks import record_steps, require
from cldyn.encoders import with_rows
from cldyn.experiment import Experiment, check, numerics
from cldyn.observed import Observed
from cldyn.trajectory.frame import in_frame
from cldyn.trajectory.inputs import on_inputs
from cldyn.trajectory.limit import Setting, settle, with_step
from cldyn.trajectory.moving import in_moving_frame, within
from cldyn.trajectory.plan import Measures, Plan, layers_of, plan_of
from cldyn.trajectory.prepared import draw, key_of, prepare
from cldyn.trajectory.system import System


class Run(NamedTuple):
    """A trajectory.

    records: measure name -> [t, ...].
    finite_steps: steps before divergence.
    weights: the last W in input coordinates [p, D]; of a nonlinear encoder its parameters. Of
        fresh gaussian noise W on the features, inside a frame that moves with W, and the bias.
    learning_rate: the step size in use; NaN for an optimizer that has none.
    state: where it stands; `run(..., state=state)` continues from it bit for bit.
    """

    records: dict[str, np.ndarray]
    finite_steps: int
    weights: Any
    learning_rate: float
    state: dynamics.State


def system_of(setting: Setting, plan: Plan) -> System:
    """The system of a setting, in the coordinates that the plan says."""
    if plan.in_frame:
        return in_frame(setting)
    moves = plan.draws and getattr(setting.training.encoder, "window", None)
    return in_moving_frame(setting) if moves else on_inputs(setting)


def observe(setting: Setting, system: System, plan: Plan, params: Any) -> dict[str, Array]:
    """Measures of parameters; of None those of the inputs, which no step changes."""
    layers = layers_of(setting.training.encoder)

    def embed(name: str, layer: str = "") -> Array:
        require(layer in ("", *layers), "layer", layer, f"one of {', '.join(layers)}")
        return system.embed(params, name, layer)

    def loss() -> Array:
        if not plan.decays:
            return system.loss(params)
        squares = sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(params))
        return system.loss(params) + setting.training.weight_decay * squares

    seen = Observed(
        embed=embed,
        groups=setting.prepared.groups,
        views=plan.views,
        loss=loss,
        inside=lambda: system.inside(params),
        moments=lambda: (setting.prepared.frame.second, setting.factor()),
        limit=setting.limit,
        layers=lambda: system.layers(params),
    )
    return {
        measure.name: jnp.asarray(measure.function(seen.at(measure.layer)))
        for measure in plan.measures
        if measure.of_inputs is (params is None)
    }


def first_state(setting: Setting, plan: Plan) -> dynamics.State:
    """The state of a trajectory before its first step."""
    system = system_of(setting, plan)
    return dynamics.start(system.start, _steps(system, setting.training, plan))


def _steps(system: System, training: Any, plan: Plan) -> optax.GradientTransformation:
    decay = training.weight_decay if plan.decays else 0.0
    return system.steps(training.optimizer.transform(decay))


def train(
    setting: Setting, plan: Plan, record_at: Array, state: dynamics.State | None = None
) -> tuple[dynamics.Trajectory, Any]:
    """One trajectory, from its start or from a state; also returns its last weights."""
    system, training = system_of(setting, plan), setting.training
    optimizer, decay = training.optimizer, training.weight_decay
    coupled = plan.decays and not getattr(optimizer, "decouples", False)

    def gradient(params: Any, key: Array, step: Array) -> Any:
        grads = system.gradient(params, key, step)
        return jax.tree.map(lambda g, p: g + 2 * decay * p, grads, params) if coupled else grads

    slope = optimizer.slope(gradient) if hasattr(optimizer, "slope") else gradient
    steps = _steps(system, training, plan)
    still = observe(setting, system, plan, None)  # once, outside of the loop
    trajectory = dynamics.simulate(
        key_of(setting.prepared),
        dynamics.start(system.start, steps) if state is None else state,
        slope,
        steps,
        record_at=record_at,
        record=lambda params, step: observe(setting, system, plan, params) | still,
        stride=plan.stride,
    )
    return trajectory, system.weights(trajectory.state.params)


def step_size(training: Any) -> Array:
    """The learning rate in use; NaN for an optimizer that has none."""
    return jnp.asarray(getattr(training.optimizer, "learning_rate", jnp.nan))


def setting_of(problem: Any, training: Any, plan: Plan) -> Setting:
    """The setting of one trajectory: its problem drawn and prepared, its limit known."""
    prepared = prepare(problem, draw(problem, training, plan), training, plan)
    return Setting(prepared, training, settle(prepared, training, plan))


@partial(jax.jit, static_argnames="plan")
def _run(setting: Setting, record_at: Array, plan: Plan, state: Any) -> tuple[Any, ...]:
    setting = with_step(setting)
    trajectory, last = train(setting, plan, record_at, state)
    return trajectory.records, trajectory.state, last, step_size(setting.training)


def ready(experiment: Experiment) -> tuple[Any, Any]:
    """Problem and training of a checked experiment, in its precision and with room for W."""
    rows = getattr(experiment.training.encoder, "embed_dim", 0)
    experiment = within(experiment, int(rows))
    training = experiment.training
    encoder = with_rows(training.encoder, int(rows))
    training = nouns.put(training, ("encoder",), encoder)
    return nouns.cast(experiment.problem, experiment.precision), nouns.cast(
        training, experiment.precision
    )


def _shapes(state: dynamics.State) -> Any:
    return jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), state)


def run(
    experiment: Experiment,
    record_at: Sequence[int] | np.ndarray,
    *,
    measure: Measures = None,
    state: dynamics.State | None = None,
) -> Run:
    """Train one trajectory.

    Args:
        experiment: what to run.
        record_at: increasing steps >= 0; the run ends at the last.
        measure: names among `cldyn.MEASURES` or measures of your own; by default those that need
            no sample of embeddings (but gaps of a nonlinear encoder, which are of test rows). A
            layer before a name, as in "pre_subclass_accuracy", asks for that of the layer;
            "input_" for that of the inputs as they are.
        state: that of an earlier run of the same experiment, to continue from; None: the start.

    Returns:
        Run. Equal to the same trajectory of a sweep up to rounding (a batch of another shape sums
        in another order).

    Raises:
        ValueError: one line naming the field, the value and what is allowed.

    Example:
        >>> import cldyn
        >>> half = cldyn.run(cldyn.Experiment(), [0, 50])
        >>> rest = cldyn.run(cldyn.Experiment(), [100], state=half.state)
        >>> rest.finite_steps
        100
    """
    check(experiment)
    plan = plan_of(experiment, measure)
    steps = record_steps(record_at)
    require(
        state is None or isinstance(state, dynamics.State), "state", state, "the state of a run"
    )
    if state is not None:
        allowed = f"steps from {int(state.step)} on, where the state stands"
        require(steps[0] >= int(state.step), "record_at", record_at, allowed)
    with numerics(experiment.precision):
        problem, training = ready(experiment)
        given = setting_of(problem, training, plan), steps, plan
        if state is not None:
            of_start = partial(_run, *given, None)
            same = _shapes(state) == _shapes(jax.eval_shape(of_start)[1])
            require(same, "state", type(state).__name__, "that of a run of the same experiment")
        done = _run(*given, state)
        records, state, last, rate = jax.device_get(done)
    return Run(records, int(state.finite_steps), last, float(rate), state)
