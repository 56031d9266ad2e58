import inspect
from dataclasses import replace
from typing import get_args

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import cldyn
from cldyn import Experiment, FeatureModel, Problem, Training, lanes, losses, moments
from cldyn import lane as lab
from cldyn.experiment import COMMUTES, Optimizer, cast
from cldyn.lane.optimizer import schedule_of

MODEL = FeatureModel(d=40, class_strength=1.1, subclass_strength=0.9, irrelevant_strength=(1.5,), subclass_mean=0.7, class_keep=0.8, noise_keep=0.3)
PROBLEM = Problem(MODEL, n=8, m=2, precision="float64")
NAMES = get_args(Optimizer)
NUMBERS = {"momentum": 0.8, "square_decay": 0.97, "epsilon": 1e-6, "init_scale": 0.05}
SETTINGS = {name: {"optimizer": name, "learning_rate": 0.002 if name == "lion" else 0.01, **NUMBERS} for name in NAMES}


def by_path(training, steps, frame):
    """The last W, trained in the frame or on inputs as they are."""
    experiment = Experiment(PROBLEM, training)
    structure = lab.structure_of(experiment, ())._replace(frame=frame)
    problem, training = (cast(half, "float64") for half in (experiment.problem, experiment.training))

    @jax.jit
    def last(problem, training):
        prepared = lab.prepare(problem, training, structure)
        target = lab.settle(prepared, training, structure)
        return lab.train(prepared, training, target, jnp.array([0, steps]), structure)[1]

    return np.asarray(last(problem, training))


@pytest.mark.parametrize("name", NAMES)
def test_both_paths_agree_where_the_optimizer_commutes_with_rotations_and_only_there(name):
    more = {} if name == "flow" else {"clip_norm": 0.3, "schedule": "warmup_cosine", "warmup_steps": 10.0, "decay_steps": 90.0}
    training = Training(**SETTINGS[name], weight_decay=0.05, **more)
    inside, raw = (by_path(training, 100, frame) for frame in (True, False))
    assert lab.structure_of(Experiment(PROBLEM, training), ()).frame == (name in COMMUTES)
    apart = np.abs(inside - raw).max() / np.abs(raw).max()
    assert apart < 1e-10 if name in COMMUTES else apart > 1e-2


def test_both_paths_see_the_same_batches():
    training = Training(**SETTINGS["nesterov"], batch="subset", batch_size=5)
    np.testing.assert_allclose(by_path(training, 100, True), by_path(training, 100, False), atol=1e-10)


ORACLES = {
    "gd": lambda rate, wd: optax.chain(optax.add_decayed_weights(wd), optax.sgd(rate)),
    "momentum": lambda rate, wd: optax.chain(optax.add_decayed_weights(wd), optax.sgd(rate, 0.8)),
    "nesterov": lambda rate, wd: optax.chain(optax.add_decayed_weights(wd), optax.sgd(rate, 0.8, nesterov=True)),
    "adam": lambda rate, wd: optax.chain(optax.add_decayed_weights(wd), optax.adam(rate, 0.8, 0.97, 1e-6)),
    "rmsprop": lambda rate, wd: optax.chain(optax.add_decayed_weights(wd), optax.rmsprop(rate, 0.97, 1e-6)),
    "adamw": lambda rate, wd: optax.adamw(rate, 0.8, 0.97, 1e-6, weight_decay=wd),
    "lion": lambda rate, wd: optax.lion(rate, 0.8, 0.97, weight_decay=wd),
}


@pytest.mark.parametrize("name", ORACLES)
@pytest.mark.parametrize("scheduled", [False, True])
def test_optimizers_are_those_of_optax_on_raw_data_and_its_decay_is_twice_lambda(name, scheduled):
    settings = SETTINGS[name] | {"weight_decay": 0.04}
    rate = settings["learning_rate"]
    if scheduled:
        settings |= {"schedule": "warmup_cosine", "warmup_steps": 5.0, "decay_steps": 40.0, "clip_norm": 0.5}
        rate = optax.warmup_cosine_decay_schedule(0.0, rate, 5, 40)
    ours = cldyn.run(Experiment(PROBLEM, Training(**settings)), [0, 50]).weights
    views = cldyn.sample(jax.random.key(0), MODEL, 8, 2)
    rows = moments.append_one(views.x.reshape(16, 40), True)
    weights = losses.pair_weights(views.label, 2, "scl")
    oracle = ORACLES[name](rate, 0.08)
    if scheduled:  # a penalty counts among the gradient that is clipped, a decoupled decay does not
        parts = ORACLES[name](rate, 0.08), optax.clip_by_global_norm(0.5)
        if name not in ("adamw", "lion"):
            parts = ORACLES[name](rate, 0.0), optax.clip_by_global_norm(0.5), optax.add_decayed_weights(0.08)
        oracle = optax.chain(*parts[::-1])
    w = 0.05 * jax.random.normal(jax.random.key(0), (3, 41), jnp.float32).astype(float)
    state = oracle.init(w)

    @jax.jit
    def step(w, state):
        updates, state = oracle.update(jax.grad(lambda w: losses.spectral(rows @ w.T, *weights))(w), state, w)
        return w + updates, state

    for _ in range(50):
        w, state = step(w, state)
    # Lion takes signs, which rounding can turn where a mean of gradients passes zero.
    np.testing.assert_allclose(ours, w, atol=1e-8)


