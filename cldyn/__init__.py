"""cldyn: a laboratory for the training dynamics of contrastive learning.

Letters of axes: n examples, m views of each, d input, D input with bias, r coordinates of the
frame, q rows of the factor of P, p embedding, K features, s probes, t recorded times, b batch.
"""

from cldyn import data, dynamics, encoders, losses, measures, moments, theory
from cldyn.batches import Epochs, Full, Iid, Subset
from cldyn.checks import Refused
from cldyn.data import (
    Basis,
    DistinctBasis,
    FeatureModel,
    Gaussian,
    Noise,
    OneHot,
    Perturbed,
    Views,
    sample,
    sample_test,
)
from cldyn.dynamics import simulate, start
from cldyn.encoders import Conv, DeepLinear, Diagonal, Linear, Mlp, ResNet
from cldyn.experiment import Experiment, Training
from cldyn.fields import static
from cldyn.losses import (
    Both,
    CappedSpectral,
    InfoNce,
    Joint,
    Spectral,
    SupCon,
    Supervised,
    Unsupervised,
)
from cldyn.measures import MEASURES
from cldyn.nouns import noun
from cldyn.observed import Measure
from cldyn.optimizers import (
    Adam,
    AdamW,
    Constant,
    Flow,
    Gd,
    InverseTime,
    Lion,
    Momentum,
    Nesterov,
    Optimizer,
    RmsProp,
    WarmupCosine,
)
from cldyn.phases import phases
from cldyn.sources import FreshViews, Population, Stored, augmented, images, views
from cldyn.sweeps import forecast, phase_diagram, sweep
from cldyn.trajectory import gradient_noise, predict, run

__all__ = [
    "MEASURES",
    "Adam",
    "AdamW",
    "Basis",
    "Both",
    "CappedSpectral",
    "Constant",
    "Conv",
    "DeepLinear",
    "Diagonal",
    "DistinctBasis",
    "Epochs",
    "Experiment",
    "FeatureModel",
    "Flow",
    "FreshViews",
    "Full",
    "Gaussian",
    "Gd",
    "Iid",
    "InfoNce",
    "InverseTime",
    "Joint",
    "Linear",
    "Lion",
    "Measure",
    "Mlp",
    "Momentum",
    "Nesterov",
    "Noise",
    "OneHot",
    "Optimizer",
    "Perturbed",
    "Population",
    "Refused",
    "ResNet",
    "RmsProp",
    "Spectral",
    "Stored",
    "Subset",
    "SupCon",
    "Supervised",
    "Training",
    "Unsupervised",
    "Views",
    "WarmupCosine",
    "augmented",
    "data",
    "dynamics",
    "encoders",
    "forecast",
    "gradient_noise",
    "images",
    "losses",
    "measures",
    "moments",
    "noun",
    "phase_diagram",
    "phases",
    "predict",
    "run",
    "sample",
    "sample_test",
    "simulate",
    "start",
    "static",
    "sweep",
    "theory",
    "views",
]
