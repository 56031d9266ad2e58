import json
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import cldyn
from cldyn import Experiment, FeatureModel, Problem, Training, dynamics, lanes, losses, moments

MODEL = FeatureModel(d=40, class_strength=1.1, subclass_strength=0.9, irrelevant_strength=(1.5,), subclass_mean=0.7, class_keep=0.8, noise_keep=0.3)
SMALL = Experiment(Problem(MODEL, n=8, m=2, precision="float64"), Training(learning_rate=0.02, init_scale=1e-2))
CUT = [0, 3, 10, 25]


def raw_training(experiment, steps):
    """Autodiff of the pair-weighted loss on raw inputs, from the same data and start."""
    problem, training = experiment.problem, experiment.training
    views = cldyn.sample(jax.random.key(problem.data_seed), problem.data, problem.n, problem.m, balanced=problem.balanced)
    rows = views.x.reshape(-1, problem.data.d)
    rows = jnp.concatenate([rows, jnp.ones((len(rows), 1))], axis=1) if problem.bias else rows
    positive, negative = losses.pair_weights(views.label, problem.m, training.loss, training.beta)
    key = jax.random.key(training.seed)
    draw = jax.random.normal(key, (training.embed_dim, rows.shape[1]), jnp.float32).astype(float)

    def objective(w):
        return losses.spectral(rows @ w.T, positive, negative) + training.weight_decay * jnp.sum(w**2)

    optimizer = optax.sgd(training.learning_rate, training.momentum if training.optimizer == "momentum" else None)

    def step(carry, _):
        w, state = carry
        updates, state = optimizer.update(jax.grad(objective)(w), state)
        return (w + updates, state), None

    w = training.init_scale * draw
    return jax.jit(lambda w: jax.lax.scan(step, (w, optimizer.init(w)), None, length=steps)[0][0])(w)


@pytest.mark.parametrize(
    ("problem", "training"),
    [
        ({}, {}),
        ({"balanced": False, "n": 9}, {"weight_decay": 0.05}),
        ({"bias": False}, {"optimizer": "momentum", "momentum": 0.7, "weight_decay": 0.02}),
        ({}, {"loss": "ucl", "optimizer": "momentum", "momentum": 0.5}),
        ({"n": 40}, {"loss": "joint", "beta": 0.3, "weight_decay": 0.05}),
    ],
)
def test_frame_equals_autodiff_on_raw_data(problem, training):
    experiment = Experiment(replace(SMALL.problem, **problem), replace(SMALL.training, **training))
    ours = cldyn.run(experiment, [0, 500]).weights
    theirs = raw_training(experiment, 500)
    assert np.abs(theirs).max() > 0.05
    np.testing.assert_allclose(ours, theirs, atol=1e-10)


@pytest.mark.parametrize("optimizer", [optax.sgd(0.03), optax.sgd(0.03, 0.8), optax.adam(0.03)])
def test_a_run_cut_in_two_equals_the_whole(optimizer):
    second, factor = jnp.array([1.0, 2.0, 0.1]), jnp.array([[0.8, 0.3, 0.0]])
    w = 0.1 * jax.random.normal(jax.random.key(1), (2, 3))
    key = jax.random.key(2)

    def gradient(w, key, step):
        return losses.spectral_gradient(w, second, factor) + 0.01 * jax.random.normal(key, w.shape)

    def go(state, at):
        return dynamics.simulate(key, state, gradient, optimizer, record_at=jnp.array(at), record=lambda w, _: w)

    whole = go(dynamics.start(w, optimizer), [0, 7, 20, 50])
    half = go(dynamics.start(w, optimizer), [0, 7])
    rest = go(half.state, [20, 50])
    np.testing.assert_array_equal(whole.records, np.concatenate([half.records, rest.records]))


