"""What is static of a group of trajectories: where they are trained, what is measured of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from cldyn.checks import require
from cldyn.encoders import is_linear
from cldyn.experiment import Experiment, by_moments
from cldyn.measures import EXACT, MEASURES, layered
from cldyn.observed import INPUT, Measure

Measures = Sequence[str | Measure] | None


@dataclass(frozen=True)
class Plan:
    """What is static of a group of trajectories.

    in_frame: whether they are trained in the frame of the data or on inputs as they are.
    moments: whether second moments are all that the loss knows, so that there are frame and limit.
    draws: whether batches are drawn.
    commutes: whether the optimizer commutes with rotations.
    decays: whether weight decay plays a part at all.
    critical: whether critical rates are wanted.
    wanted: what measures need.
    measures: what is recorded.
    views: stored ones of every example.
    precision: of all numbers.
    stride: steps that a device takes before it asks whether there are more.
    """

    in_frame: bool
    moments: bool
    draws: bool
    commutes: bool
    decays: bool
    critical: bool
    wanted: frozenset[str]
    measures: tuple[Measure, ...]
    views: int
    precision: str
    stride: int = 1

    def needs(self, what: str) -> bool:
        """Whether a measure needs this."""
        return what in self.wanted

    def of_problem(self) -> "Plan":
        """What preparation knows of it, so that plans which differ in the rest share programs."""
        wanted = self.wanted & {"train", "views", "loss"}
        plain = replace(self, commutes=False, decays=False, critical=False, stride=1)
        return replace(plain, wanted=wanted, measures=())

    def of_limit(self) -> "Plan":
        """What limits know of it."""
        plain = replace(self, in_frame=False, draws=False, stride=1)
        return replace(plain, wanted=frozenset(), measures=())


def plan_of(
    experiment: Experiment, measure: Measures = None, varied: Mapping[str, Any] | None = None
) -> Plan:
    """The plan of an experiment, or of trajectories with these values of its numbers.

    Args:
        experiment: checked.
        measure: names or measures of one's own; None: those that need no sample.
        varied: numbers that vary between trajectories {field: values}.
    """
    training, problem = experiment.training, experiment.problem
    decays = np.asarray((varied or {}).get("weight_decay", training.weight_decay), float)
    moments = by_moments(training)
    commutes = getattr(training.optimizer, "commutes", False)
    unit = getattr(training.optimizer, "learning_rate_unit", "absolute")
    measures = _chosen(experiment, measure)
    return Plan(
        in_frame=moments and commutes and not (problem.fresh and training.batch.draws),
        moments=moments,
        draws=training.batch.draws,
        commutes=commutes,
        decays=bool(np.any(decays != 0)),
        critical=unit == "critical",
        wanted=frozenset(need for one in measures for need in one.needs),
        measures=measures,
        views=problem.shape[1],
        precision=experiment.precision,
    )


def _chosen(experiment: Experiment, measure: Measures) -> tuple[Measure, ...]:
    """The measures asked for; by default all exact ones that there can be."""
    there = _there(experiment)
    if measure is None:
        exact = (MEASURES[name] for name in EXACT)
        return tuple(one for one in exact if set(one.needs) <= set(there))
    listed = isinstance(measure, (list, tuple, set))
    require(listed, "measure", measure, "a list of names or measures")
    layers, chosen = _layers(experiment), []
    for one in measure:
        found = one if isinstance(one, Measure) else layered(one, layers)
        there_is = found.layer in ("", *layers)
        require(there_is, "layer", found.layer, f"one of this encoder's, {', '.join(layers)}")
        for need in found.needs:
            allowed = f"one without {_NEEDS.get(need, need)}, which this experiment has not"
            require(need in there, "measure", found.name, allowed)
        chosen.append(found)
    return tuple(chosen)


_NEEDS = {
    "directions": "feature directions",
    "train": "stored training rows",
    "views": "two views or more of a stored example",
    "test": "test rows",
    "gaps": "known differences of means (for a nonlinear encoder: test rows)",
    "loss": "a loss of everything",
    "moments": "a loss that knows second moments alone",
    "limit": "a predicted limit",
    "layers": "layers of a linear encoder",
}


def _there(experiment: Experiment) -> set[str]:
    """What measures may need."""
    problem, training = experiment.problem, experiment.training
    linear, moments = is_linear(training.encoder), by_moments(training)
    given = getattr(problem, "directions", None)
    has = {
        "directions": given is None or len(given) > 0,
        "train": problem.has_rows,
        "views": problem.has_rows and problem.shape[1] > 1,
        "test": problem.has_test,
        "gaps": linear or problem.has_test,
        "loss": moments or problem.has_rows,
        "moments": moments,
        "limit": moments,
        "layers": linear,
    }
    return {name for name, there in has.items() if there}


def layers_of(encoder: Any) -> tuple[str, ...]:
    """What is observable of an encoder below its output, the inputs first."""
    # Of inputs that are known inside a window alone there is nothing to tell.
    inputs = () if getattr(encoder, "window", ()) else (INPUT,)
    return (*inputs, *getattr(encoder, "layers", ()))


def _layers(experiment: Experiment) -> tuple[str, ...]:
    """`layers_of`, without the inputs wherever there may be such a window."""
    problem, training = experiment.problem, experiment.training
    windowed = is_linear(training.encoder) and training.batch.draws and not problem.has_rows
    return tuple(one for one in layers_of(training.encoder) if not (windowed and one == INPUT))
