"""Simplicity bias across step sizes: which features are learned, when, and what is left, from a hundredth of the critical step to twice it."""

from dataclasses import replace

import numpy as np
import xarray as xr

from cldyn import plots, theory
from cldyn.axes import Group
from cldyn.claims.arms import setting, spread
from cldyn.claims.class_collapse import PAPER
from cldyn.claims.table import Claim, Row, Study, at_least, at_most, close, found, within
from cldyn.data import FeatureModel
from cldyn.experiment import Experiment, Problem, Training
from cldyn.lane import gradient_noise, predict
from cldyn.lanes import forecast, sweep
from cldyn.measures import phases

FRACTIONS = {
    "learning_rate": (
        0.01,
        0.03,
        0.1,
        0.2,
        0.3,
        0.5,
        0.7,
        0.9,
        0.98,
        1.02,
        1.1,
        1.3,
        1.5,
        1.8,
        1.95,
        2.05,
        2.2,
    )
}
SEEDS = {"seed": range(8), "data_seed": range(8)}
LAST = 30_000
STEPS = [0, *np.unique(np.geomspace(1, LAST, 150).astype(int)).tolist()]
MEASURES = ("feature_norms", "distance", "subclass_gap")
SETTING = replace(
    PAPER, training=replace(PAPER.training, embed_dim=2, learning_rate_unit="critical")
)
FLOW = replace(
    PAPER, training=replace(PAPER.training, embed_dim=2, optimizer="flow", learning_rate=0.005)
)

# One feature alone, and two of which the first is learned early and given up for the second: m = (10, 1), a = (.8, .9), p = 1.
_ALONE = FeatureModel(d=3, subclass_strength=0.0, subclass_mean=0.0, noise=0.0)
ONE_MODE = Experiment(
    Problem(_ALONE, bias=False, population=True, precision="float64"),
    Training("ucl", embed_dim=1, learning_rate_unit="critical"),
)
_RIVALS = replace(
    _ALONE,
    class_strength=10**0.5,
    class_keep=0.8**0.5,
    subclass_strength=1.0,
    subclass_keep=0.9**0.5,
)
TAKEOVER = replace(ONE_MODE, problem=replace(ONE_MODE.problem, data=_RIVALS))
# A sample without ties or slow directions, on which SGD hovers before long.
NOISY = Experiment(
    Problem(
        FeatureModel(d=10, class_strength=1.5, class_keep=0.9, subclass_keep=0.6),
        n=64,
        precision="float64",
    ),
    Training("ucl", init_scale=0.05, embed_dim=2, batch="subset", batch_size=16),
)
NOISY_SEEDS = {"seed": range(16)}
TAKEOVER_FRACTIONS = {
    "learning_rate": (0.05, 0.1, 0.15, 0.2, 0.22, 0.23, 0.25, 0.3, 0.5, 0.7, 0.9, 0.98, 1.02)
}


def study() -> Study:
    """Run every setting of the claim."""
    main, known = (
        sweep(SETTING, [SEEDS, FRACTIONS], STEPS, measure=MEASURES),
        forecast(SETTING, [SEEDS]),
    )
    flow = sweep(FLOW, [SEEDS], STEPS, measure=MEASURES)
    late = [0, 1000, LAST - 1, LAST]
    one_mode = sweep(ONE_MODE, [FRACTIONS, {"seed": range(16)}], late, measure=MEASURES)
    takeover = sweep(TAKEOVER, [TAKEOVER_FRACTIONS, {"seed": range(64)}], late, measure=MEASURES)
    order_rows, order = _order()
    noise, _ = gradient_noise(NOISY, draws=32_768)
    hovering_rows, hovering = _hovering(noise)
    cooled_rows, cooled = _cooled(noise)
    critical_rows, critical = _batches_near_critical()
    rows = (
        _one_mode(one_mode)
        + _takeover(takeover)
        + _collapse(main, known)
        + _bias(main, flow, known)
        + order_rows
        + _random()
    )
    rows += hovering_rows + cooled_rows + critical_rows
    trajectories = {
        "": main,
        "flow": flow,
        "one-mode": one_mode,
        "takeover": takeover,
        "order": order,
    }
    trajectories |= {"hovering": hovering, "cooled": cooled, "batches": critical}
    return Study(rows, trajectories, figure(main, flow, one_mode, takeover, known))


