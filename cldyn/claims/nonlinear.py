"""Nonlinear encoders and cosine losses: which conclusions of the linear theory survive."""

from collections.abc import Sequence
from dataclasses import replace

import jax.numpy as jnp
import numpy as np
import xarray as xr
from jax import Array

from cldyn import linalg, plots, theory
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
    norm_of,
    spread,
)
from cldyn.data import FeatureModel, contrasts
from cldyn.encoders import Linear, Mlp
from cldyn.experiment import Experiment, Training
from cldyn.losses import InfoNce, Joint, SupCon, Unsupervised
from cldyn.observables import gap
from cldyn.observed import Measure, Observed
from cldyn.optimizers import Gd
from cldyn.sources import Stored
from cldyn.sweeps import Group, sweep

# A small run changes SEEDS, PROBLEM, all ..._STEPS, WIDTHS and SHARES.
SEEDS: Sequence[int] = range(20, 28)  # others than those on which rates and steps were chosen
# Test signs are balanced: the gaps of a network are measured, and by chance unequal counts of the
# class would show in the gap of the subclass.
PROBLEM = Stored(FeatureModel(d=150), n=128, m=2, test_balanced=True)
CROWD = FeatureModel(d=150, subclass_mean=0.0, irrelevant_strength=(2.0,) * 4)
TAU = 0.5

SCALES = (0.1, 0.3, 1.0)  # of He's start
COLLAPSE_STEPS = [*range(10), *range(10, 60, 3), *range(60, 100, 10), *range(100, 401, 50)]
SADDLE_STEPS = [*range(0, 400, 50), *range(400, 2001, 100)]  # from the smallest scale
WIDTHS = (2, 4, 8, 16)
LINEAR_WIDTHS = (2, 4, 6, 8)
SPECTRAL_STEPS, COSINE_STEPS, LINEAR_STEPS = [0, 250, 500], [0, 200, 400], [0, 200, 400]
SHARES = (0.0, 0.5, 0.9, 1.0)
JOINT_STEPS = [0, 5, 10, 20, 40, 80, 160, 240, 320, 480, 640, 800, 1000]


def _directions_gap(seen: Observed) -> Array:
    rows = linalg.unit(seen.embed("test"))
    return gap(contrasts(rows, seen.member("test", "subclass")))


def _linear_share(seen: Observed) -> Array:
    """What share of the variance of test embeddings the signs of the features explain linearly."""
    rows, codes = seen.embed("test"), seen.embed("test", "input")[:, : CROWD.features]
    rows, codes = rows - rows.mean(axis=0), codes - codes.mean(axis=0)
    explained = codes @ linalg.solve(codes.T @ codes, codes.T @ rows)
    return jnp.sum(explained**2) / jnp.sum(rows**2)


DIRECTIONS_GAP = Measure(
    "directions_gap", "distance between subclass means of test directions", _directions_gap,
    ("test",),
)  # fmt: skip
LINEAR_SHARE = Measure(
    "linear_share", "share of test variance linear in the features", _linear_share, ("test",)
)
GAPS = ("test_class_gap", "test_subclass_gap")
PROBES = ("subclass_accuracy", "pre_subclass_accuracy")


def study() -> Study:
    """Run every setting of the claim."""
    arms, saddle, widths, joint = collapse(), from_saddle(), width(), shared()
    rows = [*_finite(arms, saddle, joint), *_collapse(arms), *_saddle(saddle)]
    rows += [*_linear_width(widths["linear"]), *_width(widths), *_joint(joint)]
    trajectories = {"": arms, "saddle": saddle, "joint": joint}
    trajectories |= {f"width-{name}": part for name, part in widths.items()}
    figure = plots.nonlinear({"collapse": arms, "width": widths, "joint": joint})
    return Study(rows, trajectories, figure)


def _seeds() -> Group:
    return {"seed": SEEDS, "data_seed": SEEDS}


# --- SCL: learned early, unlearned later --------------------------------------------------------


def _base(encoder: Linear | Mlp) -> Experiment:
    return Experiment(PROBLEM, Training(encoder, optimizer=Gd(0.05)))


def collapse() -> xr.Dataset:
    """Gaps and probes of supervised training [arm, seed, step]; a linear encoder has no `pre`."""
    axes: list[Group] = [{"init_scale": SCALES}, _seeds()]
    measure: list[str | Measure] = [*GAPS, DIRECTIONS_GAP, *PROBES]
    line = sweep(_base(Linear(3, 1e-4)), axes[1:], COLLAPSE_STEPS, measure=measure[:-1])
    line = line.assign(pre_subclass_accuracy=line.subclass_accuracy * np.nan)
    network = _base(Mlp(embed_dim=3))
    spectral = sweep(network, axes, COLLAPSE_STEPS, measure=measure)
    cosine = sweep(network.replace(loss=SupCon(TAU)), axes[1:], COLLAPSE_STEPS, measure=measure)
    parts = {"linear": line}
    parts |= {f"MLP, spectral, He x {s:g}": spectral.sel(init_scale=s, drop=True) for s in SCALES}
    parts |= {f"MLP, SupCon {TAU:g}, He": cosine}
    names = xr.DataArray(np.array([*parts], object), dims="arm", name="arm")
    return xr.concat([*parts.values()], names, combine_attrs="drop")


