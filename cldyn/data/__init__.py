"""The data: a feature model, its kinds of noise, and samples of it."""

from cldyn.data.model import FeatureModel, Views, contrasts, membership
from cldyn.data.noise import NOISES, Basis, DistinctBasis, Gaussian, Noise, OneHot, Perturbed
from cldyn.data.sampling import (
    Originals,
    augment,
    check_room,
    check_sizes,
    mean_views,
    originals,
    sample,
    sample_fresh,
    sample_test,
)

__all__ = [
    "NOISES",
    "Basis",
    "DistinctBasis",
    "FeatureModel",
    "Gaussian",
    "Noise",
    "OneHot",
    "Originals",
    "Perturbed",
    "Views",
    "augment",
    "check_room",
    "check_sizes",
    "contrasts",
    "mean_views",
    "membership",
    "originals",
    "sample",
    "sample_fresh",
    "sample_test",
]