def figure(
    main: xr.Dataset,
    flow: xr.Dataset,
    one_mode: xr.Dataset,
    takeover: xr.Dataset,
    known: xr.Dataset,
) -> plots.Figure:
    """The picture of the claim."""
    edges = {"one mode": 2.0, "takeover": _takeover_edge()}
    return plots.step_size(
        main, flow, {"one mode": one_mode, "takeover": takeover}, edges, known.median("seed")
    )


def regimes(dataset: xr.Dataset) -> xr.DataArray:
    """Shares of lanes that converged, stayed finite without converging, and diverged [regime, learning_rate]."""
    diverged = dataset.finite_steps < dataset.step[-1]
    converged = (dataset.distance.isel(step=slice(-2, None)) < 1e-6).all("step")
    shares = [converged, ~converged & ~diverged, diverged]
    return (
        xr.concat(shares, "regime")
        .mean("seed")
        .assign_coords(regime=["converged", "bounded", "diverged"])
    )


def _takeover_edge() -> float:
    """1/(2 c) of the feature learned first, over the critical rate: where that feature alone diverges."""
    shared = _RIVALS.class_strength**2 * _RIVALS.class_keep**2
    return 1 / (2 * shared) / predict(TAKEOVER).critical_learning_rate


def _share(shares: xr.DataArray, regime: str, low: float, high: float) -> float:
    return float(shares.sel(regime=regime, learning_rate=slice(low, high)).min())


def _one_mode(dataset: xr.Dataset) -> list[Row]:
    """Converges below 1/(4 c), the critical rate, oscillates in a bound up to 1/(2 c), diverges above."""
    shares = regimes(dataset)
    return [
        close(
            "one mode: critical learning rate against 1/(4 c)",
            0.25,
            predict(ONE_MODE).critical_learning_rate,
            1e-9,
        ),
        at_least(
            "one mode: share of lanes that converged, 0.01 to 0.98 of 1/(4 c), least",
            1.0,
            _share(shares, "converged", 0, 0.98),
        ),
        at_least(
            "one mode: share that stayed bounded without converging, 1.02 of 1/(4 c) to 0.975 of 1/(2 c), least",
            1.0,
            _share(shares, "bounded", 1.02, 1.95),
        ),
        at_least(
            "one mode: share that diverged, 1.025 and 1.1 of 1/(2 c), least",
            1.0,
            _share(shares, "diverged", 2.05, 2.2),
        ),
    ]


def _takeover(dataset: xr.Dataset) -> list[Row]:
    """From a small start the feature learned first decides: it diverges above 1/(2 c_1), long before the minimizer is unstable."""
    shares, edge = regimes(dataset), _takeover_edge()
    below, above = 0.98 * edge, 1.02 * edge
    return [
        close(
            "m = (10, 1), a = (0.8, 0.9), p = 1: critical learning rate",
            0.2778,
            predict(TAKEOVER).critical_learning_rate,
            1e-3,
        ),
        at_least(
            "the same: share of lanes that diverged at 0.98 of it",
            1.0,
            float(shares.sel(regime="diverged", learning_rate=0.98)),
        ),
        at_least(
            f"the same: share that converged below {edge:.3f} of it, 1/(2 c_1) of the feature learned first, least",
            1.0,
            _share(shares, "converged", 0, below),
        ),
        at_least(
            f"the same: share that diverged between {edge:.3f} and 0.98 of it, least",
            1.0,
            _share(shares, "diverged", above, 0.98),
        ),
    ]


