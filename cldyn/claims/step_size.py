"""Simplicity bias across step sizes: what is learned, when, and what is left."""

from dataclasses import replace

import numpy as np
import xarray as xr

from cldyn import plots, theory
from cldyn.claims.settings import COLLAPSE, seeds
from cldyn.claims.table import (
    Claim,
    Row,
    Study,
    Subject,
    at_least,
    at_most,
    close,
    found,
    highest,
    lowest,
    within,
)
from cldyn.data import FeatureModel, Gaussian
from cldyn.encoders import Linear
from cldyn.experiment import Experiment, Training
from cldyn.losses import Unsupervised
from cldyn.optimizers import Flow, Gd
from cldyn.phases import phases
from cldyn.sources import Population
from cldyn.sweeps import Group, forecast, sweep, with_predictions
from cldyn.trajectory import predict

# A small run changes SEEDS, STARTS, TAKEOVER_STARTS, LAST with STEPS, and POPULATIONS.
SEEDS, STARTS, TAKEOVER_STARTS = 8, 16, 64
LAST = 30_000
POPULATIONS = 256

FRACTIONS = {
    "learning_rate": (
        0.01, 0.03, 0.1, 0.2, 0.3, 0.5, 0.7, 0.9, 0.98, 1.02, 1.1, 1.3, 1.5, 1.8, 1.95, 2.05, 2.2,
    )
}  # fmt: skip
STEPS = [0, *np.unique(np.geomspace(1, LAST, 150).astype(int)).tolist()]
MEASURES = ("feature_norms", "distance", "subclass_gap")
SETTING = COLLAPSE.replace(embed_dim=2, learning_rate_unit="critical")
FLOW = COLLAPSE.replace(embed_dim=2, optimizer=Flow(0.005))

WORDS = {"converged": "converge", "bounded": "stay bounded, unsettled", "diverged": "diverge"}

# One feature alone, and two of which the first is learned early and given up for the second:
# m = (10, 1), a = (0.8, 0.9), p = 1.
_ALONE = FeatureModel(d=3, subclass_strength=0.0, subclass_mean=0.0, noise=Gaussian(0.0))
_RIVALS = replace(
    _ALONE,
    class_strength=10**0.5,
    class_keep=0.8**0.5,
    subclass_strength=1.0,
    subclass_keep=0.9**0.5,
)
ONE_MODE = Experiment(
    Population(_ALONE),
    Training(
        Linear(embed_dim=1, bias=False),
        positives=Unsupervised(),
        optimizer=Gd(learning_rate_unit="critical"),
    ),
    "float64",
)
TAKEOVER = ONE_MODE.replace(model=_RIVALS)
TAKEOVER_FRACTIONS = {
    "learning_rate": (0.05, 0.1, 0.15, 0.2, 0.22, 0.23, 0.25, 0.3, 0.5, 0.7, 0.9, 0.98, 1.02)
}


def study() -> Study:
    """Run every setting of the claim."""
    main = sweep(SETTING, [seeds(SEEDS), FRACTIONS], STEPS, measure=MEASURES)
    flow = sweep(FLOW, [seeds(SEEDS)], STEPS, measure=MEASURES)
    known = forecast(SETTING, [seeds(SEEDS)])
    small = edges()
    order_rows, order = _order()
    rows = [*_one_mode(small["one mode"]), *_takeover(small["takeover"]), *_collapse(main, known)]
    rows += [*_bias(main, flow, known), *order_rows, *_random()]
    limits = known[["feature_norms", "subclass_gap", "critical_learning_rate"]]
    trajectories = {"": with_predictions(main, limits), "flow": flow, "order": order}
    trajectories |= {name.replace(" ", "-"): dataset for name, dataset in small.items()}
    return Study(rows, trajectories, figure(main, flow, small, known))


def figure(
    main: xr.Dataset, flow: xr.Dataset, small: dict[str, xr.Dataset], known: xr.Dataset
) -> plots.Figure:
    """The picture of the claim."""
    return plots.step_size(main, flow, small, known.median("seed"))


def edges() -> dict[str, xr.Dataset]:
    """Two settings in which it is known where training diverges: `edge`, over the critical rate."""
    late = [0, LAST - 1, LAST]
    one = sweep(ONE_MODE, [FRACTIONS, {"seed": range(STARTS)}], late, measure=MEASURES)
    starts: list[Group] = [TAKEOVER_FRACTIONS, {"seed": range(TAKEOVER_STARTS)}]
    two = sweep(TAKEOVER, starts, late, measure=MEASURES)
    edge = 1 / (2 * _shared(_RIVALS)[0]) / predict(TAKEOVER).critical_learning_rate
    return {"one mode": one.assign_attrs(edge=2.0), "takeover": two.assign_attrs(edge=edge)}


def _shared(model: FeatureModel) -> np.ndarray:
    """c_j = a_j m_j: the variance of class and subclass that two views share."""
    strengths = np.array([model.class_strength, model.subclass_strength])
    return (strengths * [model.class_keep, model.subclass_keep]) ** 2


