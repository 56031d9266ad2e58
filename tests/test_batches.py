"""Batches: what a step sees, and that its gradient means that of everything."""

import itertools
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from oracles import (
    enumerated_moments,
    model_numbers,
    objective,
    paper_model,
    raw_loss,
    share_of,
    with_one,
)

import cldyn
from cldyn import (
    Adam,
    Epochs,
    Experiment,
    FeatureModel,
    FreshViews,
    Full,
    Gaussian,
    Gd,
    Iid,
    Joint,
    Linear,
    Momentum,
    Population,
    Stored,
    Subset,
    Supervised,
    Training,
    Unsupervised,
    data,
)
from cldyn.encoders import Layers
from cldyn.sources import unit_shape
from cldyn.sweeps import execute
from cldyn.trajectory import Setting, draw, plan_of, prepare
from cldyn.trajectory.inputs import on_inputs

MODEL = FeatureModel(
    d=20,
    class_strength=1.1,
    subclass_mean=0.7,
    irrelevant_strength=(1.5,),
    class_keep=0.8,
    noise=Gaussian(0.8, 0.3),
)
PAPER = [paper_model(0), paper_model(5)]  # one-hot noise; perturbed, with own features
PAPER[1] = replace(PAPER[1], own_count=2)  # which pairs of new examples share or not
MIXES = [Supervised(), Joint(0.3)]  # batches of rows, and of examples; ucl is part of the second
SOURCES = {"stored": Stored, "fresh views": FreshViews}
KINDS = [
    ("stored", Iid(5)),
    ("stored", Subset(5)),
    ("stored", Epochs(5)),
    ("fresh views", Iid(5)),
    ("fresh views", Subset(5)),
    ("population", Iid(5)),
]


def of(origin, model=MODEL, n=8, **training):
    source = Population(model) if origin == "population" else SOURCES[origin](model, n=n)
    optimizer = Gd(learning_rate=0.02)
    training = {"encoder": Linear(init_scale=1e-2), "optimizer": optimizer} | training
    return Experiment(source, Training(**training), "float64")


def units_of(experiment):
    """What the batches of an experiment are made of, on inputs as they are."""
    drawn = experiment.problem.draw(jnp.dtype(float))
    return experiment.problem.units(drawn, experiment.training, drawn.x)


class Listed:
    """Batches that come from a list, step by step, and weigh as those of another kind."""

    draws = True

    def __init__(self, like, units):
        self.weights, self.units = like.weights, jnp.array(units)

    def choose(self, root, key, step, count):
        return self.units[step]


def slope(training, batch, w):
    """Gradient of the loss of a batch."""
    x = with_ones(batch.x.reshape(-1, batch.x.shape[-1]), training.encoder.bias)
    return jax.grad(lambda w: training.loss(x @ w.T, batch.pairs))(w)


def with_ones(x, bias):
    return jnp.concatenate([x, jnp.ones((len(x), int(bias)))], axis=1)


# --- unbiased --------------------------------------------------------------------------------


@pytest.mark.parametrize("positives", MIXES, ids=["scl", "joint"])
@pytest.mark.parametrize("kind", [Iid(3), Subset(3)], ids=["iid", "subset"])
@given(seed=st.integers(0, 2**31 - 1))
def test_the_mean_over_all_batches_of_stored_views_is_the_gradient(kind, positives, seed):
    rng = np.random.default_rng(seed)
    source = cldyn.views(rng.normal(size=(4, 2, 5)), [0, 1, 1, 2])
    own = of("stored", positives=positives, batch=kind).replace(problem=source)
    count, _ = unit_shape(source, positives)
    assert count == (8 if isinstance(positives, Supervised) else 4)
    ways = {Iid: itertools.product(range(count), repeat=3)}
    every = list(ways.get(type(kind), itertools.combinations(range(count), 3)))
    training, units = replace(own.training, batch=Listed(kind, every)), units_of(own)
    w = jnp.array(rng.normal(size=(2, 6)))

    @jax.vmap
    def one(step):
        return slope(training, units.draw(training, units.key, step), w)

    mean = np.mean(one(jnp.arange(len(every))), axis=0)
    np.testing.assert_allclose(mean, jax.grad(raw_loss(own))(w), rtol=1e-10, atol=1e-10)