def test_divergence_is_nan_from_the_first_bad_step_and_changes_no_neighbour():
    axes = [{"learning_rate": [0.01, 0.02, 5.0, 0.03]}]
    bad = cldyn.sweep(SMALL, axes, [*range(60)], progress=False)
    good = cldyn.sweep(SMALL, [{"learning_rate": [0.01, 0.02, 0.015, 0.03]}], [*range(60)], progress=False)
    finite = int(bad.finite_steps[2])
    assert 0 < finite < 59
    assert not np.isnan(bad.feature_norms[2, : finite + 1]).any() and np.isnan(bad.feature_norms[2, finite + 1 :]).all()
    for name in bad.data_vars:
        np.testing.assert_array_equal(bad[name][[0, 1, 3]], good[name][[0, 1, 3]])


def test_sweep_equals_loop_over_zipped_multiplied_and_embedding_axes():
    seeds, rates, dims = [3, 4], [0.01, 0.03], [1, 2, 4]
    axes = [{"learning_rate": rates}, {"seed": seeds, "data_seed": seeds}, {"embed_dim": dims}, {"irrelevant_strength": [1.0, (2.0,)]}]
    dataset = cldyn.sweep(SMALL, axes, CUT, progress=False)
    assert dataset.feature_norms.dims == ("learning_rate", "seed", "embed_dim", "irrelevant_strength", "step", "feature")
    for i, j, k, l in [(0, 0, 0, 0), (1, 1, 2, 1), (0, 1, 1, 0)]:
        problem = replace(SMALL.problem, data_seed=seeds[j], data=replace(MODEL, irrelevant_strength=((1.0,), (2.0,))[l]))
        training = replace(SMALL.training, seed=seeds[j], learning_rate=rates[i], embed_dim=dims[k])
        one = cldyn.run(Experiment(problem, training), CUT)
        for name, value in one.records.items():
            np.testing.assert_allclose(dataset[name][i, j, k, l], value, rtol=1e-7, atol=1e-12, err_msg=name)


def test_population_own_arrays_and_critical_rates_run_in_lanes():
    population = Experiment(replace(SMALL.problem, population=True), replace(SMALL.training, learning_rate_unit="critical", embed_dim=2))
    axes = [{"subclass_mean": [0.2, 0.7]}, {"learning_rate": [0.3, 0.6], "weight_decay": [0.0, 0.1]}]
    dataset, known = cldyn.sweep(population, axes, [0, 20_000], progress=False), cldyn.forecast(population, axes, progress=False)
    np.testing.assert_allclose(dataset.step_size, known.critical_learning_rate * np.array([0.3, 0.6]), rtol=1e-12)
    np.testing.assert_allclose(dataset.feature_norms[..., -1, :2], known.feature_norms[..., :2], atol=1e-6)
    views = cldyn.views(np.random.default_rng(0).normal(size=(6, 2, 5)), [0, 0, 1, 1, 2, 2], directions=np.eye(5)[:2])
    own = Experiment(Problem(views, precision="float64"), SMALL.training)
    lane = cldyn.sweep(own, [{"seed": [0, 1]}], [0, 50], progress=False)
    np.testing.assert_allclose(lane.class_gap[1], cldyn.run(Experiment(own.problem, replace(own.training, seed=1)), [0, 50]).records["class_gap"])


def test_two_sweeps_of_other_values_and_steps_compile_once():
    lanes._train_block.clear_cache()
    for rates, steps in (([0.01, 0.02], [0, 5, 9]), ([0.03, 0.04], [1, 2, 30])):
        cldyn.sweep(SMALL, [{"learning_rate": rates}, {"seed": [0, 1, 2]}], steps, progress=False)
    assert lanes._train_block._cache_size() == 1


def test_both_precisions_run_the_same_problem_and_noise_leaves_the_start_alone():
    single = cldyn.run(Experiment(replace(SMALL.problem, precision="float32"), SMALL.training), [0, 200])
    double = cldyn.run(SMALL, [0, 200])
    assert single.weights.dtype == np.float32
    np.testing.assert_allclose(single.weights, double.weights, atol=2e-5)
    other = Experiment(replace(SMALL.problem, data=replace(MODEL, noise=3.0), m=3), SMALL.training)
    np.testing.assert_allclose(cldyn.run(other, [0]).weights, cldyn.run(SMALL, [0]).weights, atol=1e-15)


