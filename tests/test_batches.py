import itertools
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import cldyn
from cldyn import Experiment, FeatureModel, Problem, Training, data, lanes, losses, moments
from cldyn import lane as lab
from cldyn.experiment import units
from cldyn.lane import batches

MODEL = FeatureModel(d=20, class_strength=1.1, subclass_mean=0.7, irrelevant_strength=(1.5,), class_keep=0.8, noise=0.8, noise_keep=0.3)
STORED = Problem(MODEL, n=8, m=2, precision="float64")
FRESH = {"stored": {}, "fresh_views": {"fresh_views": True}, "population": {"population": True}}
KINDS = [("stored", "iid"), ("stored", "subset"), ("stored", "epochs"), ("fresh_views", "iid"), ("fresh_views", "subset"), ("population", "iid")]
LOSSES = ("scl", "ucl", "joint")


def of(origin, **training):
    return Experiment(replace(STORED, **FRESH[origin]), Training(init_scale=1e-2, learning_rate=0.02, beta=0.3, **training))


def pair_by_pair(f, member, within, different, same, share):
    """The estimator of a batch as a loop over pairs of rows."""
    total, (b, m, _) = 0.0, f.shape
    for a, c, u, v in itertools.product(range(b), range(b), range(m), range(m)):
        dot = float(f[a, u] @ f[c, v])
        weight = different / m**2 if a != c else same * within[u, v]
        total += -2 * share * weight * (member[:, a] @ member[:, c]) * dot + weight * dot**2
        total -= 2 * (1 - share) * (a == c) * within[u, v] * dot / b
    return total


@given(seed=st.integers(0, 2**31 - 1), m=st.integers(1, 3))
def test_loss_of_a_batch_is_a_loop_over_pairs(seed, m):
    rng = np.random.default_rng(seed)
    f, member, within = rng.normal(size=(5, m, 3)), rng.normal(size=(2, 5)), rng.normal(size=(m, m))
    given = (f, member, (within + within.T) / 2, *rng.normal(size=3))
    assert losses.spectral_of_batch(*given) == pytest.approx(pair_by_pair(*given), rel=1e-10, abs=1e-10)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("kind", ["iid", "subset"])
@given(seed=st.integers(0, 2**31 - 1))
def test_the_mean_over_all_batches_of_stored_views_is_the_gradient(kind, loss, seed):
    rng = np.random.default_rng(seed)
    label = np.array([0, 1, 1, 2])
    views = cldyn.views(rng.normal(size=(4, 2, 5)), label)
    problem, training = Problem(views, precision="float64"), Training(loss, batch=kind, batch_size=3, beta=0.3)
    count, _ = units(problem, loss)
    assert count == (8 if loss == "scl" else 4)
    source = batches.source(problem, training, views, None, None)
    w = jnp.array(rng.normal(size=(2, 6)))
    every = itertools.product(range(count), repeat=3) if kind == "iid" else itertools.combinations(range(count), 3)

    def slope(chosen):
        return batches.slope(batches.take(source, training, chosen, jax.random.key(0)), training, w)

    mean = jnp.mean(jax.vmap(slope)(jnp.array(list(every))), axis=0)
    rows = moments.append_one(jnp.asarray(views.x), True).reshape(8, 6)
    full = jax.grad(lambda w: losses.spectral(rows @ w.T, *losses.pair_weights(label, 2, loss, 0.3)))(w)
    np.testing.assert_allclose(mean, full, rtol=1e-10, atol=1e-10)


