"""Fresh gaussian noise at the price of p: known in a frame that moves with W, exact in law."""

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array

from cldyn import linalg, losses
from cldyn.data import Gaussian, correlate
from cldyn.encoders import DeepLinear, Layers, Linear, Window, append_one, project
from cldyn.experiment import Experiment
from cldyn.optimizers import Optimizer
from cldyn.sources import FreshViews, Population
from cldyn.trajectory.inputs import on_inputs
from cldyn.trajectory.limit import Setting
from cldyn.trajectory.system import System

_KEEPS = "class_keep", "subclass_keep", "irrelevant_keep"
_CHANGES = "class_change", "subclass_change"
_WORTH = 64  # directions of noise beyond the frame, from which on it is


def within(experiment: Experiment, rows: int, varied: Any = ()) -> Experiment:
    """The experiment inside a window on its noise, where that is exact and worth it.

    All it knows is the law of W, up to turns of the noise: it is not the W of an experiment on all
    directions of the inputs, and a limit that has noise of its own is known up to turns too.

    Args:
        experiment: checked.
        rows: of W.
        varied: names of numbers that vary between trajectories.

    Source: derived here, see `in_moving_frame`.
    """
    problem, training = experiment.problem, experiment.training
    if type(problem) not in (Population, FreshViews) or not training.batch.draws:
        return experiment
    model, encoder = problem.model, training.encoder
    still = _surely(model, varied, 1, *_KEEPS) and _surely(model, varied, 0, *_CHANGES)
    model = replace(model, still=still)
    if type(model.noise) is Gaussian and _surely(model.noise, varied, 0, "noise_length"):
        model = replace(model, noise=replace(model.noise, silent=True))
    if window := _window(problem, training, rows, varied):
        noise = replace(model.noise, directions=model.other)
        model = replace(model, d=window.features + window.seen, noise=noise, rotated=False)
        encoder = replace(encoder, window=window)
    training = replace(training, encoder=encoder)
    return Experiment(replace(problem, model=model), training, experiment.precision)


def _window(problem: Any, training: Any, rows: int, varied: Any) -> Window | None:
    """The window, where there is one."""
    model, encoder, optimizer = problem.model, training.encoder, training.optimizer
    if type(model.noise) is not Gaussian or type(encoder) not in (Linear, DeepLinear):
        return None
    if "embed_dim" in varied:
        return None  # an embedding size would decide what all others draw
    plain = getattr(type(optimizer), "slope", Optimizer.slope) is Optimizer.slope
    if not (plain and getattr(optimizer, "commutes", False)):
        return None
    if isinstance(problem, FreshViews) and not _surely(model.noise, varied, 0, "noise_keep"):
        return None  # the noise that originals keep has directions of its own
    seen = rows * (1 + _momenta(optimizer))
    worth = model.other >= seen + rows + _WORTH
    return Window(model.features, seen, model.other) if worth else None


def _surely(noun: Any, varied: Any, value: float, *names: str) -> bool:
    """Whether all of these numbers have a value, in every trajectory."""
    return all(
        name not in varied and np.all(np.asarray(getattr(noun, name)) == value) for name in names
    )


def _momenta(optimizer: Any) -> int:
    """How many directions in the shape of W an optimizer remembers."""
    w = Layers(jnp.zeros((1, 1)), jnp.zeros((0, 1, 1)))
    return len(_layers(jax.eval_shape(lambda: optimizer.transform(0.0).init(w))))


def _is_layers(tree: Any) -> bool:
    return isinstance(tree, Layers)


def _layers(state: Any) -> list[Layers]:
    return [one for one in jax.tree.leaves(state, is_leaf=_is_layers) if _is_layers(one)]


