"""The data: a feature model, its kinds of noise, and samples of it."""

from cldyn.data.basis import NOISES, Basis, DistinctBasis, OneHot, Perturbed
from cldyn.data.model import FeatureModel, Views, contrasts, membership
from cldyn.data.noise import About, Gaussian, Moments, Noise, correlate
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
    "About",
    "Basis",
    "DistinctBasis",
    "FeatureModel",
    "Gaussian",
    "Moments",
    "Noise",
    "OneHot",
    "Originals",
    "Perturbed",
    "Views",
    "augment",
    "check_room",
    "check_sizes",
    "contrasts",
    "correlate",
    "mean_views",
    "membership",
    "originals",
    "sample",
    "sample_fresh",
    "sample_test",
]