def outcomes(sign, keep):
    """Signs of a view of an original and their probabilities."""
    return [(sign, (1 + keep) / 2), (-sign, (1 - keep) / 2)]


def moments_of_views(model, first, positives):
    """M and P [D, D] of all views of originals of plain gaussian noise, from expectations."""
    strength, mean, keep = model_numbers(model)
    codes, other = np.asarray(first.codes, float), model.other
    share, length = model.noise.noise_keep, model.noise.noise_length
    noise = np.sqrt(share) * np.asarray(first.noise)
    means = with_one(np.concatenate([mean + keep * strength * codes, noise], axis=1))
    inside = strength**2 * (1 - keep**2)
    variance = [*inside, *np.full(other, (1 - share) * length**2 / other), 0]
    groups = [means[codes[:, 0] == sign] for sign in (-1, 1)]
    by_class = sum(len(one) * np.outer(one.mean(0), one.mean(0)) for one in groups) / len(means)
    by_view, share = means.T @ means / len(means), share_of(positives)
    return by_view + np.diag(variance), share * by_class + (1 - share) * by_view


@pytest.mark.parametrize("positives", MIXES, ids=["scl", "joint"])
@pytest.mark.parametrize("origin", ["fresh views", "population"])
def test_the_mean_over_all_fresh_views_is_the_gradient(origin, positives):
    model = FeatureModel(
        d=3, class_strength=1.2, subclass_strength=0.8, class_mean=0.3, subclass_mean=0.5,
        class_keep=0.6, subclass_keep=0.3, noise=Gaussian(0.0),
    )  # fmt: skip
    new = origin == "population"
    experiment = of(origin, model, 4, positives=positives, batch=Iid(2) if new else Subset(2))
    first = data.originals(jax.random.key(0), model, 4)
    if new:
        every = list(itertools.product((-1, 1), repeat=2))
        pairs = list(itertools.product(every, repeat=2))
        moments = enumerated_moments(model, positives, True)
    else:
        every = [tuple(code) for code in np.asarray(first.codes)]
        pairs = list(itertools.combinations(every, 2))
        moments = moments_of_views(model, first, positives)
    signs, probability = [], []
    for pair in pairs:
        twice = [code for code in pair for _ in range(2)]  # two views of each
        draws = [outcomes(*one) for code in twice for one in zip(code, (0.6, 0.3), strict=True)]
        for joint in itertools.product(*draws):
            signs.append([sign for sign, _ in joint])
            probability.append(np.prod([share for _, share in joint]) / len(pairs))
    assert sum(probability) == pytest.approx(1)
    codes = np.repeat(np.array(pairs), 2**8, axis=0)[..., 0]
    x = np.array(signs).reshape(-1, 2, 2, 2) * [1.2, 0.8] + [0.3, 0.5]
    x = np.concatenate([x, np.zeros((*x.shape[:3], 1))], axis=3)
    training = experiment.training
    drawn = units_of(experiment).draw(training, jax.random.key(1), jnp.int32(0))
    w = jnp.array(np.random.default_rng(0).normal(size=(2, 4)))

    @jax.vmap
    def one(x, code):
        member = jnp.sqrt(2) * (code[None] == jnp.array([[-1], [1]]))
        return slope(training, drawn._replace(x=x, pairs=drawn.pairs._replace(member=member)), w)

    mean = jnp.tensordot(jnp.array(probability), one(jnp.array(x), jnp.array(codes)), 1)
    full = jax.grad(objective)(w, *moments)
    np.testing.assert_allclose(mean, full, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    ("origin", "kind", "model"),
    [*((*one, MODEL) for one in KINDS), *(("population", Iid(2), one) for one in PAPER)],
)
def test_batches_as_drawn_are_unbiased(origin, kind, model):
    experiment = of(origin, model, positives=Joint(0.3), batch=kind)
    problem, training = experiment.problem, experiment.training
    w = jnp.array(np.random.default_rng(0).normal(size=(2, model.d + 1)) / 3)
    if origin == "stored":
        full = jax.grad(raw_loss(experiment))(w)
    else:
        first = data.originals(jax.random.key(0), model, 8)
        moments = {
            "population": lambda: enumerated_moments(model, training.positives, True),
            "fresh views": lambda: moments_of_views(model, first, training.positives),
        }[origin]()
        full = jax.grad(objective)(w, *moments)
    plan = replace(plan_of(experiment, ()), in_frame=False)

    given = draw(problem, training, plan)

    @jax.jit
    def drawn(steps):
        prepared = prepare(problem, given, training, plan)
        gradient = on_inputs(Setting(prepared, training, None)).gradient
        layers, key = Layers(w, jnp.zeros((0, 2, 2))), prepared.units.key
        step_of = jax.vmap(lambda step: gradient(layers, jax.random.fold_in(key, step), step))
        return step_of(steps).first

    grads = np.asarray(drawn(jnp.arange(4000)))
    error = np.abs(grads.mean(axis=0) - full)
    # Epochs repeat themselves: batches of one epoch are not independent, but hold less noise.
    spread = grads.std(axis=0) / np.sqrt(len(grads))
    assert (spread > 1e-6).mean() > 0.5 and (error <= 5 * spread + 1e-10).all()


