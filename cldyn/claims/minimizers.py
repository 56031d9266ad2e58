"""Minimizers of the supervised loss: a family that does not collapse subclasses at test time, and the minimum-norm one, which does."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jax import Array, lax

from cldyn import losses, measures, moments, plots, theory
from cldyn.axes import Group
from cldyn.claims.class_collapse import PAPER
from cldyn.claims.table import Claim, Row, Study, at_least, at_most, close, found
from cldyn.data import FeatureModel, membership, sample
from cldyn.experiment import Experiment, Problem, numerics
from cldyn.lane import run
from cldyn.lanes import forecast, sweep

SEEDS = {"seed": range(8), "data_seed": range(8)}
SIZES = (0.0, 1.0, 10.0, 30.0, 100.0, 300.0, 1000.0)
# p = 2: a third row would be spare, and leave the range of the data only as 1/steps. The step is small enough for the largest start.
TRAINED = replace(PAPER, training=replace(PAPER.training, embed_dim=2, learning_rate=0.02))
SCALES = {"init_scale": (1e-4, 1e-2, 0.03, 0.1, 0.3, 0.5)}
STEPS = [0, 100, 1000, 5000, 20_000, 150_000]
# Problems whose training rows span the subclass, so that claim 1 is void, and one whose rows never share a noise direction.
OTHERS = {
    "rows outnumber dimensions (n m = 200, d = 60)": FeatureModel(d=60),
    "basis noise, colliding (n m = 200, d = 1000)": FeatureModel(noise_kind="basis"),
    "basis noise, distinct directions (n m = 200, d = 1000)": FeatureModel(
        noise_kind="distinct_basis"
    ),
}
# One sweep over settings of the closed form of |W v_2|.
SETTINGS = {
    "noise": (1.0, 2.0, 1.0, 1.0, 1.0, 1.0),
    "subclass_mean": (1.0, 1.0, 0.5, 2.0, 1.0, 1.0),
    "subclass_strength": (1.0, 1.0, 1.0, 1.0, 0.5, 1.0),
    "noise_keep": (0.0, 0.0, 0.0, 0.0, 0.0, 1.0),
}


def study() -> Study:
    """Run every setting of the claim."""
    axes: list[Group] = [SCALES, SEEDS]
    main = sweep(TRAINED, axes, STEPS)
    members = family(PAPER.problem)
    norm_rows, norms = _minimum_norm()
    rows = _family(members) + _void() + norm_rows + _trained(main, members)
    return Study(rows, {"": main, "family": members, "minimum-norm": norms}, figure(members, main))


def figure(members: xr.Dataset, main: xr.Dataset) -> plots.Figure:
    """The picture of the claim."""
    return plots.minimizers(members, expected_gap(members), main.isel(step=-1), kept_gap(members))


def family(problem: Problem, seeds: Sequence[int] = SEEDS["data_seed"]) -> xr.Dataset:
    """W + s z v_perp^T for every size s, with its measures on the raw data, for every data seed.

    W is the minimum-norm minimizer of the supervised loss with p = 3, z its unused output, v_perp what training rows do not span of the subclass.
    """
    with numerics(problem.precision):
        values = jax.device_get(_members(problem, np.array(seeds), jnp.array(SIZES)))
    arrays = {
        name: (("seed", "size" if name != "unseen" else "input"), value)
        for name, value in values.items()
    }
    return xr.Dataset(arrays, coords={"size": list(SIZES), "seed": list(seeds)})


@partial(jax.jit, static_argnames="problem")
def _members(problem: Problem, seeds: Array, sizes: Array) -> dict[str, Array]:
    def one(seed: Array) -> dict[str, Array]:
        model: FeatureModel = problem.data  # type: ignore[assignment]
        views = sample(jax.random.key(seed), model, problem.n, problem.m)
        rows = moments.append_one(views.x, problem.bias).reshape(problem.n * problem.m, -1)
        frame = moments.frame(views, problem.bias)
        least = (
            theory.frame_minimizer(frame.second, frame.class_factor, 3, decays=False)
            @ frame.basis.T
        )
        subclass = jnp.eye(rows.shape[1])[1]
        apart = theory.unseen(frame.basis, frame.second, subclass)
        weights = losses.pair_weights(views.label, problem.m, "scl")
        member = jnp.repeat(
            membership(views.subclass, views.subclasses, rows.dtype), problem.m, axis=1
        )

        def measure(size: Array) -> dict[str, Array]:
            w = least + size * jnp.outer(jnp.eye(3)[2], apart)
            return {
                "loss": losses.spectral(rows @ w.T, *weights),
                "train_subclass_gap": measures.gap(measures.contrasts(rows @ w.T, member)),
                "subclass_gap": 2 * model.subclass_strength * jnp.linalg.norm(w @ subclass),
                "norm": jnp.linalg.norm(w),
            }

        return {"unseen": apart, **jax.vmap(measure)(sizes)}

    return lax.map(one, seeds)


def expected_gap(members: xr.Dataset) -> xr.DataArray:
    """Test subclass gap along the family: 2 phi_2 sqrt(|W v_2|^2 + s^2 |v_perp|^4), from that of the minimum-norm W alone [seed, size]."""
    return np.sqrt(
        members.subclass_gap.sel(size=0) ** 2
        + (_gap_of(1.0) * members["size"] * (members.unseen**2).sum("input")) ** 2
    )


def kept_gap(members: xr.Dataset) -> xr.DataArray:
    """Test subclass gap of W_0 v_perp, which no step of gradient descent changes [init_scale, seed]."""
    unit = replace(TRAINED.training, init_scale=1.0)
    norms = []
    for seed, apart in zip(members.seed.values, members.unseen.values, strict=True):
        start = run(
            Experiment(
                replace(TRAINED.problem, data_seed=int(seed)), replace(unit, seed=int(seed))
            ),
            [0],
            measure=(),
        ).weights
        norms.append(np.linalg.norm(start @ apart))
    scale = xr.DataArray(list(SCALES["init_scale"]), [("init_scale", list(SCALES["init_scale"]))])
    return scale * _gap_of(xr.DataArray(norms, dims="seed"))


def _gap_of(norm: xr.DataArray | float) -> xr.DataArray | float:
    return 2 * PAPER.problem.data.subclass_strength * norm  # type: ignore[union-attr]


def _family(members: xr.Dataset) -> list[Row]:
    loss, gap = members.loss, members.subclass_gap
    excess = (members.norm**2 - members.norm.sel(size=0) ** 2) / (
        members["size"] ** 2 * (members.unseen**2).sum("input")
    )
    error = np.abs(gap / expected_gap(members) - 1)
    return [
        at_most(
            "W + s z v_perp^T, s = 0 .. 1000: training loss above that at s = 0, largest",
            1e-10,
            float(np.abs(loss - loss.sel(size=0)).max()),
        ),
        close(
            "its training loss, which is minus the number of classes",
            -2.0,
            float(loss.median()),
            1e-9,
        ),
        at_most(
            "its subclass gap on the training rows, largest",
            1e-10,
            float(members.train_subclass_gap.max()),
        ),
        at_most(
            "its test subclass gap against 2 phi_2 sqrt(|W v_2|^2 + s^2 |v_perp|^4), relative error, largest",
            1e-10,
            float(error.max()),
        ),
        at_least(
            "its test subclass gap at s = 1000, least of the seeds, above the class gap",
            2.0,
            float(gap.sel(size=SIZES[-1]).min()),
        ),
        at_most(
            "its test subclass gap at s = 0, the member of least norm, largest of the seeds",
            0.01,
            float(gap.sel(size=0).max()),
        ),
        at_most(
            "its |W|^2 above that at s = 0, over s^2 |v_perp|^2, off 1 by at most (so s = 0 has the least norm)",
            1e-8,
            float(np.abs(excess.sel(size=list(SIZES[1:])) - 1).max()),
        ),
    ]


def _void() -> list[Row]:
    """Where the training rows span v_2 there is no such family."""
    rows = []
    for name, model in OTHERS.items():
        members = family(replace(PAPER.problem, data=model))
        apart = float(np.sqrt((members.unseen**2).sum("input")).max())
        gap = members.subclass_gap
        spread = f"test subclass gap at s = 1: {float(gap.sel(size=1.0).median()):.3g}, at s = 0: {float(gap.sel(size=0).median()):.3g}"
        verdict = (
            "void: the rows span v_2 and every minimizer has one gap"
            if apart < 1e-10
            else "applies"
        )
        rows.append(found(f"claim 1 with {name}: |v_perp| = {apart:.2g}; {spread}", verdict))
    return rows


def _minimum_norm() -> tuple[list[Row], xr.Dataset]:
    """The subclass left by samples in the minimum-norm minimizer."""
    known = forecast(PAPER, [SETTINGS, SEEDS], critical=False)
    norms = known.feature_norms.sel(feature="subclass").median("seed")
    rows = []
    for i, values in enumerate(zip(*SETTINGS.values(), strict=True)):
        numbers = dict(zip(SETTINGS, values, strict=True))
        model = FeatureModel(**numbers)
        predicted = float(theory.collapsed_norm(model, PAPER.problem.n, PAPER.problem.m))
        name = ", ".join(f"{field} {value:g}" for field, value in numbers.items())
        rows.append(
            close(
                f"minimum norm, |W v_2|, median over seeds: {name}", predicted, float(norms[i]), 0.1
            )
        )
    partial_keep = (
        forecast(PAPER, [{"class_keep": (0.5, 0.9)}, SEEDS], critical=False)
        .feature_norms.sel(feature="subclass")
        .median("seed")
    )
    text = ", ".join(
        f"{float(value):.3g} at class_keep {keep}"
        for keep, value in zip((0.5, 0.9), partial_keep, strict=True)
    )
    return [
        *rows,
        found(
            "minimum norm, |W v_2|, median over seeds, where views do not always keep the class",
            text,
        ),
    ], known


def _trained(main: xr.Dataset, members: xr.Dataset) -> list[Row]:
    """|W v_2| is at most |W v_2| of the minimum norm from |W_0 v_perp|, the one member that gradient descent can reach."""
    end = main.isel(step=-1)
    off = np.abs(end.subclass_gap - kept_gap(members)) / members.subclass_gap.sel(size=0)
    largest = end.subclass_gap.sel(init_scale=SCALES["init_scale"][-1])
    text = f"{float(largest.median()):.3g} ({float(largest.min()):.3g} to {float(largest.max()):.3g}), the class gap being 2"
    return [
        at_most(
            f"trained from init_scale 1e-4 .. 0.5: distance to the minimum norm on the range of the data, step {STEPS[-1]}, largest",
            1e-6,
            float(end.distance.where(main.finite_steps == STEPS[-1], np.inf).max()),
        ),
        at_most(
            "test subclass gap less 2 phi_2 |W_0 v_perp|, over the gap of the minimum norm, largest of these lanes",
            1.0,
            float(off.max()),
        ),
        found("test subclass gap trained from init_scale 0.5, median and range over seeds", text),
    ]


CLAIM = Claim(
    name="minimizers",
    says="not every minimizer of the supervised loss collapses subclasses at test time; the one of least norm does",
    source="claim 1 of Xue et al. (2023); |W v_2| on samples and what gradient descent keeps derived here",
    cost="half a minute on 2 cores",
    study=study,
)
