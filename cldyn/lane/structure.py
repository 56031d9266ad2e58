"""What is static of a lane."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from cldyn import measures
from cldyn.data import FeatureModel, Views
from cldyn.experiment import COMMUTES, Experiment
from cldyn.refusal import require


class Structure(NamedTuple):
    """What is static of a group of lanes. rows: of W. decays, clips, critical: whether weight decay, a largest gradient norm or the critical
    rate plays a part at all. frame: whether training runs in the frame of the data or on inputs as they are. batches: whether any are drawn."""

    rows: int
    decays: bool
    clips: bool
    critical: bool
    frame: bool
    batches: bool
    measures: tuple[str, ...]


def structure_of(experiment: Experiment, measure: Sequence[str], lanes: dict[str, Any] | None = None) -> Structure:
    """Static side of an experiment, or of lanes with these values of its training."""
    training, problem = experiment.training, experiment.problem
    require(isinstance(measure, (list, tuple, set)), "measure", measure, "a list of names")

    def over_lanes(name: str) -> np.ndarray:
        return np.asarray((lanes or {}).get(name, getattr(training, name)))

    for name in measure:
        require(isinstance(name, str) and name in measures.MEASURES, "measure", name, f"one of {', '.join(measures.MEASURES)}")
        require(name not in measures.TRAIN or problem.stored, "measure", name, "one that needs no stored rows, for a population or fresh views")
        tested = isinstance(problem.data, FeatureModel) and not problem.population
        require(name not in measures.TEST or tested, "measure", name, "one without a test sample, but for a sample of a FeatureModel")
    if isinstance(problem.data, Views) and not len(problem.data.directions):
        measure = [name for name in measure if name != "feature_norms"]
    batches = training.batch != "full"
    return Structure(
        rows=int(np.max(over_lanes("embed_dim"))),
        decays=bool(np.any(over_lanes("weight_decay") != 0)),
        clips=bool(np.any(over_lanes("clip_norm") != np.inf)),
        critical=training.learning_rate_unit == "critical",
        frame=training.optimizer in COMMUTES and (problem.stored or not batches),
        batches=batches,
        measures=tuple(measure),
    )