# --- who is in a batch -----------------------------------------------------------------------


def test_an_epoch_shows_every_unit_at_most_once_and_epochs_differ():
    root, choose = jax.random.key(3), jax.jit(Epochs(4).choose, static_argnums=3)
    steps = range(30)
    chosen = [choose(root, jax.random.fold_in(root, step), jnp.int32(step), 14) for step in steps]
    epochs = np.array(chosen).reshape(10, 12)
    assert all(len(set(epoch)) == 12 for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 10
    assert set(epochs.ravel()) == set(range(14))


@pytest.mark.parametrize("kind", [Iid(4), Subset(4)], ids=["iid", "subset"])
def test_units_are_drawn_evenly(kind):
    keys = jax.random.split(jax.random.key(0), 6000)
    chosen = np.asarray(jax.vmap(lambda key: kind.choose(key, key, 0, 14))(keys))
    repeats = np.array([len(set(row)) < 4 for row in chosen])
    assert repeats.any() == isinstance(kind, Iid)
    counts = np.bincount(chosen.ravel(), minlength=14)
    assert np.abs(counts / len(keys) - 4 / 14).max() < 5 * np.sqrt(4 / 14 / len(keys))
    together = np.mean([(0 in row) and (1 in row) for row in chosen])
    distinct, independent = 4 * 3 / (14 * 13), 1 - 2 * (13 / 14) ** 4 + (12 / 14) ** 4
    expected = independent if isinstance(kind, Iid) else distinct
    assert together == pytest.approx(expected, abs=5 * np.sqrt(expected / len(keys)))


@pytest.mark.parametrize(
    "model", [MODEL, paper_model(3), paper_model(4), paper_model(5)], ids=lambda m: str(m.noise)
)
def test_views_of_a_sample_are_views_of_its_originals(model):
    key, many = jax.random.key(5), 4000
    first, views = data.originals(key, model, 8), cldyn.sample(key, model, 8, many)
    np.testing.assert_array_equal(first.codes[:, 0], views.label)
    known = data.mean_views(model, first)
    error = np.sqrt(np.mean((views.x - known.mean[:, None]) ** 2, axis=1) / many)
    assert (np.abs(views.x.mean(axis=1) - known.mean) <= 5 * error + 1e-12).all()
    apart = np.asarray(views.x - known.mean[:, None]).reshape(-1, model.d)
    expected = np.diag(known.spread) - np.outer(known.less, known.less)
    squares = (apart**2).T @ apart**2 / len(apart)
    error = np.sqrt(np.clip(squares - expected**2, 0, None) / len(apart))
    assert (np.abs(apart.T @ apart / len(apart) - expected) <= 5 * error + 1e-12).all()


# --- trained ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "tolerance"),
    [
        ({"batch": Subset(16), "optimizer": Momentum(0.02)}, 1e-11),
        ({"batch": Epochs(8), "positives": Unsupervised()}, 1e-11),
        ({"batch": Epochs(16), "optimizer": Adam(0.02)}, 1e-9),
    ],
)
def test_a_batch_of_everything_is_gradient_descent_to_rounding(change, tolerance):
    # Not bit for bit: a batch sums over rows where gradient descent multiplies with their moments,
    # and Adam divides by small numbers.
    everything = of("stored").replace(**change)
    ends = [
        cldyn.run(one, [0, 100]).weights for one in (everything, everything.replace(batch=Full()))
    ]
    assert np.abs(ends[1]).max() > 0.05
    np.testing.assert_allclose(ends[0], ends[1], atol=tolerance)


