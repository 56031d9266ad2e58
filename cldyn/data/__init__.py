"""The data: a feature model or arrays of one's own, and samples of it."""

from cldyn.data.model import FeatureModel, Views, check_model, check_room, check_sizes, membership, static, views
from cldyn.data.sampling import Originals, augment, mean_views, originals, sample, sample_fresh, sample_test

__all__ = [
    "FeatureModel", "Originals", "Views", "augment", "check_model", "check_room", "check_sizes", "mean_views", "membership", "originals",
    "sample", "sample_fresh", "sample_test", "static", "views",
]