def from_saddle() -> xr.Dataset:
    """The smallest start until the class is learned too."""
    one = _base(Mlp(embed_dim=3, init_scale=SCALES[0]))
    return sweep(one, [_seeds()], SADDLE_STEPS, measure=GAPS)


def _finite(*parts: xr.Dataset) -> list[Row]:
    finite = np.concatenate([(part.finite_steps == part.step[-1]).values.ravel() for part in parts])
    subject = Subject("SCL and joint loss", "trajectories that stay finite", "share")
    return [at_least(subject, 1.0, float(finite.mean()))]


def _counted(good: xr.DataArray) -> str:
    return f"{int(good.sum())} of {good.size}"


def _collapse(arms: xr.Dataset) -> list[Row]:
    rows, steps = [], int(arms.step[-1])
    for name in arms.arm.values.tolist():
        arm = arms.sel(arm=name)
        setting, cosine = f"SCL, p = 3, {name}", "SupCon" in name
        curves = (arm.directions_gap if cosine else arm.test_subclass_gap).transpose("seed", "step")
        what = "subclass gap" + " of directions" * cosine
        start, peak, end = curves.isel(step=0), curves.max("step"), curves.isel(step=-1)
        at = f"peak at {float(curves.idxmax('step').median()):g}"
        told = {"start": spread(start), at: spread(peak), "end": spread(end)}
        early, late = _counted(peak > 2 * start), _counted(end < peak / 2)
        survives = {"doubles early": early, "halves later": late}
        rows += [
            found(Subject(setting, what, f"{steps} steps, 10-90 %"), told),
            found(Subject(setting, what, "seeds"), survives),
            *_probed(arm, setting, PROBES),
        ]
    line = arms.test_subclass_gap.sel(arm="linear").isel(step=-1)
    subject = Subject("SCL, p = 3, linear", "subclass gap, limit 0", f"step {steps}, largest")
    return [*rows, at_most(subject, 0.02, highest(line))]


def _probed(arm: xr.Dataset, setting: str, names: Sequence[str]) -> list[Row]:
    """What probes of the output and of the layer below read, before training and after."""
    rows = []
    for name in names:
        accuracy = arm[name].transpose("seed", "step")
        layer = "hidden layer" if name.startswith("pre_") else "output"
        label = "subclass" if "subclass" in name else "class"
        if accuracy.notnull().all():
            ends = {"untrained": accuracy.isel(step=0), "trained": accuracy.isel(step=-1)}
            subject = Subject(setting, f"probe of the {label}, {layer}", "10-90 %")
            rows.append(found(subject, {when: spread(one) for when, one in ends.items()}))
    return rows


def _saddle(saddle: xr.Dataset) -> list[Row]:
    """The subclass has been learned and unlearned before the class is learned at all."""
    large = saddle.test_class_gap > 1
    learned = saddle.step.where(large).min("step")  # NaN: not yet
    unlearned = saddle.test_subclass_gap.where(saddle.step == learned).max("step")
    setting, last = f"SCL, p = 3, MLP, spectral, He x {SCALES[0]:g}", int(saddle.step[-1])
    by = {str(step): _counted(large.sel(step=step)) for step in (saddle.step.values[[-1, -9]])}
    rows = [found(Subject(setting, "class gap above 1", "seeds, by step"), by)]
    if learned.notnull().any():
        step, left = (spread(one.dropna("seed")) for one in (learned, unlearned))
        subject = Subject(setting, "the class leaves the saddle", f"seeds by step {last}")
        rows.append(found(subject, {"at step": step, "subclass gap then": left}))
    return rows


# --- UCL: suppressed by width -------------------------------------------------------------------


def width() -> dict[str, xr.Dataset]:
    """Probes of the class under unsupervised training [embed_dim, seed, step], by arm."""
    problem = replace(PROBLEM, model=CROWD, test_balanced=False)
    ucl = Training(Mlp(init_scale=0.3), positives=Unsupervised(), optimizer=Gd(0.04))
    spectral = Experiment(problem, ucl)
    cosine = spectral.replace(loss=InfoNce(TAU), init_scale=1.0, learning_rate=0.5)
    line = spectral.replace(encoder=Linear(init_scale=1e-4, bias=False), learning_rate=0.02)
    measure = ("class_accuracy", "pre_class_accuracy", LINEAR_SHARE)

    def by_width(one: Experiment, steps: list[int]) -> xr.Dataset:  # a network's width is no number
        arms = [sweep(one.replace(embed_dim=p), [_seeds()], steps, measure=measure) for p in WIDTHS]
        wide = xr.DataArray([*WIDTHS], dims="embed_dim", name="embed_dim")
        return xr.concat(arms, wide, combine_attrs="drop")

    axes: list[Group] = [{"embed_dim": LINEAR_WIDTHS}, _seeds()]
    norms = ("class_accuracy", "feature_norms")
    return {
        "linear": sweep(line, axes, LINEAR_STEPS, measure=norms),
        "spectral": by_width(spectral, SPECTRAL_STEPS),
        "infonce": by_width(cosine, COSINE_STEPS),
    }