@pytest.mark.parametrize(
    ("origin", "kind"),
    [("stored", Epochs(6)), ("fresh views", Subset(6)), ("population", Iid(6))],
)
def test_trajectories_of_a_seed_see_the_batches_of_its_run(origin, kind):
    experiment, steps = of(origin, batch=kind), [0, 7, 30]
    axes = [{"learning_rate": [0.01, 0.02]}, {"seed": [0, 1], "data_seed": [0, 0]}]
    many = cldyn.sweep(experiment, axes, steps, progress=False)
    one = cldyn.run(experiment.replace(seed=1), steps).records
    assert not np.allclose(many.feature_norms[1, 0], many.feature_norms[1, 1], rtol=1e-3)
    for name in ("feature_norms", "loss"):
        np.testing.assert_allclose(many[name][1, 1], one[name], rtol=1e-8, atol=1e-12)


def test_many_trajectories_on_batches_are_one_compilation_and_a_bad_one_hurts_nobody():
    experiment = of("stored", batch=Subset(4))
    seeds = {"seed": range(8), "data_seed": range(8)}
    rates = np.linspace(0.005, 0.02, 8).tolist()
    execute.train_tile.clear_cache()
    good, bad = (
        cldyn.sweep(experiment, [seeds, {"learning_rate": one}], [0, 20, 40], progress=False)
        for one in (rates, [*rates[:-1], 50.0])
    )
    assert execute.train_tile._cache_size() == 1
    assert good.feature_norms.shape == (8, 8, 3, 3)
    assert (good.finite_steps == 40).all() and (bad.finite_steps[:, -1] < 40).all()
    np.testing.assert_array_equal(good.feature_norms[:, :-1], bad.feature_norms[:, :-1])


# --- predicted -------------------------------------------------------------------------------


def test_equal_examples_have_a_minimizer_too():
    known = cldyn.predict(of("fresh views", FeatureModel(d=100), 40, positives=Unsupervised()))
    np.testing.assert_allclose(known.records["feature_norms"][0], 1, rtol=1e-9)
    assert known.records["loss"][0] == pytest.approx(-3, rel=1e-9)


@pytest.mark.parametrize(
    ("origin", "positives", "decay"),
    [("stored", Unsupervised(), 0.0), ("population", Joint(0.3), 0.02)],
)
def test_sgd_hovers_where_the_noise_of_its_gradient_says(origin, positives, decay):
    model = FeatureModel(d=6, class_strength=1.5, class_keep=0.9, subclass_keep=0.6)
    experiment = of(origin, model, 64, positives=positives, batch=Iid(16)).replace(
        embed_dim=2, init_scale=0.1, learning_rate=0.002, weight_decay=decay
    )
    noise, error = cldyn.gradient_noise(experiment, draws=8000)
    assert error < 0.03 * noise
    late, names = range(5000, 12_000, 50), ["excess_loss"]
    seen = cldyn.sweep(experiment, [{"seed": range(8)}], late, measure=names, progress=False)
    expected = float(cldyn.theory.stationary_excess(noise, 0.002))
    assert float(seen.excess_loss.mean()) == pytest.approx(expected, rel=0.1)


def test_the_collapsed_embedding_has_no_noise():
    collapsed = of("stored", FeatureModel(d=60), 24, batch=Subset(6))
    assert cldyn.gradient_noise(collapsed, draws=50)[0] < 1e-20
    flipped = collapsed.replace(n=64, model=FeatureModel(d=6, class_keep=0.8))
    assert cldyn.gradient_noise(flipped, draws=50)[0] > 1e-2
    for bad, message in ((collapsed.replace(batch=Full()), "batch:"), (collapsed, "draws:")):
        with pytest.raises(cldyn.Refused, match=message):
            cldyn.gradient_noise(bad, draws=1)