def regimes(dataset: xr.Dataset) -> xr.DataArray:
    """Shares of lanes that converged, stayed bounded and diverged [regime, learning_rate]."""
    diverged = dataset.finite_steps < dataset.step[-1]
    converged = (dataset.distance.isel(step=slice(-2, None)) < 1e-6).all("step")
    shares = [converged, ~converged & ~diverged, diverged]
    names = ["converged", "bounded", "diverged"]
    return xr.concat(shares, "regime").mean("seed").assign_coords(regime=names)


def _at_all(setting: str, shares: xr.DataArray, regime: str, low: float, high: float) -> Row:
    """All lanes between two fractions of the critical rate are of a regime."""
    share = shares.sel(regime=regime, learning_rate=slice(low, high))
    at = share.learning_rate.values
    subject = Subject(
        setting, f"lanes that {WORDS[regime]}", f"{at[0]:g} .. {at[-1]:g} of critical, least"
    )
    return at_least(subject, 1.0, lowest(share))


def _one_mode(dataset: xr.Dataset) -> list[Row]:
    """Converges below 1/(4 c), the critical rate, oscillates in a bound up to 1/(2 c)."""
    shares, setting = regimes(dataset), "one mode"
    predicted = float(1 / (4 * _shared(_ALONE)[0]))
    measured = predict(ONE_MODE).critical_learning_rate
    return [
        close(Subject(setting, "critical rate against 1/(4 c)"), predicted, measured, 1e-9),
        _at_all(setting, shares, "converged", 0, 0.98),
        _at_all(setting, shares, "bounded", 1.02, 0.975 * dataset.edge),
        _at_all(setting, shares, "diverged", 1.025 * dataset.edge, np.inf),
    ]


def _takeover(dataset: xr.Dataset) -> list[Row]:
    """From a small start the feature learned first decides.

    It diverges above 1/(2 c_1), long before the minimizer is unstable.
    """
    shares, setting = regimes(dataset), "takeover: m = (10, 1), a = (0.8, 0.9)"
    variance, shared = np.array([10.0, 1.0]), _shared(_RIVALS)
    predicted = float(theory.commuting_critical_learning_rate(variance, shared, 1))
    measured = predict(TAKEOVER).critical_learning_rate
    return [
        close(Subject(setting, "critical rate, p = 1"), predicted, measured, 1e-3),
        _at_all(setting, shares, "converged", 0, 0.98 * dataset.edge),
        _at_all(setting, shares, "diverged", 1.02 * dataset.edge, 0.98),
    ]


def _collapse(main: xr.Dataset, known: xr.Dataset) -> list[Row]:
    """The collapse setting on both sides of its critical rate."""
    shares, rates = regimes(main), main.learning_rate
    diverged = shares.sel(regime="diverged")
    subclass = main.feature_norms.isel(step=-1).sel(feature="subclass")
    # What W_0 has off the rows stays.
    left = np.abs(subclass / known.feature_norms.sel(feature="subclass") - 1)
    distance = main.distance.isel(step=-1)
    # Long enough for 20 e-folding times of the slowest direction, at its least rate 4 eta m_min.
    settled = (rates < 1) & (4 * main.step_size * known.smallest_second * LAST > 20)
    far = distance.fillna(np.inf).where(settled, -np.inf)
    below, beyond = f"collapse, {LAST} steps", "collapse, 1.02 of critical"
    largest, bounded = f"largest of {int(settled.sum())} settled", f"lanes that {WORDS['bounded']}"
    steady = float(shares.sel(regime="bounded", learning_rate=1.02))
    away = float(distance.sel(learning_rate=1.02).median())
    told = {
        "none up to": float(rates[(diverged == 0).values].max()),
        "all from": float(rates[(diverged == 1).values].min()),
    }
    at = Subject("collapse, from a small start", "lanes that diverge", "fraction of critical")
    return [
        at_most(Subject(below, "distance to the minimum norm", largest), 1e-6, highest(far)),
        at_most(
            Subject(below, "|W v_2| over its limit, off 1 by", largest),
            0.01,
            highest(left.where(settled, -np.inf)),
        ),
        at_least(Subject(beyond, bounded, "share"), 1.0, steady),
        found(Subject(beyond, "distance to the minimum norm", "median over seeds"), away),
        found(at, told),
    ]