def test_gradient_descent_approaches_gradient_flow_at_first_order():
    second, factor = np.array([1.5, 0.7, 0.2]), np.array([[0.9, 0.4, 0.1], [0.0, 0.5, 0.3]])
    from scipy.integrate import solve_ivp

    start = 0.3 * np.random.default_rng(1).normal(size=(2, 3))
    slope = jax.jit(lambda w: losses.spectral_gradient(w, second, factor))
    flow = solve_ivp(lambda _, w: -np.asarray(slope(w.reshape(2, 3))).ravel(), (0, 2), start.ravel(), rtol=1e-12, atol=1e-13)
    errors = []
    for steps in (200, 400, 800):
        optimizer = optax.sgd(2 / steps)
        state = dynamics.start(jnp.array(start), optimizer)
        end = dynamics.simulate(
            jax.random.key(0), state, lambda w, *_: slope(w), optimizer, record_at=jnp.array([steps]), record=lambda w, _: w
        )
        errors.append(np.abs(end.records[0].ravel() - flow.y[:, -1]).max())
    orders = np.log2(np.array(errors[:-1]) / errors[1:])
    np.testing.assert_allclose(orders, 1, atol=0.05)


def test_start_outside_the_frame_keeps_its_part():
    basis = np.asarray(jax.jit(moments.frame)(cldyn.sample(jax.random.key(0), MODEL, 8, 2)).basis)
    before, after = cldyn.run(SMALL, [0]).weights, cldyn.run(SMALL, [300]).weights
    outside = np.eye(len(basis)) - basis @ basis.T
    np.testing.assert_allclose(after @ outside, before @ outside, atol=1e-13)


def test_a_dataset_names_and_explains_everything():
    model = replace(MODEL, irrelevant_strength=(1.5, 0.5))
    experiment = Experiment(replace(SMALL.problem, data=model, precision="float32"), SMALL.training)
    axes = [{"learning_rate": [0.01, 0.02]}, {"seed": [1, 2, 3], "data_seed": [4, 5, 6]}, {"irrelevant_strength": [(1.0, 2.0), 0.5]}]
    dataset = cldyn.sweep(experiment, axes, [0, 4], measure=[*cldyn.MEASURES], progress=False)
    assert dict(dataset.sizes) == {
        "learning_rate": 2, "seed": 3, "irrelevant_strength": 2, "step": 2, "feature": 4, "test": 400, "output": 3
    }  # fmt: skip
    assert dataset.feature.values.tolist() == ["class", "subclass", "irrelevant_1", "irrelevant_2"]
    assert dataset.data_seed.dims == ("seed",) and dataset.data_seed.values.tolist() == [4, 5, 6]
    assert dataset.irrelevant_strength.values.tolist() == ["(1.0, 2.0)", "(0.5, 0.5)"]
    assert set(dataset.data_vars) == {*cldyn.MEASURES, "finite_steps", "step_size"}
    for name, array in dataset.variables.items():
        assert name in ("feature",) or {"long_name", "units"} <= set(array.attrs), name
    assert json.loads(dataset.attrs["experiment"])["problem"]["data"]["irrelevant_strength"] == [1.5, 0.5]
    assert dataset.class_gap.dtype == np.float32


def test_a_forecast_finds_critical_rates_unless_told_not_to():
    known, rest = (cldyn.forecast(SMALL, [{"seed": (0, 1)}], critical=wanted) for wanted in (True, False))
    assert (known.critical_learning_rate > 0).all()
    assert {*known.data_vars} - {*rest.data_vars} == {"critical_learning_rate"}


def test_a_sweep_without_axes_is_one_lane():
    dataset = cldyn.sweep(SMALL, [], CUT, progress=False)
    np.testing.assert_allclose(dataset.loss, cldyn.run(SMALL, CUT).records["loss"], rtol=1e-9, atol=1e-12)