def _collapse(main: xr.Dataset, known: xr.Dataset) -> list[Row]:
    """The collapse setting on both sides of its critical rate."""
    shares = regimes(main)
    distance = main.distance.isel(step=-1)
    careful = shares.learning_rate.values[(shares.sel(regime="diverged") == 0).values].max()
    mixed = shares.learning_rate.values[(shares.sel(regime="diverged") == 1).values].min()
    edges = f"every lane finite at {careful:g}, none at {mixed:g} of it"
    # Long enough for 20 e-folding times of the slowest direction, at its least rate 4 eta m_min.
    settled = (main.learning_rate < 1) & (4 * main.step_size * known.smallest_second * LAST > 20)
    left = np.abs(
        main.feature_norms.isel(step=-1).sel(feature="subclass")
        / known.feature_norms.sel(feature="subclass")
        - 1
    )
    lanes = f"below the critical rate, largest of the {int(settled.sum())} lanes with 20/(4 eta m_min) steps"
    above = distance.sel(learning_rate=1.02)
    return [
        at_most(
            f"collapse setting: distance to the minimum norm {lanes}",
            1e-6,
            float(distance.fillna(np.inf).where(settled).max()),
        ),
        at_most(
            "collapse setting: |W v_2| left there against its limit, relative error, largest (what W_0 has off the rows stays)",
            0.01,
            float(left.where(settled).max()),
        ),
        at_least(
            "collapse setting: share of lanes that stay bounded without converging at 1.02 of the critical rate",
            1.0,
            float(shares.sel(regime="bounded", learning_rate=1.02)),
        ),
        found(
            "collapse setting: distance at 1.02 of the critical rate, median over seeds",
            f"{float(above.median()):.2g}",
        ),
        found("collapse setting: where gradient descent from a small start diverges", edges),
    ]


def _bias(main: xr.Dataset, flow: xr.Dataset, known: xr.Dataset) -> list[Row]:
    """Does the step change which features are learned, when, and what is left? Times are flow times."""
    rows = []
    for fraction in (0.01, 0.1, 0.3, 0.5, 0.9, 0.98):
        lane = main.sel(learning_rate=fraction)
        name = f"{fraction:g} of the critical rate: subclass learned / class learned / peak of |W v_2| / subclass half unlearned"
        rows.append(found(name, _times(lane)))
    rows.append(found("gradient flow: the same", _times(flow)))
    share = flow.feature_norms.sel(feature="subclass").max("step") / known.peak_bound
    rows.append(
        at_most(
            "gradient flow: peak of |W v_2| over its bound, largest of seeds",
            1.0,
            float(share.max()),
        )
    )
    for fraction in (1.02, 1.1, 1.5, 1.8):
        norms = main.feature_norms.sel(learning_rate=fraction).isel(step=-1).median("seed")
        text = f"{float(norms.sel(feature='class')):.3f} and {float(norms.sel(feature='subclass')):.3f}"
        rows.append(
            found(
                f"{fraction:g} of the critical rate: |W v_1| and |W v_2| at step {LAST}, median over seeds",
                text,
            )
        )
    return rows


def _times(lane: xr.Dataset) -> str:
    """Flow times and the peak, median over seeds."""
    curves = lane.feature_norms.transpose("feature", "seed", "step")
    timed = phases(lane.step, curves)
    learned, unlearned = (
        np.median(lane.step_size.values * steps, axis=1)
        for steps in (timed.learned, timed.unlearned)
    )
    return (
        f"{learned[1]:.2f} / {learned[0]:.2f} / {np.median(timed.peak[1]):.3f} / {unlearned[1]:.2f}"
    )


