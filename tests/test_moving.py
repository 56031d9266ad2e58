"""Fresh data in a moving frame: the same in law as on all directions of the inputs."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

import cldyn
from cldyn import (
    Adam,
    DeepLinear,
    Experiment,
    FeatureModel,
    FreshViews,
    Gaussian,
    Gd,
    Iid,
    InfoNce,
    Joint,
    Linear,
    Momentum,
    Nesterov,
    Population,
    Subset,
    Training,
    Unsupervised,
    linalg,
)
from cldyn.optimizers import WarmupCosine
from cldyn.trajectory import moving, within

SEEDS, STEPS = 2000, [0, 1, 20]


# --- the parts -------------------------------------------------------------------------------


@given(seed=st.integers(0, 2**31 - 1), shape=st.tuples(st.integers(1, 12), st.integers(1, 15)))
def test_a_lower_root_is_that_of_the_gram_matrix(seed, shape):
    rows = np.random.default_rng(seed).normal(size=shape)
    rows[-1] = rows[0]  # one that depends on another
    root = np.asarray(linalg.lower(jnp.asarray(rows)))
    assert (np.triu(root, 1) == 0).all() and (np.diag(root) >= 0).all()
    np.testing.assert_allclose(root @ root.T, rows @ rows.T, atol=1e-12)


def test_small_rows_beside_large_ones_keep_all_their_digits():
    rows = np.random.default_rng(0).normal(size=(3, 9)).astype(np.float32)
    rows[1:] = rows[0] + 1e-5 * rows[1:]  # a root of squares would know none of them
    exact = np.linalg.qr(rows.T.astype(float))[1].T
    root = np.abs(np.asarray(linalg.lower(jnp.asarray(rows))))
    np.testing.assert_allclose(np.diag(root)[1], abs(exact[1, 1]), rtol=0.03)


@pytest.mark.parametrize(("count", "freedom"), [(1, 70), (3, 66), (4, 1000), (2, 10**6)])
def test_bartletts_root_is_that_of_a_wishart_matrix(count, freedom):
    keys = jax.random.split(jax.random.key(0), 20_000)
    roots = np.asarray(jax.vmap(lambda key: linalg.bartlett(key, count, freedom))(keys), float)
    for i in range(count):
        law = stats.chi2(freedom - i)
        assert stats.kstest(roots[:, i, i] ** 2, law.cdf).pvalue > 1e-4
        for j in range(i):
            assert stats.kstest(roots[:, i, j], stats.norm.cdf).pvalue > 1e-4
            assert abs(np.corrcoef(roots[:, i, j], roots[:, i, i])[0, 1]) < 0.035
    assert (np.triu(roots, 1) == 0).all()


# --- the whole -------------------------------------------------------------------------------

MODEL = FeatureModel(
    d=11, class_strength=1.2, subclass_strength=0.7, subclass_mean=0.5, irrelevant_strength=(1.5,),
    noise=Gaussian(1.6),
)  # fmt: skip
KEPT = replace(MODEL, noise=Gaussian(1.6, 0.6), class_keep=0.7, class_change=0.3)


def of(model=MODEL, source=None, batch=None, optimizer=None, encoder=None, **training):
    encoder = encoder or Linear(embed_dim=2, init_scale=0.1)
    return Experiment(
        source or Population(model, m=2),
        Training(encoder, optimizer=optimizer or Gd(0.02), batch=batch or Iid(4), **training),
        "float64",
    )


CASES = {
    "scl": of(source=Population(MODEL, m=1)),
    "ucl, momentum": of(KEPT, optimizer=Momentum(0.01, momentum=0.8), positives=Unsupervised()),
    "joint, three views, no bias": of(
        source=Population(KEPT, m=3), positives=Joint(0.4), encoder=Linear(2, 0.1, bias=False),
        optimizer=Nesterov(0.01, WarmupCosine(2.0, 9.0), 1.0, momentum=0.8), weight_decay=0.3,
    ),
    "another loss, a projection head": of(
        encoder=DeepLinear(2, 0.6), loss=InfoNce(), positives=Unsupervised()
    ),
    "fresh views": of(source=FreshViews(MODEL, n=8), batch=Subset(4), positives=Joint(0.5)),
}  # fmt: skip


def invariants(seen):
    """Numbers of W that turns of outputs and of the noise leave alone."""
    a, gram = seen.embed("directions"), seen.layers()[0]
    head = seen.layers()[1]
    for layer in head:
        gram = layer @ gram @ layer.T
    noise = gram - a.T @ a
    products = (a @ a.T)[np.triu_indices(len(a))], jnp.diag(a @ noise @ a.T)
    spread = jnp.trace(noise), jnp.trace(noise @ noise)
    return jnp.concatenate([*products, jnp.stack(spread)])


NUMBERS = cldyn.Measure("numbers", "", invariants, ("directions", "layers"), ("number",))


def drawn(experiment, monkeypatch, worth):
    """The numbers of many seeds [seeds, t, numbers], where a window is worth it or not."""
    monkeypatch.setattr(moving, "_WORTH", worth)
    axes = [{"seed": range(SEEDS)}]
    found = cldyn.sweep(experiment, axes, STEPS, measure=[NUMBERS], progress=False)
    return np.asarray(found.numbers), within(experiment, 2).problem.shape[2]


@pytest.mark.parametrize("name", CASES)
def test_the_moving_frame_is_exact_in_law(name, monkeypatch):
    ours, small = drawn(CASES[name], monkeypatch, 2)
    theirs, wide = drawn(CASES[name], monkeypatch, 10**6)
    assert small < wide == 11
    error = np.sqrt((ours.var(axis=0) + theirs.var(axis=0)) / SEEDS) + 1e-12
    apart = np.abs(ours.mean(axis=0) - theirs.mean(axis=0)) / error
    assert apart.max() < 4.5
    for i, j in np.ndindex(*ours.shape[1:]):
        assert stats.ks_2samp(ours[:, i, j], theirs[:, i, j]).pvalue > 1e-5


def test_test_rows_have_the_noise_of_new_inputs():
    experiment = of(MODEL, encoder=Linear(3, 0.2)).replace(d=500, test_size=20_000)
    cells = cldyn.run(experiment, [0, 20], measure=["test_subclass_variance"]).records
    names = ["numbers", "test_subclass_variance"]
    seen = cldyn.run(experiment, [0, 20], measure=[NUMBERS, names[1]]).records
    assert (cells[names[1]] == seen[names[1]]).all()
    irrelevant = 1.5**2 * seen["numbers"][:, 5]  # |W v_3|^2
    expected = irrelevant + 1.6**2 / 497 * seen["numbers"][:, -2]
    np.testing.assert_allclose(seen[names[1]], expected, rtol=0.03)


def test_a_million_inputs_cost_what_a_thousand_do():
    wide = of(FeatureModel(d=10**6)).replace(precision="float32")
    ends = {}
    for d in (1000, 10**6):
        one = cldyn.run(wide.replace(d=d), [0, 200])
        assert one.weights.shape == (2, 2 + 2 + 1)
        ends[d] = one.records["class_gap"][-1]
        assert ends[d] == pytest.approx(2, rel=0.05)
    known = cldyn.forecast(wide, [{"learning_rate": [0.01, 0.02]}], progress=False)
    np.testing.assert_allclose(known.class_gap, 2, rtol=1e-4)


def test_a_run_is_the_trajectory_of_its_sweep_and_goes_on_from_its_state():
    experiment = of(KEPT, optimizer=Momentum(0.01)).replace(d=300)
    axes = [{"learning_rate": [0.01, 0.02]}, {"seed": [0, 3]}]
    many = cldyn.sweep(experiment, axes, [0, 10, 20], progress=False)
    one = experiment.replace(seed=3, learning_rate=0.02)
    whole, half = cldyn.run(one, [0, 10, 20]), cldyn.run(one, [0, 10])
    rest = cldyn.run(one, [20], state=half.state)
    np.testing.assert_array_equal(whole.records["loss"][-1:], rest.records["loss"])
    for name, values in whole.records.items():
        np.testing.assert_allclose(many[name][1, 1], values, rtol=1e-9, atol=1e-12)


def test_the_noise_of_the_gradient_is_that_of_the_inputs(monkeypatch):
    found = []
    experiment = of(KEPT, positives=Joint(0.4))
    for worth in (2, 10**6):
        monkeypatch.setattr(moving, "_WORTH", worth)
        found.append(cldyn.gradient_noise(experiment, draws=20_000))
    (ours, error), (theirs, more) = found
    assert abs(ours - theirs) < 4.5 * np.hypot(error, more)


@pytest.mark.parametrize(
    ("source", "axis"),
    [
        (Population(MODEL), {"class_keep": [1.0, 0.5]}),
        (Population(replace(MODEL, noise=Gaussian(0.0))), {"noise_length": [0.0, 2.0]}),
        (FreshViews(MODEL, n=8), {"noise_keep": [0.0, 0.9]}),
    ],
    ids=["keep", "length", "kept noise"],
)
def test_what_varies_is_not_taken_for_what_it_is_in_the_first(source, axis):
    experiment = of(source=source, batch=Iid(4), positives=Unsupervised()).replace(d=100)
    many = cldyn.sweep(experiment, [axis], [0, 40], measure=["feature_norms"], progress=False)
    ((name, values),) = axis.items()
    assert not np.allclose(*many.feature_norms[:, -1], rtol=1e-3)
    ends = [
        cldyn.sweep(
            experiment.replace(**{name: value}), [{"seed": range(400)}], [0, 40],
            measure=["feature_norms"], progress=False,
        ).feature_norms[:, -1]
        for value in values
    ]  # fmt: skip
    axes = [axis, {"seed": range(400)}]
    both = cldyn.sweep(experiment, axes, [0, 40], measure=["feature_norms"], progress=False)
    for end, found in zip(ends, both.feature_norms[:, :, -1], strict=True):
        error = np.sqrt((end.var("seed") + found.var("seed")) / 400) + 1e-9
        assert (np.abs(end.mean("seed") - found.mean("seed")) < 4.5 * error).all()


def test_an_embedding_size_does_not_decide_what_another_draws():
    experiment = of().replace(d=300)
    both = cldyn.sweep(experiment, [{"embed_dim": [2, 4]}], [0, 20], progress=False)
    two = cldyn.sweep(experiment, [{"embed_dim": [2, 3]}], [0, 20], progress=False)
    np.testing.assert_allclose(both.loss[0], two.loss[0], rtol=1e-9)


def test_what_the_package_sets_by_itself_is_nobody_elses():
    for noun, name in ((Gaussian(silent=True), "silent"), (Gaussian(directions=9), "directions")):
        with pytest.raises(cldyn.Refused, match=name):
            cldyn.run(of(replace(MODEL, noise=noun)), [0])
    with pytest.raises(cldyn.Refused, match="still"):
        of().replace(still=True)
    assert "window" not in repr(Linear()) and "still" not in repr(MODEL)


@pytest.mark.parametrize(
    "change",
    [
        {"optimizer": Adam(0.01)},
        {"noise": cldyn.Basis()},
        {"encoder": cldyn.Mlp()},
        {"batch": cldyn.Full()},
        {"d": 60},
        {"problem": FreshViews(replace(KEPT, d=300), n=8)},
    ],
    ids=lambda change: next(iter(change)),
)
def test_where_the_law_is_not_that_simple_all_directions_are_trained(change):
    experiment = of().replace(d=300)
    assert within(experiment, 2).problem.shape[2] == 5
    other = experiment.replace(**change)
    assert within(other, 2).problem.shape[2] == other.problem.shape[2]
