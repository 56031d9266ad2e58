"""Encoders: nouns with `init(key, d) -> params` and `apply(params, x [..., d]) -> [..., p]`.

A linear encoder has `is_linear = True`, the fields embed_dim, bias and rows (of W, those from
embed_dim on zero; 0: embed_dim of them), a depth, and `Layers` as its params, which may then live
in any coordinates of the inputs. Every other encoder is trained on inputs as they are.

An encoder of several layers has `layers`, names of what can be observed below its output, in order,
and `through(params, x [..., d]) -> {name: [..., width]}`, embeddings of each. "pre" is what the
projection head gets.
"""

from typing import Any

from cldyn.encoders.convolution import Conv
from cldyn.encoders.diagonal import Diagonal
from cldyn.encoders.linear import (
    DeepLinear,
    Layers,
    Linear,
    Window,
    append_one,
    end_to_end,
    is_linear,
    project,
    with_rows,
)
from cldyn.encoders.mlp import Mlp
from cldyn.encoders.network import symmetric
from cldyn.encoders.resnet import ResNet

__all__ = [
    "ENCODERS",
    "Conv",
    "DeepLinear",
    "Diagonal",
    "Layers",
    "Linear",
    "Mlp",
    "ResNet",
    "Window",
    "append_one",
    "end_to_end",
    "is_linear",
    "project",
    "symmetric",
    "with_rows",
]

ENCODERS: dict[str, Any] = {
    "linear": Linear,
    "deep_linear": DeepLinear,
    "mlp": Mlp,
    "diagonal": Diagonal,
    "conv": Conv,
    "resnet": ResNet,
}