def _order() -> tuple[list[Row], xr.Dataset]:
    """At equal flow time gradient descent approaches flow at first order in the step."""
    time, rates = 2.0, (0.01, 0.005, 0.0025)
    steps = sorted({0, *(round(time / rate) for rate in rates)})
    descent = replace(SETTING.training, learning_rate_unit="absolute")
    axes: list[Group] = [SEEDS, {"learning_rate": rates}]
    dataset = sweep(replace(SETTING, training=descent), axes, steps, measure=MEASURES)
    fine = sweep(FLOW, [SEEDS], [0, round(time / 0.005)], measure=MEASURES).subclass_gap.isel(
        step=-1
    )
    coarse = {
        rate: dataset.subclass_gap.sel(learning_rate=rate, step=round(time / rate)).values
        for rate in rates
    }
    off = [np.abs(gap - fine.values) for gap in coarse.values()]
    name = "subclass gap at flow time 2: difference to gradient flow at step"
    rows = [
        within(
            f"{name} {rate:g} over that at {rate / 2:g}, median over seeds",
            1.9,
            2.1,
            float(np.median(wide / narrow)),
        )
        for rate, wide, narrow in zip(rates, off[:-1], off[1:], strict=False)
    ]
    return rows, dataset


def _random() -> list[Row]:
    """Random populations: a quarter of 1/lambda_max(M) is small enough from a small start."""
    draw = np.random.default_rng(0)
    count = 256
    strengths, keeps = (
        draw.uniform(0.3, 3, (count, 4)).tolist(),
        draw.uniform(0, 1, (count, 4)).tolist(),
    )
    numbers: Group = {
        "class_strength": [one[0] for one in strengths], "class_keep": [one[0] for one in keeps],
        "subclass_strength": [one[1] for one in strengths], "subclass_keep": [one[1] for one in keeps],
        "irrelevant_strength": [tuple(one[2:]) for one in strengths], "irrelevant_keep": [tuple(one[2:]) for one in keeps],
        "embed_dim": draw.integers(1, 5, count).tolist(), "seed": range(count),
    }  # fmt: skip
    model = FeatureModel(
        d=6,
        irrelevant_strength=(1.0, 1.0),
        irrelevant_keep=(1.0, 1.0),
        subclass_mean=0.0,
        noise=0.3,
        noise_keep=0.3,
    )
    experiment = Experiment(
        Problem(model, bias=False, population=True, precision="float64"),
        Training("ucl", init_scale=1e-2),
    )
    known = forecast(experiment, [numbers])
    rates = 0.98 / (4 * known.largest_second.values)
    ends = sweep(
        experiment,
        [{**numbers, "learning_rate": rates.tolist()}],
        [0, 50_000],
        measure=("excess_loss", "loss"),
    ).isel(step=-1)
    excess = np.asarray(ends.excess_loss / np.abs(known.loss.values))
    below = float(np.mean(rates < known.critical_learning_rate.values))
    return [
        at_least(
            f"{count} random populations at 0.98/(4 lambda_max(M)): share of lanes that stayed finite",
            1.0,
            float(np.isfinite(excess).mean()),
        ),
        at_least("the same: share where that is below the critical rate", 1.0, below),
        found(
            "the same: share with a relative excess loss below 0.001 at step 50000, the others being near ties",
            f"{(excess < 1e-3).mean():.3f}",
        ),
    ]


