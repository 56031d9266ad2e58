"""Noise along single directions: where no two rows share one, minimizers may keep a subclass, and
the least collapses it. Shared ones take the choice away, noise along the class the collapse.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jax import Array, lax

from cldyn import plots, theory
from cldyn.claims import table
from cldyn.claims.table import Claim, Row, Study, Subject
from cldyn.data import DistinctBasis, FeatureModel, OneHot, sample, sample_test
from cldyn.encoders import Linear
from cldyn.experiment import Experiment, Training, numerics
from cldyn.losses import Spectral, Supervised, all_pairs
from cldyn.observables import within_variance
from cldyn.probes import probe_accuracy
from cldyn.sources import Stored
from cldyn.sweeps import Group, forecast, sweep

# A small run changes DRAWS, WIDTHS, SEEDS, FEW_SEEDS, SHARED_SEEDS, SIZES and STEPS.
DRAWS, ROWS = 300, (16, 32, 64)  # of the noise alone; N = n m
WIDTHS = (128, 192, 256, 384, 512, 768, 1024, 1536, 2048, 3072, 4096)  # d
SEEDS, FEW_SEEDS, SHARED_SEEDS = 128, 8, 24
SIZES = (16, 32, 64, 128, 256, 512, 1024, 1600)  # N; at least two of 256 or more, for the slope
SHARED_SIZES = (16, 32, 64, 128, 256)  # where directions are shared
STEPS = [0, 100, 1000, 5000, 20_000]
TEST_SIZE = 4000

# The noise is no multiple of a strength: none along a feature makes one row look like another.
MODEL = FeatureModel(
    irrelevant="sparse", irrelevant_strength=(1.0, 1.0), subclass_mean=0.0, noise=OneHot(0.7)
)
SETTING = Experiment(Stored(MODEL, n=16, m=2), Training(Linear(3)), "float64")
SHARED = Stored(replace(MODEL, d=2000, subclass_mean=1.0), n=64, m=4)
# The paper's noise given that it is distinct (rare if 1600 rows have d < 10^6), up to signs.
DISTINCT_NOISE = Stored(replace(SHARED.model, noise=DistinctBasis()), n=400, m=4)
MEANS, NOISES = (0.0, 0.5, 1.0), (0.35, 0.7, 1.4)
KEPT = (0.0, 0.1, 1.0, 10.0)  # |W v_2| of members W + s z v_perp^T
ZERO = 1e-10
CLASS, SUBCLASS = 0, 1  # their directions
DISTINCT, ON_CLASS, MEMBER = "distinct", "noise along the class", "W + s z v_perp^T, |W v_2|"


class Sample(NamedTuple):
    """Rows with the 1 of the bias [N, D], signs of their features [N, K], places of noise [N]."""

    x: np.ndarray
    codes: np.ndarray
    place: np.ndarray

    def way(self) -> str:
        """How noise shares directions, of rows or with features."""
        taken, count = np.unique(self.place, return_counts=True)
        if taken[0] < self.codes.shape[1]:
            return ON_CLASS if taken[0] == CLASS else "noise along another feature"
        if len(taken) != self.place.size - 1:
            return DISTINCT if len(taken) == self.place.size else "several rows share"
        first, second = self.codes[self.place == taken[count > 1]]
        alike = ["alike" if first[j] == second[j] else "unlike" for j in (CLASS, SUBCLASS)]
        return "one pair shares, class {}, subclass {}".format(*alike)


def draw(problem: Stored, seed: int) -> Sample:
    """The sample of a seed, in an order in which kinds of rows take turns."""
    model = problem.model
    with numerics(SETTING.precision):
        views = jax.device_get(sample(jax.random.key(seed), model, problem.n, problem.m))
        means, strengths = jax.device_get((model.means(), model.strengths()))
    codes = np.column_stack([views.label, views.subclass, views.irrelevant])
    kind = np.unique(codes, axis=0, return_inverse=True)[1].repeat(problem.m)
    codes, rows = codes.repeat(problem.m, axis=0), views.x.reshape(len(kind), -1)
    x, noise = np.insert(rows, model.d, 1.0, axis=1), rows.copy()
    noise[:, : model.features] -= means + strengths * codes
    order = np.argsort(kind, kind="stable").reshape(kind.max() + 1, -1).T.ravel()
    return Sample(x[order], codes[order], np.abs(noise).argmax(axis=1)[order])


def minimum_norm(drawn: Sample) -> tuple[np.ndarray, np.ndarray]:
    """W = F^T X^{+T} [2, D], F one-hot classes, and v_perp [D]: no forecast, one program a size."""
    x, targets = drawn.x, np.sqrt(2) * np.equal.outer((-1, 1), drawn.codes[:, CLASS])
    inverse = np.linalg.pinv(x @ x.T, rcond=1e-12, hermitian=True)
    w = targets @ inverse @ x
    w += (targets - w @ x.T) @ inverse @ x  # |W v_2| is small beside its terms
    return w, np.eye(x.shape[1])[SUBCLASS] - x.T @ (inverse @ x[:, SUBCLASS])


def table_of(cells: Sequence[dict[str, Any]], **axes: Sequence[float]) -> xr.Dataset:
    """What was measured in cells, of the last axis first."""
    shape = [len(values) for values in axes.values()]
    cell_arrays = {name: np.reshape([cell[name] for cell in cells], shape) for name in cells[0]}
    arrays = {name: ([*axes], values) for name, values in cell_arrays.items()}
    return xr.Dataset(arrays, {name: [*values] for name, values in axes.items()})


def study() -> Study:
    """Run every setting of the claim."""
    samples = [draw(SETTING.problem, seed) for seed in range(SEEDS)]
    way = xr.DataArray([drawn.way() for drawn in samples], {"data_seed": range(SEEDS)})
    few = np.flatnonzero(way == DISTINCT)[:FEW_SEEDS].tolist()
    cells = [cell for seed in few for cell in _members(samples[seed], seed)]
    members = table_of(cells, data_seed=few, norm=KEPT)
    cells = _sized(SHARED, range(SHARED_SEEDS), SHARED_SIZES)
    shared = table_of(cells, data_seed=range(SHARED_SEEDS), nm=SHARED_SIZES)
    models = [replace(DISTINCT_NOISE.model, noise=DistinctBasis(noise)) for noise in NOISES]
    problems = [replace(DISTINCT_NOISE, model=model) for model in models]
    cells = [cell for problem in problems for cell in _sized(problem, [0], SIZES)]
    laws = table_of(cells, noise_length=NOISES, nm=SIZES)
    axes: list[Group] = [{"subclass_mean": MEANS}, {"data_seed": range(SEEDS)}]
    known, chances = forecast(SETTING, axes, critical=False).assign(way=way), _chances()
    axes = [{"embed_dim": (2, 3)}, {"seed": few, "data_seed": few}]
    measure = ("feature_norms", "train_class_variance", "train_class_gap")
    trained = sweep(SETTING.replace(subclass_mean=1.0), axes, STEPS, measure=measure)
    over = (shared.norm / shared.bound).values[shared.way != ON_CLASS]
    rows = [
        *table.showing("Prop. 4.2", _collapse(members, trained)),
        *table.showing("Thm 4.3", _choice(members, shared)),
        *table.showing("Thm 4.4", _zero(chances, known)),
        *table.showing("Thm 4.7", _law(known, laws, shared)),
        _largest("mu_2 = 1, no noise along the class", "|W v_2| over its bound", 1.0, over),
    ]
    named = {"": trained, "forecast": known, "members": members, "chances": chances}
    named |= {"shared": shared, "laws": laws}
    return Study(rows, named, plots.noise_directions(laws, shared, chances))


def _members(drawn: Sample, seed: int) -> list[dict[str, Any]]:
    """Minimizers W + s z v_perp^T of every |W v_2|, of least norm the first.

    They embed all training rows of a class alike, and where rounding is taken away no probe that is
    fitted on these reads the subclass: another is fitted on fresh rows, both are scored on others.
    """
    (least, unseen), half, cells = minimum_norm(drawn), TEST_SIZE // 2, []
    test = jax.device_get(sample_test(jax.random.key(seed), MODEL, TEST_SIZE))
    codes = *drawn.codes.T[[CLASS, SUBCLASS]], test.subclass
    label, subclass, fresh = (np.equal.outer((-1, 1), code).astype(float) for code in codes)
    probe = jax.jit(probe_accuracy)
    with numerics(SETTING.precision):
        pairs = all_pairs(jnp.asarray(label), 1, Supervised())
        for norm in KEPT:
            w = np.vstack([least, norm * unseen / unseen[SUBCLASS]])
            rows, other = drawn.x @ w.T, test.x[:, 0] @ w[:, :-1].T + w[:, -1]
            score = other[half:], fresh[:, half:]
            gap = np.sum((np.diff(label @ rows, axis=0) * 2 / len(rows)) ** 2)
            cell = {"loss": Spectral()(rows, pairs), "variance": within_variance(rows, label) / gap}
            cell["by_training"] = probe(np.round(rows, 9), subclass, *score)
            cell["by_fresh"] = probe(other[:half], fresh[:, :half], *score)
            cells.append({name: float(value) for name, value in cell.items()})
    return cells


def _measured(drawn: Sample, model: FeatureModel, count: int) -> dict[str, Any]:
    """|W v_2| of the minimum norm of the first rows, its law if they are distinct, and |v_perp|^2.

    Unless noise is along the class |W v_2| <= 2^(1/2)/(1 + lambda/sigma^2), lambda the least
    eigenvalue of S = sum u u^T over one row a direction of noise beside the features', u its
    features and 1. Derived here: W_* on class and bias, |W_*|^2 = 2, gives rows their classes;
    others that do, W_* + D, weigh noise by -D u/sigma, and |W_* + D|^2 + tr(D S D^T)/sigma^2 is
    least on a subspace where |D| <= |W_*|/(1 + lambda/sigma^2).
    """
    drawn, features = Sample(*(one[:count] for one in drawn)), model.features
    (w, unseen), noise = minimum_norm(drawn), float(model.noise.noise_length)
    with numerics(SETTING.precision):
        law = float(theory.collapsed_norm(model, count, 1))
    taken, first = np.unique(drawn.place, return_index=True)
    u = drawn.x[first[taken >= features]][:, [*range(features), -1]]
    bound = np.sqrt(2) / (1 + np.linalg.eigvalsh(u.T @ u)[0] / noise**2)
    norm, way = np.linalg.norm(w[:, SUBCLASS]), drawn.way()
    return {"norm": norm, "law": law, "bound": bound, "unseen": unseen[SUBCLASS], "way": way}


def _sized(problem: Stored, seeds: Sequence[int], sizes: Sequence[int]) -> list[dict[str, Any]]:
    samples = (draw(problem, seed) for seed in seeds)
    return [_measured(drawn, problem.model, count) for drawn in samples for count in sizes]


def _chances() -> xr.Dataset:
    """How often drawn noise is distinct [d, nm], how often it should be, and the bound."""
    keys, features, cells = jax.random.split(jax.random.key(0), DRAWS), MODEL.features, []
    for d in WIDTHS:

        def place(key: Array, d: int = d) -> Array:
            return jnp.argmax(OneHot(1.0).fresh(key, ROWS[-1], 1, d, jnp.float32), axis=-1).ravel()

        places = np.asarray(lax.map(place, keys))
        for count in ROWS:
            part, bound = np.sort(places[:, :count]), 1 - count * (features + (count - 1) / 2) / d
            often = np.mean((np.diff(part) > 0).all(axis=1) & (part[:, 0] >= features))
            with numerics(SETTING.precision):
                expected = float(theory.distinct_probability(count, d, features))
            cells.append({"often": often, "expected": expected, "bound": bound})
    return table_of(cells, d=WIDTHS, nm=ROWS)


def _largest(setting: str, what: str, bound: float, values: Any) -> Row:
    subject = Subject(setting, what, f"largest of {values.size}")
    return table.at_most(subject, bound, table.highest(values))


def _by(values: xr.DataArray) -> dict[str, float]:
    at = values[values.dims[0]].values
    return {f"{one:g}": float(value) for one, value in zip(at, values, strict=True)}


def _found(setting: str, norm: xr.DataArray) -> Row:
    told: dict[str, object] = {"seeds": norm.size, "zero": str(int((norm < ZERO).sum()))}
    told |= {"median": norm.median(), "largest": norm.max()} if norm.size else {}
    return table.found(Subject(setting, "|W v_2|"), told)


def _collapse(members: xr.Dataset, trained: xr.Dataset) -> list[Row]:
    what = "variance of rows in classes, over squared gap"
    steps = (trained.train_class_variance / trained.train_class_gap**2).sel(step=STEPS[1:])
    two, three = steps.sel(embed_dim=2), steps.sel(embed_dim=3)
    by_step = [Subject(f"trained, p = {p}", what, "largest, by step") for p in (2, 3)]
    return [
        _largest(f"{MEMBER} = 0 .. {KEPT[-1]:g}", what, 1e-20, members.variance),
        _largest(f"trained {STEPS[-1]} steps, p = 2", what, 1e-20, two.isel(step=-1)),
        table.found(by_step[0], _by(two.max("seed"))),
        table.found(by_step[1], _by(three.max("seed")), "a spare row keeps its start"),
    ]


def _choice(members: xr.Dataset, shared: xr.Dataset) -> list[Row]:
    least, kept, setting = members.sel(norm=0.0), members.sel(norm=1.0), f"{MEMBER} = 1"
    fresh, training = (
        Subject(setting, f"test accuracy for the subclass, probe of {rows} rows", "mean")
        for rows in ("fresh", "training")
    )
    of_least, off = fresh._replace(setting="minimum norm, mu_2 = 0"), np.abs(kept.loss - least.loss)
    none = (np.abs(shared.unseen) < ZERO).mean("data_seed")
    gone = Subject(
        f"d = {SHARED.model.d}", "v_perp = 0: no minimizer keeps it", "share of seeds, by nm"
    )
    return [
        _largest(setting, "loss off the minimum norm's", 1e-10, off),
        table.at_least(fresh, 0.99, float(kept.by_fresh.mean())),
        table.close(training, 0.5, float(kept.by_training.mean()), 0.05),
        table.close(of_least, 0.5, float(least.by_fresh.mean()), 0.05),
        table.found(gone, _by(none)),
    ]


def _zero(chances: xr.Dataset, known: xr.Dataset) -> list[Row]:
    norm, expected = table.norm_of(known, "subclass", subclass_mean=0.0), chances.expected
    variance = expected * (1 - expected) / DRAWS
    off = (np.abs(chances.often - expected) / np.sqrt(variance)).values[variance * DRAWS**2 > 5]
    needed = ((1 - expected) * chances.d / chances.nm**2).max("d")
    constant = Subject("noise", "C, probability of distinct is 1 - C n^2 m^2/d", "most by nm")
    ways = sorted({*known.way.values} - {DISTINCT})
    return [
        _largest("noise", "share distinct off predicted, in standard errors", 3.0, off),
        table.found(constant, _by(needed), "1/2 + (K - 1/2)/nm at most"),
        _largest(f"mu_2 = 0, {DISTINCT}", "|W v_2|", ZERO, norm[known.way == DISTINCT]),
        _found("mu_2 = 0, not distinct, all", norm[known.way != DISTINCT]),
        *(_found(f"mu_2 = 0, {way}", norm[known.way == way]) for way in ways),
    ]


def _law(known: xr.Dataset, laws: xr.Dataset, shared: xr.Dataset) -> list[Row]:
    norm, what = table.norm_of(known, "subclass"), "|W v_2| off its law, relative"
    with numerics(SETTING.precision):
        models = [replace(MODEL, subclass_mean=mean) for mean in MEANS[1:]]
        law = np.array([float(theory.collapsed_norm(model, 16, 2)) for model in models])
    forecasts = norm[1:, known.way == DISTINCT] / law[:, None] - 1
    some = (shared.norm / shared.law).values[shared.way == DISTINCT] - 1
    large, one = laws.sel(nm=slice(256, None)), norm.sel(subclass_mean=1.0)
    slopes = np.polyfit(np.log(large.nm), np.log(large.norm).T, 1)[0]
    ratio, setting = laws.norm * np.sqrt(laws.nm) / laws.noise_length, "mu_2 = 1, distinct"
    slope = Subject(setting, "slope of ln |W v_2| over ln nm, nm >= 256", "farthest of sigma")
    tight = Subject(setting, "|W v_2| sqrt(nm)/sigma", "largest of sigma, by nm")
    return [
        _largest("mu_2 = .5, 1, nm = 32, distinct", what, 1e-8, np.abs(forecasts)),
        _largest(f"{setting}, d = {SHARED.model.d}", what, 1e-8, np.abs(some)),
        _largest(f"{setting}, nm to {SIZES[-1]}", what, 1e-8, np.abs(laws.norm / laws.law - 1)),
        table.close(slope, -1.0, slopes[np.argmax(np.abs(slopes + 1))], 0.02),
        # With s = sigma^2/nm the law is s/(1 + 3 s + s^2) <= s/(12 s)^(1/2).
        _largest(setting, "|W v_2| sqrt(nm)/sigma", 12**-0.5, ratio),
        table.found(tight, _by(ratio.max("noise_length"))),
        _found(f"mu_2 = 1, {ON_CLASS}", one[known.way == ON_CLASS]),
        _found("mu_2 = 1, else shared", one[~known.way.isin([DISTINCT, ON_CLASS])]),
    ]


CLAIM = Claim(
    name="noise-directions",
    says="where no two rows share a direction of noise, some minimizers keep a subclass that the "
    "one of least norm collapses",
    shows=("Prop. 4.2", "Thm 4.3", "Thm 4.4", "Thm 4.7"),
    source="section 4 of Xue et al. (2023); the law over nm, and what shared noise does, derived "
    "here",
    cost="under a minute on 2 cores",
    study=study,
)
