"""One trajectory: the loop, its frame, its measures, and what theory says of it."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.integrate
from oracles import (
    MODEL,
    SMALL,
    entropy_rank,
    knn,
    mean_gap,
    misalignment,
    nearest_mean,
    objective,
    pair_loss,
    pair_weights,
    participation,
    potential,
    probe,
    random_model,
    random_moments,
    ratio_inside,
    raw_start,
    raw_training,
    stored_views,
    variance_within,
    with_one,
)

import cldyn
from cldyn import (
    Adam,
    Epochs,
    FeatureModel,
    FreshViews,
    Gaussian,
    Joint,
    Mlp,
    Momentum,
    Population,
    Subset,
    Unsupervised,
    dynamics,
)

# --- in the frame of the data ----------------------------------------------------------------

PRESETS = [
    {"balanced": False, "n": 9, "weight_decay": 0.05},
    {"bias": False, "optimizer": Momentum(0.02), "momentum": 0.7, "weight_decay": 0.02},
    {"n": 40, "positives": Joint(0.3), "weight_decay": 0.05},
]
RANDOM = [{"model": random_model(seed), "positives": Joint(0.6)} for seed in range(2)]


@pytest.mark.parametrize("change", PRESETS + RANDOM)
def test_frame_equals_autodiff_on_raw_data(change):
    experiment = SMALL.replace(**change)
    ours, theirs = (
        cldyn.run(experiment, [0, 500], measure=()).weights,
        raw_training(experiment, 500),
    )
    assert np.abs(theirs).max() > 0.05
    np.testing.assert_allclose(ours, theirs, atol=1e-10)


def test_start_outside_the_frame_keeps_its_direction_and_obeys_weight_decay():
    rows = with_one(stored_views(SMALL)[0]).reshape(16, 41)
    basis = np.linalg.svd(rows)[2][:16]
    outside = np.eye(41) - basis.T @ basis
    (before,) = raw_start(SMALL)
    for decay in (0.0, 0.3):
        after = cldyn.run(SMALL.replace(weight_decay=decay), [0, 100]).weights
        shrunk = (1 - 2 * 0.02 * decay) ** 100 * before
        np.testing.assert_allclose(after @ outside, shrunk @ outside, atol=1e-13)


def test_both_precisions_run_the_same_problem_and_noise_leaves_the_start_alone():
    single, double = (
        cldyn.run(SMALL.replace(precision="float32"), [0, 200]),
        cldyn.run(SMALL, [200]),
    )
    assert single.weights.dtype == np.float32
    np.testing.assert_allclose(single.weights, double.weights, atol=2e-5)
    start = cldyn.run(SMALL.replace(noise_length=3.0, m=3), [0]).weights
    np.testing.assert_allclose(start, raw_start(SMALL)[0], atol=1e-15)


# --- the loop --------------------------------------------------------------------------------


@pytest.mark.parametrize("optimizer", [optax.sgd(0.03, 0.8), optax.adam(0.03)])
def test_a_simulation_cut_in_two_equals_the_whole(optimizer):
    second, positive = random_moments(0)
    w, key = 0.1 * jax.random.normal(jax.random.key(1), (2, 5)), jax.random.key(2)

    def gradient(w, key, step):
        return jax.grad(objective)(w, second, positive) + 0.01 * jax.random.normal(key, w.shape)

    def go(state, at):
        watch = partial(dynamics.simulate, key, state, gradient, optimizer)
        return watch(record_at=jnp.array(at), record=lambda w, _: w)

    whole = go(dynamics.start(w, optimizer), [0, 7, 20, 50])
    half = go(dynamics.start(w, optimizer), [0, 7])
    rest = go(half.state, [20, 50])
    np.testing.assert_array_equal(whole.records, [*half.records, *rest.records])
    assert len(np.unique(whole.records)) == whole.records.size


CONTINUED = {
    "frame": {"optimizer": Momentum(0.02), "weight_decay": 0.05},
    "batches": {"batch": Epochs(6), "positives": Unsupervised()},
    "fresh views": {"problem": FreshViews(MODEL, n=8), "batch": Subset(4)},
    "perceptron": {"encoder": Mlp(8), "optimizer": Adam(0.01)},
}


@pytest.mark.parametrize("kind", CONTINUED)
def test_a_run_continues_from_its_state_bit_for_bit(kind):
    experiment = SMALL.replace(**CONTINUED[kind])
    measure = ["class_gap", "embeddings"]
    whole = cldyn.run(experiment, [0, 9, 20, 33], measure=measure)
    half = cldyn.run(experiment, [0, 9], measure=measure)
    rest = cldyn.run(experiment, [20, 33], measure=measure, state=half.state)
    for name, value in whole.records.items():
        np.testing.assert_array_equal(value, [*half.records[name], *rest.records[name]])
    for ours, theirs in zip(jax.tree.leaves(whole), jax.tree.leaves(rest), strict=True):
        if np.shape(ours) == np.shape(theirs):  # weights, state, steps and rate
            np.testing.assert_array_equal(ours, theirs)
    before, after = (jax.tree.leaves(run.state.params)[0] for run in (half, rest))
    assert rest.finite_steps == 33 and not np.array_equal(before, after)


def test_a_run_that_diverged_stays_so_when_it_is_continued():
    half = cldyn.run(SMALL.replace(learning_rate=5.0), [0, 40])
    rest = cldyn.run(SMALL, [50], state=half.state)
    assert rest.finite_steps == half.finite_steps < 40 and np.isnan(rest.records["loss"]).all()


@pytest.mark.parametrize("steps", [[8, 20], [0]])
def test_steps_before_a_state_are_refused(steps):
    half = cldyn.run(SMALL, [9])
    with pytest.raises(cldyn.Refused, match=r"^record_at: .* allowed is steps from 9 on"):
        cldyn.run(SMALL, steps, state=half.state)
    again = cldyn.run(SMALL, [9], state=half.state)
    np.testing.assert_array_equal(again.weights, half.weights)


@pytest.mark.parametrize(("order", "steps"), [(1, (200, 400, 800)), (4, (80, 160, 320))])
@pytest.mark.parametrize("seed", range(2))
def test_descent_follows_the_flow_at_first_order_and_runge_kutta_at_fourth(order, steps, seed):
    second, positive = random_moments(seed)
    start = 0.3 * np.random.default_rng(seed).normal(size=(2, 5))
    slope = jax.jit(jax.grad(lambda w: objective(w, second, positive, 0.1)))

    def right(_, w):
        return -np.asarray(slope(w.reshape(2, 5)), float).ravel()

    flow = scipy.integrate.solve_ivp(right, (0, 1), start.ravel(), rtol=1e-12, atol=1e-13)
    errors = []
    for count in steps:
        optimizer = optax.sgd(1 / count)
        seen = dynamics.runge_kutta(lambda w, *_: slope(w), 1 / count) if order == 4 else slope
        end = dynamics.simulate(
            jax.random.key(0),
            dynamics.start(jnp.array(start), optimizer),
            lambda w, key, step, seen=seen: seen(w, key, step) if order == 4 else seen(w),
            optimizer,
            record_at=jnp.array([count]),
            record=lambda w, _: w,
        )
        errors.append(np.abs(end.records[0].ravel() - flow.y[:, -1]).max())
    found = np.log2(np.array(errors[:-1]) / errors[1:])
    np.testing.assert_allclose(found, order, atol=0.05 if order == 1 else 0.4)


# --- what is measured ------------------------------------------------------------------------


def test_sampled_measures_are_those_of_the_raw_embeddings():
    model = random_model(3)
    experiment = SMALL.replace(model=model, n=16, test_size=50)
    sampled = {"test", "train", "views"}
    known = [name for name, one in cldyn.MEASURES.items() if sampled & {*one.needs}]
    exact = ["feature_norms", "class_gap", "subclass_gap", "subclass_to_class"]
    run = cldyn.run(experiment, [0, 200], measure=[*known, *exact])
    norms = np.linalg.norm(run.weights[:, : model.features], axis=0)
    gaps = 2 * norms[:2] * [model.class_strength, model.subclass_strength]
    drawn, tests = (
        cldyn.sample(jax.random.key(0), model, 16, 2),
        cldyn.sample_test(jax.random.key(0), model, 50),
    )
    f, g = (with_one(views.x).reshape(-1, model.d + 1) @ run.weights.T for views in (drawn, tests))
    label, subclass = np.repeat(drawn.label, 2), np.repeat(drawn.subclass, 2)
    expected = {
        "feature_norms": norms,
        "class_gap": gaps[0],
        "subclass_gap": gaps[1],
        "subclass_to_class": gaps[1] / gaps[0],
        "train_class_gap": mean_gap(f, label),
        "train_subclass_gap": mean_gap(f, subclass),
        "train_class_variance": variance_within(f, label),
        "train_subclass_variance": variance_within(f, 2 * label + subclass),
        "test_class_gap": mean_gap(g, tests.label),
        "test_subclass_gap": mean_gap(g, tests.subclass),
        "test_class_variance": variance_within(g, tests.label),
        "test_subclass_variance": variance_within(g, 2 * tests.label + tests.subclass),
        "class_accuracy": probe(f, label, g, tests.label),
        "subclass_accuracy": probe(f, subclass, g, tests.subclass),
        "class_accuracy_ridge": probe(f, label, g, tests.label, 1e-3),
        "subclass_accuracy_ridge": probe(f, subclass, g, tests.subclass, 1e-3),
        "class_accuracy_knn": knn(f, label, g, tests.label),
        "subclass_accuracy_knn": knn(f, subclass, g, tests.subclass),
        "class_accuracy_nearest_mean": nearest_mean(f, label, g, tests.label),
        "subclass_accuracy_nearest_mean": nearest_mean(f, subclass, g, tests.subclass),
        "train_class_ratio": ratio_inside(f, label, 0 * label),
        "train_subclass_ratio": ratio_inside(f, 2 * label + subclass, label),
        "test_class_ratio": ratio_inside(g, tests.label, 0 * tests.label),
        "test_subclass_ratio": ratio_inside(g, 2 * tests.label + tests.subclass, tests.label),
        "participation_ratio": participation(f),
        "uniformity": potential(g),
        "alignment": misalignment(f.reshape(16, 2, -1)),
        "effective_rank": entropy_rank(f),
        "embeddings": g,
    }
    assert {*expected} == {*known, *exact}
    for name, value in expected.items():
        found = run.records[name][-1]
        np.testing.assert_allclose(found, value, rtol=1e-8, atol=1e-12, err_msg=name)


def test_loss_with_weight_decay_is_least_at_the_predicted_limit():
    experiment = SMALL.replace(weight_decay=0.1, init_scale=0.1, learning_rate=0.05)
    end, limit = cldyn.run(experiment, [0, 4000]), cldyn.predict(experiment)
    x, label = stored_views(experiment)
    rows, weights = with_one(x).reshape(16, -1), pair_weights(label, 2, cldyn.Supervised())
    raw = pair_loss(rows @ end.weights.T, *weights) + 0.1 * np.sum(end.weights**2)
    assert end.records["loss"][-1] == pytest.approx(raw, rel=1e-10)
    assert limit.records["loss"][0] == pytest.approx(raw, rel=1e-8)
    assert abs(limit.records["excess_loss"][0]) < 1e-12
    assert abs(end.records["excess_loss"][-1]) < 1e-8


# --- what is predicted -----------------------------------------------------------------------


def test_early_flow_is_predicted():
    flow = cldyn.Flow(learning_rate=0.02)
    experiment = SMALL.replace(optimizer=flow, init_scale=1e-6, weight_decay=0.1)
    run, known = cldyn.run(experiment, [0, 20, 40]), cldyn.predict(experiment, [0, 20, 40])
    norms = run.records["feature_norms"], known.records["feature_norms"]
    assert (norms[0][-1] > 2 * norms[0][0]).any()
    np.testing.assert_allclose(*norms, rtol=1e-4)


def test_weight_decay_delays_the_learning_step_as_predicted():
    population = Population(FeatureModel(d=5, noise=Gaussian(0.0)))
    experiment = SMALL.replace(problem=population, learning_rate=0.01, init_scale=1e-6)
    steps = []
    for decay in (0.0, 0.6):
        decayed = experiment.replace(weight_decay=decay)
        known = cldyn.predict(decayed)
        curve = cldyn.run(decayed, range(1200)).records["feature_norms"]
        found = cldyn.phases(range(1200), curve.T).learned
        assert np.all(np.abs(found - known.learning_step) < known.efold), decay
        steps.append(known.learning_step)
    assert np.all(steps[0] < steps[1])
    gone = replace(population.model, subclass_strength=0.0)
    assert np.isnan(cldyn.predict(SMALL.replace(model=gone)).unlearning_rate)


def test_a_feature_that_fades_to_nothing_is_no_divergence():
    straight = cldyn.FeatureModel(d=8, subclass_mean=0.0, class_keep=0.1)
    fades = cldyn.Experiment(cldyn.Population(straight)).replace(embed_dim=1, bias=False)
    run = cldyn.run(fades.replace(positives=cldyn.Unsupervised()), [0, 1000])
    assert run.finite_steps == 1000 and run.records["feature_norms"][-1, 0] < 1e-30
    assert np.isfinite(run.records["subclass_to_class"]).all()
