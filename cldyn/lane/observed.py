"""What is measured of a lane's encoder, by name."""

from collections.abc import Sequence

import jax.numpy as jnp
from jax import Array

from cldyn import encoders, losses, measures
from cldyn.experiment import Training
from cldyn.lane.prepared import Prepared
from cldyn.lane.target import Target


def inside_of(prepared: Prepared, w: Array) -> Array:
    """The coordinates of w [..., > r] that data reach [..., r]."""
    return w[..., : prepared.frame.second.size]


def leave_apart(prepared: Prepared, outside: Array) -> dict[str, Array]:
    """Embeddings of what is left of the probes, and of themselves, by rows `outside` of length 1 [rows, D]: {name: [s, rows]}."""
    return {name: rest @ outside.T for name, rest in {**prepared.rest, "outside": outside}.items()}


def observe(
    prepared: Prepared, training: Training, target: Target, names: Sequence[str], layers: encoders.Layers, apart: dict[str, Array]
) -> dict[str, Array]:
    """Measures of an encoder.

    Args:
        names: among `measures.MEASURES`. layers: in the frame, as in `begin`. apart: from `leave_apart`.
    """
    second, factor = prepared.frame.second, prepared.frame.factor(training.loss, training.beta)
    first, length = inside_of(prepared, layers.first), layers.first[:, -1]
    inside = encoders.end_to_end(encoders.Layers(first, layers.head))

    def embed_below(name: str) -> Array:
        return prepared.coords[name] @ first.T + apart[name] * length

    def embed(name: str) -> Array:
        return encoders.project(layers.head, embed_below(name))

    def gap(name: str) -> Array:
        return measures.gap(embed(name))

    def train_gap(kind: int) -> Array:
        return measures.gap(measures.contrasts(embed("train"), prepared.groups["train"][kind]))

    def variance(name: str, cells: bool) -> Array:
        classes, subclasses = prepared.groups[name]
        member = (classes[:, None] * subclasses).reshape(-1, classes.shape[1]) if cells else classes
        return measures.within_variance(embed(name), member)

    def accuracy(kind: int) -> Array:
        signs = {name: groups[kind][1] - groups[kind][0] for name, groups in prepared.groups.items()}
        return measures.probe_accuracy(embed("train"), signs["train"], embed("test"), signs["test"])

    loss = losses.spectral_in_frame(inside, second, factor) + training.weight_decay * jnp.sum(layers.first**2)
    available = {
        "feature_norms": lambda: measures.feature_norms(embed("feature_norms")),
        "class_gap": lambda: gap("class_gap"),
        "subclass_gap": lambda: gap("subclass_gap"),
        "subclass_to_class": lambda: gap("subclass_gap") / gap("class_gap"),
        "loss": lambda: loss,
        "excess_loss": lambda: loss - target.loss,
        "distance": lambda: measures.gram_distance(jnp.where(second > 0, inside, 0), target.w),
        "train_class_gap": lambda: train_gap(0),
        "train_subclass_gap": lambda: train_gap(1),
        "train_class_variance": lambda: variance("train", False),
        "train_subclass_variance": lambda: variance("train", True),
        "test_class_variance": lambda: variance("test", False),
        "test_subclass_variance": lambda: variance("test", True),
        "class_accuracy": lambda: accuracy(0),
        "subclass_accuracy": lambda: accuracy(1),
        "first_layer_norms": lambda: measures.feature_norms(embed_below("feature_norms")),
        "imbalance": lambda: measures.imbalance(first @ first.T + length[:, None] * apart["outside"] * length, layers.head),
        "effective_rank": lambda: measures.effective_rank(embed("train")),
        "embeddings": lambda: embed("test"),
    }
    return {name: available[name]() for name in names}
