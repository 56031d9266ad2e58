"""The data: a feature model or arrays of one's own, and samples of it."""

from cldyn.data.model import FeatureModel, Views, check_model, check_room, check_sizes, membership, static, views
from cldyn.data.sampling import sample, sample_test

__all__ = ["FeatureModel", "Views", "check_model", "check_room", "check_sizes", "membership", "sample", "sample_test", "static", "views"]
