"""A linear encoder in the frame of its data: exact, and as small as can be."""

import jax.numpy as jnp
from jax import Array

from cldyn import losses
from cldyn.encoders import Layers, end_to_end, project
from cldyn.observed import INPUT
from cldyn.trajectory.limit import Setting
from cldyn.trajectory.prepared import Framed
from cldyn.trajectory.system import System, on_batches, start, through


def begin(setting: Setting) -> tuple[Layers, Array]:
    """W_0 in the frame, and the unit vectors [rows, D] of what its rows have outside.

    The last coordinate of a row is the length of what it has outside the frame. No data reach
    that, so its direction never changes, and its length obeys the same optimizer (weight decay,
    momentum, flow) exactly.
    """
    layers = start(setting)
    inside, outside = setting.prepared.frame.split(layers.first)
    length = jnp.linalg.norm(outside, axis=1, keepdims=True)
    unit = outside / jnp.where(length > 0, length, 1)
    return Layers(inside.at[:, -1:].set(length), layers.head), unit


def in_frame(setting: Setting) -> System:
    """A linear encoder, the spectral loss, and an optimizer that commutes with rotations."""
    prepared = setting.prepared
    frame, factor = prepared.frame, setting.factor()
    first, outside = begin(setting)
    second, basis = frame.second, frame.basis
    beyond = {name: probe.outside @ outside.T for name, probe in prepared.probes.items()}
    gram = outside @ outside.T

    def embed(layers: Layers, name: str, layer: str) -> Array:
        probe: Framed = prepared.probes[name]
        if layer == INPUT:
            return (probe.inside @ basis.T + probe.outside)[:, : prepared.origin.size]
        hidden = probe.inside @ layers.first.T + beyond[name] * layers.first[:, -1]
        return hidden if layer else project(layers.head, hidden)

    def weights(layers: Layers) -> Array:
        first = layers.first @ basis.T + layers.first[:, -1:] * outside
        return end_to_end(Layers(first, layers.head))

    def grams(layers: Layers) -> tuple[Array, Array]:
        length = layers.first[:, -1:]
        inside = layers.first[:, :-1]
        return inside @ inside.T + length * gram * length[:, 0], layers.head

    if prepared.units is not None:
        gradient = on_batches(setting, lambda layers, x: end_to_end(layers) @ x.T)
    else:
        gradient = through(end_to_end, lambda w: losses.spectral_gradient(w, second, factor))
    return System(
        start=first,
        gradient=gradient,
        embed=embed,
        loss=lambda layers: losses.spectral_in_frame(end_to_end(layers), second, factor),
        inside=lambda layers: jnp.where(second > 0, end_to_end(layers), 0),
        layers=grams,
        weights=weights,
    )