def _bias(main: xr.Dataset, flow: xr.Dataset, known: xr.Dataset) -> list[Row]:
    """Does the step change which features are learned, when, and what is left?"""
    what = "flow times of subclass and class", "median over seeds"
    rows = [
        found(
            Subject(f"collapse, {fraction:g} of critical", *what),
            _times(main.sel(learning_rate=fraction)),
        )
        for fraction in (0.01, 0.1, 0.3, 0.5, 0.9, 0.98)
    ]
    rows.append(found(Subject("collapse, gradient flow", *what), _times(flow)))
    # The bound is that of a careful rate of the same seed.
    share = flow.feature_norms.sel(feature="subclass").max("step") / known.peak_bound
    peak = Subject("collapse, gradient flow", "peak of |W v_2| over its bound", "largest of seeds")
    rows.append(at_most(peak, 1.0, highest(share)))
    for fraction in (1.02, 1.1, 1.5, 1.8):
        norms = main.feature_norms.sel(learning_rate=fraction).isel(step=-1).median("seed")
        subject = Subject(
            f"collapse, {fraction:g} of critical", f"|W v| at step {LAST}", "median over seeds"
        )
        rows.append(found(subject, dict(zip(norms.feature.values, norms.values, strict=True))))
    return rows


def _times(lane: xr.Dataset) -> dict[str, float]:
    """Flow times at which features are learned and half unlearned, and the peak."""
    timed = phases(lane.step, lane.feature_norms.transpose("feature", "seed", "step"))
    step = lane.step_size.values
    learned, unlearned = (np.median(step * at, axis=1) for at in (timed.learned, timed.unlearned))
    return {
        "subclass learned": learned[1],
        "class learned": learned[0],
        "peak of subclass": np.median(timed.peak[1]),
        "half unlearned": unlearned[1],
    }


def _order() -> tuple[list[Row], xr.Dataset]:
    """At equal flow time gradient descent approaches flow at first order in the step."""
    time, rates = 2.0, (0.01, 0.005, 0.0025)
    ends = {rate: round(time / rate) for rate in rates}
    descent = SETTING.replace(learning_rate_unit="absolute")
    axes: list[Group] = [seeds(SEEDS), {"learning_rate": rates}]
    dataset = sweep(descent, axes, sorted({0, *ends.values()}), measure=MEASURES)
    step = FLOW.training.optimizer.learning_rate
    fine = sweep(FLOW, [seeds(SEEDS)], [0, round(time / step)], measure=MEASURES).subclass_gap[
        :, -1
    ]
    off = [
        np.abs(dataset.subclass_gap.sel(learning_rate=rate, step=end) - fine).values
        for rate, end in ends.items()
    ]
    subject = Subject(f"collapse, flow time {time:g}", "subclass gap, difference to flow")
    rows = []
    for rate, wide, narrow in zip(rates, off[:-1], off[1:], strict=False):
        statistic = f"rate {rate:g} over {rate / 2:g}, median"
        ratio = float(np.median(wide / narrow))
        rows.append(within(subject._replace(statistic=statistic), 1.9, 2.1, ratio))
    return rows, dataset


def _random() -> list[Row]:
    """Random populations: a quarter of 1/lambda_max(M) is small enough from a small start."""
    draw, count = np.random.default_rng(0), POPULATIONS
    strengths, keeps = draw.uniform(0.3, 3, (count, 4)), draw.uniform(0, 1, (count, 4))
    numbers: Group = {
        "class_strength": strengths[:, 0], "class_keep": keeps[:, 0],
        "subclass_strength": strengths[:, 1], "subclass_keep": keeps[:, 1],
        "irrelevant_strength": strengths[:, 2:], "irrelevant_keep": keeps[:, 2:],
        "embed_dim": draw.integers(1, 5, count), "seed": range(count),
    }  # fmt: skip
    model = FeatureModel(
        d=6,
        irrelevant_strength=(1.0, 1.0),
        irrelevant_keep=(1.0, 1.0),
        subclass_mean=0.0,
        noise=Gaussian(0.3, noise_keep=0.3),
    )
    start = Linear(init_scale=1e-2, bias=False)
    experiment = Experiment(Population(model), Training(start, positives=Unsupervised()), "float64")
    known = forecast(experiment, [numbers])
    rates, last = 0.98 / (4 * known.largest_second.values), 50_000
    lanes = [{**numbers, "learning_rate": rates}]
    ends = sweep(experiment, lanes, [0, last], measure=("excess_loss", "loss")).isel(step=-1)
    excess = np.asarray(ends.excess_loss / np.abs(known.loss.values))
    below = float(np.mean(rates < known.critical_learning_rate.values))
    setting = f"{count} populations at 0.98/(4 lambda_max)"
    finite, share = Subject(setting, "finite", "share"), float((excess < 1e-3).mean())
    settled = Subject(setting, f"relative excess below 0.001, step {last}", "share, else near ties")
    return [
        at_least(finite, 1.0, float(np.isfinite(excess).mean())),
        at_least(Subject(setting, "rate below the critical one", "share"), 1.0, below),
        found(settled, share),
    ]


CLAIM = Claim(
    name="step-size",
    says="the step decides whether features are learned, hardly which: edges of convergence, "
    "oscillation and divergence, and what is left",
    shows=(),
    source="this project; the question of simplicity bias across step sizes goes beyond Xue et al. "
    "(2023)",
    cost="under a minute on 2 cores",
    study=study,
)
