"""One lane: a problem prepared, a training run on it, and what theory says of both."""

from cldyn.lane.prediction import Prediction, forecast, gradient_noise, predict, predicted_measures
from cldyn.lane.prepared import Prepared, prepare
from cldyn.lane.structure import Structure, structure_of
from cldyn.lane.target import Target, settle, with_step
from cldyn.lane.training import Run, begin, run, train, weights

__all__ = [
    "Prediction", "Prepared", "Run", "Structure", "Target", "begin", "forecast", "gradient_noise", "predict", "predicted_measures", "prepare",
    "run", "settle", "structure_of", "train", "weights", "with_step",
]
