"""The seam: what is trained, in whatever coordinates suit it."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
from jax import Array

from cldyn import losses
from cldyn.trajectory.limit import Setting


class System(NamedTuple):
    """What is trained.

    start: parameters at step 0, any pytree.
    gradient: (params, key, step) -> like params; of the loss without weight decay.
    embed: (params, probe, layer) -> embeddings [s, p] of a probe by its name; layer: "" for the
        output, "input" for the probe as it is, or a layer of the encoder.
    loss: params -> loss of everything, without weight decay.
    inside: params -> W on the range of the data, in their frame [rows, r]; None for a nonlinear
        encoder.
    layers: params -> W_1 W_1^T and W_2 ... W_L; None for a nonlinear encoder.
    weights: params -> W in input coordinates [p, D]; of a nonlinear encoder its parameters.
    steps: the optax transformation that is used in an optimizer's place.
    """

    start: Any
    gradient: Callable[[Any, Array, Array], Any]
    embed: Callable[[Any, str, str], Array]
    loss: Callable[[Any], Array]
    inside: Any
    layers: Any
    weights: Callable[[Any], Any]
    steps: Callable[[Any], Any] = lambda transformation: transformation


def start(setting: Setting) -> Any:
    """Parameters of an encoder at step 0, in input coordinates."""
    origin, training = setting.prepared.origin, setting.training
    drawn = training.encoder.init(jax.random.key(training.seed), origin.size)
    return jax.tree.map(lambda leaf: leaf.astype(origin.dtype), drawn)


def on_batches(setting: Setting, embed: Callable[[Any, Array], Array]) -> Callable[..., Any]:
    """Gradient of the loss of a step's batch. embed: (params, rows [N, d]) -> columns [p, N]."""
    training, units = setting.training, setting.prepared.units

    def gradient(params: Any, key: Array, step: Array) -> Any:
        batch = units.draw(training, key, step)
        embeddings, pull = jax.vjp(lambda params: embed(params, batch.rows()), params)
        return pull(losses.slope(training.loss, embeddings, batch.pairs))[0]

    return gradient


def through(
    end_to_end: Callable[[Any], Array], slope: Callable[[Array], Array]
) -> Callable[..., Any]:
    """Gradient with respect to layers from that with respect to their product."""

    def gradient(params: Any, key: Array, step: Array) -> Any:
        w, pull = jax.vjp(end_to_end, params)
        return pull(slope(w))[0]

    return gradient