def outcomes(sign, keep):
    """Signs of a view of an original and their probabilities."""
    return [(sign, (1 + keep) / 2), (-sign, (1 - keep) / 2)]


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("origin", ["fresh_views", "population"])
def test_the_mean_over_all_fresh_views_is_the_gradient(origin, loss):
    numbers = {"class_strength": 1.2, "subclass_strength": 0.8, "class_mean": 0.3, "subclass_mean": 0.5}
    model = FeatureModel(d=3, class_keep=0.6, subclass_keep=0.3, noise=0.0, **numbers)
    problem = Problem(model, n=4, m=2, precision="float64", **FRESH[origin])
    kind = "iid" if origin == "population" else "subset"
    training = Training(loss, batch=kind, batch_size=2, beta=0.3)
    first = data.originals(jax.random.key(0), model, 4)
    source = batches.source(problem, training, None, first if origin == "fresh_views" else None, None)
    every = list(itertools.product((-1, 1), repeat=2)) if origin == "population" else [tuple(code) for code in np.asarray(first.codes)]
    pairs = list(itertools.product(every, repeat=2)) if origin == "population" else list(itertools.combinations(every, 2))
    signs, probability = [], []
    for pair in pairs:
        draws = [outcomes(sign, keep) for code in pair for _ in range(2) for sign, keep in zip(code, (0.6, 0.3), strict=True)]
        for joint in itertools.product(*draws):
            signs.append([sign for sign, _ in joint])
            probability.append(np.prod([share for _, share in joint]) / len(pairs))
    assert sum(probability) == pytest.approx(1)
    codes = np.repeat(np.array(pairs), 2**8, axis=0)[..., 0]
    x = np.array(signs).reshape(-1, 2, 2, 2) * [1.2, 0.8] + [0.3, 0.5]
    x = np.concatenate([x, np.zeros((*x.shape[:3], 1)), np.ones((*x.shape[:3], 1))], axis=3)
    plan = batches.draw(source, training, jax.random.key(1), 0)
    w = jnp.array(np.random.default_rng(0).normal(size=(2, 4)))

    def slope(x, code):
        member = jnp.sqrt(2) * (code[None] == jnp.array([[-1], [1]]))
        return batches.slope(plan._replace(x=x, member=member), training, w)

    mean = jnp.tensordot(jnp.array(probability), jax.vmap(slope)(jnp.array(x), jnp.array(codes)), 1)
    frame = moments.views_frame(model, first) if origin == "fresh_views" else moments.population_frame(model)
    full = losses.spectral_gradient(w @ frame.basis, frame.second, frame.factor(loss, 0.3)) @ frame.basis.T
    np.testing.assert_allclose(mean, full, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("loss", ["scl", "joint"])
@pytest.mark.parametrize(("origin", "kind"), KINDS)
def test_batches_as_drawn_are_unbiased(origin, kind, loss):
    experiment = of(origin, loss=loss, batch=kind, batch_size=5)
    structure = lab.structure_of(experiment, ())
    w = jnp.array(np.random.default_rng(0).normal(size=(2, 21)) / 3)

    @jax.jit
    def drawn(problem, training):
        prepared = lab.prepare(problem, training, structure)
        steps = jnp.arange(8000)
        basis = prepared.frame.basis

        def one(step):
            batch = batches.draw(prepared.source, training, jax.random.fold_in(prepared.source.key, step), step)
            return batches.slope(batch, training, w @ basis if structure.frame else w)

        grads = jax.vmap(one)(steps)
        full = losses.spectral_gradient(w @ basis, prepared.frame.second, prepared.frame.factor(loss, 0.3))
        return grads, full if structure.frame else full @ basis.T

    grads, full = drawn(*(cldyn.experiment.cast(half, "float64") for half in (experiment.problem, experiment.training)))
    error = np.abs(grads.mean(axis=0) - full)
    # Epochs repeat themselves: batches of one epoch are not independent, but hold less noise together.
    spread = np.asarray(grads.std(axis=0)) / np.sqrt(len(grads))
    moving = spread > 1e-12
    assert moving.mean() > 0.5 and (error[~moving] < 1e-10).all()
    assert (error[moving] / spread[moving]).max() < 5


@pytest.mark.parametrize(
    ("loss", "kind", "optimizer"), [("scl", "subset", "momentum"), ("ucl", "epochs", "gd"), ("joint", "subset", "gd"), ("scl", "epochs", "adam")]
)
def test_a_batch_of_everything_is_gradient_descent_to_rounding(loss, kind, optimizer):
    # Not bit for bit: a batch sums over rows where gradient descent multiplies with their moments, and Adam divides by small numbers.
    everything = of("stored", loss=loss, batch=kind, batch_size=16 if loss == "scl" else 8, optimizer=optimizer)
    plain = replace(everything, training=replace(everything.training, batch="full"))
    ends = [cldyn.run(one, [0, 100]).weights for one in (everything, plain)]
    assert np.abs(ends[1]).max() > 0.05
    np.testing.assert_allclose(ends[0], ends[1], atol=1e-9 if optimizer == "adam" else 1e-11)


def test_an_epoch_shows_every_unit_at_most_once_and_epochs_differ():
    training = Training(batch="epochs", batch_size=4)
    root = jax.random.key(3)
    chosen = np.array([batches.choose(training, root, jax.random.fold_in(root, step), jnp.int32(step), 14) for step in range(30)])
    epochs = chosen.reshape(10, 12)
    assert all(len(set(epoch)) == 12 for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 10
    assert set(epochs.ravel()) == set(range(14))


@pytest.mark.parametrize("kind", ["iid", "subset"])
def test_units_are_drawn_evenly(kind):
    training = Training(batch=kind, batch_size=4)
    keys = jax.random.split(jax.random.key(0), 6000)
    chosen = np.asarray(jax.vmap(lambda key: batches.choose(training, key, key, 0, 14))(keys))
    repeats = np.array([len(set(row)) < 4 for row in chosen])
    assert repeats.any() == (kind == "iid")
    counts = np.bincount(chosen.ravel(), minlength=14)
    assert np.abs(counts / len(keys) - 4 / 14).max() < 5 * np.sqrt(4 / 14 / len(keys))
    together = np.mean([(0 in row) and (1 in row) for row in chosen])
    expected = 4 * 3 / (14 * 13) if kind == "subset" else 1 - 2 * (13 / 14) ** 4 + (12 / 14) ** 4
    assert together == pytest.approx(expected, abs=5 * np.sqrt(expected / len(keys)))


@pytest.mark.parametrize(("origin", "kind"), [("stored", "epochs"), ("fresh_views", "subset"), ("population", "iid")])
def test_lanes_of_a_seed_see_the_batches_of_its_single_run(origin, kind):
    experiment = of(origin, batch=kind, batch_size=6)
    lane = cldyn.sweep(experiment, [{"learning_rate": [0.01, 0.02]}, {"seed": [0, 1], "data_seed": [0, 0]}], [0, 7, 30], progress=False)
    training = replace(experiment.training, learning_rate=0.02, seed=1)
    one = cldyn.run(Experiment(experiment.problem, training), [0, 7, 30])
    np.testing.assert_allclose(lane.feature_norms[1, 1], one.records["feature_norms"], rtol=1e-8, atol=1e-12)


def test_a_run_on_batches_cut_in_two_is_the_whole():
    experiment = of("stored", batch="epochs", batch_size=6)
    whole, part = cldyn.run(experiment, [0, 9, 33]), cldyn.run(experiment, [0, 9, 20])
    for name, value in part.records.items():
        np.testing.assert_array_equal(value[:2], whole.records[name][:2])


def test_hundreds_of_lanes_on_batches_are_one_compilation_and_a_bad_lane_hurts_nobody():
    experiment = of("stored", batch="subset", batch_size=4)
    seeds = {"seed": range(16), "data_seed": range(16)}
    rates = np.linspace(0.005, 0.02, 16).tolist()
    lanes._train_block.clear_cache()
    good = cldyn.sweep(experiment, [seeds, {"learning_rate": rates}], [0, 20, 40], progress=False)
    bad = cldyn.sweep(experiment, [seeds, {"learning_rate": [*rates[:-1], 50.0]}], [0, 20, 40], progress=False)
    assert lanes._train_block._cache_size() == 1
    assert good.feature_norms.shape == (16, 16, 3, 3) and (good.finite_steps == 40).all() and (bad.finite_steps[:, -1] < 40).all()
    np.testing.assert_array_equal(good.feature_norms[:, :-1], bad.feature_norms[:, :-1])


def test_own_arrays_are_drawn_from_in_their_own_shape():
    rng = np.random.default_rng(0)
    views = cldyn.views(rng.normal(size=(6, 2, 5)), [0, 0, 1, 1, 2, 2], directions=np.eye(5)[:2])
    training = Training("ucl", batch="subset", batch_size=6, learning_rate=0.02, init_scale=0.1)
    own = Experiment(Problem(views, precision="float64"), training)
    full = cldyn.run(replace(own, training=replace(training, batch="full")), [0, 50])
    lane = cldyn.sweep(own, [{"seed": [0, 1]}], [0, 50], progress=False)
    np.testing.assert_allclose(lane.loss[0], full.records["loss"], rtol=1e-9)


TWO = {"irrelevant_strength": (1.5, 0.5), "irrelevant_keep": (0.6, 0.6)}
MODELS = [
    FeatureModel(d=9, class_keep=0.4, subclass_keep=0.7, class_mean=0.4, noise=1.2, noise_keep=0.3, **TWO),
    FeatureModel(d=9, irrelevant="sparse", subclass_keep=0.7, noise_kind="basis", noise_keep=0.4, **TWO),
    FeatureModel(d=9, class_keep=0.4, rotated=True, noise_keep=0.6),
]


@pytest.mark.parametrize("model", MODELS)
def test_moments_of_fresh_views_are_those_of_very_many_of_them(model):
    n, m = 8, 40_000
    first = data.originals(jax.random.key(1), model, n)
    frame = jax.jit(lambda: moments.views_frame(model, first))()
    x = jax.vmap(lambda key: data.augment(key, model, first, 2), out_axes=1)(jax.random.split(jax.random.key(2), m // 2)).reshape(n, m, 9)
    second = (frame.basis * frame.second) @ frame.basis.T
    rows = moments.append_one(x, True)
    np.testing.assert_allclose(second, jnp.einsum("iua,iub->ab", rows, rows) / (n * m), atol=0.03)
    means = rows.mean(axis=1)
    label = np.asarray(first.codes[:, 0])
    classes = [means[label == c].mean(axis=0) for c in (-1, 1)]
    for found, expected in (
        (frame.view_factor, means.T @ means / n),
        (frame.class_factor, sum(np.outer(c, c) for c in classes) / 2),
    ):
        np.testing.assert_allclose(frame.basis @ found.T @ found @ frame.basis.T, expected, atol=0.03)


def test_views_of_a_sample_are_views_of_its_originals():
    key = jax.random.key(5)
    first, views = data.originals(key, MODEL, 8), cldyn.sample(key, MODEL, 8, 200)
    np.testing.assert_array_equal(first.codes[:, 0], views.label)
    mean, variance, _ = data.mean_views(MODEL, first)
    np.testing.assert_allclose(views.x.mean(axis=1), mean, atol=0.35)
    np.testing.assert_allclose(jnp.mean((views.x - mean[:, None]) ** 2, axis=(0, 1)), variance, atol=0.15)


def test_equal_examples_have_a_minimizer_too():
    problem = Problem(FeatureModel(d=300), n=100, fresh_views=True, precision="float64")
    known = cldyn.predict(Experiment(problem, Training("ucl")))
    np.testing.assert_allclose(known.records["feature_norms"][0], 1, rtol=1e-9)
    assert known.records["loss"][0] == pytest.approx(-3, rel=1e-9)


@pytest.mark.parametrize(("origin", "loss", "more"), [("stored", "ucl", {}), ("population", "joint", {"weight_decay": 0.02})])
def test_sgd_hovers_where_the_noise_of_its_gradient_says(origin, loss, more):
    model = FeatureModel(d=6, class_strength=1.5, class_keep=0.9, subclass_keep=0.6)
    training = Training(loss, embed_dim=2, init_scale=0.1, learning_rate=0.002, batch="iid", batch_size=16, **more)
    experiment = Experiment(Problem(model, n=64, precision="float64", **FRESH[origin]), training)
    noise, error = cldyn.gradient_noise(experiment, draws=8000)
    assert error < 0.03 * noise
    late = cldyn.sweep(experiment, [{"seed": range(16)}], range(5000, 30_000, 50), measure=("excess_loss",), progress=False)
    assert float(late.excess_loss.mean()) == pytest.approx(float(cldyn.theory.stationary_excess(noise, 0.002)), rel=0.1)


def test_the_collapsed_embedding_has_no_noise():
    collapsed = Experiment(Problem(FeatureModel(d=60), n=24, precision="float64"), Training(batch="subset", batch_size=6))
    assert cldyn.gradient_noise(collapsed, draws=50)[0] < 1e-20
    flipped = replace(collapsed, problem=replace(collapsed.problem, n=64, data=FeatureModel(d=6, class_keep=0.8)))
    assert cldyn.gradient_noise(flipped, draws=50)[0] > 1e-2
    for bad, message in ((replace(collapsed, training=Training()), "batch:"), (collapsed, "draws:")):
        with pytest.raises(ValueError, match=message):
            cldyn.gradient_noise(bad, draws=1)
