"""A setting of one's own, told like a claim: what is measured of it beside what theory predicts."""

from typing import Any

import numpy as np
import xarray as xr

from cldyn import nouns, plots
from cldyn.claims.table import Row, Study, Subject, found, spread
from cldyn.encoders import is_linear
from cldyn.experiment import Experiment, by_moments
from cldyn.phases import phases
from cldyn.sweeps import Group, forecast, sweep, with_predictions
from cldyn.trajectory import plan_of

RECORDS = 200
_SEEDS = ("seed", "data_seed")
_ACCURACIES = ("class_accuracy", "subclass_accuracy")


def study(experiment: Experiment, steps: int, seeds: int) -> Study:
    """Train some seeds, of data, initialization and batches alike.

    Args:
        experiment: a setting of any kind.
        steps: to train.
        seeds: how many, from those of the experiment on.

    Returns:
        Study, with predictions where there is a theory: a linear encoder and the spectral loss.
    """
    places = nouns.numbers_of(experiment)
    starts = {
        name: nouns.declared(experiment, places[name])[1] for name in _SEEDS if name in places
    }
    axes: list[Group] = [{name: range(one, one + seeds) for name, one in starts.items()}]
    at = np.unique(np.linspace(0, steps, RECORDS + 1).astype(int)).tolist()
    measure: list[Any] = [*plan_of(experiment).measures]
    if not is_linear(experiment.training.encoder) and experiment.problem.has_test:
        measure += _ACCURACIES
    measured = sweep(experiment, axes, at, measure=measure)
    predicts = by_moments(experiment.training)
    known = forecast(experiment, axes, critical=False) if predicts else None
    beside = measured if known is None else with_predictions(measured, known)
    return Study(_rows(measured, known), {"": beside}, plots.own(measured, known))


def _rows(measured: xr.Dataset, known: xr.Dataset | None) -> list[Row]:
    last = int(measured.step[-1])
    finite = int((measured.finite_steps == last).sum())
    hint = "" if finite else "a smaller learning_rate, perhaps"
    subject = Subject("", "seeds that stayed finite", hint)
    rows = [found(subject, f"{finite} of {measured.sizes['seed']}")]
    if "feature_norms" in measured:
        for name in measured.feature.values.tolist():
            rows += _feature(name, measured, known)
        others = ["excess_loss", "loss"]
    else:
        others = ["class_gap", "subclass_gap", "excess_loss", "loss"]
    for name in (*_ACCURACIES, *others):
        if name in measured:
            subject = Subject("", measured[name].attrs["long_name"], f"at step {last}")
            rows.append(found(subject, _told(measured[name].isel(step=-1))))
    return rows


def _feature(name: str, measured: xr.Dataset, known: xr.Dataset | None) -> list[Row]:
    """What is told of one feature, beside what is predicted of it."""
    curves = measured.feature_norms.sel(feature=name).transpose("seed", "step")
    timed, last = phases(measured.step, curves), int(measured.step[-1])
    learned = bound = limit = ""
    if known is not None:
        learned = _told(known.learning_step.sel(feature=name))
        limit = _told(known.feature_norms.sel(feature=name))
        if name == "subclass":
            bound = _told(known.peak_bound)
    return [
        found(
            Subject("", f"{name}: step with |W v| = 0.1", "first"), _told(timed.learned), learned
        ),
        found(Subject("", f"{name}: |W v|", "largest"), _told(timed.peak), bound and f"<= {bound}"),
        found(
            Subject(
                "", f"{name}: |W v|", f"at step {last}" + (", predicted: limit" if limit else "")
            ),
            _told(curves[:, -1]),
            limit,
        ),
    ]


def _told(values: xr.DataArray | np.ndarray) -> str:
    """Median (10 .. 90 %) of the seeds in which it is known and finite, and how many if not all."""
    values = np.ravel(np.asarray(values, float))
    there = np.isfinite(values)
    if not there.any():
        return "never" if np.isinf(values).any() else ""
    return spread(values[there]) + ("" if there.all() else f", {there.sum()} of {there.size} seeds")
