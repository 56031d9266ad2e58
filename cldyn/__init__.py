"""cldyn: a laboratory for the training dynamics of contrastive learning."""

from cldyn import data, dynamics, encoders, losses, measures, moments, theory
from cldyn.data import FeatureModel, Views, sample, sample_test, views
from cldyn.dynamics import simulate, start
from cldyn.experiment import Experiment, Problem, Training
from cldyn.lane import gradient_noise, predict, run
from cldyn.lanes import forecast, sweep
from cldyn.measures import MEASURES, phases

__all__ = [
    "MEASURES", "Experiment", "FeatureModel", "Problem", "Training", "Views", "data", "dynamics", "encoders", "forecast", "gradient_noise", "losses",
    "measures", "moments", "phases", "predict", "run", "sample", "sample_test", "simulate", "start", "sweep", "theory", "views",
]
