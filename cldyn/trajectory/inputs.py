"""Any encoder, loss and optimizer, on inputs as they are."""

from typing import Any

import jax.numpy as jnp
from jax import Array

from cldyn import losses
from cldyn.data import contrasts
from cldyn.encoders import Layers, append_one, end_to_end, is_linear
from cldyn.observed import INPUT
from cldyn.trajectory.limit import Setting
from cldyn.trajectory.prepared import DIFFERENCES
from cldyn.trajectory.system import System, on_batches, start, through


def on_inputs(setting: Setting) -> System:
    """Any encoder, any loss, any optimizer, in the coordinates of the inputs."""
    return _linear(setting) if is_linear(setting.training.encoder) else _nonlinear(setting)


def _nonlinear(setting: Setting) -> System:
    prepared, training = setting.prepared, setting.training
    encoder = training.encoder

    def at(params: Any, x: Array, layer: str) -> Array:
        if layer == INPUT:
            return x
        return encoder.through(params, x)[layer] if layer else encoder.apply(params, x)

    def embed(params: Any, name: str, layer: str) -> Array:
        if name == "directions":
            origin = at(params, prepared.origin[None], layer)
            return at(params, prepared.probes[name], layer) - origin
        if name in DIFFERENCES:  # of means over test rows
            classes, subclasses = prepared.groups["test"]
            member = classes if name == "class_gap" else subclasses
            return contrasts(at(params, prepared.probes["test"], layer), member)
        return at(params, prepared.probes[name], layer)

    return System(
        start=start(setting),
        gradient=on_batches(setting, lambda params, x: encoder.apply(params, x).T),
        embed=embed,
        loss=_loss_of_rows(setting),
        inside=None,
        layers=None,
        weights=lambda params: params,
    )


def _linear(setting: Setting) -> System:
    prepared, training = setting.prepared, setting.training
    bias, frame = training.encoder.bias, prepared.frame

    def embed(layers: Layers, name: str, layer: str) -> Array:
        x = prepared.probes[name]
        if layer == INPUT:
            return x
        wide = jnp.pad(x, ((0, 0), (0, int(bias)))) if name in DIFFERENCES else append_one(x, bias)
        return wide @ (layers.first if layer else end_to_end(layers)).T

    if prepared.units is not None:
        gradient = on_batches(setting, lambda layers, x: end_to_end(layers) @ append_one(x, bias).T)
    else:
        basis, second, factor = frame.basis, frame.second, setting.factor()
        gradient = through(
            end_to_end, lambda w: losses.spectral_gradient(w @ basis, second, factor) @ basis.T
        )

    def inside(layers: Layers) -> Array:
        return end_to_end(layers) @ frame.basis

    def loss(layers: Layers) -> Array:
        second = frame.second
        return losses.spectral_in_frame(inside(layers), second, setting.factor())

    return System(
        start=start(setting),
        gradient=gradient,
        embed=embed,
        loss=_loss_of_rows(setting) if frame is None else loss,
        inside=lambda layers: jnp.where(frame.second > 0, inside(layers), 0),
        layers=lambda layers: (layers.first @ layers.first.T, layers.head),
        weights=end_to_end,
    )


def _loss_of_rows(setting: Setting) -> Any:
    """The loss of all stored rows."""
    training, rows = setting.training, setting.prepared.rows

    def loss(params: Any) -> Array:
        batch = rows.everything(training.positives)
        return training.loss(
            training.encoder.apply(params, batch.x.reshape(-1, batch.x.shape[-1])), batch.pairs
        )

    return loss