def test_gradient_flow_is_of_order_four():
    ends = []
    for steps in (80, 160, 320, 2560):
        training = replace(SMALL.training, optimizer="flow", learning_rate=2 / steps, weight_decay=0.05, init_scale=0.1)
        ends.append(cldyn.run(Experiment(SMALL.problem, training), [0, steps]).weights)
    errors = [np.abs(end - ends[-1]).max() for end in ends[:-1]]
    np.testing.assert_allclose(np.log2(np.divide(errors[:-1], errors[1:])), 4, atol=0.4)
    fine = Experiment(SMALL.problem, replace(SMALL.training, learning_rate=2 / 64_000, weight_decay=0.05, init_scale=0.1))
    np.testing.assert_allclose(cldyn.run(fine, [0, 64_000]).weights, ends[-1], atol=3e-4)


def test_early_flow_is_predicted():
    experiment = Experiment(SMALL.problem, replace(SMALL.training, optimizer="flow", init_scale=1e-6, weight_decay=0.1))
    run, known = cldyn.run(experiment, [0, 20, 40]), cldyn.predict(experiment, [0, 20, 40])
    np.testing.assert_allclose(run.records["feature_norms"], known.records["feature_norms"], rtol=1e-4)


def test_sampled_measures_are_those_of_the_raw_embeddings():
    problem = replace(SMALL.problem, n=16, test_size=50)
    names = [*cldyn.measures.TRAIN, *cldyn.measures.TEST]
    run = cldyn.run(Experiment(problem, SMALL.training), [0, 200], measure=[*names, "feature_norms", "class_gap", "subclass_gap"])
    norms = np.linalg.norm(run.weights[:, :2], axis=0)
    np.testing.assert_allclose(run.records["feature_norms"][-1, :2], norms, rtol=1e-10)
    gaps = np.array([run.records["class_gap"][-1], run.records["subclass_gap"][-1]])
    np.testing.assert_allclose(gaps, 2 * norms * [MODEL.class_strength, MODEL.subclass_strength], rtol=1e-10)
    key = jax.random.key(problem.data_seed)
    train, test = cldyn.sample(key, MODEL, 16, 2), cldyn.sample_test(key, MODEL, 50)

    def embed(views):
        rows = np.asarray(views.x).reshape(-1, MODEL.d)
        return rows @ run.weights[:, :-1].T + run.weights[:, -1]

    f, g = embed(train), embed(test)
    label, subclass = np.repeat(train.label, 2), np.repeat(train.subclass, 2)
    cell = [f[(label == c) & (subclass == s)] for c in (-1, 1) for s in (-1, 1)]
    expected = {
        "train_class_gap": np.linalg.norm(f[label == 1].mean(axis=0) - f[label == -1].mean(axis=0)),
        "train_subclass_gap": np.linalg.norm(f[subclass == 1].mean(axis=0) - f[subclass == -1].mean(axis=0)),
        "train_subclass_variance": sum(np.sum((part - part.mean(axis=0)) ** 2) for part in cell) / len(f),
        "train_class_variance": sum(np.sum((f[label == c] - f[label == c].mean(axis=0)) ** 2) for c in (-1, 1)) / len(f),
        "test_class_variance": sum(np.sum((g[test.label == c] - g[test.label == c].mean(axis=0)) ** 2) for c in (-1, 1)) / len(g),
        "class_accuracy": cldyn.measures.probe_accuracy(f, label.astype(float), g, np.asarray(test.label, float)),
        "subclass_accuracy": cldyn.measures.probe_accuracy(f, subclass.astype(float), g, np.asarray(test.subclass, float)),
        "effective_rank": cldyn.measures.effective_rank(f),
        "embeddings": g,
    }
    for name, value in expected.items():
        np.testing.assert_allclose(run.records[name][-1], value, rtol=1e-8, atol=1e-12, err_msg=name)