def in_moving_frame(setting: Setting) -> System:
    """A linear encoder on fresh gaussian noise, known inside the frame of its own rows.

        W = [A, L],   A <- A - eta H^T Z,   L <- root([L - eta H^T Xi, eta s T R])

    A on the features and the bias, L L^T = B B^T for the part B on the noise. Xi are the noise's
    coordinates inside the frame, H the gradient of the loss of a batch in its rows' embeddings,
    C the correlation of the noise of rows (1, noise_keep between views of one example), s the
    standard deviation of the noise, T T^T = H^T C H, R R^T ~ Wishart(I, D' - q).

    Source: derived here. A batch meets B in the coordinates of its noise along the rows of B alone;
    noise is isotropic and new in every step, so these are N(0, s^2 C) whatever B is, and what is
    across them is independent of all that the step decides: of s N^T H, N [b, D' - q] with rows of
    correlation C, the later course knows the Gram matrix s^2 T W T^T alone, W Wishart. Optimizers
    that commute with rotations see inside and outside as one matrix, whose columns are turned
    after every step so that W and what is remembered of gradients lie inside again.
    """
    inner = on_inputs(setting)
    training, units = setting.training, setting.prepared.units
    window, bias = training.encoder.window, training.encoder.bias
    model = units.source.model
    rows = len(inner.start.first)
    dtype = inner.start.first.dtype
    deviation = model.noise.deviation(model.other, dtype)

    def seen(layers: Layers) -> Layers:
        return Layers(layers.first[:, :-rows], layers.head)

    def gradient(layers: Layers, key: Array, step: Array) -> Layers:
        batch = units.draw(training, key, step)
        x = append_one(batch.rows(), bias)
        embeddings, pull = jax.vjp(_above, layers.head, seen(layers).first @ x.T)
        above, slope = pull(losses.slope(training.loss, embeddings, batch.pairs))
        fresh = jax.random.fold_in(key, 2**16)  # no key of a sample: these count from 0
        wishart = linalg.bartlett(fresh, rows, window.other - window.seen).astype(dtype)
        by_view = slope.reshape(rows, batch.x.shape[1], -1)
        correlated = correlate(by_view, model.noise.noise_keep, 1)
        spread = linalg.lower(correlated.reshape(slope.shape))
        outside = deviation * spread @ wishart
        return Layers(jnp.concatenate([slope @ x, outside], axis=1), above)

    def turned(inner: optax.GradientTransformation) -> optax.GradientTransformation:
        return _turned(inner, slice(window.features, window.features + window.seen), rows)

    return inner._replace(
        start=Layers(jnp.pad(inner.start.first, ((0, 0), (0, rows))), inner.start.head),
        gradient=gradient,
        embed=lambda layers, name, layer: inner.embed(seen(layers), name, layer),
        loss=lambda layers: inner.loss(seen(layers)),
        inside=lambda layers: inner.inside(seen(layers)),
        layers=lambda layers: inner.layers(seen(layers)),
        weights=lambda layers: inner.weights(seen(layers)),
        steps=turned,
    )


def _above(head: Array, hidden: Array) -> Array:
    """Columns of the first layer [p, N] through the others."""
    return project(head, hidden.T).T


def _turned(
    inner: optax.GradientTransformation, inside: slice, rows: int
) -> optax.GradientTransformation:
    """The steps of a transformation, after which nothing is left outside the frame."""

    def noise(layers: Layers) -> Array:
        return jnp.concatenate([layers.first[:, inside], layers.first[:, -rows:]], axis=1)

    def placed(layers: Layers, root: Array) -> Layers:
        left, right = layers.first[:, : inside.start], layers.first[:, inside.stop : -rows]
        parts = left, root, right, jnp.zeros_like(layers.first[:, -rows:])
        return Layers(jnp.concatenate(parts, axis=1), layers.head)

    def update(grads: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        updates, state = inner.update(grads, state, params)
        moved = optax.apply_updates(params, updates)
        root = linalg.lower(jnp.concatenate([noise(one) for one in (moved, *_layers(state))]))
        parts = iter(root.reshape(-1, rows, root.shape[1]))
        moved = placed(moved, next(parts))
        state = jax.tree.map(
            lambda one: placed(one, next(parts)) if _is_layers(one) else one,
            state, is_leaf=_is_layers,
        )  # fmt: skip
        return jax.tree.map(jnp.subtract, moved, params), state

    return optax.GradientTransformation(inner.init, update)