def _hovering(noise: float) -> tuple[list[Row], xr.Dataset]:
    """At a constant step SGD hovers above the minimum: excess loss of first order in the step, distance of order one half."""
    rates, time = (0.004, 0.002, 0.001), 100.0
    rows, parts = [], []
    for optimizer, momentum, batch in (
        ("gd", 0.0, "subset"),
        ("momentum", 0.8, "subset"),
        ("gd", 0.0, "epochs"),
    ):
        excess, distance = [], []
        for rate in rates:
            last = round(time / rate)
            arm = setting(
                NOISY,
                optimizer=optimizer,
                momentum=momentum,
                batch=batch,
                learning_rate=rate * (1 - momentum),
            )
            part = sweep(
                arm,
                [NOISY_SEEDS],
                np.linspace(last // 4, last, 200).astype(int).tolist(),
                measure=("excess_loss", "distance"),
            )
            excess.append(float(part.excess_loss.mean()))
            distance.append(float((part.distance**2).mean() ** 0.5))
            named = np.array([f"{batch}, momentum {momentum:g}, rate {rate:g}"], object)
            parts.append(part.mean("step").expand_dims(arm=named))
            if batch == "subset":
                predicted = float(theory.stationary_excess(noise, rate * (1 - momentum), momentum))
                rows.append(
                    close(
                        f"SGD, momentum {momentum:g}, flow rate {rate:g}: mean excess loss against eta C/4",
                        predicted,
                        excess[-1],
                        0.06,
                    )
                )
        name = f"SGD, {'batches without replacement' if batch == 'subset' else 'epochs'}, momentum {momentum:g}"
        if batch == "subset":
            for power, curve, what in (
                (1, excess, "mean excess loss"),
                (0.5, distance, "root mean square distance"),
            ):
                order = np.log2(curve[0] / curve[-1]) / 2
                rows.append(
                    within(
                        f"{name}: order of the {what} in the step",
                        power - 0.1,
                        power + 0.1,
                        float(order),
                    )
                )
        else:
            shares = " / ".join(
                f"{one / float(theory.stationary_excess(noise, rate)):.2f}"
                for one, rate in zip(excess, rates, strict=True)
            )
            rows.append(
                found(
                    f"{name}: mean excess loss over that of independent batches, rates {' / '.join(map(str, rates))}",
                    shares,
                )
            )
    return rows, xr.concat(parts, "arm", combine_attrs="drop_conflicts")


def _cooled(noise: float) -> tuple[list[Row], xr.Dataset]:
    """With steps that shrink like 1/t SGD converges; slowly enough it hovers where the step of the moment puts it."""
    start, decay, last = 0.004, 10_000, 160_000
    arm = setting(NOISY, schedule="inverse_time", learning_rate=start, decay_steps=float(decay))
    steps = [*range(decay, 2 * decay, 100), *range(last - decay, last, 100)]
    dataset = sweep(arm, [NOISY_SEEDS], steps, measure=("excess_loss", "distance"))
    late, early = dataset.isel(step=slice(100, None)), dataset.isel(step=slice(0, 100))
    predicted = float(
        theory.stationary_excess(noise, start / (1 + late.step.values / decay)).mean()
    )
    fell = float((late.distance**2).mean() ** 0.5 / (early.distance**2).mean() ** 0.5)
    return [
        close(f"SGD, rate 0.004/(1 + t/{decay}): mean excess loss around step {last} against eta_t C/4",
              predicted, float(late.excess_loss.mean()), 0.1),
        at_most(f"the same: root mean square distance there over that around step {decay}", 0.5, fell),
    ], dataset  # fmt: skip


def _batches_near_critical() -> tuple[list[Row], xr.Dataset]:
    """How large a step batches stand in the collapse setting."""
    parts, rows = [], []
    for size in (8, 32):
        arm = setting(SETTING, batch="epochs", batch_size=size)
        fractions = (0.1, 0.3, 0.5, 0.7, 0.9)
        part = sweep(
            arm, [SEEDS, {"learning_rate": fractions}], [0, 4000], measure=("feature_norms",)
        ).isel(step=-1)
        finite = part.finite_steps == 4000
        norms = part.feature_norms.sel(feature="subclass")
        for i, fraction in enumerate(fractions):
            stood = finite[:, i].values
            left = f", {spread(norms[:, i][stood])}" if stood.any() else ""
            name = f"SGD, b = {size}, {fraction:g} of the critical rate: lanes finite after 4000 steps and their |W v_2|"
            rows.append(found(name, f"{stood.sum()} of {stood.size}{left}"))
        parts.append(part.expand_dims(batch_size=[size]))
    return rows, xr.concat(parts, "batch_size", combine_attrs="drop_conflicts")


CLAIM = Claim(
    name="step-size",
    says="the step decides whether features are learned, hardly which: edges of convergence, oscillation and divergence, and what is left",
    source="this project; the question of simplicity bias across step sizes goes beyond Xue et al. (2023)",
    cost="over a minute on 2 cores",
    study=study,
)