def test_loss_with_weight_decay_is_least_at_the_predicted_limit():
    experiment = Experiment(SMALL.problem, replace(SMALL.training, weight_decay=0.1, init_scale=0.1, learning_rate=0.05))
    end, limit = cldyn.run(experiment, [0, 4000]), cldyn.predict(experiment)
    views = cldyn.sample(jax.random.key(0), MODEL, 8, 2)
    rows = np.concatenate([np.asarray(views.x).reshape(16, -1), np.ones((16, 1))], axis=1)
    raw = losses.spectral(rows @ end.weights.T, *losses.pair_weights(views.label, 2, "scl")) + 0.1 * np.sum(end.weights**2)
    assert end.records["loss"][-1] == pytest.approx(float(raw), rel=1e-10)
    assert limit.records["loss"][0] == pytest.approx(float(raw), rel=1e-8)
    assert abs(limit.records["excess_loss"][0]) < 1e-12 and abs(end.records["excess_loss"][-1]) < 1e-8


def test_critical_rate_of_momentum_is_that_of_the_heavy_ball():
    base = replace(SMALL.training, learning_rate_unit="critical", optimizer="momentum", momentum=0.5, embed_dim=2, init_scale=1e-3)
    problem = Problem(FeatureModel(d=4, noise=0.0, subclass_strength=0.8), population=True, precision="float64")
    ends = [cldyn.run(Experiment(problem, replace(base, learning_rate=share)), [0, 20_000]) for share in (0.9, 1.1)]
    assert ends[0].records["distance"][-1] < 1e-6 and not ends[1].records["distance"][-1] < 1e-3
    known = cldyn.predict(Experiment(problem, base))
    plain = cldyn.predict(Experiment(problem, replace(base, optimizer="gd")))
    assert known.critical_learning_rate == pytest.approx(1.5 * plain.critical_learning_rate)
    assert np.isnan(known.learning_step).all() and np.isnan([known.peak_bound, known.unlearning_rate]).all()
    assert np.isfinite(plain.learning_step).all() and np.isfinite([plain.peak_bound, plain.unlearning_rate]).all()


def test_weight_decay_delays_the_learning_step_as_predicted():
    problem = Problem(FeatureModel(d=5, noise=0.0), population=True, precision="float64")
    for decay in (0.0, 0.6):
        experiment = Experiment(problem, replace(SMALL.training, learning_rate=0.01, weight_decay=decay, init_scale=1e-6))
        known = cldyn.predict(experiment)
        curve = cldyn.run(experiment, range(1200)).records["feature_norms"]
        found = cldyn.phases(range(1200), curve.T).learned
        assert np.all(np.abs(found - known.learning_step) < known.efold), decay
    assert np.isnan(cldyn.predict(Experiment(replace(problem, data=FeatureModel(d=5, subclass_strength=0.0)), SMALL.training)).unlearning_rate)


def test_critical_rate_of_flow_is_where_runge_kutta_stops_damping():
    base = replace(SMALL.training, learning_rate_unit="critical", optimizer="flow", embed_dim=2, init_scale=1e-3)
    problem = Problem(FeatureModel(d=4, noise=0.0, subclass_strength=0.8), population=True, precision="float64")
    ends = [cldyn.run(Experiment(problem, replace(base, learning_rate=share)), [0, 20_000]) for share in (0.5, 1.05)]
    assert ends[0].records["distance"][-1] < 1e-6 and not ends[1].records["distance"][-1] < 1e-3


def test_lanes_of_one_problem_in_many_blocks_equal_single_runs(monkeypatch):
    monkeypatch.setattr(lanes, "_CACHE", 1)  # blocks of two lanes
    seeds = [0, 1, 2, 3, 4]
    dataset = cldyn.sweep(SMALL, [{"seed": seeds}], CUT, progress=False)
    for i in seeds:
        one = cldyn.run(Experiment(SMALL.problem, replace(SMALL.training, seed=i)), CUT)
        np.testing.assert_allclose(dataset.feature_norms[i], one.records["feature_norms"], rtol=1e-8)