def _linear_width(line: xr.Dataset) -> list[Row]:
    """A linear encoder has the class from as many outputs on as there are features."""
    rows = []
    for p in line.embed_dim.values.tolist():
        norms = norm_of(line, "class", embed_dim=p)
        known = float(theory.population_norms(CROWD, Unsupervised(), p, bias=False)[0])
        setting = f"UCL, p = {p}, linear"
        if known == 0:
            subject = Subject(setting, "|W v_1|, limit 0", "largest")
            rows.append(at_most(subject, 0.01, highest(norms)))
        else:
            subject = Subject(setting, "|W v_1|", "median")
            rows.append(close(subject, known, float(norms.median()), 0.02))
        rows += _probed(line.sel(embed_dim=p), setting, ("class_accuracy",))
    return rows


def _width(widths: dict[str, xr.Dataset]) -> list[Row]:
    rows = []
    for name, says in (("spectral", "MLP, spectral"), ("infonce", f"MLP, InfoNCE {TAU:g}")):
        for p in widths[name].embed_dim.values.tolist():
            arm, setting = widths[name].sel(embed_dim=p), f"UCL, p = {p}, {says}"
            rows += _probed(arm, setting, ("class_accuracy", "pre_class_accuracy"))
            half = spread(arm.class_accuracy.isel(step=-2))
            subject = Subject(setting, "probe of the class, output", "half the steps, 10-90 %")
            rows.append(found(subject, half))
            subject = Subject(setting, "variance linear in the features", "share, 10-90 %")
            rows.append(found(subject, spread(arm.linear_share.isel(step=-1))))
    return rows


# --- the joint loss -----------------------------------------------------------------------------


def shared() -> xr.Dataset:
    """Gaps under the joint loss [beta, seed, step], and the law of the subclass [share]."""
    training = Training(Mlp(embed_dim=8, init_scale=0.3), positives=Joint(), optimizer=Gd(0.1))
    axes: list[Group] = [{"beta": SHARES}, _seeds()]
    trained = sweep(Experiment(PROBLEM, training), axes, JOINT_STEPS, measure=(*GAPS, "loss"))
    fine = np.linspace(0, 1, 101)
    return trained.assign(law=("share", [law(beta) for beta in fine])).assign_coords(share=fine)


def law(beta: float) -> float:
    """The subclass gap of the linear theory, 2 sqrt(1 - beta) here; derived of wide networks too:
    f = sum_j sqrt(a_j) e_j has a_j = 1 - beta for the function y_sub (HaoChen et al. 2021).
    """
    model = PROBLEM.model
    norm = theory.population_norms(model, Joint(beta), 8)[1]
    return float(2 * model.subclass_strength * norm)


def settled(one: xr.Dataset) -> xr.DataArray:
    """Which seeds have converged: past the saddle of class and constant, and still by 2 %."""
    worth = (1 - float(one.beta)) ** 2  # what the loss gains by the subclass
    past = one.loss.isel(step=-1) < -(2 + 0.9 * worth)
    last = one.test_subclass_gap.isel(step=[-2, -1])
    return past & (np.abs(last.isel(step=0) / last.isel(step=1) - 1) < 0.02)


def _joint(joint: xr.Dataset) -> list[Row]:
    rows, last = [], int(joint.step[-1])
    for beta in joint.beta.values.tolist():
        one, setting = joint.sel(beta=beta), f"joint, beta = {beta:g}, p = 8, MLP, spectral"
        gaps, classes = one.test_subclass_gap.transpose("seed", "step"), one.test_class_gap
        if beta < 1:
            good = settled(one)
            end = float(gaps.isel(step=-1).where(good).median())
            subject = Subject(setting, "subclass gap", "median of the converged")
            rows.append(close(subject, law(beta), end, 0.03))
            converged = Subject(setting, "converged", f"seeds by step {last}")
            rows.append(found(converged, _counted(good)))
        else:
            subject = Subject(setting, "subclass gap, limit 0", "largest at the end")
            rows.append(at_most(subject, 0.05, highest(gaps.isel(step=-1))))
        subject = Subject(setting, "class gap", "least at the end")
        rows.append(at_least(subject, 1.9, lowest(classes.isel(step=-1))))
        told = {f"step {step}": spread(gaps.sel(step=step)) for step in joint.step.values[[4, 8]]}
        rows.append(found(Subject(setting, "subclass gap", "on the way, 10-90 %"), told))
    return rows


CLAIM = Claim(
    name="nonlinear",
    says="a perceptron, too, learns subclasses early and unlearns them, suppresses by width and is "
    "cured by the joint loss; cosine losses skip the first and resist the second",
    shows=(),
    source="this project; the square root law of wide networks derived here after HaoChen et al. "
    "(2021)",
    cost="over a minute on 2 cores",
    study=study,
)