def test_schedules_are_those_of_optax():
    steps = np.arange(130)
    cosine = Training(learning_rate=0.3, schedule="warmup_cosine", warmup_steps=20.0, decay_steps=100.0)
    expected = optax.warmup_cosine_decay_schedule(0.0, 0.3, 20, 100)
    np.testing.assert_allclose(schedule_of(cosine)(steps), expected(steps), atol=1e-7)
    plain = replace(cosine, warmup_steps=0.0)
    np.testing.assert_allclose(schedule_of(plain)(steps), optax.cosine_decay_schedule(0.3, 100)(steps), atol=1e-7)
    np.testing.assert_allclose(schedule_of(replace(cosine, schedule="inverse_time"))(steps), 0.3 / (1 + steps / 100), rtol=1e-12)
    assert schedule_of(replace(cosine, schedule="constant")) == 0.3


def test_numbers_of_optimizers_are_axes_and_compile_once():
    training = Training(optimizer="adamw", learning_rate=0.01, init_scale=0.05, schedule="warmup_cosine", decay_steps=60.0)
    axes = [
        {"momentum": [0.5, 0.9], "square_decay": [0.9, 0.99]},
        {"clip_norm": [0.2, np.inf], "weight_decay": [0.0, 0.3]},
        {"epsilon": [1e-8, 1e-2], "warmup_steps": [0.0, 7.0], "decay_steps": [50.0, 40.0]},
    ]
    lanes._train_block.clear_cache()
    dataset = cldyn.sweep(Experiment(PROBLEM, training), axes, [0, 50], progress=False)
    cldyn.sweep(Experiment(PROBLEM, training), [*axes[:2], {**axes[2], "epsilon": [1e-3, 1e-4]}], [0, 40], progress=False)
    assert lanes._train_block._cache_size() == 1
    ends = set()
    for i, j, k in np.ndindex(2, 2, 2):
        lane = {name: values[at] for group, at in zip(axes, (i, j, k), strict=True) for name, values in group.items()}
        one = cldyn.run(Experiment(PROBLEM, replace(training, **lane)), [0, 50]).records["feature_norms"]
        np.testing.assert_allclose(dataset.feature_norms[i, j, k], one, rtol=1e-8)
        ends.add(round(float(one[-1, 0]), 6))
    assert len(ends) == 8


def yogi(training):
    return optax.yogi(training.learning_rate, training.momentum)


def test_any_transformation_can_be_given_as_a_function_of_the_training():
    experiment = Experiment(PROBLEM, Training(optimizer=yogi, init_scale=0.05, schedule="inverse_time", decay_steps=30.0))
    dataset = cldyn.sweep(experiment, [{"learning_rate": [0.01, 0.02]}, {"momentum": [0.5, 0.9]}], [0, 60], progress=False)
    assert len(np.unique(dataset.loss[..., -1].values.round(6))) == 4 and (dataset.loss[..., -1] < dataset.loss[..., 0]).all()
    assert "yogi" in dataset.attrs["experiment"]
    assert not lab.structure_of(experiment, ()).frame
    assert "optax" in inspect.getdoc(Training)


def test_critical_rate_of_nesterov_is_where_it_stops_damping():
    base = Training(learning_rate_unit="critical", optimizer="nesterov", momentum=0.6, embed_dim=2, init_scale=1e-3)
    problem = Problem(FeatureModel(d=4, noise=0.0, subclass_strength=0.8), population=True, precision="float64")
    ends = [cldyn.run(Experiment(problem, replace(base, learning_rate=share)), [0, 20_000]) for share in (0.95, 1.05)]
    assert ends[0].records["distance"][-1] < 1e-6 and not ends[1].records["distance"][-1] < 1e-3


def test_theory_is_silent_about_optimizers_it_does_not_know():
    known = cldyn.predict(Experiment(PROBLEM, Training(optimizer="adam")), [0, 1, np.inf])
    assert np.isnan([*known.learning_step, known.peak_bound, known.unlearning_rate, known.critical_learning_rate]).all()
    assert np.isnan(known.records["feature_norms"][:2]).all() and np.isfinite(known.records["feature_norms"][2]).all()
    late = cldyn.predict(Experiment(PROBLEM, Training(schedule="inverse_time")))
    assert np.isnan(late.learning_step).all() and late.critical_learning_rate > 0
